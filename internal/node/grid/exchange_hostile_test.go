package grid

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestNobodyReportsUnderTheNameOfAnExchange: a report has no name of a system that could be taken for the platform or for a system of an exchange.
func TestNobodyReportsUnderTheNameOfAnExchange(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	report := NewCase{Community: "jinghu", Grid: "g1", Class: "fire", Severity: contract.SeverityLow, Title: "t", Source: SourceResident, ExternalID: "GD-1"}
	for _, tc := range []struct {
		system string
		want   int
	}{{"henan", 422}, {simulated, 422}, {"p:q", 422}, {":", 422}, {"another", 201}} {
		report.SourceSystem = tc.system
		for i, token := range []string{w.token("committee", "p-1", RoleResident), w.token("committee", "p-2", RoleGridWorker)} {
			want := tc.want
			if want == 201 && i > 0 {
				continue // the number is used
			}
			if got := w.call("POST", "/v1/cases", token, report, nil, "Idempotency-Key", "key-of-"+tc.system+string(rune('a'+i))); got != want {
				t.Errorf("sourceSystem %q: %d, want %d", tc.system, got, want)
			}
			if err := checkSourceSystem(w.bundle.Directory.Platform, tc.system); err != nil && (!strings.HasPrefix(err.Error(), "body.sourceSystem: ") || !strings.Contains(err.Error(), "; write ")) {
				t.Errorf("it does not say which field, and what to write: %v", err)
			}
		}
	}
	if got := w.put("hotline-office", theirCase("GD-1", 1, Filed), nil); got != 200 {
		t.Errorf("the real system's case: %d", got)
	}
}

// TestTwoCasesUnderOneIDHoldUpNoOther: of two cases whose ids in the exchange are the same, one goes; that the other does not is told, and all others go.
func TestTwoCasesUnderOneIDHoldUpNoOther(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} { // all open cases are looked at, and then the feed
		w := newExchangeWorld(t, func(*contract.Integration) {})
		if !first {
			w.must(0)
		}
		for _, o := range []CaseOrigin{{"p", "q:r"}, {"p:q", "r"}} { // such as were here before reports were checked
			c := &Case{Community: "jinghu", Grid: "g1", Class: "fire", Severity: contract.SeverityLow, Title: "t", Source: SourceSystem, SourceSystem: o.System, ExternalID: o.ID, DataClass: "C0", StartedAt: time.Now(), LastSignalAt: time.Now()}
			if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
				if err := insert(t.Context(), tx, w.bundle.Directory, c, system, time.Now(), nil); err != nil {
					return err
				}
				return send(t.Context(), tx, w.bundle, c, RoleDispatcher, time.Now())
			}); err != nil {
				t.Fatal(err)
			}
		}
		own := w.ours("C0")
		w.must(0)
		there := w.store.Cases()
		if len(there) != 3 || there["p:q:r"].State != "Dispatched" || there["henan:"+own.String()].State != "Dispatched" {
			t.Errorf("looked at all %t: there are %+v", first, there)
		}
		// The system uses the id of a case that it was not told of for one of its own: neither is sent as the other.
		hit, other := w.ours("C0"), w.ours("C0")
		stolen := theirCase("GD-1", 1, Filed)
		stolen.ID = "henan:" + hit.String()
		if got := w.there(stolen); got != 200 {
			t.Fatal(got)
		}
		if got := w.put("hotline-office", stolen, nil); got != 200 {
			t.Fatal(got)
		}
		w.must(time.Minute)
		w.must(time.Minute)
		var s ExchangeStatus
		if got := w.ask("hotline-office", "GET", "/v1/exchange/"+simulated, nil, &s); got != 200 || s.Conflicts != 1 || !strings.HasPrefix(s.LastError, "1 cases cannot be sent") {
			t.Errorf("looked at all %t: %d %+v", first, got, s)
		}
		if there = w.store.Cases(); there["henan:"+other.String()].State != "Dispatched" {
			t.Errorf("looked at all %t: the other case did not go: %+v", first, there)
		}
	}
}

// there writes a case into the system.
func (w *exchangeWorld) there(e ExchangedCase) int {
	w.t.Helper()
	raw, err := json.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(w.t.Context(), "PUT", "/cases/"+e.ID, bytes.NewReader(raw))
	req.Header.Set("Authorization", "Bearer "+w.sim.Token)
	rec := httptest.NewRecorder()
	w.sim.Handler().ServeHTTP(rec, req)
	return rec.Code
}

// TestAllOpenCasesAreLookedAtInParts: as many at a time, and what changes meanwhile is found in the feed.
func TestAllOpenCasesAreLookedAtInParts(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		for range 2*markedAtOnce + 1 {
			c := &Case{Community: "jinghu", Grid: "g1", Class: "fire", Severity: contract.SeverityLow, Title: "t", Source: SourceSystem, DataClass: "C0", StartedAt: time.Now(), LastSignalAt: time.Now()}
			if err := insert(t.Context(), tx, w.bundle.Directory, c, system, time.Now(), nil); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	marked := func() int64 { return number(t, w.pool, "SELECT count(*) FROM grid.mirrors WHERE again_at IS NOT NULL") }
	p := w.x.pace(simulated)
	for i, want := range []int64{markedAtOnce, 2 * markedAtOnce, 2*markedAtOnce + 1, 2*markedAtOnce + 2} {
		if i == 1 {
			w.ours("C0")
			if _, err := w.seq.number(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.x.mark(t.Context(), w.exchange(), p); err != nil {
			t.Fatal(err)
		}
		if got := marked(); got != want && got != want+1 { // the new one has an id at random: it is met on the way, or in the feed
			t.Errorf("after %d parts %d are marked, want %d", i+1, got, want)
		}
	}
	if got := marked(); got != 2*markedAtOnce+2 || p.looked != nil {
		t.Errorf("%d are marked, want %d; %+v", got, 2*markedAtOnce+2, p.looked)
	}
}
