package grid

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
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

// answeredBy puts another system in the place of the simulated one.
func (w *exchangeWorld) answeredBy(answer http.HandlerFunc) {
	system := httptest.NewServer(answer)
	w.t.Cleanup(system.Close)
	in := w.bundle.Directory.Platform.Integrations[simulated]
	in.URL, in.CABundle = system.URL, ""
	w.bundle.Directory.Platform.Integrations[simulated] = in
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

// TestAListThatDoesNotEndIsRefused: one that repeats a cursor, is too large, or has ids that are none.
func TestAListThatDoesNotEndIsRefused(t *testing.T) {
	t.Parallel()
	calls := 0
	for what, list := range map[string]func(string) (ExchangedList, error){
		"repeats itself": func(string) (ExchangedList, error) { return ExchangedList{Next: "a"}, nil },
		"200000 cases":   func(string) (ExchangedList, error) { return many(&calls, 1000), nil },
		"1 to 128": func(string) (ExchangedList, error) {
			return ExchangedList{Cases: []ExchangedState{{ID: strings.Repeat("x", 129)}}}, nil
		},
		"an id that is non": func(string) (ExchangedList, error) { return ExchangedList{Cases: []ExchangedState{{}}}, nil },
	} {
		if _, err := theirList(list); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if calls > largestList/1000+1 {
		t.Errorf("%d pages were read", calls)
	}
	pages := 0
	got, err := theirList(func(string) (ExchangedList, error) {
		page := many(&pages, 2)
		if pages == 3 {
			page.Next = ""
		}
		return page, nil
	})
	if err != nil || len(got) != 6 {
		t.Errorf("three pages: %d cases, %v", len(got), err)
	}
}

// many is the next page of a list without end.
func many(calls *int, n int) (page ExchangedList) {
	*calls++
	for i := range n {
		page.Cases = append(page.Cases, ExchangedState{ID: fmt.Sprint(*calls, "-", i), State: Handling})
	}
	page.Next = fmt.Sprint(*calls)
	return page
}

// TestWhatAnAnswerIsAbout: only what conflicts or is not valid is of the case; all else is of the system, and tried again.
func TestWhatAnAnswerIsAbout(t *testing.T) {
	for status := 400; status < 600; status++ {
		if got, want := ofTheCase(errAnswer{status}), status == 409 || status == 412 || status == 422 || status == 428; got != want {
			t.Errorf("%d: of the case %t, want %t", status, got, want)
		}
	}
}

// TestAWrongAddressLosesNoCase: 404 of all is no answer about a case. And what was given up before is sent again when the sides are compared, but for a conflict.
func TestAWrongAddressLosesNoCase(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(in *contract.Integration) { in.PollSeconds = 0 })
	in := w.bundle.Directory.Platform.Integrations[simulated]
	right := in.URL
	in.URL += "/elsewhere"
	w.bundle.Directory.Platform.Integrations[simulated] = in
	id := w.ours("C0")
	if err := w.turn(0); err == nil || !strings.Contains(err.Error(), "404") {
		t.Fatalf("a wrong address: %v", err)
	}
	in.URL = right
	w.bundle.Directory.Platform.Integrations[simulated] = in
	w.must(longestSystemPause)
	w.must(longestExchangePause)
	if n := len(w.store.Cases()); n != 1 {
		t.Fatalf("%d cases there, want 1", n)
	}
	never, conflict := w.ours("C0"), w.ours("C0")
	if got := w.act(id, Acknowledge); got != 200 {
		t.Fatal(got)
	}
	w.sim.Failures = 1
	if err := w.turn(0); err == nil {
		t.Fatal("a call of a system that is down succeeded")
	}
	for of, problem := range map[string]string{id.String(): "the system answered 404", never.String(): "the system answered 405", conflict.String(): "the system answered 409"} {
		if _, err := w.pool.Exec(t.Context(), "UPDATE grid.mirrors SET again_at = NULL, problem = $2 WHERE case_id = $1", of, problem); err != nil {
			t.Fatal(err)
		}
	}
	w.sim.Failures = 0
	w.must(2 * reconcileEvery)
	w.must(time.Minute)
	there := w.store.Cases()
	if there["henan:"+id.String()].State != "Handling" || there["henan:"+never.String()].State != "Dispatched" || len(there) != 2 {
		t.Errorf("after they were compared: %+v", there)
	}
}

// TestALostCaseThatChangesIsBroughtLevel: the system has lost it and says that it knows another version; it is sent anew when the sides are compared.
func TestALostCaseThatChangesIsBroughtLevel(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(in *contract.Integration) { in.PollSeconds = 0 })
	id := w.ours("C0")
	w.must(0)
	w.must(0)
	w.store.Lose("henan:" + id.String())
	if got := w.act(id, Acknowledge); got != 200 {
		t.Fatal(got)
	}
	for range 3 {
		_ = w.turn(longestSystemPause)
	}
	w.must(2 * reconcileEvery)
	w.must(time.Minute)
	if there := w.store.Cases()["henan:"+id.String()]; there.State != "Handling" {
		t.Errorf("after they were compared: %+v", there)
	}
}

