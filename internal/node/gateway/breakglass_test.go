package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/reason"
	"github.com/dizuo/dizuo/test/postgres"
)

// auditSchema is made once: the parts of the platform's database that emergencies and cases need, as the migrations make them.
var auditSchema sync.Once

// withEmergencies gives a world in which the town may read by day and, in an emergency, at any hour; health reviews.
func withEmergencies(t *testing.T) *world {
	return newWorld(t, func(w *world) {
		auditSchema.Do(func() {
			w.exec(`DO $$ BEGIN CREATE ROLE dizuo_audit LOGIN PASSWORD '` + postgres.Password + `'; EXCEPTION WHEN duplicate_object THEN NULL; END $$; CREATE SCHEMA audit; GRANT USAGE ON SCHEMA audit TO dizuo_audit;
				CREATE TABLE audit.break_glass (request text PRIMARY KEY, uid text NOT NULL, reviewer text NOT NULL, at timestamptz NOT NULL, review_due timestamptz NOT NULL,
					alerted_at timestamptz, reviewed_at timestamptz, reviewed_by text, verdict text,
					agreement text NOT NULL DEFAULT '', dataset text NOT NULL DEFAULT '', consumer text NOT NULL DEFAULT '', person text NOT NULL DEFAULT '',
					role text NOT NULL DEFAULT '', reason text NOT NULL DEFAULT '', note_reference text NOT NULL DEFAULT '');
				GRANT SELECT, INSERT ON audit.break_glass TO dizuo_audit;
				GRANT UPDATE (alerted_at, reviewed_at, reviewed_by, verdict, note_reference) ON audit.break_glass TO dizuo_audit;
				CREATE TABLE audit.use (uid text NOT NULL, step timestamptz NOT NULL, requests bigint NOT NULL, records bigint NOT NULL, PRIMARY KEY (uid, step));
				GRANT SELECT, INSERT ON audit.use TO dizuo_audit; GRANT UPDATE (requests, records) ON audit.use TO dizuo_audit;
				CREATE TABLE platform.case_facts (number text, community text, class text, severity text, open boolean, closed_at timestamptz);
				GRANT SELECT ON platform.case_facts TO dizuo_gateway;`)
		})
		w.now = func() time.Time { return time.Now().Add(w.later) }
		audit := w.config.Database
		audit.User = contract.DatabaseUserAudit
		w.audit = &audit
		night := clock(w.bundle.Directory.Platform, mustZone(t), time.Now())
		g := visits()
		g.UID = fmt.Sprintf("uid-%d", time.Now().UnixNano())
		g.Hours = &contract.Hours{From: (night.Minute + 120) % 1440, To: (night.Minute + 180) % 1440}
		g.BreakGlass = &contract.BreakGlass{Roles: []string{"GridWorker"}, Reviewer: "health", ReviewSeconds: 300}
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	})
}

