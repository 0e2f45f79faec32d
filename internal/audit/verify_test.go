package audit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

var began = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func key(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keysOf(t testing.TB, signers ...crypto.Signer) Keys {
	t.Helper()
	out := Keys{}
	for _, s := range signers {
		id, err := KeyID(s.Public())
		if err != nil {
			t.Fatal(err)
		}
		out[id] = s.Public()
	}
	return out
}

// chain is a gateway's log in memory, its key, and a witness.
type chain struct {
	t       testing.TB
	end     decisionlog.Chain
	fs      fstest.MapFS
	key     crypto.Signer
	witness *Witness
	seen    []Mark
}

func newChain(t testing.TB, instance string) *chain {
	t.Helper()
	_, witnessKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &chain{t: t, end: decisionlog.Chain{Instance: instance}, fs: fstest.MapFS{}, key: key(t)}
	c.witness = &Witness{Name: "court", Key: witnessKey, Dir: t.TempDir(), Now: c.now,
		Trust: func() (Keys, error) { return keysOf(t, c.key), nil }}
	if err := c.witness.Load(); err != nil {
		t.Fatal(err)
	}
	return c
}

// now is a minute after the last line.
func (c *chain) now() time.Time { return began.Add(time.Duration(c.end.Sequence) * time.Minute) }

// lines adds n lines, a request each minute, every second under agreement uid-a.
func (c *chain) lines(n int) {
	c.t.Helper()
	for range n {
		name := string("ab"[c.end.Sequence%2])
		line, err := c.end.Next(decisionlog.Record{At: began.Add(time.Duration(c.end.Sequence) * time.Minute), Kind: contract.LogDecision,
			Request: fmt.Sprint(c.end.Sequence), UID: "uid-" + name, LogBody: contract.LogBody{Salt: "0f", Input: &contract.DecisionInput{Dataset: "elders"},
				Decision: &contract.Decision{Allow: true, Agreement: name}}})
		if err != nil {
			c.t.Fatal(err)
		}
		c.add(decisionlog.FileName(1), line)
	}
}

func (c *chain) add(name string, data []byte) {
	if c.fs[name] == nil {
		c.fs[name] = &fstest.MapFile{}
	}
	c.fs[name].Data = append(c.fs[name].Data, data...)
}

// sign signs the end as of a time.
func (c *chain) sign(platform string, at time.Time) string {
	c.t.Helper()
	jws, err := Sign(c.key, contract.CheckpointType, contract.Checkpoint{Format: contract.CheckpointFormat, Platform: platform,
		Instance: c.end.Instance, Sequence: c.end.Sequence, Hash: c.end.Hash, At: at})
	if err != nil {
		c.t.Fatal(err)
	}
	return jws
}

// receive gives the receipt of a witness for a checkpoint, whatever it says.
func (c *chain) receive(key crypto.Signer, checkpoint string, at time.Time) Mark {
	c.t.Helper()
	cp, err := OpenCheckpoint(checkpoint, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	receipt, err := Sign(key, contract.ReceiptType, contract.Receipt{Format: contract.ReceiptFormat, Witness: "court", Checkpoint: contract.Digest([]byte(checkpoint)),
		Platform: cp.Platform, Instance: cp.Instance, Sequence: cp.Sequence, Hash: cp.Hash, ReceivedAt: at})
	if err != nil {
		c.t.Fatal(err)
	}
	return Mark{checkpoint, receipt}
}

// checkpoint signs the end and shows it to the witness.
func (c *chain) checkpoint() {
	c.t.Helper()
	jws := c.sign("ns/henan", c.now())
	c.add(MarksFile, Mark{Checkpoint: jws}.Line())
	receipt, err := c.witness.Take(jws)
	if err != nil {
		c.t.Fatal(err)
	}
	c.seen = append(c.seen, Mark{jws, receipt})
	c.add(MarksFile, Mark{jws, receipt}.Line())
}

func (c *chain) trust() Trust {
	return Trust{Audit: keysOf(c.t, c.key), Witness: keysOf(c.t, c.witness.Key), Seen: c.seen}
}

func verify(t testing.TB, fsys fstest.MapFS, trust Trust) Report {
	t.Helper()
	r, err := Verify(fsys, trust, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerdicts(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	c.lines(2)
	r := verify(t, c.fs, c.trust())
	if r.Verdict != Verified || r.Chains[0].Witnessed != 3 || r.Chains[0].Sequence != 5 || len(r.Chains[0].Notes) != 1 {
		t.Errorf("with a witness: %+v", r)
	}
	if r := verify(t, c.fs, Trust{Audit: c.trust().Audit}); r.Verdict != ConsistentOnly || r.Chains[0].Checkpointed != 3 {
		t.Errorf("without a witness: %+v", r)
	}
	c.checkpoint()
	lines := bytes.SplitAfter(c.fs[decisionlog.FileName(1)].Data, []byte{'\n'})
	cut := with(c.fs, decisionlog.FileName(1), bytes.Join(lines[:4], nil))
	delete(cut, MarksFile)
	if r := verify(t, cut, c.trust()); r.Verdict != Broken || !strings.Contains(r.Chains[0].Problems[0], "CUT: the witness saw line 5") {
		t.Errorf("a tail cut off: %+v", r)
	}
	if r := verify(t, cut, Trust{}); r.Verdict != ConsistentOnly {
		t.Errorf("a tail cut off, nobody saw it: %+v", r)
	}
	other := newChain(t, "gateway-1.0b")
	other.lines(1)
	both := fstest.MapFS{}
	for name, f := range c.fs {
		both["a/"+name] = f
	}
	for name, f := range other.fs {
		both["b/"+name] = f
	}
	if r := verify(t, both, c.trust()); r.Verdict != ConsistentOnly || len(r.Chains) != 2 || r.Chains[0].Verdict != Verified {
		t.Errorf("two chains, one of them not seen: %+v", r)
	}
}

// TestHistoryWrittenAnew: whoever holds the gateway's key writes another history and signs it. The witness gives no receipt for
// a log that is shorter, and an auditor finds what the witness saw not to lie on a longer one.
func TestHistoryWrittenAnew(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(4)
	c.checkpoint()
	forged := newChain(t, "gateway-0.0a")
	forged.key, forged.witness, forged.seen = c.key, c.witness, c.seen
	forged.end.Hash = "" // the same beginning
	forged.lines(1)
	line, err := forged.end.Next(decisionlog.Record{Kind: contract.LogDecision, At: began})
	if err != nil {
		t.Fatal(err)
	}
	forged.add(decisionlog.FileName(1), line)
	jws, err := Sign(c.key, contract.CheckpointType, contract.Checkpoint{Format: contract.CheckpointFormat, Platform: "ns/henan", Instance: "gateway-0.0a", Sequence: 2, Hash: forged.end.Hash, At: c.now()})
	if err != nil {
		t.Fatal(err)
	}
	var fork *ForkError
	if _, err := c.witness.Take(jws); !errors.As(err, &fork) || fork.Fork.Sequence != 4 {
		t.Errorf("a shorter log: %v", err)
	}
	forged.lines(4)
	forged.checkpoint() // longer: the witness cannot know
	if r := verify(t, forged.fs, forged.trust()); r.Verdict != Broken || !strings.Contains(strings.Join(r.Chains[0].Problems, " "), "FORK") {
		t.Errorf("%+v", r)
	}
}

func TestWitnessTrustsItsKeysAlone(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(1)
	jws, err := Sign(key(t), contract.CheckpointType, contract.Checkpoint{Format: contract.CheckpointFormat, Instance: "x", Sequence: 9, At: c.now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.witness.Take(jws); !errors.As(err, &notTrusted{}) {
		t.Errorf("a stranger's checkpoint: %v", err)
	}
	c.checkpoint()
	again := &Witness{Name: "court", Key: c.witness.Key, Dir: c.witness.Dir, Now: c.witness.Now, Trust: c.witness.Trust}
	if err := again.Load(); err != nil {
		t.Fatal(err)
	}
	if got := again.known["ns/henan\x00gateway-0.0a"]; got.Sequence != 1 {
		t.Errorf("after a restart the witness knows %+v", got)
	}
}

// TestEveryByteIsCovered changes, drops and doubles each byte of lines and checkpoints: each must be found.
func TestEveryByteIsCovered(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(2)
	c.checkpoint()
	c.lines(1)
	c.checkpoint()
	trust := c.trust()
	n := 0
	for name, file := range c.fs {
		for at, b := range file.Data {
			for what, changed := range map[string][]byte{
				"flipped": append(append(bytes.Clone(file.Data[:at]), b^byte(1+mrand.IntN(255))), file.Data[at+1:]...),
				"dropped": append(bytes.Clone(file.Data[:at]), file.Data[at+1:]...),
				"doubled": append(append(bytes.Clone(file.Data[:at+1]), b), file.Data[at+1:]...),
			} {
				n++
				r := verify(t, with(c.fs, name, changed), trust)
				if notes := strings.Join(r.Chains[0].Notes, " "); r.Verdict != Broken &&
					!(name == MarksFile && (strings.Contains(notes, "by other keys") || strings.Contains(notes, MarksFile+": the last line is half-written"))) {
					t.Fatalf("%s: byte %d %s: %+v", name, at, what, r)
				}
			}
		}
	}
	t.Logf("%d changes found", n)
}

func with(log fstest.MapFS, name string, data []byte) fstest.MapFS {
	out := fstest.MapFS{}
	for n, f := range log {
		out[n] = f
	}
	out[name] = &fstest.MapFile{Data: data}
	return out
}

// excerptOf gives the fs of an excerpt that ends with a line.
func (c *chain) excerptOf(last int) fstest.MapFS {
	lines := bytes.SplitAfter(c.fs[decisionlog.FileName(1)].Data, []byte{'\n'})
	out := with(c.fs, decisionlog.FileName(1), bytes.Join(lines[:last], nil))
	delete(out, MarksFile)
	return out
}

// TestPostDatedCheckpoint: the holder of a gateway's key dates a checkpoint behind the end of the time asked for, so that an archive may
// end with it. The witness does not take it; if one did, its own clock counts; and an export does not end there.
func TestPostDatedCheckpoint(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(4)
	early := c.sign("ns/henan", began.Add(20*time.Minute))
	if _, err := c.witness.Take(early); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("the witness takes a checkpoint that is 16 minutes ahead: %v", err)
	}
	c.seen = append(c.seen, c.receive(c.witness.Key, early, c.now()))
	c.add(MarksFile, Mark{Checkpoint: early}.Line())
	c.lines(4)
	c.checkpoint()
	e := Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began, To: began.Add(8 * time.Minute)}
	for last, want := range map[int]Verdict{4: ConsistentOnly, 8: Verified} {
		r, err := Verify(c.excerptOf(last), c.trust(), &e, nil)
		if err != nil || r.Verdict != want {
			t.Errorf("an excerpt of lines 1 to %d: %+v, %v", last, r, err)
		}
	}
}

// TestChainThatIsNotHere: a witness saw a chain of the platform that has no folder. Those of other platforms are nobody's business.
func TestChainThatIsNotHere(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	other := newChain(t, "gateway-1.0b")
	other.key, other.witness = c.key, c.witness
	other.lines(2)
	trust := c.trust()
	trust.Seen = append(trust.Seen, c.receive(c.witness.Key, other.sign("ns/hubei", other.now()), other.now()))
	if r := verify(t, c.fs, trust); r.Verdict != Verified {
		t.Errorf("a chain of another platform is not here: %+v", r)
	}
	trust.Seen = append(trust.Seen, c.receive(c.witness.Key, other.sign("ns/henan", other.now()), other.now()))
	r := verify(t, c.fs, trust)
	if r.Verdict != ConsistentOnly || len(r.Chains) != 2 || r.Chains[1].Instance != "gateway-1.0b" {
		t.Errorf("a chain is not here: %+v", r)
	}
	e := Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began, To: began.Add(3 * time.Minute)}
	if r, err := Verify(c.excerptOf(3), trust, &e, nil); err != nil || r.Verdict != Broken {
		t.Errorf("an archive lacks a chain: %+v, %v", r, err)
	}
	e.From = began.Add(150 * time.Second) // the other chain was last seen before
	if r, err := Verify(c.excerptOf(3), trust, &e, nil); err != nil || r.Verdict != Verified {
		t.Errorf("an archive lacks a chain that ended before: %+v, %v", r, err)
	}
}

// TestOtherPlatformOfTheSameName: two platforms have gateways of one name; what the witness saw of the one says nothing of the other.
func TestOtherPlatformOfTheSameName(t *testing.T) {
	c := newChain(t, "gateway-0")
	c.lines(3)
	c.checkpoint()
	other := newChain(t, "gateway-0")
	other.key = c.key
	other.lines(5)
	trust := c.trust()
	trust.Seen = append(trust.Seen, c.receive(c.witness.Key, other.sign("ns/hubei", c.now()), c.now()))
	if r := verify(t, c.fs, trust); r.Verdict != Verified || len(r.Chains) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestOldReceipt: lines that no witness saw for long prove nothing.
func TestOldReceipt(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	c.lines(9)
	if r := verify(t, c.fs, c.trust()); r.Verdict != Verified {
		t.Errorf("the last line 8 minutes behind the receipt: %+v", r)
	}
	c.lines(6)
	if r := verify(t, c.fs, c.trust()); r.Verdict != ConsistentOnly || len(r.Chains[0].Notes) != 1 {
		t.Errorf("the last line 14 minutes behind the receipt: %+v", r)
	}
}

// TestOldCheckpointShownLate: a receipt of now for a line of long ago says nothing of the lines between, be it for a checkpoint of then, which
// anybody can show again, or for one that was signed now and leaves them out.
func TestOldCheckpointShownLate(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	was, of := c.end, c.sign("ns/henan", c.now())
	c.lines(300)
	is, now := c.end, c.now()
	c.end = was
	forged := c.sign("ns/henan", now)
	c.end = is
	for name, checkpoint := range map[string]string{"of then": of, "of now": forged} {
		trust := c.trust()
		trust.Seen = append(trust.Seen, c.receive(c.witness.Key, checkpoint, now))
		if r := verify(t, c.fs, trust); r.Verdict != ConsistentOnly || !strings.Contains(strings.Join(r.Chains[0].Notes, " "), "lines 4 to 303") {
			t.Errorf("a checkpoint %s: %+v", name, r)
		}
	}
}

// TestCheckpointIsKeptOnce: what the witness gave out can be shown to it again by anybody, also with the other spelling of its signature.
func TestCheckpointIsKeptOnce(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(2)
	c.checkpoint()
	c.lines(1)
	c.checkpoint()
	first, file := c.seen[1], c.witness.file(contract.Checkpoint{Platform: "ns/henan", Instance: "gateway-0.0a"})
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(first.Checkpoint, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	other := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(raw[32:]))
	parts[2] = base64.RawURLEncoding.EncodeToString(append(raw[:32:32], other.FillBytes(make([]byte, 32))...))
	again := &Witness{Name: "court", Key: c.witness.Key, Dir: c.witness.Dir, Now: func() time.Time { return c.now().Add(5 * time.Hour) }, Trust: c.witness.Trust}
	if err := again.Load(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Witness{c.witness, again} {
		for _, shown := range []string{first.Checkpoint, strings.Join(parts, ".")} {
			if receipt, err := w.Take(shown); err != nil || receipt != first.Receipt {
				t.Errorf("shown again: %v, another receipt %t", err, receipt != first.Receipt)
			}
		}
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file grew from %d to %d bytes, %v", len(before), len(after), err)
	}
	hour := c.sign("ns/henan", c.now().Add(time.Hour))
	if receipt, err := again.Take(hour); err != nil || receipt == first.Receipt {
		t.Errorf("the checkpoint of the next hour, with no line more: %v", err)
	}
}

// TestTwoWitnesses: beside the log lie receipts of two witnesses; the auditor asks one of them.
func TestTwoWitnesses(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	second := c.receive(key(t), c.sign("ns/henan", c.now()), c.now())
	c.add(MarksFile, append(Mark{Checkpoint: second.Checkpoint}.Line(), second.Line()...))
	if r := verify(t, c.fs, c.trust()); r.Verdict != Verified || len(r.Chains[0].Notes) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestTornWitness: a power cut left half a line in the witness's file.
func TestTornWitness(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(1)
	c.checkpoint()
	name := c.witness.file(contract.Checkpoint{Platform: "ns/henan", Instance: "gateway-0.0a"})
	if err := Append(name, []byte(`{"checkpoint":"ey`)); err != nil {
		t.Fatal(err)
	}
	if err := c.witness.Load(); err != nil {
		t.Fatalf("the witness does not start: %v", err)
	}
	c.lines(1)
	c.checkpoint()
	marks, err := readMarksFile(name)
	if err != nil || len(marks) != 2 {
		t.Errorf("%d marks, %v", len(marks), err)
	}
}

// TestAsOf: what was written after the time that the auditor asked for is not missing; a time that only the folder says, which whoever cut the
// log off can write, verifies nothing.
func TestAsOf(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(3)
	c.checkpoint()
	cut := fstest.MapFS{}
	for name, f := range c.fs {
		cut[name] = &fstest.MapFile{Data: bytes.Clone(f.Data)}
	}
	early := c.now()
	c.lines(3)
	c.checkpoint()
	folder := with(cut, FetchedFile, []byte(`{"asOf":"`+early.Format(time.RFC3339)+`"}`))
	for name, x := range map[string]struct {
		log  fstest.MapFS
		asOf time.Time
		want Verdict
		says string
	}{
		"nobody says a time":        {cut, time.Time{}, Broken, "CUT"},
		"the folder says it":        {folder, time.Time{}, ConsistentOnly, "lines 4 to 6"},
		"the auditor says it":       {folder, early, Verified, "were written after"},
		"the auditor says a later":  {folder, early.Add(time.Hour), Broken, "CUT"},
		"of a folder that is whole": {c.fs, time.Time{}, Verified, ""},
	} {
		trust := c.trust()
		trust.AsOf = x.asOf
		if r := verify(t, x.log, trust); r.Verdict != x.want || !strings.Contains(said(r), x.says) {
			t.Errorf("%s: want %s and %q: %s: %s", name, x.want, x.says, r.Verdict, said(r))
		}
	}
}