// TestThatTheSidesWereNotComparedIsTold: until they are.
func TestThatTheSidesWereNotComparedIsTold(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(in *contract.Integration) { in.PollSeconds = 0 })
	w.ours("C0")
	w.must(0)
	w.must(0)
	said := func() (s ExchangeStatus) {
		if got := w.ask("hotline-office", "GET", "/v1/exchange/"+simulated, nil, &s); got != 200 {
			t.Fatal(got)
		}
		return s
	}
	w.must(reconcileEvery)
	compared := said()
	w.sim.Failures = 1
	if err := w.turn(reconcileEvery); err == nil {
		t.Fatal("a list that cannot be read was compared")
	}
	w.sim.Failures = 0
	w.must(longestSystemPause)
	if s := said(); !strings.Contains(s.LastError, "compare: ") || s.ReconciledAt == nil || !s.ReconciledAt.Equal(*compared.ReconciledAt) {
		t.Errorf("not compared: %+v, before %+v", s, compared)
	}
	w.must(reconcileEvery)
	if s := said(); s.LastError != "" || !s.ReconciledAt.After(*compared.ReconciledAt) {
		t.Errorf("compared again: %+v", s)
	}
}

// TestCasesThatAreAnsweredWronglyDelayNoOther: what is new goes first, and the system is asked in spite of them.
func TestCasesThatAreAnsweredWronglyDelayNoOther(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(in *contract.Integration) { in.PollSeconds = 1 })
	var bad []string
	for range 4 {
		bad = append(bad, w.ours("C0").String())
	}
	w.answeredBy(func(rw http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc(bad, func(id string) bool { return strings.Contains(r.URL.Path, id) }) {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		w.sim.Handler().ServeHTTP(rw, r)
	})
	for range 6 {
		_ = w.turn(longestSystemPause)
	}
	theirs := w.store.Open("410702001001", "fire")
	good := w.ours("C0")
	_ = w.turn(longestSystemPause)
	if _, there := w.store.Cases()["henan:"+good.String()]; !there {
		t.Error("a good case waits for those that are refused")
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE external_id = $1", theirs); n != 1 {
		t.Error("the system is not asked while it refuses cases")
	}
}

// TestASlowSystemIsLeftInTime: a turn ends, says so, and the next goes on where it was.
func TestASlowSystemIsLeftInTime(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	stuck, slow := true, 0
	w.answeredBy(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			if slow++; stuck && slow > 1 { // one is taken, and then none
				_, _ = io.Copy(io.Discard, r.Body) // so that the server hears that the caller has gone
				<-r.Context().Done()
				return
			}
		}
		w.sim.Handler().ServeHTTP(rw, r)
	})
	for range 3 {
		w.ours("C0")
	}
	w.x.turnTime = 3 * time.Second
	began := time.Now()
	if err := w.turn(0); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("a turn with a system that does not answer: %v", err)
	}
	if took := time.Since(began); took >= exchangeTimeout {
		t.Errorf("the turn took %s", took)
	}
	var said string
	if err := w.pool.QueryRow(t.Context(), "SELECT last_error FROM grid.exchange").Scan(&said); err != nil || !strings.Contains(said, "deadline") {
		t.Errorf("it is told: %q, %v", said, err)
	}
	if n := len(w.store.Cases()); n != 1 {
		t.Errorf("%d cases there, want 1", n)
	}
	stuck, w.x.turnTime = false, 0
	w.must(longestSystemPause)
	w.must(longestExchangePause)
	if n := len(w.store.Cases()); n != 3 {
		t.Errorf("%d cases there later, want 3", n)
	}
}

