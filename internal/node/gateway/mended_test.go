package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/test/pki"
)

// keptParts gives parts over a folder in which a bundle of one shard lies as the intake leaves it.
func keptParts(t *testing.T, dir string) (*parts, func(sequence int64) *intake.Bundle) {
	t.Helper()
	state := t.TempDir()
	signer := pki.Signer(t)
	in, err := intake.Open(contract.NodeConfig{StateDir: state, Role: contract.RoleGateway}, wanted, silent())
	if err != nil {
		t.Fatal(err)
	}
	take := func(sequence int64) *intake.Bundle {
		digest := fmt.Sprintf("sha256:%d", sequence/10) // every tenth lease is of another revision
		index := contract.Index{Shards: []contract.ShardRef{{Name: contract.ShardAccess, Digest: digest}}}
		lease := contract.Lease{Revision: index.Revision(), Sequence: sequence}
		jws, err := signer.Lease(lease)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(map[string]any{"lease": jws, "index": index})
		if err != nil {
			t.Fatal(err)
		}
		for name, raw := range map[string][]byte{"bundle.json": raw, intake.SealedName(digest): []byte(digest)} {
			if err := os.WriteFile(filepath.Join(state, "bundle", name), raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return &intake.Bundle{Lease: lease}
	}
	return &parts{dir: filepath.Join(dir, audit.PolicyDir), in: in, log: silent()}, take
}

// TestPartsAfterAPowerCut: an empty file of a revision, which a power cut left, stops neither the shipping nor the next start, which writes it
// anew.
func TestPartsAfterAPowerCut(t *testing.T) {
	config, count := store(t)
	dir := t.TempDir()
	l, ship := logged(t, config, dir)
	p, take := keptParts(t, dir)
	b := take(1)
	if err := p.hold(b); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, audit.PolicyDir, audit.RevisionName(b.Lease.Revision)), 0); err != nil {
		t.Fatal(err)
	}
	decide := func() {
		t.Helper()
		if err := l.Append(t.Context(), chain.Record{At: time.Now(), Kind: contract.LogDecision, LogBody: contract.LogBody{Decision: &contract.Decision{},
			Policy: &contract.PolicyRef{Revision: b.Lease.Revision, Sequence: 7}}}); err != nil {
			t.Fatal(err)
		}
		if err := ship.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if decide(); count("SELECT count(*) FROM audit.lines") != 1 {
		t.Error("the line is not shipped")
	}
	again := &parts{dir: p.dir, in: p.in, log: silent()}
	if err := again.hold(b); err != nil {
		t.Fatal(err)
	}
	if decide(); count("SELECT count(*) FROM audit.policy_objects WHERE name = 'revision' AND length(sealed) > 0") != 1 {
		t.Error("the revision is not in the store")
	}
	// The line was decided under a later lease of the same revision; the lease that is kept stands under its own number.
	if n := count("SELECT min(sequence) FROM audit.leases"); n != 1 || count("SELECT count(*) FROM audit.leases") != 1 {
		t.Errorf("the lease of sequence 1 is in the store as %d", n)
	}
}

// TestPartsOfALaterBundle: a bundle that was overtaken before its parts were kept does not get those of the later one.
func TestPartsOfALaterBundle(t *testing.T) {
	p, take := keptParts(t, t.TempDir())
	b, later := take(10), take(20)
	if p.hold(b) == nil {
		t.Error("a bundle is in force whose parts are not kept")
	}
	if err := p.hold(later); err != nil {
		t.Fatal(err)
	}
	if r, err := readRevision(filepath.Join(p.dir, audit.RevisionName(later.Lease.Revision))); err != nil || r.Index.Revision() != later.Lease.Revision {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, audit.RevisionName(b.Lease.Revision))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the overtaken bundle has a file: %v", err)
	}
}