func mustZone(t *testing.T) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func (w *world) review(organization, request, person, verdict string) reply {
	w.t.Helper()
	body, _ := json.Marshal(map[string]string{"verdict": verdict, "noteReference": "note-1"})
	req, err := http.NewRequest(http.MethodPost, w.http.URL+"/v1/break-glass/"+request+"/review", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Dizuo-Person", person)
	r, err := send(w.client(organization), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// opened compares what the metric says of uses that no review has closed. Those of other tests are in the same table.
func (w *world) opened(waiting, overdue float64) {
	w.t.Helper()
	for review, want := range map[string]float64{"waiting": waiting, "overdue": overdue} {
		if got := testutil.ToFloat64(w.server.metrics.breakGlassOpen.WithLabelValues(review)); got < want || want > 0 && got == 0 {
			w.t.Errorf("%v uses are %s, want at least %v", got, review, want)
		}
	}
}

// toldAt gives when the reviewer was first shown a use; nil if it was not yet.
func (w *world) toldAt(request string) (at *time.Time) {
	w.t.Helper()
	if err := w.server.emergencies.pool.QueryRow(w.t.Context(), `SELECT alerted_at FROM audit.break_glass WHERE request = $1`, request).Scan(&at); err != nil {
		w.t.Fatal(err)
	}
	return at
}

func TestBreakGlassIsReviewedOrCloses(t *testing.T) {
	w := withEmergencies(t)
	emergency := func(reason string) reply {
		return w.ask("town", "purpose=HomeVisits&fields=community,phone", map[string]string{"Dizuo-Person": w.token("town", "GridWorker"), "Dizuo-Break-Glass": reason})
	}
	if r := emergency(""); r.status != http.StatusForbidden || !slices.Equal(r.problem.Reasons, []string{"OutsideHours"}) {
		t.Fatalf("without a reason: %d %s", r.status, r.raw)
	}
	if r := emergency("%zz"); r.status != http.StatusBadRequest || r.problem.Reasons[0] != reasonBreakGlassInvalid {
		t.Errorf("malformed: %d %s", r.status, r.raw)
	}
	if r := emergency(url.PathEscape(strings.Repeat("长", maxBreakGlassReason+1))); r.status != http.StatusBadRequest {
		t.Errorf("too long: %d %s", r.status, r.raw)
	}
	first := emergency(url.PathEscape("老人跌倒，无人应答"))
	if first.status != http.StatusOK || len(first.Records) == 0 {
		t.Fatalf("emergency: %d %s", first.status, first.raw)
	}
	var report contract.Report
	if w.server.report(&report); report.BreakGlass["a6"].Pending != 1 || time.Since(report.BreakGlass["a6"].LastAt).Abs() > time.Minute {
		t.Errorf("report %+v", report.BreakGlass)
	}
	w.opened(1, 0)
	if told := w.toldAt(first.Request); told != nil {
		t.Errorf("told at %v, before the reviewer looked", told)
	}
	uses, err := w.server.emergencies.show(t.Context(), "health", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(uses, func(u BreakGlassUse) bool { return u.Request == first.Request })
	if i < 0 || uses[i].Reason != "老人跌倒，无人应答" || uses[i].Role != "GridWorker" || uses[i].Consumer != "town" {
		t.Fatalf("uses %+v", uses)
	}
	told := w.toldAt(first.Request)
	if _, err := w.server.emergencies.show(t.Context(), "health", time.Now().Add(time.Hour)); err != nil || told == nil || time.Since(*told).Abs() > time.Minute {
		t.Errorf("told at %v, %v", told, err)
	}
	if again := w.toldAt(first.Request); again == nil || !again.Equal(*told) {
		t.Errorf("told at %v, and first at %v", again, told)
	}
	// Only the reviewer reviews, by a person, and once.
	reviewer := w.token("health", "Auditor")
	for name, r := range map[string]reply{
		"reader": w.review("town", first.Request, w.token("town", "Auditor"), "Justified"), "another": w.review("property", first.Request, w.token("property", "Auditor"), "Justified"),
		"unknown": w.review("health", "nothing", reviewer, "Justified"),
	} {
		if r.status != http.StatusNotFound || r.problem.Reasons[0] != reasonBreakGlassUnknown {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if r := w.review("health", first.Request, w.token("health", "GridWorker"), "Justified"); r.status != http.StatusForbidden || r.problem.Reasons[0] != reasonRoleNotAllowed {
		t.Errorf("in another role: %d %s", r.status, r.raw)
	}
	if r := w.review("health", first.Request, "", "Justified"); r.status != http.StatusUnauthorized {
		t.Errorf("nobody: %d %s", r.status, r.raw)
	}
	if r := w.review("health", first.Request, reviewer, "Perhaps"); r.status != http.StatusUnprocessableEntity || r.problem.Reasons[0] != reasonInvalidRequest {
		t.Errorf("no verdict: %d %s", r.status, r.raw)
	}
	// A use that is not reviewed in time refuses the next, until it is.
	w.later = 2 * time.Minute
	if r := emergency("again"); r.status != http.StatusOK {
		t.Fatalf("in time: %d %s", r.status, r.raw)
	} else if got := w.review("health", r.Request, reviewer, "Unjustified"); got.status != http.StatusNoContent {
		t.Fatalf("review: %d %s", got.status, got.raw)
	}
	w.later = 6 * time.Minute
	if r := emergency("again"); r.status != http.StatusForbidden || !slices.Equal(r.problem.Reasons, []string{"BreakGlassReviewOverdue", "OutsideHours"}) {
		t.Fatalf("overdue: %d %s", r.status, r.raw)
	}
	w.server.report(&report)
	w.opened(0, 1)
	w.later = 0
	if r := w.review("health", first.Request, reviewer, "Justified"); r.status != http.StatusNoContent {
		t.Fatalf("late review: %d %s", r.status, r.raw)
	}
	if r := w.review("health", first.Request, reviewer, "Unjustified"); r.status != http.StatusNotFound {
		t.Errorf("second review: %d %s", r.status, r.raw)
	}
	if r := emergency("again"); r.status != http.StatusOK {
		t.Errorf("after the review: %d %s", r.status, r.raw)
	}
}

// Where an organisation reviews its own emergencies, whoever broke the glass does not.
func TestNobodyReviewsThemselves(t *testing.T) {
	w := withEmergencies(t)
	w.regrant(func(g *contract.Grant) {
		g.BreakGlass = &contract.BreakGlass{Roles: []string{"GridWorker"}, Reviewer: "town", ReviewSeconds: 300}
	})
	r := w.ask("town", "purpose=HomeVisits&fields=community,phone", map[string]string{"Dizuo-Person": w.token("town", "GridWorker"), "Dizuo-Break-Glass": "x"})
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	if got := w.review("town", r.Request, w.token("town", "Auditor"), "Justified"); got.status != http.StatusNotFound {
		t.Errorf("the same person in another role: %d %s", got.status, got.raw)
	}
	if err := w.server.emergencies.review(t.Context(), r.Request, "town", "p-2", "Justified", "", time.Now()); err != nil {
		t.Errorf("a colleague: %v", err)
	}
}

// What cannot be written down for its review is not given out.
func TestBreakGlassWithoutItsDatabaseGivesNothing(t *testing.T) {
	w := withEmergencies(t)
	w.server.emergencies.close()
	header := map[string]string{"Dizuo-Person": w.token("town", "GridWorker"), "Dizuo-Break-Glass": "x"}
	if r := w.ask("town", "purpose=HomeVisits", header); r.status != http.StatusServiceUnavailable || r.problem.Reasons[0] != reasonBreakGlassUnavailable {
		t.Errorf("closed: %d %s", r.status, r.raw)
	}
	w.server.emergencies = nil
	if r := w.ask("town", "purpose=HomeVisits", header); r.status != http.StatusServiceUnavailable || r.problem.Reasons[0] != reasonBreakGlassUnavailable {
		t.Errorf("none: %d %s", r.status, r.raw)
	}
}

// An emergency that cannot be written down takes nothing of the quota: no line of the log would say so, and a restart would count otherwise.
func TestBreakGlassThatIsNotWrittenDownTakesNothing(t *testing.T) {
	w := withEmergencies(t)
	p, refusal := w.server.live(w.now())
	if refusal != nil {
		t.Fatal(refusal)
	}
	r := &reading{caller: caller{organization: "town", policy: p, at: w.now()}, id: "not-written", limit: 10, grant: w.bundle.Access.Grants["elders"]["town"]["a6"]}
	r.decision = contract.Decision{Allow: true, BreakGlass: true, Agreement: "a6"}
	r.in.Person, r.in.BreakGlass = &contract.Person{Subject: "\x00"}, &contract.BreakGlassRequest{Reason: "x"} // PostgreSQL takes no NUL
	w.server.charge(t.Context(), r)
	if d := r.decision; d.Allow || d.Reasons[0] != reasonBreakGlassUnavailable {
		t.Fatalf("%+v", d)
	}
	w.server.quota.mu.Lock()
	defer w.server.quota.mu.Unlock()
	if got := w.server.quota.since(r.grant.UID, p.dayStart(r.at)); got != (use{}) {
		t.Errorf("%+v are taken", got)
	}
}

// A reason that PostgreSQL would not take is the request's mistake, and not the platform's.
func TestBreakGlassReasonWithoutNUL(t *testing.T) {
	for header, good := range map[string]bool{"x": true, "%E7%81%AB": true, "x%00": false, "%FF": false, "%zz": false} {
		if _, err := breakGlassOf(header); (err == nil) != good {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestCasesAreLookedUp(t *testing.T) {
	w := withEmergencies(t)
	day := time.Now().Format("20060102")
	number := func(n int) string { return fmt.Sprintf("%s-%06d", day, time.Now().UnixNano()%100000*10+int64(n)) }
	open, closed, elsewhere, absent := number(1), number(2), number(3), number(4)
	w.exec(`INSERT INTO platform.case_facts VALUES ('` + open + `', 'jinghu', 'fire', 'High', true, NULL), ('` + closed + `', 'jinghu', 'fire', 'High', false, now() - interval '1 hour'),
		('` + elsewhere + `', 'east', 'fire', 'High', true, NULL)`)
	g := visits()
	g.CaseNumberRequired = true
	w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	w.next()
	for number, want := range map[string]string{open: "", closed: "CaseNotOpen", elsewhere: "CaseNotCovered", absent: "CaseUnknown", "A-17": "", "": "CaseNumberRequired"} {
		r := w.ask("town", plain+"&caseNumber="+number, nil)
		if want == "" && r.status != http.StatusOK || want != "" && (r.status != http.StatusForbidden || r.problem.Reasons[0] != want) {
			t.Errorf("case %q: %d %s, want %q", number, r.status, r.raw, want)
		}
	}
}

func TestClockFollowsTheCalendar(t *testing.T) {
	z := mustZone(t)
	calendar := &contract.Calendar{Weekdays: []int{1, 2, 3, 4, 5}, Holidays: []string{"2026-10-01"}, Workdays: []string{"2026-10-10"}}
	for _, c := range []struct {
		at       string
		calendar *contract.Calendar
		want     contract.Clock
	}{
		{"2026-03-02T00:30:00Z", nil, contract.Clock{Minute: 510, WorkingDay: true}},
		{"2026-03-01T15:59:59Z", nil, contract.Clock{Minute: 1439, WorkingDay: false}},     // Sunday
		{"2026-03-01T16:00:00Z", nil, contract.Clock{Minute: 0, WorkingDay: true}},         // Monday there
		{"2026-10-01T04:00:00Z", calendar, contract.Clock{Minute: 720, WorkingDay: false}}, // a Thursday
		{"2026-10-10T04:00:00Z", calendar, contract.Clock{Minute: 720, WorkingDay: true}},  // a Saturday
		{"2026-10-11T04:00:00Z", calendar, contract.Clock{Minute: 720, WorkingDay: false}},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := clock(contract.Platform{Calendar: c.calendar}, z, at); *got != c.want {
			t.Errorf("%s: %+v, want %+v", c.at, *got, c.want)
		}
	}
}

func TestRateOfEachOrganization(t *testing.T) {
	l, now := newLimits(), time.Now()
	for i := range requestsAtOnce {
		if wait := l.take("town", now); wait != 0 {
			t.Fatalf("request %d waits %s", i, wait)
		}
	}
	if wait := l.take("town", now); wait <= 0 || wait > time.Second {
		t.Errorf("one too many waits %s", wait)
	}
	if wait := l.take("health", now); wait != 0 {
		t.Errorf("the neighbour waits %s", wait)
	}
	if wait := l.take("town", now.Add(time.Second/requestsPerSecond)); wait != 0 {
		t.Errorf("later: waits %s", wait)
	}
	w := newWorld(t)
	at := time.Now()
	w.now = func() time.Time { return at }
	for range requestsAtOnce {
		w.server.limits.take("town", at)
	}
	r := w.ask("town", plain, map[string]string{"Accept-Language": "zh-CN"})
	if r.status != http.StatusTooManyRequests || r.problem.Reasons[0] != reasonRateLimited || r.header.Get("Retry-After") != "1" || r.problem.Title != "本单位请求过于频繁" {
		t.Errorf("%d %v %s", r.status, r.header, r.raw)
	}
}

// What the web framework itself refuses is a problem of the same kind.
func TestBadRequestsAreProblemsToo(t *testing.T) {
	w := newWorld(t)
	r := w.ask("town", "limit=0", map[string]string{"Accept-Language": "zh"})
	if r.status != http.StatusUnprocessableEntity || r.problem.Reasons[0] != reasonInvalidRequest || r.problem.Title != "请求内容不符合接口说明" || r.problem.Detail == "" ||
		!strings.HasPrefix(r.header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("%d %s %s", r.status, r.header.Get("Content-Type"), r.raw)
	}
	req, err := http.NewRequest(http.MethodGet, w.http.URL+"/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := send(w.client("town"), req)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Dizuo-Break-Glass", "Dizuo-Person", "application/problem+json", "/v1/break-glass/{request}/review", `"429"`, "Retry-After", "mutualTLS", `"bearer"`} {
		if !strings.Contains(doc.raw, want) {
			t.Errorf("the OpenAPI document lacks %s", want)
		}
	}
	for _, r := range reason.Refusals {
		if !strings.Contains(doc.raw, `"`+r.Code+`"`) {
			t.Errorf("the OpenAPI document lacks the reason %s", r.Code)
		}
	}
}