// TestOneSystemTakesNotAllConnections: two writes at once wait for the exchange, not for ever, and a third is told to come later.
func TestOneSystemTakesNotAllConnections(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	if got := w.put("hotline-office", theirCase("GD-1", 1, Filed), nil); got != 200 {
		t.Fatal(got)
	}
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM grid.exchange WHERE system = $1 FOR UPDATE", simulated); err != nil {
		t.Fatal(err)
	}
	if got := w.put("hotline-office", theirCase("GD-2", 1, Filed), nil); got != 429 { // after lockWait
		t.Errorf("a write that waits for another: %d, want 429", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	writing := &w.svc.api.writing
	for range putsAtOnce {
		if !writing.enter(simulated) {
			t.Fatal("it is busy without a write")
		}
	}
	if got := w.put("hotline-office", theirCase("GD-2", 1, Filed), nil); got != 429 {
		t.Errorf("one more than may write at once: %d, want 429", got)
	}
	var status huma.HeadersError
	if !errors.As(errExchangeBusy(), &status) || status.GetHeaders().Get("Retry-After") == "" {
		t.Error("it is not told when to come again")
	}
	if !writing.enter("another") {
		t.Error("another system waits for it")
	}
	writing.leave(simulated)
	for range putsAtOnce + 1 { // each leaves again
		if got := w.put("hotline-office", theirCase("GD-2", 1, Filed), nil); got != 200 {
			t.Errorf("when one is done: %d", got)
		}
	}
}

// TestAPageOfChangesIsBounded: one that is larger is not taken.
func TestAPageOfChangesIsBounded(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(*contract.Integration) {})
	w.answeredBy(func(rw http.ResponseWriter, _ *http.Request) {
		page := ExchangedChanges{Changes: slices.Repeat([]ExchangedCase{theirCase("GD-1", 1, Filed)}, changesOnPage+1)}
		_ = json.NewEncoder(rw).Encode(page)
	})
	if err := w.turn(0); err == nil || !strings.Contains(err.Error(), "at most 500") {
		t.Errorf("a page of %d cases: %v", changesOnPage+1, err)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases"); n != 0 {
		t.Errorf("%d cases were taken of it", n)
	}
}

// TestOnlyClassesOfTheExchangeAreMovedAndTold: the class of the case counts, not that of the document; and to a system to which no cases go, none is told.
func TestOnlyClassesOfTheExchangeAreMovedAndTold(t *testing.T) {
	t.Parallel()
	w := newExchangeWorld(t, func(in *contract.Integration) { in.CaseClasses = []string{"noise"} })
	id := w.ours("C0") // of class fire
	e := theirCase("henan:"+id.String(), 1, Handling)
	e.Class, e.Origin = "noise", CaseOrigin{"henan", id.String()}
	if got := w.put("hotline-office", e, nil); got != 422 || w.state(id) != Dispatched {
		t.Errorf("a case of another class under a class of the exchange: %d, %s", got, w.state(id))
	}
	for path, want := range map[string]int{"henan:" + id.String(): 404, "henan:x": 404, "henan:": 404} {
		if got := w.ask("hotline-office", "GET", "/v1/exchange/"+simulated+"/cases/"+path, nil, nil); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	in := newExchangeWorld(t, func(in *contract.Integration) { in.Outbound = false })
	id = in.ours("C0")
	e = theirCase("henan:"+id.String(), 1, Handling)
	e.Title, e.Origin = "是什么", CaseOrigin{"henan", id.String()}
	var doc ExchangedCase
	if got := in.put("hotline-office", e, &doc); got != 200 || in.state(id) != Handling {
		t.Fatalf("%d, %s", got, in.state(id))
	}
	if doc.Version < 2 || doc.Title != e.Title || doc.Number != "" || doc.Grid != "" || doc.Community != "" || doc.StartedAt != nil {
		t.Errorf("a system to which no cases go is told %+v", doc)
	}
}