// TestSpaceIsBounded: what is shipped and covered goes before the disk is full, however young it is, and quotas are not forgotten with it.
func TestSpaceIsBounded(t *testing.T) {
	config, _ := store(t)
	dir := t.TempDir()
	l, ship := logged(t, config, dir)
	at := time.Now()
	append1 := func(kind, request string, rows int64) {
		t.Helper()
		body := contract.LogBody{Rows: rows}
		if kind == contract.LogDecision {
			body.Decision = &contract.Decision{Allow: true}
		}
		if err := l.Append(t.Context(), chain.Record{At: at, Kind: kind, Request: request, UID: "uid-a", LogBody: body}); err != nil {
			t.Fatal(err)
		}
	}
	append1(contract.LogDecision, "stream", 0)
	for i := range 60 {
		request := fmt.Sprintf("r%02d", i)
		append1(contract.LogDecision, request, 0)
		append1(contract.LogRelease, request, 3)
		append1(contract.LogEnd, request, 3)
	}
	append1(contract.LogDecision, "stream", 0) // under another revision
	ship.max = keepShare * 10_000
	ship.checkpointed = func() int64 { return 1000 }
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, err := chain.Files(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	if sum > 10_000 || len(names) < 2 {
		t.Errorf("%d files of %d bytes are left, want at most 10000 and no more gone than must", len(names), sum)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	q := newQuota()
	if err := q.load(dir); err != nil {
		t.Fatal(err)
	}
	l, err = decisionlog.Open(decisionlog.Options{Dir: dir, Instance: "gateway-0", Since: at.Add(-quotaMemory), Replay: q.replay, Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if got := q.since("uid-a", at.Add(-time.Hour)); got != (use{61, 180}) {
		t.Errorf("after a start %+v are used, want 61 requests and 180 records", got)
	}
}

// TestShippedIsRemembered: after a start without the store only what it does not have counts as waiting.
func TestShippedIsRemembered(t *testing.T) {
	config, _ := store(t)
	dir := t.TempDir()
	l, ship := logged(t, config, dir)
	write(t, l, 50, 1)
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	away := config
	away.Port = freePort(t)
	l, ship = logged(t, away, dir)
	ship.max = 1000
	if ship.step(t.Context()) == nil {
		t.Fatal("a store that is away takes lines")
	}
	if n := ship.unshipped.Load(); n != 0 || l.Err() != nil {
		t.Errorf("%d bytes wait, log %v: all is in the store", n, l.Err())
	}
	write(t, l, 20, 1)
	_ = ship.step(t.Context())
	if ship.unshipped.Load() < 1000 || l.Err() == nil {
		t.Errorf("%d bytes wait, log %v", ship.unshipped.Load(), l.Err())
	}
}

// TestRowsThatSomebodyElseWrote: a line that was put into the store before ours stops the shipping and is not taken for ours.
func TestRowsThatSomebodyElseWrote(t *testing.T) {
	for name, forge := range map[string]string{"header": "'x', body", "body": "header, 'x'"} {
		t.Run(name, func(t *testing.T) {
			config, count := store(t)
			dir := t.TempDir()
			l, ship := logged(t, config, dir)
			write(t, l, 2, 0)
			if err := ship.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			write(t, l, 3, 0)
			pool, err := openAudit(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			lines, _, err := ship.read()
			if err != nil || len(lines) != 3 {
				t.Fatal(len(lines), err)
			}
			third := lines[1]
			if _, err := pool.Exec(t.Context(), `INSERT INTO audit.lines (instance, seq, at, kind, request, uid, header, body)
				SELECT $1, $2, $3, $4, $5, $6, `+forge+` FROM (SELECT $7::text AS header, $8::bytea AS body) x`,
				third.Instance, third.Sequence, third.At, third.Kind, third.Request, third.UID, string(third.Header), []byte(third.Record)); err != nil {
				t.Fatal(err)
			}
			if err := ship.step(t.Context()); err == nil || !strings.Contains(err.Error(), "another line 4") {
				t.Errorf("shipped over a line of somebody else: %v", err)
			}
			if n := count("SELECT count(*) FROM audit.lines"); n != 3 {
				t.Errorf("%d lines in the store, want 3", n)
			}
		})
	}
}

// TestLinesThatAreThere: lines that the store has by us, erased or not, are passed over.
func TestLinesThatAreThere(t *testing.T) {
	config, count := store(t)
	l, ship := logged(t, config, t.TempDir())
	write(t, l, 3, 1)
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	count("WITH gone AS (UPDATE audit.lines SET body = NULL, erased_at = now() WHERE seq = 2 RETURNING 1) SELECT count(*) FROM gone")
	ship.cursor, ship.at = 0, beginOf(chain.FileName(1))
	if err := ship.step(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBackPressureTakesNoQuota: what is refused because lines cannot be shipped counts for nothing.
func TestBackPressureTakesNoQuota(t *testing.T) {
	w := newWorld(t, func(w *world) {
		g := visits()
		g.RequestsPerDay = 2
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	})
	ask := func() reply { return w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits") }
	w.server.log.Hold(errNotShipped)
	for range 5 {
		if r := ask(); r.status != http.StatusServiceUnavailable || r.problem.Reasons[0] != reasonLogUnavailable {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	}
	w.server.log.Hold(nil)
	for range 2 {
		if r := ask(); r.status != http.StatusOK {
			t.Errorf("after the hold: %d %s", r.status, r.raw)
		}
	}
	if r := ask(); r.status != http.StatusTooManyRequests {
		t.Errorf("over the quota: %d %s", r.status, r.raw)
	}
}

// TestChargeIsUndone: a decision that cannot be queued gives back the request and its records.
func TestChargeIsUndone(t *testing.T) {
	w := newWorld(t)
	r := &reading{limit: 7, grant: visits(), id: "r"}
	r.at, r.policy = w.now(), w.server.policy.Load().policy
	w.server.charge(t.Context(), r)
	if got := w.server.quota.since(r.grant.UID, r.at.Add(-time.Hour)); got != (use{1, 7}) {
		t.Fatalf("charged %+v", got)
	}
	w.server.log.Hold(errNotShipped) // after the charge
	if _, err := w.server.decided(context.Background(), r); err == nil {
		t.Fatal("queued while held")
	}
	if got := w.server.quota.since(r.grant.UID, r.at.Add(-time.Hour)); got != (use{}) {
		t.Errorf("left %+v", got)
	}
}

// TestCheckpointsSignedAgain: a log that does not grow is signed again, and each receipt is with its own checkpoint.
func TestCheckpointsSignedAgain(t *testing.T) {
	config, count := store(t)
	dir := t.TempDir()
	l, ship := logged(t, config, dir)
	write(t, l, 1, 0)
	key := newKey(t)
	for i := range 2 {
		checkpoint, err := audit.Sign(key, contract.CheckpointType, contract.Checkpoint{Format: contract.CheckpointFormat, Instance: l.End().Instance, Sequence: 1, At: time.Unix(int64(i), 0)})
		if err != nil {
			t.Fatal(err)
		}
		if err := audit.Append(filepath.Join(dir, audit.MarksFile), audit.Mark{Checkpoint: checkpoint}.Line()); err != nil {
			t.Fatal(err)
		}
	}
	if err := ship.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count("SELECT count(*) FROM audit.checkpoints"); n != 2 {
		t.Errorf("%d checkpoints in the store, want 2", n)
	}
}

// TestClientGoneBeforeTheBody: whoever hangs up between the release and its body has an end line.
func TestClientGoneBeforeTheBody(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := caller{policy: w.server.policy.Load().policy, organization: "town", at: w.now()}
	ticket, err := w.server.decided(ctx, &reading{caller: c, id: "r", grant: visits()})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := w.server.released(ctx, ticket, chain.Record{Kind: contract.LogRelease, At: w.now(), Request: "r"}); err != nil {
		t.Errorf("a client that is gone stops the answer, and with it the end line: %v", err)
	}
}

// uses asks for what waits for a review.
func (w *world) uses(organization, person string) reply {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, w.http.URL+"/v1/break-glass", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Dizuo-Person", person)
	r, err := send(w.client(organization), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// TestReviewsAreLines: who looked at emergencies, and how one was closed, stands in the log.
func TestReviewsAreLines(t *testing.T) {
	w := withEmergencies(t)
	r := w.ask("town", "purpose=HomeVisits&fields=community,phone", map[string]string{"Dizuo-Person": w.token("town", "GridWorker"), "Dizuo-Break-Glass": "fire"})
	if r.status != http.StatusOK {
		t.Fatal(r.raw)
	}
	if got := w.review("health", r.Request, w.token("health", "Auditor"), "Justified"); got.status != http.StatusNoContent {
		t.Fatal(got.raw)
	}
	for person, want := range map[string]struct {
		status int
		reason string
	}{
		"": {http.StatusUnauthorized, reasonPersonInvalid}, w.token("health", "GridWorker"): {http.StatusForbidden, reasonRoleNotAllowed},
		w.token("town", "Auditor"): {http.StatusUnauthorized, reasonPersonInvalid},
	} {
		if got := w.uses("health", person); got.status != want.status || got.problem.Reasons[0] != want.reason {
			t.Errorf("the list for a person who may not see it: %d %s", got.status, got.raw)
		}
	}
	if got := w.uses("health", w.token("health", "Auditor")); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.raw)
	}
	var got []string
	if _, err := chain.Verify(os.DirFS(w.logDir), func(l chain.Line) {
		if l.Kind == contract.LogReview {
			got = append(got, fmt.Sprintf("%s %t %q %s %t", l.Said.Reason, l.Request == r.Request, l.Said.Outcome, l.Said.Input.Consumer, l.Said.Input.Person != nil))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{`BreakGlassReviewed true "Justified" health true`, `BreakGlassListed false "" health true`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
