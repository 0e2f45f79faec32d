package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/test/pki"
	"github.com/dizuo/dizuo/test/postgres"
)

// stored is a migrated store that holds what a gateway's folder does, row by row as the gateway ships it.
type stored struct {
	*audited
	server *postgres.Server
	db     string
	dsn    string
}

func store(t *testing.T, l *audited) *stored {
	t.Helper()
	s := &stored{audited: l, server: postgres.Shared(t), db: fmt.Sprintf("fetch_%d", time.Now().UnixNano())}
	s.server.Exec(t, "postgres", "CREATE DATABASE "+s.db)
	owner := s.server.Owner(s.db)
	if err := grid.Migrate(t.Context(), owner, postgres.Passwords(), slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(owner.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	s.dsn = l.write(s.db+".dsn", fmt.Appendf(nil, "postgres://%s:%s@127.0.0.1:%d/%s?sslmode=verify-full\n%s", contract.DatabaseUserAuditor, postgres.Password, owner.Port, s.db, ca))
	s.ship()
	return s
}

func (s *stored) exec(sql string, args ...any) {
	s.t.Helper()
	s.server.Exec(s.t, s.db, sql, args...)
}

// ship puts the folder's content into the store and removes it from the disk.
func (s *stored) ship() {
	s.t.Helper()
	_, err := decisionlog.Verify(os.DirFS(s.log), func(l decisionlog.Line) {
		s.exec(`INSERT INTO audit.lines (instance, seq, at, kind, request, uid, header, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			l.Instance, l.Sequence, l.At, l.Kind, l.Request, l.UID, string(l.Header), []byte(l.Record))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(s.log, audit.MarksFile))
	if err != nil {
		s.t.Fatal(err)
	}
	marks, err := audit.ReadMarks(bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range marks {
		c, err := audit.OpenCheckpoint(m.Checkpoint, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		s.exec("INSERT INTO audit.checkpoints (instance, seq, jws) VALUES ($1, $2, $3)", c.Instance, c.Sequence, m.Checkpoint)
	}
	for _, m := range s.seen() {
		s.exec(`UPDATE audit.checkpoints SET receipts = jsonb_build_object('court', $2::text) WHERE jws = $1`, m.Checkpoint, m.Receipt)
	}
	for _, part := range []struct{ digest, name, file string }{{s.policy.Access, "access", audit.PartName(s.policy.Access)}, {s.policy.Revision, "revision", audit.RevisionName(s.policy.Revision)}} {
		raw, err := os.ReadFile(s.path("log/policy/" + part.file))
		if err != nil {
			s.t.Fatal(err)
		}
		s.exec("INSERT INTO audit.policy_objects VALUES ($1, $2, $3, now())", part.digest, part.name, raw)
	}
	for kind, file := range map[string]string{"bundle": s.path("bundle.pub"), "checkpoint": s.auditKeys} {
		raw, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		block, _ := pem.Decode(raw)
		s.exec("INSERT INTO audit.public_keys VALUES ($1, 'key', $2, now() - interval '1 year', now())", kind, base64.StdEncoding.EncodeToString(block.Bytes))
	}
	if err := os.RemoveAll(s.log); err != nil {
		s.t.Fatal(err)
	}
}

// seen gives what the witness gave out.
func (s *stored) seen() []audit.Mark {
	s.t.Helper()
	marks, err := askWitness(s.t.Context(), s.witness, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return marks
}

func (s *stored) verify(dir string, args ...string) (int, string) {
	return s.run(append([]string{"verify", dir, "--witness", s.witness, "--witness-key", s.witnessKeys, "--trust", s.auditKeys}, args...)...)
}

// fetch takes the log out of the store; what a test expects of it is whole.
func (s *stored) fetch(name string, args ...string) string {
	s.t.Helper()
	dir := s.path(name)
	if code, out := s.run(append([]string{"fetch", "--dsn-file", s.dsn, "--out", dir}, args...)...); code != ExitOK {
		s.t.Fatalf("fetch: %d\n%s", code, out)
	}
	return dir
}

// busy is a log of four decisions with checkpoints that a witness saw.
func busy(t *testing.T) *audited {
	l := newAudited(t)
	allowed := contract.Decision{Allow: true, Fields: map[string]contract.Mask{"level": {}}, Rows: &l.rows}
	l.decide("other", "HomeVisits", contract.Decision{Reasons: []string{"NoAgreement"}})
	l.checkpoint()
	l.decide("a6", "HomeVisits", allowed)
	l.decide("other", "HomeVisits", contract.Decision{Reasons: []string{"NoAgreement"}})
	l.decide("a6", "Billing", contract.Decision{Reasons: []string{"PurposeNotAllowed"}})
	l.checkpoint()
	return l
}

// TestFetchVerifyExportReplay: the files of the gateway are gone; from the store an auditor gets the same verdict, an archive, and the decisions
// made again, and takes the keys from what was fetched.
func TestFetchVerifyExportReplay(t *testing.T) {
	l := busy(t)
	before, report := l.run("verify", l.log, "--witness", l.witness, "--witness-key", l.witnessKeys, "--trust", l.auditKeys)
	s := store(t, l)
	dir := s.fetch("fetched")
	if after, out := s.verify(dir); after != before || before != ExitOK {
		t.Fatalf("before %d\n%s\nafter %d\n%s", before, report, after, out)
	}
	archive := s.path("a.tar.gz")
	if code, out := s.run("export", "--agreement", "a6", "--from", "2026-03-01T10:00:00Z", "--to", "2026-03-01T13:00:00Z", "--log", dir,
		"--bundle-keys", filepath.Join(dir, audit.FetchedBundleKeys), "--out", archive); code != ExitOK {
		t.Fatalf("export: %d\n%s", code, out)
	}
	if code, out := s.verify(archive); code != ExitOK {
		t.Errorf("verify the archive: %d\n%s", code, out)
	}
	if opa, err := exec.LookPath("opa"); err != nil {
		t.Log("no opa on the path: not decided again")
	} else if code, out := s.run("replay", archive, "--opa", opa, "--bundle-keys", l.path("bundle.pub")); code != ExitOK || !strings.Contains(out, "2 decisions are the same") {
		t.Errorf("replay: %d\n%s", code, out)
	}
	if code, out := s.run("fetch", "--dsn-file", s.dsn, "--out", dir); code == ExitOK || !strings.Contains(out, "not empty") {
		t.Errorf("a folder that is there was written over: %d\n%s", code, out)
	}
	if left, _ := filepath.Glob(s.path(".fetched*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestFetchWhileTheLogGrows: what the witness sees after the fetch is not cut off; what it saw before, and the store does not have, is.
func TestFetchWhileTheLogGrows(t *testing.T) {
	s := store(t, busy(t))
	to := s.at.Format(time.RFC3339)
	dir := s.fetch("fetched", "--to", to)
	if err := os.MkdirAll(s.log, 0o700); err != nil {
		t.Fatal(err)
	}
	s.decide("a6", "Billing", contract.Decision{Reasons: []string{"PurposeNotAllowed"}})
	s.checkpoint()
	if code, out := s.verify(dir, "--as-of", to); code != ExitOK || !strings.Contains(out, "lines 5 to 5") {
		t.Errorf("a log that grew: %d\n%s", code, out)
	}
	if code, out := s.verify(dir); code != ExitConsistentOnly || !strings.Contains(out, "lines 5 to 5") {
		t.Errorf("a log that grew, and nobody but the folder says when it ends: %d\n%s", code, out)
	}
	late := s.fetch("late")
	if code, out := s.verify(late); code != ExitFailed || !strings.Contains(out, "CUT") {
		t.Errorf("the store lacks a line that the witness saw: %d\n%s", code, out)
	}
}

// TestFetchFindsWhatWasChangedInTheStore: the fetch copies, and the verdict is that it is broken.
func TestFetchFindsWhatWasChangedInTheStore(t *testing.T) {
	s := store(t, busy(t))
	s.exec("ALTER TABLE audit.lines DISABLE TRIGGER USER")
	for n, change := range []string{
		`UPDATE audit.lines SET body = replace(convert_from(body, 'UTF8'), 'Billing', 'Bilking')::bytea WHERE seq = 4`,
		`UPDATE audit.lines SET header = '' WHERE seq = 2`,
		`UPDATE audit.lines SET header = header || E'\n' WHERE seq = 3`,
		`DELETE FROM audit.lines WHERE seq = 4`,
	} {
		s.exec("CREATE TABLE audit.copy AS SELECT instance, seq, at, kind, request, uid, header, body FROM audit.lines")
		s.exec(change)
		if code, out := s.verify(s.fetch(fmt.Sprint("changed", n))); code != ExitFailed || !strings.Contains(out, "BROKEN") {
			t.Errorf("%s: %d\n%s", change, code, out)
		}
		s.exec("DELETE FROM audit.lines; INSERT INTO audit.lines (instance, seq, at, kind, request, uid, header, body) SELECT * FROM audit.copy; DROP TABLE audit.copy")
	}
	s.exec("INSERT INTO audit.lines (instance, seq, at, kind, request, header) VALUES ('../outside', 1, now(), 'end', 'r', '{}')")
	if code, out := s.run("fetch", "--dsn-file", s.dsn, "--out", s.path("outside")); code != ExitFailed || !strings.Contains(out, "no name of a folder") {
		t.Errorf("a chain that names a folder elsewhere: %d\n%s", code, out)
	}
}

// TestFetchOfATime: of one chain, the lines of a time and those around; a chain that is not there is told, and the vault's is not given.
func TestFetchOfATime(t *testing.T) {
	l := newAudited(t)
	for range 40 {
		l.decide("a6", "HomeVisits", contract.Decision{Reasons: []string{"PurposeNotAllowed"}})
		l.checkpoint()
	}
	s := store(t, l)
	s.exec("INSERT INTO audit.lines (instance, seq, at, kind, request, header) VALUES ('vault', 1, now(), 'vault', 'r', '{}')")
	from, to := l.at.Add(-20*time.Hour), l.at.Add(-10*time.Hour)
	dir := s.path("some")
	code, out := s.run("fetch", "--dsn-file", s.dsn, "--out", dir, "--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339), "--instance", "gateway-0.0a", "-o", "json")
	var sum struct {
		AsOf   time.Time
		Chains []struct{ First, Last, Lines int64 }
	}
	if err := json.Unmarshal([]byte(out), &sum); code != ExitOK || err != nil || len(sum.Chains) != 1 {
		t.Fatalf("%d %v\n%s", code, err, out)
	}
	// Line n is of n hours after the beginning: 20 to 30 are asked for, and an hour on both sides.
	if c := sum.Chains[0]; c.First > 20 || c.First < 17 || c.Last < 30 || c.Last > 31 || c.Lines != c.Last-c.First+1 || !sum.AsOf.Equal(to) {
		t.Errorf("%+v", sum)
	}
	if code, out := s.verify(dir); code != ExitConsistentOnly || !strings.Contains(out, "--as-of") {
		t.Errorf("verify, on the folder's word for its end: %d\n%s", code, out)
	}
	if code, out := s.verify(dir, "--as-of", to.Format(time.RFC3339)); code != ExitOK {
		t.Errorf("verify: %d\n%s", code, out)
	}
	archive := s.path("some.tar.gz")
	if code, out := s.run("export", "--agreement", "a6", "--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339), "--log", dir, "--out", archive); code != ExitOK {
		t.Fatalf("export: %d\n%s", code, out)
	}
	if code, out := s.verify(archive); code != ExitOK {
		t.Errorf("verify the archive: %d\n%s", code, out)
	}
	for _, name := range []string{"vault", "gateway-9.ff"} {
		if code, out := s.run("fetch", "--dsn-file", s.dsn, "--out", s.path("none"), "--instance", name); code != ExitFailed || !strings.Contains(out, "has no chain") {
			t.Errorf("%s: %d\n%s", name, code, out)
		}
	}
}

// TestFetchLeavesErasedRecordsAbsent: the chain of what is left verifies in itself.
func TestFetchLeavesErasedRecordsAbsent(t *testing.T) {
	s := store(t, busy(t))
	s.exec("UPDATE audit.lines SET body = NULL, erased_at = now() WHERE seq IN (1, 2)")
	dir := s.fetch("fetched")
	report, err := decisionlog.Verify(os.DirFS(filepath.Join(dir, "gateway-0.0a")), nil)
	if err != nil || report.Absent != 2 || report.Records != 4 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestErasedByReceipt: a record that a receipt of the vault says to be erased is proven so from the fetched folder to the archive, to an auditor who was
// promised more than 180 days and brings the platform's CA; another CA, or another line, proves nothing.
func TestErasedByReceipt(t *testing.T) {
	s := store(t, busy(t))
	ca := pki.New(t, "platform")
	vault := ca.Named(t, contract.ErasureSigner("henan"))
	opts := (&jose.SignerOptions{}).WithType(contract.ErasureType).WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(vault.Certificate[0])})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: vault.PrivateKey}, opts)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(contract.ErasureClaim{Format: contract.ErasureFormat, Platform: "ns/henan", At: time.Now(), Records: []contract.ErasedRecord{{Instance: "gateway-0.0a", Sequence: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	const id = "00000000-0000-0000-0000-00000000000a"
	s.exec("INSERT INTO vault.receipts VALUES ($1, 'Records', 's', now(), 'office', 'p', $2)", id, jws)
	s.exec("UPDATE audit.lines SET body = NULL, erased_at = now(), erased_by = $1 WHERE seq = 2", id)
	dir, archive := s.fetch("fetched"), s.path("a.tar.gz")
	if code, out := s.run("export", "--agreement", "a6", "--from", "2026-03-01T10:00:00Z", "--to", "2026-03-01T13:00:00Z", "--log", dir, "--out", archive); code != ExitOK {
		t.Fatalf("export: %d\n%s", code, out)
	}
	theirs := s.write("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw}))
	other := s.write("other.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pki.New(t, "platform").Cert.Raw}))
	for _, log := range []string{dir, archive} {
		if code, out := s.verify(log, "--retention", "87600h", "--receipt-ca", theirs); code != ExitOK || !strings.Contains(out, "1 were erased by a receipt") {
			t.Errorf("%s: %d\n%s", log, code, out)
		}
		if code, out := s.verify(log, "--retention", "87600h", "--receipt-ca", other); code != ExitConsistentOnly || !strings.Contains(out, "unknown authority") {
			t.Errorf("%s, another CA: %d\n%s", log, code, out)
		}
	}
}

// TestKilledFetch kills the process behind the last line: nothing that is left verifies, and nothing has the name that was asked for.
func TestKilledFetch(t *testing.T) {
	if dir := os.Getenv("DIZUO_TEST_FETCH"); dir != "" {
		os.Exit(Main(t.Context(), []string{"audit", "fetch", "--dsn-file", os.Getenv("DIZUO_TEST_DSN"), "--out", dir}, Streams{In: &bytes.Buffer{}, Out: os.Stdout, Err: os.Stderr}))
	}
	s := store(t, busy(t))
	// The store stops answering when all chains are written, and only the keys are not.
	conn, err := pgx.Connect(t.Context(), postgres.DSN(s.server.Owner(s.db)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE audit.public_keys"); err != nil {
		t.Fatal(err)
	}
	dir := s.path("killed")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledFetch$")
	cmd.Env = append(os.Environ(), "DIZUO_TEST_FETCH="+dir, "DIZUO_TEST_DSN="+s.dsn)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var left []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		// The chain is done when this is there.
		if left, _ = filepath.Glob(s.path(".killed.fetching-*/gateway-0.0a/" + audit.FetchedFile)); len(left) > 0 {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(left) == 0 {
		t.Fatalf("the fetch did not come to the end of the chain: %s", said.Bytes())
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("there is a folder of the name that was asked for")
	}
	for _, name := range []string{filepath.Dir(left[0]), filepath.Dir(filepath.Dir(left[0]))} {
		if code, out := s.verify(name); code != ExitFailed || !strings.Contains(out, "holds no decision log") {
			t.Errorf("%s verifies: %d\n%s", name, code, out)
		}
	}
}
