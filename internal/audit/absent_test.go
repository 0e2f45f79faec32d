package audit

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/test/pki"
)

// strip gives the log without the records of some lines.
func strip(t *testing.T, log fstest.MapFS, sequences ...int64) fstest.MapFS {
	t.Helper()
	name := decisionlog.FileName(1)
	var out []byte
	for line := range bytes.Lines(log[name].Data) {
		l, err := decisionlog.Parse(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sequences {
			if s == l.Sequence {
				line = append(decisionlog.Join(l.Header, nil), '\n')
			}
		}
		out = append(out, line...)
	}
	return with(log, name, out)
}

// said gives all that a report says.
func said(r Report) string {
	raw, _ := json.Marshal(r)
	return string(raw)
}

// TestWithheldRecords: records that are left out are not taken for erased ones, in a folder or in an archive, but where they are as old as the
// law has it and a witness saw that.
func TestWithheldRecords(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(4)
	c.checkpoint()
	c.lines(4)
	c.checkpoint()
	e := Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began, To: began.Add(8 * time.Minute)}
	erased := e
	for _, s := range []int64{1, 3, 5, 7} {
		erased.Erased = append(erased.Erased, Erased{Instance: "gateway-0.0a", Sequence: s})
	}
	other := e
	other.UIDs = []string{"uid-b"}
	young, old := began.Add(LeastRetention), began.Add(LeastRetention+time.Hour)
	ours, all := strip(t, c.fs, 1, 3, 5, 7), strip(t, c.fs, 1, 2, 3, 4, 5, 6, 7, 8)
	first := strip(t, c.fs, 1)
	backdated := c.trust()
	backdated.Seen = []Mark{c.receive(c.witness.Key, c.sign("ns/henan", c.now()), young)} // the witness first saw them much later than they say
	longer := c.trust()
	longer.Retention = 2 * LeastRetention
	partly := c.trust()
	partly.Seen = []Mark{c.seen[0], backdated.Seen[0]} // the first half it saw in time
	for name, x := range map[string]struct {
		log     fstest.MapFS
		excerpt *Excerpt
		trust   Trust
		now     time.Time
		want    Verdict
		says    string
	}{
		"a folder, young":               {all, nil, c.trust(), young, Broken, "8 lines (1 to 8) are missing"},
		"a folder, no clock":            {all, nil, c.trust(), time.Time{}, Broken, "are missing"},
		"a folder, old":                 {all, nil, c.trust(), old, Verified, "8 records are not here"},
		"a folder, dated back":          {all, nil, backdated, old, ConsistentOnly, "it is not proven"},
		"a folder, kept for longer":     {all, nil, longer, old, Broken, "they are younger than 360 days"},
		"half dated back":               {strip(t, c.fs, 4), nil, partly, old, Verified, "1 records are not here"},
		"the other half dated back":     {strip(t, c.fs, 4, 6), nil, partly, old, ConsistentOnly, "the records of line 6 are missing; they are said to be erased, and it is not proven"},
		"one is old enough, and no two": {first, nil, c.trust(), began.Add(LeastRetention + 4*time.Minute + time.Second), Verified, "1 records are not here"},
		"an archive, young":             {ours, &e, c.trust(), young, Broken, "4 lines (1, 3, 5, 7) are missing"},
		"an archive, old":               {ours, &e, c.trust(), old, Verified, "4 records are not here"},
		"an archive says erased":        {ours, &erased, c.trust(), young, ConsistentOnly, "no receipt shows it"},
		"records of others":             {strip(t, c.fs, 2, 4), &e, c.trust(), young, Verified, `"ours":4`},
		"no UID":                        {all, &Excerpt{Agreement: "a", From: e.From, To: e.To}, c.trust(), young, Broken, "names no UID"},
		"the UID of another agreement":  {strip(t, c.fs, 1, 3, 5, 7), &other, c.trust(), young, Broken, `says agreement \"b\"`},
		"lines under a UID left out":    {c.fs, &other, c.trust(), young, Broken, "is not in excerpt.json"},
	} {
		log := x.log
		if x.excerpt != nil {
			log = with(log, MarksFile, nil)
			delete(log, MarksFile)
		}
		x.trust.Now = x.now
		r, err := Verify(log, x.trust, x.excerpt, nil)
		if err != nil || r.Verdict != x.want || !strings.Contains(said(r), x.says) {
			t.Errorf("%s: %v, want %s and %q: %s", name, err, x.want, x.says, said(r))
		}
	}
	known := c.trust()
	known.Now, known.UIDs = young, []string{"uid-b", "uid-c"}
	if r, err := Verify(c.fs, known, &other, nil); err != nil || !strings.Contains(said(r), "the agreement has uid-b, uid-c") {
		t.Errorf("the auditor knows another UID: %s", said(r))
	}
}

