package vault

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/cli"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/test/postgres"
)

// evidence is the log of a gateway in the platform's store, what a witness saw of it, and what an auditor brings.
type evidence struct {
	*world
	dir   string
	end   decisionlog.Chain
	key   crypto.Signer
	court *audit.Witness
	// at is the time of the log, of its gateway and of the witness.
	at   time.Time
	urls string
}

func newEvidence(w *world, began time.Time) *evidence {
	w.t.Helper()
	e := &evidence{world: w, dir: w.t.TempDir(), end: decisionlog.Chain{Instance: "gateway-0.0a"}, at: began}
	e.key = e.signer("audit.pub")
	e.court = &audit.Witness{Name: "court", Key: e.signer("court.pub"), Dir: e.path("court"), Now: func() time.Time { return e.at },
		Trust: func() (audit.Keys, error) { return audit.ParseKeys(e.read("audit.pub")) }}
	if err := e.court.Load(); err != nil {
		w.t.Fatal(err)
	}
	served := httptest.NewServer(e.court)
	w.t.Cleanup(served.Close)
	e.urls = served.URL
	e.write("platform-ca.crt", []byte(w.ca.PEM))
	ca, err := os.ReadFile(w.owner.CAFile)
	if err != nil {
		w.t.Fatal(err)
	}
	e.write("store.dsn", fmt.Appendf(nil, "postgres://%s:%s@127.0.0.1:%d/%s?sslmode=verify-full\n%s", contract.DatabaseUserAuditor, postgres.Password, w.owner.Port, w.owner.Name, ca))
	return e
}

func (e *evidence) path(name ...string) string {
	return filepath.Join(append([]string{e.dir}, name...)...)
}

func (e *evidence) read(name ...string) []byte {
	e.t.Helper()
	raw, err := os.ReadFile(e.path(name...))
	if err != nil {
		e.t.Fatal(err)
	}
	return raw
}

