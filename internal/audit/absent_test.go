package audit

import (
	"bytes"
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
	opts := (&jose.SignerOptions{}).WithType(contract.ErasureType).WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(cert.Certificate[0])})
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: cert.PrivateKey}, opts)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(raw)
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
	for name, x := range map[string]struct {
		receipt string
		roots   *x509.CertPool
		says    string
	}{
		"":                {receipt(t, vault, good), roots, ""},
		"no CA":           {receipt(t, vault, good), nil, "the CA of receipts was not given"},
		"another CA":      {receipt(t, vault, good), pki.New(t, "platform").Pool(), "signed by unknown authority"},
		"another signer":  {receipt(t, ca.Named(t, "somebody"), good), roots, "not by the vault"},
		"an organisation": {receipt(t, ca.Client(t, contract.OrganizationURI("henan", "town", "id")), good), roots, "not by the vault"},
		"another line": {receipt(t, vault, change(func(e *contract.ErasureClaim) {
			e.Records = []contract.ErasedRecord{{Instance: "gateway-0.0a", Sequence: 2}}
		})), roots, "does not name the line"},
		"no line":          {receipt(t, vault, change(func(e *contract.ErasureClaim) { e.Records = nil })), roots, "does not name the line"},
		"another platform": {receipt(t, vault, change(func(e *contract.ErasureClaim) { e.Platform = "other/henan" })), roots, "is of platform"},
		"no receipt":       {"x", roots, "its receipt:"},
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