// receipt signs that lines were erased, as the vault does.
func receipt(t *testing.T, cert tls.Certificate, e contract.ErasureClaim) string {
	t.Helper()
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, cert, cert.PrivateKey, contract.ErasureType, raw)
}

// signed gives a compact JWS of a type by a key, with a certificate in its header; one without content has none there.
func signed(t *testing.T, cert tls.Certificate, key crypto.PrivateKey, typ jose.ContentType, payload []byte) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType(typ)
	if len(cert.Certificate) > 0 {
		opts = opts.WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(cert.Certificate[0])})
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestReceiptOfAnErasure: a young record may be missing where the vault signed that it was erased, and this very line.
func TestReceiptOfAnErasure(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(2)
	c.checkpoint()
	ca := pki.New(t, "platform")
	vault := ca.Named(t, "Dizuo receipts of henan")
	at := time.Now()
	good := contract.ErasureClaim{Format: contract.ErasureFormat, Platform: "ns/henan", At: at, Records: []contract.ErasedRecord{{Instance: "gateway-0.0a", Sequence: 1}}}
	change := func(do func(*contract.ErasureClaim)) contract.ErasureClaim { e := good; do(&e); return e }
	roots := ca.Pool()
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	outlived := ca.Client(t, "", func(c *x509.Certificate) {
		c.Subject.CommonName, c.URIs, c.NotAfter = "Dizuo receipts of henan", nil, at.Add(-time.Minute)
	})
	posing := ca.Client(t, contract.OrganizationURI("henan", "henan", "town", "id"), func(c *x509.Certificate) { c.Subject.CommonName = "Dizuo receipts of henan" })
	for name, x := range map[string]struct {
		receipt string
		roots   *x509.CertPool
		says    string
	}{
		"":                {receipt(t, vault, good), roots, ""},
		"no CA":           {receipt(t, vault, good), nil, "the CA of receipts was not given"},
		"another CA":      {receipt(t, vault, good), pki.New(t, "platform").Pool(), "signed by unknown authority"},
		"another signer":  {receipt(t, ca.Named(t, "somebody"), good), roots, "not by the vault"},
		"an organisation": {receipt(t, ca.Client(t, contract.OrganizationURI("henan", "henan", "town", "id")), good), roots, "not by the vault"},
		"another line": {receipt(t, vault, change(func(e *contract.ErasureClaim) {
			e.Records = []contract.ErasedRecord{{Instance: "gateway-0.0a", Sequence: 2}}
		})), roots, "does not name the line"},
		"no line":                              {receipt(t, vault, change(func(e *contract.ErasureClaim) { e.Records = nil })), roots, "does not name the line"},
		"another platform":                     {receipt(t, vault, change(func(e *contract.ErasureClaim) { e.Platform = "other/henan" })), roots, "is of platform"},
		"no receipt":                           {"x", roots, "its receipt:"},
		"not a claim":                          {signed(t, vault, vault.PrivateKey, contract.ErasureType, []byte("erased")), roots, "its receipt: invalid character"},
		"no certificate":                       {signed(t, tls.Certificate{}, vault.PrivateKey, contract.ErasureType, text), roots, "its receipt: "},
		"a certificate that was over":          {receipt(t, outlived, good), roots, "certificate has expired"},
		"an organisation of the vault's name":  {receipt(t, posing, good), roots, "not by the vault"},
		"another's key beside the certificate": {signed(t, vault, key(t), contract.ErasureType, text), roots, "the signature is not good"},
		"something else that the vault signed": {signed(t, vault, vault.PrivateKey, "dizuo-lease", text), roots, "its receipt is a dizuo-lease of format"},
		"another format":                       {receipt(t, vault, change(func(e *contract.ErasureClaim) { e.Format = "dizuo-erasure/9" })), roots, `of format \"dizuo-erasure/9\"`},
		"the same name elsewhere":              {receipt(t, vault, change(func(e *contract.ErasureClaim) { e.Platform = "ns2/henan" })), roots, `is of platform \"ns2/henan\", the log of \"ns/henan\"`},
		"another chain": {receipt(t, vault, change(func(e *contract.ErasureClaim) {
			e.Records = []contract.ErasedRecord{{Instance: "gateway-1.0a", Sequence: 1}}
		})), roots, "does not name the line"},
	} {
		raw, err := json.Marshal(Fetched{AsOf: at, Erased: []Erased{{Instance: "gateway-0.0a", Sequence: 1, At: at, Receipt: x.receipt}}})
		if err != nil {
			t.Fatal(err)
		}
		log := with(strip(t, c.fs, 1), FetchedFile, raw)
		trust := c.trust()
		trust.Now, trust.Receipts = began.Add(time.Hour), x.roots
		want := ConsistentOnly
		if name == "" {
			want = Verified
		}
		if r := verify(t, log, trust); r.Verdict != want || !strings.Contains(said(r), x.says) {
			t.Errorf("%q: want %s and %q: %s", name, want, x.says, said(r))
		}
		// An archive takes it along.
		files, err := Export([]fs.FS{log}, Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began, To: began.Add(2 * time.Minute)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(files[ExcerptFile]), x.receipt) {
			t.Errorf("%q: the archive has no receipt: %s", name, files[ExcerptFile])
		}
		archive := fstest.MapFS{}
		for file, data := range files {
			archive[file] = &fstest.MapFile{Data: data}
		}
		excerpt, err := ReadExcerpt(archive)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(archive, trust, excerpt, nil); err != nil || r.Verdict != want || !strings.Contains(said(r), x.says) {
			t.Errorf("%q, in an archive: want %s and %q: %s %v", name, want, x.says, said(r), err)
		}
	}
}