func (e *evidence) write(name string, data []byte) {
	e.t.Helper()
	if err := os.WriteFile(e.path(name), data, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// signer makes a key and writes its public half.
func (e *evidence) signer(public string) crypto.Signer {
	e.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		e.t.Fatal(err)
	}
	e.write(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return key
}

// line writes a line of the chain into the store as the gateway ships it, a minute after the one before.
func (e *evidence) line(kind, request string, b contract.LogBody) {
	e.t.Helper()
	e.at = e.at.Add(time.Minute)
	b.Salt = "0f"
	raw, err := e.end.Next(decisionlog.Record{At: e.at, Kind: kind, Request: request, UID: "uid-a6", LogBody: b})
	if err != nil {
		e.t.Fatal(err)
	}
	l, err := decisionlog.Parse(bytes.TrimSuffix(raw, []byte{'\n'}))
	if err != nil {
		e.t.Fatal(err)
	}
	e.exec(`INSERT INTO audit.lines (instance, seq, at, kind, request, uid, header, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		l.Instance, l.Sequence, l.At, l.Kind, l.Request, l.UID, string(l.Header), []byte(l.Record))
	for _, s := range b.Subjects {
		e.exec("INSERT INTO audit.line_subjects (subject, instance, seq) VALUES ($1, $2, $3)", s, l.Instance, l.Sequence)
	}
}

// request writes the three lines of a request that released rows of some persons: its filter may name them.
func (e *evidence) request(name string, subjects ...string) {
	e.t.Helper()
	e.line(contract.LogDecision, name, contract.LogBody{
		Input:    &contract.DecisionInput{Contract: contract.ContractVersion, Dataset: "elders", Consumer: "town", Agreement: "a6", Purpose: "HomeVisits", Filter: []contract.Requirement{{}}},
		Decision: &contract.Decision{Allow: true, Agreement: "a6"}})
	e.line(contract.LogRelease, name, contract.LogBody{Rows: int64(len(subjects)), Subjects: subjects})
	e.line(contract.LogEnd, name, contract.LogBody{Outcome: "Sent"})
}

// checkpoint signs the end of the chain, which the witness sees, and keeps both in the store.
func (e *evidence) checkpoint() {
	e.t.Helper()
	jws, err := audit.Sign(e.key, contract.CheckpointType, contract.Checkpoint{Format: contract.CheckpointFormat,
		Platform: e.bundle.Directory.Platform.Namespace + "/" + e.bundle.Directory.Platform.Name, Instance: e.end.Instance, Sequence: e.end.Sequence, Hash: e.end.Hash, At: e.at})
	if err != nil {
		e.t.Fatal(err)
	}
	receipt, err := e.court.Take(jws)
	if err != nil {
		e.t.Fatal(err)
	}
	e.exec("INSERT INTO audit.checkpoints (instance, seq, jws, receipts) VALUES ($1, $2, $3, jsonb_build_object('court', $4::text))", e.end.Instance, e.end.Sequence, jws, receipt)
}

func (e *evidence) dizuo(args ...string) (int, string) {
	var out bytes.Buffer
	code := cli.Main(e.t.Context(), append([]string{"audit"}, args...), cli.Streams{In: &bytes.Buffer{}, Out: &out, Err: &out})
	return code, out.String()
}

// verify is what an auditor asks who was promised that the platform keeps records for ten years: no record is away by its age.
func (e *evidence) verify(log string) (int, string) {
	return e.dizuo("verify", log, "--witness", e.urls, "--witness-key", e.path("court.pub"), "--trust", e.path("audit.pub"),
		"--retention", "87600h", "--receipt-ca", e.path("platform-ca.crt"))
}

// work lets the worker of the vault run until it has no more to do.
func (e *evidence) work() {
	e.t.Helper()
	for more := true; more; {
		var err error
		if more, err = e.s.eraseLines(e.t.Context(), e.bundle.Directory.Platform); err != nil {
			e.t.Fatal(err)
		}
	}
}

// kept gives the lines of a folder, or of an archive, that have their record.
func (e *evidence) kept(dir string) (out []int64) {
	e.t.Helper()
	if _, err := decisionlog.Verify(os.DirFS(dir), func(l decisionlog.Line) {
		if l.Said != nil {
			out = append(out, l.Sequence)
		}
	}); err != nil {
		e.t.Fatal(err)
	}
	return out
}

// TestErasureToTheAuditor goes the whole way: a person is erased by the vault, the records of them alone go by receipts that name the lines, and an auditor who
// takes the log out of the store finds it whole, in the folder and in an archive. What was taken away or changed beside that is found, and named.
func TestErasureToTheAuditor(t *testing.T) {
	w := newWorld(t)
	a, b := w.person("a"), w.person("b")
	theirs, others := w.logName(a), w.logName(b)
	// The log is of long ago: by the clock of the database, which decides what is due, 180 days have gone by.
	e := newEvidence(w, time.Now().UTC().Truncate(time.Second).AddDate(0, 0, -200))
	from := e.at
	e.request("alone", theirs)        // 1 to 3: decision and release go
	e.request("both", theirs, others) // 4 to 6
	e.checkpoint()
	e.request("other", others) // 7 to 9
	e.checkpoint()
	e.at = e.at.AddDate(0, 0, 100)
	e.request("young", theirs) // 10 to 12
	e.checkpoint()
	to := e.at

	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+a+"/erase", map[string]string{"reason": "SubjectRequest"}, 200, nil)
	e.work()

	dir := e.path("log")
	if code, out := e.dizuo("fetch", "--dsn-file", e.path("store.dsn"), "--out", dir); code != cli.ExitOK || !strings.Contains(out, "the records of 2 lines were erased") {
		t.Fatalf("fetch: %d\n%s", code, out)
	}
	want := []int64{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	chain := filepath.Join(dir, e.end.Instance)
	if got := e.kept(chain); !slices.Equal(got, want) {
		t.Errorf("the folder has the records of %v, want %v", got, want)
	}
	if code, out := e.verify(dir); code != cli.ExitOK || !strings.Contains(out, "2 were erased by a receipt") {
		t.Errorf("verify: %d\n%s", code, out)
	}
	archive := e.path("a6.tar.gz")
	if code, out := e.dizuo("export", "--agreement", "a6", "--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339), "--log", dir, "--out", archive); code != cli.ExitOK {
		t.Fatalf("export: %d\n%s", code, out)
	}
	if code, out := e.verify(archive); code != cli.ExitOK || !strings.Contains(out, "2 were erased by a receipt") {
		t.Errorf("verify the archive: %d\n%s", code, out)
	}
	unpacked := t.TempDir()
	if err := audit.Extract(bytes.NewReader(e.read("a6.tar.gz")), unpacked); err != nil {
		t.Fatal(err)
	}
	if got := e.kept(filepath.Join(unpacked, audit.LogDir, e.end.Instance)); !slices.Equal(got, want) {
		t.Errorf("the archive has the records of %v, want %v", got, want)
	}
	e.finds(dir)
}

// finds changes a folder that was fetched, in one place each time: the auditor's words name it.
func (e *evidence) finds(dir string) {
	e.t.Helper()
	lines, fetched := filepath.Join(dir, e.end.Instance, decisionlog.FileName(1)), filepath.Join(dir, e.end.Instance, audit.FetchedFile)
	for name, x := range map[string]struct {
		lines   func([]byte) []byte
		fetched func(*audit.Fetched)
		code    int
		says    string
	}{
		"a receipt removed": {nil, func(f *audit.Fetched) { clear(f.Receipts) }, cli.ExitConsistentOnly, "the records of 2 lines (1 to 2) are missing; they are said to be erased, and it is not proven"},
		"no word of an erasure": {nil, func(f *audit.Fetched) { f.Erased = f.Erased[1:] }, cli.ExitFailed,
			"the records of line 1 are missing: they are younger than 3650 days, and nothing says that they were erased"},
		"the receipt of another line": {func(raw []byte) []byte { return without(e.t, raw, 8) },
			func(f *audit.Fetched) {
				f.Erased = append(f.Erased, audit.Erased{Instance: e.end.Instance, Sequence: 8, Receipt: f.Erased[0].Receipt})
			}, cli.ExitConsistentOnly, "the records of line 8 are missing; they are said to be erased, and it is not proven: its receipt does not name the line"},
		"a byte of a kept record": {func(raw []byte) []byte { return bytes.Replace(raw, []byte(`"rows":2`), []byte(`"rows":1`), 1) }, nil, cli.ExitFailed,
			decisionlog.FileName(1) + ":5: "},
		"a record that no receipt names": {func(raw []byte) []byte { return without(e.t, raw, 8) }, nil, cli.ExitFailed, "the records of line 8 are missing"},
		"a record that is back": {func(raw []byte) []byte {
			return bytes.Replace(raw, []byte("}\n"), []byte(`,"record":{"salt":"0f"}}`+"\n"), 1)
		}, nil, cli.ExitFailed, decisionlog.FileName(1) + ":1: "},
	} {
		before := map[string][]byte{}
		for _, file := range []string{lines, fetched} {
			raw, err := os.ReadFile(file)
			if err != nil {
				e.t.Fatal(err)
			}
			before[file] = raw
		}
		after := map[string][]byte{lines: before[lines], fetched: before[fetched]}
		if x.lines != nil {
			after[lines] = x.lines(bytes.Clone(before[lines]))
		}
		if x.fetched != nil {
			var f audit.Fetched
			if err := json.Unmarshal(before[fetched], &f); err != nil {
				e.t.Fatal(err)
			}
			x.fetched(&f)
			raw, err := json.Marshal(f)
			if err != nil {
				e.t.Fatal(err)
			}
			after[fetched] = raw
		}
		put(e.t, after)
		if code, out := e.verify(dir); code != x.code || !strings.Contains(out, x.says) {
			e.t.Errorf("%s: %d, want %d and %q\n%s", name, code, x.code, x.says, out)
		}
		put(e.t, before)
	}
	if code, out := e.verify(dir); code != cli.ExitOK {
		e.t.Errorf("put back as it was: %d\n%s", code, out)
	}
}

// without gives lines without the record of one.
func without(t *testing.T, raw []byte, sequence int64) (out []byte) {
	t.Helper()
	for line := range bytes.Lines(raw) {
		l, err := decisionlog.Parse(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			t.Fatal(err)
		}
		if l.Sequence == sequence {
			line = append(decisionlog.Join(l.Header, nil), '\n')
		}
		out = append(out, line...)
	}
	return out
}

func put(t *testing.T, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
