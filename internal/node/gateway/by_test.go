package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestWhoRefused: the log says of each refusal whether the policy made it or the gateway beside it.
func TestWhoRefused(t *testing.T) {
	w := withEmergencies(t)
	night := w.bundle.Access.Grants["elders"]["town"]["a6"].Hours
	day := func(g *contract.Grant) { g.Hours = nil }
	w.regrant(day)
	person := w.token("town", "GridWorker")
	ask := func(query string, headers map[string]string) {
		if headers == nil {
			headers = map[string]string{"Dizuo-Person": person}
		}
		w.ask("town", "purpose="+query, headers)
	}
	ask("Billing", nil)
	ask("HomeVisits", map[string]string{"Dizuo-Person": "x"})
	ask("HomeVisits", map[string]string{"Dizuo-Person": person, "Dizuo-Break-Glass": "%zz"})
	w.regrant(func(g *contract.Grant) { day(g); g.RequestsPerDay = 1 })
	ask("HomeVisits", nil)
	ask("HomeVisits", nil)
	w.regrant(func(g *contract.Grant) { g.Hours, g.RequestsPerDay = night, 0 })
	w.server.emergencies.close()
	ask("HomeVisits", map[string]string{"Dizuo-Person": person, "Dizuo-Break-Glass": "x"})
	var got []string
	for _, l := range w.lines() {
		if l.Kind == contract.LogDecision {
			got = append(got, strings.Join(l.Said.Decision.Reasons, "+")+" "+l.Said.Decision.By)
		}
	}
	want := "PurposeNotAllowed , PersonInvalid gateway, BreakGlassInvalid gateway,  , QuotaExceeded gateway, BreakGlassUnavailable gateway"
	if strings.Join(got, ", ") != want {
		t.Errorf("%q, want %q", strings.Join(got, ", "), want)
	}
}

// TestWhoCutAStream: an agreement that is another of the same name ends a stream by the gateway's own refusal, one that is revoked by the
// policy's. Either way the request is counted among those that were measured.
func TestWhoCutAStream(t *testing.T) {
	for want, change := range map[string]func(*world){
		"": func(w *world) { w.regrant(nil) }, contract.DecidedByGateway: func(w *world) { w.regrant(func(g *contract.Grant) { g.UID = "uid-other" }) },
	} {
		w := newWorld(t, unmasked)
		w.many(30_000, 1500)
		o := w.open1("fields=phone")
		if !o.Scan() {
			t.Fatal(o.Err())
		}
		change(w)
		_, _ = o.rest(t)
		w.close()
		lines := w.lines()
		for i := len(lines) - 1; ; i-- {
			if l := lines[i]; l.Kind == contract.LogDecision {
				if d := l.Said.Decision; d.Allow || d.Reasons[0] != reasonNoAgreement || d.By != want {
					t.Errorf("%+v, want it by %q", d, want)
				}
				break
			}
		}
		if n := testutil.CollectAndCount(w.server.metrics.request); n != 1 {
			t.Errorf("%d kinds of answers were measured, want %d alone", n, http.StatusOK)
		}
	}
}

// TestHowLongItTook: each line of a request says how long it took since the request began, and the later line no less.
func TestHowLongItTook(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	if r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits"); r.status != http.StatusOK {
		t.Fatal(r.raw)
	}
	w.close()
	whole := time.Since(began).Microseconds()
	var before int64
	lines := w.lines()
	for _, l := range lines {
		took := l.Said.LatencyMicros
		if took <= 0 || took < before || took > whole {
			t.Errorf("%s: %d us after one of %d us, the whole took %d us", l.Kind, took, before, whole)
		}
		before = took
	}
	if len(lines) != 3 {
		t.Errorf("%d lines", len(lines))
	}
}