// TestReceiptBeforeItsLine: a record was erased before it was written. It is as young as the clock of the receipt says that it cannot be.
func TestReceiptBeforeItsLine(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(2)
	c.checkpoint()
	ca := pki.New(t, "platform", func(x *x509.Certificate) { x.NotBefore = began.AddDate(-1, 0, 0) })
	before := ca.Client(t, "", func(x *x509.Certificate) { // good when it signed; by now it is over
		x.Subject.CommonName, x.URIs, x.NotBefore, x.NotAfter = "Dizuo receipts of henan", nil, began.AddDate(0, -1, 0), began.AddDate(0, 1, 0)
	})
	for after, want := range map[time.Duration]Verdict{-time.Second: ConsistentOnly, time.Second: Verified} {
		jws := receipt(t, before, contract.ErasureClaim{Format: contract.ErasureFormat, Platform: "ns/henan", At: began.Add(after), Records: []contract.ErasedRecord{{Instance: "gateway-0.0a", Sequence: 1}}})
		trust := c.trust()
		trust.Now, trust.Receipts = began.Add(time.Hour), ca.Pool()
		r := verify(t, with(strip(t, c.fs, 1), FetchedFile, fetchedOf(t, Fetched{Erased: []Erased{{Instance: "gateway-0.0a", Sequence: 1, Receipt: jws}}})), trust)
		if r.Verdict != want || want != Verified && !strings.Contains(said(r), "its receipt is older than the line") {
			t.Errorf("%s after the line: want %s: %s", after, want, said(r))
		}
	}
}

