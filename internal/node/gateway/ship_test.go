package gateway

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/test/pki"
	"github.com/dizuo/dizuo/test/postgres"
)

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// store gives a migrated database, as the user of the audit, and a function that asks it one number as its owner.
func store(t *testing.T) (contract.DatabaseConfig, func(sql string) int64) {
	t.Helper()
	tables(t) // makes the role that a migration would make too
	server := postgres.Shared(t)
	name := fmt.Sprintf("audit_%d", time.Now().UnixNano())
	server.Exec(t, "postgres", "CREATE DATABASE "+name)
	if err := grid.Migrate(t.Context(), server.Owner(name), postgres.Passwords(), silent()); err != nil {
		t.Fatal(err)
	}
	owner, err := pgxpool.New(t.Context(), postgres.DSN(server.Owner(name)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(owner.Close)
	config := server.Owner(name)
	config.User = contract.DatabaseUserAudit
	return config, func(sql string) int64 {
		t.Helper()
		var n int64
		if err := owner.QueryRow(context.Background(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// logged is a log with a shipper over it.
func logged(t *testing.T, config contract.DatabaseConfig, dir string) (*decisionlog.Log, *shipper) {
	t.Helper()
	l, err := decisionlog.Open(decisionlog.Options{Dir: dir, Instance: "gateway-0", MaxBytes: 4000, Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := openAuditing(t.Context(), contract.GatewayConfig{LogDir: dir, AuditDatabase: &config}, l, silent())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.close(); _ = l.Close() })
	return l, a.ship
}

func write(t *testing.T, l *decisionlog.Log, n, subjects int) {
	t.Helper()
	r := chain.Record{At: time.Now(), Kind: contract.LogRelease, Request: "r", UID: "uid-a"}
	for i := range subjects {
		r.Subjects = append(r.Subjects, fmt.Sprintf("s%05d", i))
	}
	for range n {
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// TestShipping ships over file borders, goes on after a restart, and brings lists of subjects before their lines.
func TestShipping(t *testing.T) {
	config, count := store(t)
	dir := t.TempDir()
	l, ship := logged(t, config, dir)
	write(t, l, 1200, 2)
	write(t, l, 1, contract.MaxLogSubjects+5)
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count("SELECT count(*) FROM audit.lines"); n != 1201 || ship.unshipped.Load() != 0 {
		t.Errorf("%d lines in the store, %d bytes wait", n, ship.unshipped.Load())
	}
	if n := count("SELECT cardinality(subjects) FROM audit.subject_lists"); n != contract.MaxLogSubjects+5 {
		t.Errorf("the list has %d subjects", n)
	}
	if n := count("SELECT count(*) FROM audit.line_subjects WHERE subject = 's00001'"); n != 1201 {
		t.Errorf("s00001 is in %d lines", n)
	}
	write(t, l, 3, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, ship = logged(t, config, dir)
	write(t, l, 2, 1)
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count("SELECT max(seq) FROM audit.lines"); n != 1206 {
		t.Errorf("after a restart the last line is %d", n)
	}
	sameInTheStore(t, config, dir)
}

// sameInTheStore puts the lines of the store together and verifies them as a log.
func sameInTheStore(t *testing.T, config contract.DatabaseConfig, dir string) {
	t.Helper()
	pool, err := openAudit(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	rows, err := pool.Query(t.Context(), "SELECT header, body FROM audit.lines ORDER BY instance, seq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var end chain.Chain
	for rows.Next() {
		var header string
		var body []byte
		if err := rows.Scan(&header, &body); err != nil {
			t.Fatal(err)
		}
		if _, err := end.Check(chain.Join([]byte(header), body)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := chain.Verify(os.DirFS(dir), nil)
	if err != nil || s.End != end {
		t.Errorf("the store ends at %+v, the log at %+v, %v", end, s.End, err)
	}
}

// TestPublicKeysAreKept: a key that no longer signs stays in the store with the time when it was last in use; one that is in use is told of again each
// hour, and a file that says nothing new costs no statement.
func TestPublicKeysAreKept(t *testing.T) {
	config, number := store(t)
	_, ship := logged(t, config, t.TempDir())
	trust := filepath.Join(t.TempDir(), "keys.pem")
	var keys [2][]byte
	for i := range keys {
		public, err := pki.Signer(t).Public()
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = public
	}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ship.trustFile, ship.trusted, ship.now = trust, "", func() time.Time { return now }
	ship.checkpointKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public()
	steps := []struct {
		name           string
		after          time.Duration
		file           []byte
		seen, lastSeen int64 // keys in the store, and those whose last_seen is now
	}{
		{"first", 0, keys[0], 2, 2},
		{"nothing new", time.Minute, keys[0], 2, 0},
		{"both, while one follows the other", time.Minute, append(slices.Clone(keys[0]), keys[1]...), 3, 3},
		{"the former is gone", time.Minute, keys[1], 3, 2},
		{"an hour later", time.Hour, keys[1], 3, 2},
		{"a clock that went back", -2 * time.Hour, keys[0], 3, 0},
	}
	for _, step := range steps {
		now = now.Add(step.after)
		if err := os.WriteFile(trust, step.file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ship.publicKeys(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		seen := number("SELECT count(*) FROM audit.public_keys")
		last := number("SELECT count(*) FROM audit.public_keys WHERE last_seen = '" + now.Format(time.RFC3339) + "'")
		if seen != step.seen || last != step.lastSeen {
			t.Errorf("%s: %d keys, %d last seen now; want %d and %d", step.name, seen, last, step.seen, step.lastSeen)
		}
	}
	if err := os.Remove(trust); err != nil {
		t.Fatal(err)
	}
	if err := ship.publicKeys(t.Context()); err == nil {
		t.Error("a trust file that is gone is no error")
	}
	if n := number("SELECT count(*) FROM audit.public_keys WHERE kind = 'checkpoint'"); n != 1 {
		t.Errorf("%d keys of checkpoints, want 1", n)
	}
}

// TestStoreAway: while the store is away lines wait, then decisions are refused, and nothing is lost when it is back.
func TestStoreAway(t *testing.T) {
	config, count := store(t)
	away := config
	away.Port = freePort(t)
	dir := t.TempDir()
	l, ship := logged(t, away, dir)
	ship.max = 20_000
	decide := func() error {
		return l.Append(t.Context(), chain.Record{At: time.Now(), Kind: contract.LogDecision, LogBody: contract.LogBody{Decision: &contract.Decision{}}})
	}
	var logged int64
	for refused := false; !refused; {
		if err := decide(); errors.Is(err, errNotShipped) {
			refused = true
		} else if err != nil {
			t.Fatal(err)
		} else if logged++; logged > 1000 {
			t.Fatal("nothing is refused though nothing is shipped")
		}
		if logged%20 == 0 && ship.step(t.Context()) == nil {
			t.Fatal("a store that is away takes lines")
		}
	}
	back, err := openAudit(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ship.pool.Close()
	ship.pool = back
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := decide(); err != nil {
		t.Errorf("the store is back and decisions are refused: %v", err)
	}
	if n := count("SELECT count(*) FROM audit.lines"); n != logged {
		t.Errorf("%d lines logged, %d in the store", logged, n)
	}
}

// TestFilesGoWhenTheyMay: shipped, covered by a checkpoint, and old; not before.
func TestFilesGoWhenTheyMay(t *testing.T) {
	config, _ := store(t)
	dir := t.TempDir()
	l, ship := logged(t, config, dir)
	write(t, l, 60, 1)
	files := func() int {
		names, err := chain.Files(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	all := files()
	step := func() {
		if err := ship.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ship.now = func() time.Time { return time.Now().Add(keepFiles + time.Hour) }
	step()
	if files() != all {
		t.Error("files went that no checkpoint covers")
	}
	ship.checkpointed, ship.now = func() int64 { return 60 }, time.Now
	step()
	if files() != all {
		t.Error("files went that are young")
	}
	ship.now = func() time.Time { return time.Now().Add(keepFiles + time.Hour) }
	step()
	if files() != 1 {
		t.Errorf("%d files of %d are left, want the last", files(), all)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, ship = logged(t, config, dir)
	write(t, l, 1, 1)
	if err := ship.step(t.Context()); err != nil {
		t.Errorf("after a restart without the old files: %v", err)
	}
}

// TestAnotherHistoryInTheStore: a log that was put back to an earlier state, or written anew under its name, is told.
func TestAnotherHistoryInTheStore(t *testing.T) {
	config, _ := store(t)
	dir, copied := t.TempDir(), t.TempDir()
	l, ship := logged(t, config, dir)
	write(t, l, 3, 0)
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	write(t, l, 2, 0)
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, ship = logged(t, config, copied)
	if err := ship.step(t.Context()); err == nil {
		t.Error("a log that was put back ships on")
	}
	write(t, l, 4, 0)
	if err := ship.step(t.Context()); err == nil {
		t.Error("a log with another history ships on")
	}
}

// TestWitnessedGateway has a gateway answer, sign, and show a real witness; an auditor verifies what lies on the disk.
func TestWitnessedGateway(t *testing.T) {
	_, witnessKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	auditKey := newKey(t)
	keys := func(pub crypto.PublicKey) (audit.Keys, string) {
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		text := base64.StdEncoding.EncodeToString(der)
		k, err := audit.KeysOf(text)
		if err != nil {
			t.Fatal(err)
		}
		return k, text
	}
	trusted, _ := keys(auditKey.Public())
	witness := &audit.Witness{Name: "court", Key: witnessKey, Dir: t.TempDir(), Now: time.Now, Trust: func() (audit.Keys, error) { return trusted, nil }}
	if err := witness.Load(); err != nil {
		t.Fatal(err)
	}
	served := httptest.NewTLSServer(witness)
	defer served.Close()
	witnessKeys, witnessText := keys(witnessKey.Public())
	w := newWorld(t, func(w *world) {
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: served.Certificate().Raw})
		w.bundle.Directory.Platform.Witnesses = []contract.Witness{{Name: "court", URL: served.URL, PublicKey: witnessText, CABundle: string(ca)}}
	})
	der, err := x509.MarshalPKCS8PrivateKey(auditKey)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits"); r.status != http.StatusOK {
		t.Fatal(r.raw)
	}
	a, err := openAnchor(keyFile, w.logDir, w.server.log, silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.step(t.Context(), w.bundle.Directory.Platform); err != nil {
		t.Fatal(err)
	}
	var report contract.AuditReport
	a.report(&report)
	if r := report.Witnesses["court"]; r.Sequence < 2 || r.Problem != "" {
		t.Fatalf("%+v", report)
	}
	resp, err := served.Client().Get(served.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	seen, err := audit.ReadMarks(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := audit.Verify(os.DirFS(w.logDir), audit.Trust{Audit: trusted, Witness: witnessKeys, Seen: seen}, nil, nil)
	if err != nil || verified.Verdict != audit.Verified {
		t.Errorf("%+v, %v", verified, err)
	}
	forged, err := audit.Sign(auditKey, contract.CheckpointType, contract.Checkpoint{Format: contract.CheckpointFormat, Platform: "dizuo-henan/henan", Instance: report.Instance + a.last.Instance, Sequence: a.last.Sequence + 9, Hash: "0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := witness.Take(forged); err != nil {
		t.Fatal(err)
	}
	a.now = func() time.Time { return time.Now().Add(2 * checkpointAnyway) }
	witness.Now = a.now
	if err := a.step(t.Context(), w.bundle.Directory.Platform); err != nil {
		t.Fatal(err)
	}
	a.report(&report)
	if r := report.Witnesses["court"]; !r.Forked || r.Problem == "" {
		t.Errorf("a witness that knows another history is not told: %+v", r)
	}
	again, err := openAnchor(keyFile, w.logDir, w.server.log, silent())
	if err != nil || again.last.Sequence != a.last.Sequence {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
}

// TestRefusalsAreCounted: who is not known cannot fill the disk, and is counted all the same.
func TestRefusalsAreCounted(t *testing.T) {
	r := newRefusedCounts()
	now := time.Now()
	var lines int
	var sum int64
	for range 500 {
		if n := r.add("UnknownOrganization", now); n > 0 {
			lines++
			sum += n
		}
	}
	if rest := r.rest()["UnknownOrganization"]; lines != refusedAtOnce || sum+rest != 500 {
		t.Errorf("%d lines for %d refusals, %d left", lines, sum, rest)
	}
}