func fetchedOf(t *testing.T, f Fetched) []byte {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestSaidToBeErased: what a folder says to be erased is held against the chain that it lies beside, and its receipts are found by their IDs.
func TestSaidToBeErased(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	ca := pki.New(t, "platform")
	vault, at := ca.Named(t, "Dizuo receipts of henan"), time.Now()
	jws := receipt(t, vault, contract.ErasureClaim{Format: contract.ErasureFormat, Platform: "ns/henan", At: at, Records: []contract.ErasedRecord{{Instance: "gateway-0.0a", Sequence: 1}, {Instance: "gateway-0.0a", Sequence: 2}}})
	line := func(instance string, sequence int64, receipt string) Erased {
		return Erased{Instance: instance, Sequence: sequence, At: at, Receipt: receipt}
	}
	both := []Erased{line("gateway-0.0a", 1, "id"), line("gateway-0.0a", 2, "id")}
	trust := c.trust()
	trust.Now, trust.Receipts = began.Add(time.Hour), ca.Pool()
	for name, x := range map[string]struct {
		absent  []int64
		fetched []byte
		want    Verdict
		says    string
	}{
		"":                     {[]int64{1, 2}, fetchedOf(t, Fetched{Erased: both, Receipts: map[string]string{"id": jws}}), Verified, "2 were erased by a receipt"},
		"the record is here":   {[]int64{1}, fetchedOf(t, Fetched{Erased: both, Receipts: map[string]string{"id": jws}}), Verified, "1 were erased by a receipt"},
		"of another chain":     {[]int64{1}, fetchedOf(t, Fetched{Erased: []Erased{line("gateway-1.0a", 1, jws)}}), Broken, "the records of line 1 are missing"},
		"another line":         {[]int64{1, 3}, fetchedOf(t, Fetched{Erased: both, Receipts: map[string]string{"id": jws}}), Broken, "the records of line 3 are missing"},
		"no receipt of the ID": {[]int64{1, 2}, fetchedOf(t, Fetched{Erased: both, Receipts: map[string]string{"other": jws}}), ConsistentOnly, "the records of 2 lines (1 to 2) are missing; they are said to be erased, and it is not proven"},
		"no receipt":           {[]int64{1}, fetchedOf(t, Fetched{Erased: []Erased{line("gateway-0.0a", 1, "")}}), ConsistentOnly, "no receipt shows it"},
		"one of two":           {[]int64{1, 2}, fetchedOf(t, Fetched{Erased: both[:1], Receipts: map[string]string{"id": jws}}), Broken, "the records of line 2 are missing"},
		"not readable":         {[]int64{1}, []byte("{"), Broken, "fetched.json: unexpected end"},
		"nothing beside":       {[]int64{1}, nil, Broken, "the records of line 1 are missing"},
	} {
		log := strip(t, c.fs, x.absent...)
		if x.fetched != nil {
			log = with(log, FetchedFile, x.fetched)
		}
		if r := verify(t, log, trust); r.Verdict != x.want || !strings.Contains(said(r), x.says) {
			t.Errorf("%q: want %s and %q: %s", name, x.want, x.says, said(r))
		}
	}
	log := with(strip(t, c.fs, 1, 2), FetchedFile, fetchedOf(t, Fetched{Erased: both, Receipts: map[string]string{"id": jws}}))
	files, err := Export([]fs.FS{log}, Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began, To: began.Add(3 * time.Minute)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	archive := fstest.MapFS{}
	for file, data := range files {
		archive[file] = &fstest.MapFile{Data: data}
	}
	excerpt, err := ReadExcerpt(archive)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(archive, trust, excerpt, nil); err != nil || r.Verdict != Verified || !strings.Contains(said(r), "1 were erased by a receipt") {
		t.Errorf("an archive, by the ID: %s %v", said(r), err)
	}
}

// TestListsOfSubjects: a list of subjects beside the lines must be there, and be the one that the line has the digest of.
func TestListsOfSubjects(t *testing.T) {
	list := []byte("a\nb\n")
	digest := contract.Digest(list)
	name := decisionlog.SubjectsDir + "/" + decisionlog.ListName(digest)
	c := newChain(t, "gateway-0.0a")
	raw, err := c.end.Next(decisionlog.Record{At: began, Kind: contract.LogRelease, Request: "r", UID: "uid-a", LogBody: contract.LogBody{Salt: "0f", Rows: 2, SubjectList: &contract.SubjectList{Digest: digest, Count: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	c.add(decisionlog.FileName(1), raw)
	c.checkpoint()
	trust := c.trust()
	trust.Now = began.Add(time.Hour)
	for what, x := range map[string]struct {
		log  fstest.MapFS
		want Verdict
		says string
	}{
		"":        {with(c.fs, name, list), Verified, ""},
		"changed": {with(c.fs, name, []byte("a\n")), Broken, "line 1: its list of subjects was changed"},
		"missing": {c.fs, Broken, "line 1: its list of subjects is missing"},
	} {
		if r := verify(t, x.log, trust); r.Verdict != x.want || !strings.Contains(said(r), x.says) {
			t.Errorf("%q: want %s and %q: %s", what, x.want, x.says, said(r))
		}
	}
}

// TestTornTail: what a crash leaves at the end is no break, and hides no cut.
func TestTornTail(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	name := decisionlog.FileName(1)
	whole := c.fs[name].Data
	for what, tail := range map[string]string{"half a line": `{"v":2,"seq":4`, "zeros": "\x00\x00\x00", "zeros and more": "\x00\x00\n{\"v\":2}\n"} {
		log := with(c.fs, name, append(bytes.Clone(whole), tail...))
		if r := verify(t, log, c.trust()); r.Verdict != Verified || r.Chains[0].Sequence != 3 || !strings.Contains(said(r), name+":4 is half-written") {
			t.Errorf("%s: %s", what, said(r))
		}
		if _, err := Export([]fs.FS{log}, Excerpt{Agreement: "a", From: began, To: began.Add(time.Hour)}, nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if r, err := Verify(log, c.trust(), &Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began, To: began.Add(time.Minute)}, nil); err != nil || r.Verdict != Broken {
			t.Errorf("%s, in an archive: %s", what, said(r))
		}
		lines := bytes.SplitAfter(whole, []byte{'\n'})
		log = with(c.fs, name, append(bytes.Join(lines[:2], nil), tail...)) // line 3 is cut off
		delete(log, MarksFile)
		if r := verify(t, log, c.trust()); r.Verdict != Broken || !strings.Contains(said(r), "CUT: the witness saw line 3") {
			t.Errorf("%s hides a cut: %s", what, said(r))
		}
	}
	log := with(c.fs, name, append(bytes.Clone(whole), "{}\n"...))
	if r := verify(t, log, c.trust()); r.Verdict != Broken {
		t.Errorf("a whole line that is none: %s", said(r))
	}
	log = with(c.fs, MarksFile, append(bytes.Clone(c.fs[MarksFile].Data), `{"checkpoint":"ey`...))
	if r := verify(t, log, c.trust()); r.Verdict != Verified || !strings.Contains(said(r), "checkpoints.jsonl: the last line is half-written") {
		t.Errorf("half a checkpoint: %s", said(r))
	}
}

// TestChainThatEnded: a gateway lost its log within the time asked for, and began another.
func TestChainThatEnded(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	e := Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began, To: began.Add(30 * time.Minute)}
	for name, x := range map[string]struct {
		gateway string
		after   time.Duration // from the last receipt of the chain to the first of the next
		more    bool          // the witness saw a line that is not here
		want    Verdict
	}{
		"at once": {"gateway-0.0b", 5 * time.Minute, false, Verified}, "much later": {"gateway-0.0b", 11 * time.Minute, false, ConsistentOnly},
		"another gateway": {"gateway-1.0b", 5 * time.Minute, false, ConsistentOnly}, "its end is cut off": {"gateway-0.0b", 5 * time.Minute, true, ConsistentOnly},
	} {
		next := newChain(t, x.gateway)
		next.key, next.witness = c.key, c.witness
		trust := c.trust()
		next.lines(1)
		trust.Seen = append(trust.Seen, c.receive(c.witness.Key, next.sign("ns/henan", c.now().Add(x.after)), c.now().Add(x.after)))
		next.lines(1)
		trust.Seen = append(trust.Seen, c.receive(c.witness.Key, next.sign("ns/henan", e.To), e.To))
		if x.more {
			longer := *c
			longer.fs = fstest.MapFS{}
			longer.lines(1)
			trust.Seen = append(trust.Seen, c.receive(c.witness.Key, longer.sign("ns/henan", longer.now()), longer.now()))
		}
		both := fstest.MapFS{"a/" + decisionlog.FileName(1): c.fs[decisionlog.FileName(1)], "b/" + decisionlog.FileName(1): next.fs[decisionlog.FileName(1)]}
		r, err := Verify(both, trust, &e, nil)
		if err != nil || r.Verdict != x.want {
			t.Errorf("%s: want %s: %s %v", name, x.want, said(r), err)
		}
	}
}

// TestLinesAreNamed: runs of lines are said together, and not more of them than a person reads.
func TestLinesAreNamed(t *testing.T) {
	var many []int64
	for n := range int64(maxNamed + 3) {
		many = append(many, 2*n)
	}
	for want, lines := range map[string][]int64{"line 7": {7}, "2 lines (7 to 8)": {7, 8}, "4 lines (1, 3 to 4, 9)": {1, 3, 4, 9}, ", 38, and 3 more)": many} {
		if got := linesOf(lines); !strings.HasSuffix(got, want) {
			t.Errorf("%v: %q, want %q", lines, got, want)
		}
	}
}
