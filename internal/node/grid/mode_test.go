package grid

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// secretReason is a reason that must stay where it is.
const secretReason = "heavy rain, Lao Wang said so"

// withCommand gives a bundle the plan of a mode, a headquarters, and organisations that come close to being one.
func withCommand(b *intake.Bundle) {
	b.Directory.Platform.Modes = map[string]contract.Mode{contract.ModeEmergency: {DisplayName: "战时", MaxSeconds: 6 * 3600,
		SLA: map[contract.Severity]contract.SLA{contract.SeverityCritical: {AcknowledgeSeconds: 60, ResolveSeconds: 300}}}}
	b.Directory.Organizations["command"] = contract.Organization{Type: "Department", Jurisdiction: []string{"41"}, Duties: []string{contract.DutyCommand}}
	b.Directory.Organizations["half"] = contract.Organization{Type: "Department", Jurisdiction: []string{"4107"}, Duties: []string{contract.DutyCommand}}
	b.Directory.Organizations["works"] = contract.Organization{Type: "Department", Jurisdiction: []string{"41"}, Duties: []string{"municipal"}}
	b.Rules.Scenarios["dense"] = contract.Scenario{Profile: "smoke", CaseClass: "smoke", Severity: contract.SeverityCritical, Title: "浓度", DataClass: "C0",
		Params: map[string]any{"density": 90.0}, Terms: []contract.Term{{When: "msg.density >= params.density"}}, Clear: "msg.density < params.density",
		Variants: map[string]contract.Variant{"Emergency/": {Params: map[string]any{"density": 50.0}}}, Responders: []contract.Responder{{Post: "GridWorker"}}}
}

type putMode map[string]any

func until(d time.Duration) time.Time { return time.Now().Add(d) }

func TestModeIsSwitchedByACommander(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	w := newWorldWith(t, withCommand, func(s *service) {
		s.api.log, s.sweep.log = slog.New(slog.NewTextHandler(&logged, nil)), quiet()
	})
	boss := w.token("command", "p1", RoleCommander)
	worker := w.token("committee", "p2", RoleDispatcher)
	var got ModeView
	if code := w.call("GET", "/v1/mode", worker, nil, &got); code != 200 || got.Mode != "Routine" || got.Since != nil || got.N != 0 {
		t.Fatalf("nobody switched yet: %d %+v", code, got)
	}
	good := putMode{"mode": "Emergency", "reason": secretReason, "until": until(time.Hour)}
	other := func(k string, v any) putMode {
		m := maps.Clone(good)
		if m[k] = v; v == nil {
			delete(m, k)
		}
		return m
	}
	for name, c := range map[string]struct {
		token string
		body  putMode
		want  int
	}{
		"no commander":           {w.token("command", "p1", RoleDispatcher), good, 403},
		"an auditor":             {w.token("command", "p1", RoleAuditor), good, 403},
		"no such duty":           {w.token("works", "p1", RoleCommander), good, 403},
		"half of the city":       {w.token("half", "p1", RoleCommander), good, 403},
		"no reason":              {boss, other("reason", nil), 422},
		"an empty reason":        {boss, other("reason", " \t"), 422},
		"no end":                 {boss, other("until", nil), 422},
		"an end that is past":    {boss, other("until", until(-time.Second)), 422},
		"too long":               {boss, other("until", until(6*time.Hour+time.Minute)), 422},
		"Routine with an end":    {boss, other("mode", "Routine"), 422},
		"a mode that is none":    {boss, other("mode", "War"), 422},
		"something more":         {boss, other("note", "x"), 422},
		"no token":               {"", good, 401},
		"a token for a resident": {w.token("command", "p1", RoleResident), good, 403},
	} {
		if code := w.call("PUT", "/v1/mode", c.token, c.body, nil); code != c.want {
			t.Errorf("%s: %d, want %d", name, code, c.want)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.modes"); n != 0 {
		t.Fatalf("%d switches of who may not", n)
	}
	if code := w.call("PUT", "/v1/mode", boss, good, &got); code != 200 || got.Mode != "Emergency" || got.ExpiresAt == nil || got.Reason != secretReason || got.DisplayName != "战时" {
		t.Fatalf("%d %+v", code, got)
	}
	first := got.N
	if w.call("PUT", "/v1/mode", boss, good, &got); got.N != first {
		t.Errorf("the same request again is switch %d, want %d", got.N, first)
	}
	if w.call("PUT", "/v1/mode", boss, other("until", until(2*time.Hour)), &got); got.N == first {
		t.Error("it was not prolonged")
	}
	for name, c := range map[string]struct {
		token string
		sees  bool
	}{"grid worker": {w.token("committee", "p3", RoleGridWorker), false}, "dispatcher": {worker, false}, "commander": {boss, true}, "auditor of the headquarters": {w.token("command", "p4", RoleAuditor), true},
		"auditor of another": {w.token("committee", "p4", RoleAuditor), false}, "commander without the duty": {w.token("works", "p7", RoleCommander), false}} {
		got = ModeView{}
		if code := w.call("GET", "/v1/mode", c.token, nil, &got); code != 200 || got.Mode != "Emergency" || got.ExpiresAt == nil || got.Since == nil {
			t.Errorf("%s: %d %+v", name, code, got)
		}
		if (got.Reason != "" || got.Person != "" || got.Organization != "") != c.sees {
			t.Errorf("%s sees %+v", name, got)
		}
		want := map[bool]int{true: 200, false: 403}[c.sees]
		if code := w.call("GET", "/v1/mode/history", c.token, nil, nil); code != want {
			t.Errorf("%s: history: %d, want %d", name, code, want)
		}
	}
	for name, token := range map[string]string{"resident": w.token("committee", "p5", RoleResident), "vendor": w.token("vendor", "p6", RoleTechnician)} {
		if code := w.call("GET", "/v1/mode", token, nil, nil); code != 403 {
			t.Errorf("%s: %d, want 403", name, code)
		}
	}
	w.modeReported(contract.ModeEmergency, true)
	got = ModeView{}
	if code := w.call("PUT", "/v1/mode", boss, putMode{"mode": "Routine", "reason": " over: " + secretReason + "\n"}, &got); code != 200 || got.Mode != "Routine" || got.ExpiresAt != nil || got.Reason != "over: "+secretReason {
		t.Fatalf("%d %+v", code, got)
	}
	w.modeReported(contract.ModeRoutine, false)
	var page ModeHistory
	w.call("GET", "/v1/mode/history?limit=2", boss, nil, &page)
	if len(page.Modes) != 2 || page.Modes[0].Mode != "Routine" || page.Modes[1].EndedAt == nil || page.Modes[0].Person != "p1" || page.Next == 0 {
		t.Fatalf("%+v", page)
	}
	next := page.Next
	page = ModeHistory{}
	w.call("GET", "/v1/mode/history?before="+json.Number(jsonOf(t, next)).String(), boss, nil, &page)
	if len(page.Modes) != 1 || page.Modes[0].N != first || page.Next != 0 {
		t.Fatalf("%+v", page)
	}
	if logged.Len() == 0 || strings.Contains(logged.String(), "Lao Wang") {
		t.Errorf("logged: %s", logged.String())
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// modeReported checks what the node reports, and that the reason is not in it.
func (w *world) modeReported(name string, ends bool) {
	w.t.Helper()
	var r contract.Report
	w.svc.fill(&r)
	if r.Mode == nil || r.Mode.Name != name || r.Mode.Since.IsZero() || r.Mode.ExpiresAt.IsZero() == ends {
		w.t.Errorf("reported %+v, want %s", r.Mode, name)
	}
	if raw := jsonOf(w.t, r); strings.Contains(raw, "Lao Wang") || strings.Contains(raw, "p1") {
		w.t.Errorf("reported: %s", raw)
	}
}

// TestSwitchesFollowEachOther: whoever switches at once, with clocks that differ, while others end what is over: one mode holds at a time.
func TestSwitchesFollowEachOther(t *testing.T) {
	t.Parallel()
	cfg, _ := database(t)
	pool := poolOf(t, cfg)
	at := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 10 {
				now := at.Add(time.Duration(j)*time.Minute + time.Duration(i-4)*7*time.Second)
				end := now.Add(90 * time.Second)
				m := modeRow{Mode: contract.ModeEmergency, Since: now, ExpiresAt: &end, Reason: "r", Organization: "o", Person: string(rune('a' + i)), Role: "Commander"}
				if (i+j)%3 == 0 {
					m.Mode, m.ExpiresAt = contract.ModeRoutine, nil
				}
				_ = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { // a late clock may be refused: its mode would be over before it began
					_, err := switchMode(t.Context(), tx, m)
					return err
				})
				if _, err := endMode(t.Context(), pool, now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	rows, err := modeRows(t.Context(), pool, "true", 1000)
	if err != nil || len(rows) < 20 {
		t.Fatalf("%d switches, %v", len(rows), err)
	}
	for i, m := range rows {
		if m.EndedAt == nil && i > 0 {
			t.Errorf("switch %d has no end", m.N)
		}
		if m.EndedAt != nil && m.EndedAt.Before(m.Since) || m.EndedAt != nil && m.ExpiresAt != nil && m.EndedAt.After(*m.ExpiresAt) {
			t.Errorf("switch %d ends at %v: %+v", m.N, m.EndedAt, m)
		}
		if i+1 < len(rows) && m.Since.Before(*rows[i+1].EndedAt) {
			t.Errorf("switch %d begins before the one before ended", m.N)
		}
	}
	told := switches(rows)
	if !slices.IsSortedFunc(told, func(a, b modeSwitch) int { return a.at.Compare(b.at) }) {
		t.Errorf("out of order: %+v", told)
	}
}

// TestAModeEndsByItself: at its end, whoever looks; it is written down once.
func TestAModeEndsByItself(t *testing.T) {
	t.Parallel()
	s := newModeStage(t)
	s.mode(contract.ModeEmergency, time.Hour)
	s.at = s.at.Add(time.Hour - time.Second)
	s.sweepBoth(s.sweeper(), s.sweeper())
	if m := s.current(); m != contract.ModeEmergency {
		t.Fatalf("a second before its end: %s", m)
	}
	s.at = s.at.Add(time.Second)
	if m := s.current(); m != contract.ModeRoutine {
		t.Errorf("at its end, before a sweep: %s", m)
	}
	ended := make([]string, 6)
	var all sync.WaitGroup
	for i := range ended {
		all.Go(func() { ended[i], _ = endMode(t.Context(), s.pool, s.at) })
	}
	all.Wait()
	if slices.Sort(ended); !slices.Equal(ended, []string{"", "", "", "", "", "Emergency"}) {
		t.Errorf("ended by %q", ended)
	}
	s.at = s.at.Add(time.Hour)
	s.sweepBoth(s.sweeper(), s.sweeper())
	if n := number(t, s.pool, "SELECT count(*) FROM grid.modes WHERE ended_at = expires_at"); n != 1 {
		t.Errorf("%d modes ended at their end, want 1", n)
	}
}

// modeStage is a timerStage with the plan of a mode.
type modeStage struct{ *timerStage }

func newModeStage(t *testing.T) modeStage {
	s := newTimerStage(t)
	withCommand(s.b)
	s.b.Directory.Platform.Modes[contract.ModeEmergency].SLA[contract.SeverityLow] = contract.SLA{AcknowledgeSeconds: 5 * 60, ResolveSeconds: 3 * 24 * 3600}
	return modeStage{s}
}

func (s modeStage) mode(name string, lasts time.Duration) {
	s.t.Helper()
	m := modeRow{Mode: name, Since: s.at, Reason: "r", Organization: "command", Person: "p", Role: "Commander"}
	if end := s.at.Add(lasts); lasts > 0 {
		m.ExpiresAt = &end
	}
	if err := pgx.BeginFunc(s.t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := switchMode(s.t.Context(), tx, m)
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
}

func (s modeStage) current() string {
	s.t.Helper()
	m, err := currentMode(s.t.Context(), s.pool, s.at)
	if err != nil {
		s.t.Fatal(err)
	}
	return m.Mode
}

// dues gives what a case says, in minutes after the stage began; -1 is none.
func (s modeStage) dues(id uuid.UUID, zero time.Time) (out [3]int) {
	s.t.Helper()
	s.do(id, func(_ pgx.Tx, c *Case) error {
		for i, at := range []*time.Time{c.AcknowledgeDue, c.OnSiteDue, c.ResolveDue} {
			if out[i] = -1; at != nil {
				out[i] = int(at.Sub(zero) / time.Minute)
			}
		}
		return nil
	})
	return out
}

// TestTimesOfAMode: a case opened in a mode has its times; an open one the sooner of its own and the mode's; leaving changes nothing.
func TestTimesOfAMode(t *testing.T) {
	t.Parallel()
	s := newModeStage(t)
	zero, entered := s.at, 2*time.Minute
	before := s.open(contract.SeverityCritical) // 10, 20, 60
	late := s.open(contract.SeverityCritical)
	low := s.open(contract.SeverityLow) // working hours: over the weekend
	medium := s.open(contract.SeverityMedium)
	taken := s.open(contract.SeverityCritical)
	s.act(taken, Acknowledge, nil)
	paused := s.open(contract.SeverityCritical)
	s.act(paused, Acknowledge, nil)
	s.act(paused, Suspend, nil)
	reopened := s.open(contract.SeverityCritical)
	s.act(reopened, MarkVoid, nil)
	s.at = zero.Add(entered)
	s.mode(contract.ModeEmergency, time.Hour) // Critical: 1, none, 5
	s.at = s.at.Add(30 * time.Second)
	within := s.open(contract.SeverityCritical)
	s.sweepBoth(s.sweeper(), s.sweeper())
	s.sweepBoth(s.sweeper())
	for name, c := range map[string]struct {
		id   uuid.UUID
		want [3]int
		told int64
	}{
		"opened before":            {before, [3]int{3, 20, 7}, 1},
		"taken":                    {taken, [3]int{10, 20, 7}, 1},
		"opened in it":             {within, [3]int{3, -1, 7}, 0},
		"no other times":           {medium, s.dues(medium, zero), 0},
		"sooner, and later":        {low, [3]int{7, s.dues(low, zero)[1], s.dues(low, zero)[2]}, 1},
		"it stood still":           {paused, [3]int{10, -1, -1}, 1},
		"it was over":              {reopened, s.dues(reopened, zero), 0},
		"another opened before it": {late, [3]int{3, 20, 7}, 1},
	} {
		if got := s.dues(c.id, zero); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if n := s.count(c.id, "ModeEntered"); n != c.told {
			t.Errorf("%s: %d entries, want %d", name, n, c.told)
		}
	}
	s.act(paused, Resume, nil)
	if got := s.dues(paused, s.at); got[2] != 5 {
		t.Errorf("it goes on with %d minutes, want the 5 of the mode", got[2])
	}
	if low := s.dues(low, zero)[2]; low > 24*60 {
		t.Errorf("the mode's later time took the place of a sooner one: %d", low)
	}
	s.act(reopened, Reopen, nil)
	if got := s.dues(reopened, s.at); got[0] != 1 || got[2] != 5 {
		t.Errorf("reopened in the mode: %v", got)
	}
	was := s.dues(taken, zero)
	s.mode(contract.ModeRoutine, 0)
	s.sweepBoth(s.sweeper(), s.sweeper())
	if got := s.dues(taken, zero); got != was {
		t.Errorf("leaving makes of %v %v", was, got)
	}
	s.act(within, Acknowledge, nil)
	s.act(within, Return, nil)
	if got := s.dues(within, s.at); got[0] != 1 {
		t.Errorf("a case of the mode that is given back after it: %v", got)
	}
	s.act(reopened, MarkVoid, nil)
	s.act(reopened, Reopen, nil)
	if got := s.dues(reopened, s.at); got[0] != 10 || got[2] != 60 {
		t.Errorf("reopened after the mode: %v", got)
	}
}

// TestAMissedTimeIsNotMissedAgainInAMode: a case at the top, of which nothing runs, stays as it is.
func TestAMissedTimeIsNotMissedAgainInAMode(t *testing.T) {
	t.Parallel()
	s := newModeStage(t)
	id := s.open(contract.SeverityCritical)
	for range 12 {
		s.at = s.at.Add(2 * time.Hour)
		s.sweepBoth(s.sweeper())
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.timers WHERE case_id = $1", id); n != 0 {
		t.Fatalf("%d timers run at the top", n)
	}
	missed := s.count(id, "AcknowledgeOverdue")
	s.mode(contract.ModeEmergency, 5*time.Hour)
	for range 3 {
		s.at = s.at.Add(time.Hour)
		s.sweepBoth(s.sweeper(), s.sweeper())
	}
	if n := s.count(id, "AcknowledgeOverdue"); n != missed || s.count(id, "ModeEntered") != 0 {
		t.Errorf("missed %d times, %d before the mode", n, missed)
	}
}

// TestAModeReachesTheEngine: messages are judged by the variant of the mode at their time, over a restart and past the mode's end.
func TestAModeReachesTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, withCommand, func(*service) {})
	dense := func() int64 { return number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE class = 'smoke'") }
	fire := func(device string) { // two messages in order: when the second has its case, the first was judged
		was := w.cases("Dispatched")
		w.send(device, 1, `{"smoke":false,"density":60}`)
		w.send(device, 1, `{"smoke":true,"density":60}`)
		eventually(t, "case of "+device, func() bool {
			return w.cases("Dispatched") > was && number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE device = $1 AND class = 'fire'", device) == 1
		})
	}
	fire("s1")
	if n := dense(); n != 0 {
		t.Fatalf("%d cases of the threshold in Routine", n)
	}
	boss := w.token("command", "p1", RoleCommander)
	if code := w.call("PUT", "/v1/mode", boss, putMode{"mode": "Emergency", "reason": "r", "until": until(time.Hour)}, nil); code != 200 {
		t.Fatal(code)
	}
	fire("s2")
	if n := dense(); n != 1 {
		t.Fatalf("%d cases of the threshold in the mode, want 1", n)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE class = 'smoke' AND mode = 'Emergency' AND abs(extract(epoch FROM acknowledge_due - opened_at) - 60) < 1"); n != 1 {
		t.Error("the case has not the times of the mode")
	}
	w.stop()
	w.begin()
	fire("s3")
	if n := dense(); n != 2 {
		t.Fatalf("%d cases after a restart, want 2", n)
	}
	if code := w.call("PUT", "/v1/mode", boss, putMode{"mode": "Routine", "reason": "r"}, nil); code != 200 {
		t.Fatal(code)
	}
	fire("s04")
	if n := dense(); n != 2 {
		t.Errorf("%d cases after the mode, want 2", n)
	}
}

// TestAModeWithoutTheControlPlane: nothing here but a bundle. Within its lease the mode is switched; after it the API is shut, alarms go on in
// the mode that is, and it ends at its end.
func TestAModeWithoutTheControlPlane(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, withCommand, func(*service) {})
	boss, body := w.token("command", "p1", RoleCommander), putMode{"mode": "Emergency", "reason": "r", "until": until(time.Hour)}
	lease := func(left time.Duration) {
		b := *w.bundle
		b.Lease.IssuedAt, b.Lease.ExpiresAt = time.Now().Add(-48*time.Hour), time.Now().Add(left)
		w.in.Set(&b)
	}
	lease(time.Minute)
	if code := w.call("PUT", "/v1/mode", boss, body, nil); code != 200 {
		t.Fatalf("within the lease: %d", code)
	}
	lease(-time.Second)
	if code := w.call("PUT", "/v1/mode", boss, putMode{"mode": "Routine", "reason": "r"}, nil); code != 503 {
		t.Errorf("after the lease: %d, want 503", code)
	}
	w.send("s1", 1, `{"smoke":false,"density":60}`)
	eventually(t, "an alarm of the mode", func() bool {
		return number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE class = 'smoke' AND mode = 'Emergency'") == 1
	})
	w.modeReported(contract.ModeEmergency, true)
	later := &sweeper{pool: w.pool, in: w.in, metrics: w.svc.sweep.metrics, log: quiet(), now: func() time.Time { return time.Now().Add(2 * time.Hour) }}
	if err := later.sweep(t.Context(), w.in.Current()); err != nil {
		t.Fatal(err)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.modes WHERE ended_at = expires_at"); n != 1 {
		t.Error("it did not end at its end")
	}
	w.modeReported(contract.ModeRoutine, false)
}

// TestReasonsOfModesAreErased: after the time that notes are kept; the switch stays.
func TestReasonsOfModesAreErased(t *testing.T) {
	t.Parallel()
	s := newModeStage(t)
	s.mode(contract.ModeEmergency, time.Hour)
	s.at = s.at.Add(time.Hour)
	s.sweepBoth(s.sweeper())
	s.mode(contract.ModeEmergency, 72*time.Hour)
	kept := contract.Retention{NoteSeconds: 24 * 3600}
	k := &retainer{pool: s.pool, profiles: func() map[string]contract.Profile { return nil }, log: quiet(), now: func() time.Time { return s.at }}
	reasons := func() int64 { return number(t, s.pool, "SELECT count(*) FROM grid.modes WHERE reason <> ''") }
	for _, step := range []struct {
		after time.Duration
		want  int64
	}{{23 * time.Hour, 2}, {time.Hour, 1}, {47 * time.Hour, 1}} {
		s.at = s.at.Add(step.after)
		if _, err := k.forget(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
		if n := reasons(); n != step.want {
			t.Errorf("%v: %d reasons, want %d", s.at, n, step.want)
		}
	}
	if n := number(t, s.pool, "SELECT count(*) FROM grid.modes"); n != 2 {
		t.Errorf("%d switches are left, want 2", n)
	}
}

// TestStepsInAMode: who is called next is called when the time of the mode to acknowledge has passed, also of a case that was open when it began.
func TestStepsInAMode(t *testing.T) {
	t.Parallel()
	s := newStepStage(t, contract.Responder{Duty: "d1"}, contract.Responder{Duty: "d2", Order: 2}, contract.Responder{Duty: "d3", Order: 3})
	withCommand(s.b) // Critical: a minute to acknowledge, else ten
	m := modeStage{s}
	want := func(what string, id uuid.UUID, names string) {
		t.Helper()
		if got := s.called(id); got != names {
			t.Errorf("%s: called are %q, want %q", what, got, names)
		}
	}
	w := s.sweeper()
	before := s.begin(contract.SeverityCritical)
	medium := s.begin(contract.SeverityMedium) // has no other times in the mode
	s.minutes(2)
	m.mode(contract.ModeEmergency, time.Hour)
	within := s.begin(contract.SeverityCritical)
	s.sweepBoth(w)
	want("the mode began", before, "o1")
	s.at = s.at.Add(59 * time.Second)
	s.sweepBoth(w)
	want("there is time yet", within, "o1")
	want("there is time yet", before, "o1")
	s.at = s.at.Add(time.Second)
	s.sweepBoth(w)
	want("opened in the mode", within, "o1 o2")
	want("opened before it", before, "o1 o2")
	s.minutes(1)
	s.sweepBoth(w)
	want("a step further", within, "o1 o2 o3")
	want("a step further, opened before", before, "o1 o2 o3")
	want("no other times", medium, "o1")

	delete(s.b.Directory.Platform.SLA, contract.SeverityCritical)
	id := s.begin(contract.SeverityCritical)
	want("only the mode has a time by which to wait", id, "o1")
}

// TestASwitchThatRepeats: a request that is sent again is the same in all that it says, and of what is not over yet.
func TestASwitchThatRepeats(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	was := modeRow{N: 3, Mode: contract.ModeEmergency, Since: end.Add(-time.Hour), ExpiresAt: &end, Reason: "r", Organization: "o", Person: "p", Role: "Commander"}
	again := was
	again.N, again.Since = 0, end.Add(-time.Minute)
	if here := end.In(chinaTime); true {
		again.ExpiresAt = &here
	}
	if !again.repeats(was) {
		t.Error("the same request again is another")
	}
	later := end.Add(time.Second)
	for name, change := range map[string]func(*modeRow){
		"mode": func(m *modeRow) { m.Mode = contract.ModeRoutine }, "end": func(m *modeRow) { m.ExpiresAt = &later }, "no end": func(m *modeRow) { m.ExpiresAt = nil }, "reason": func(m *modeRow) { m.Reason = "x" },
		"organization": func(m *modeRow) { m.Organization = "x" }, "person": func(m *modeRow) { m.Person = "x" }, "role": func(m *modeRow) { m.Role = "x" },
	} {
		m := again
		if change(&m); m.repeats(was) {
			t.Errorf("another %s: it is taken for the same", name)
		}
	}
	was.EndedAt = &end
	if again.repeats(was) {
		t.Error("what is over is switched on again, and that is taken for the same")
	}
}

// TestSwitchesAreToldInOrder: what was followed at once gave way to nothing else, and what is not over yet says nothing of its end.
func TestSwitchesAreToldInOrder(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	hour := func(n int) *time.Time { t := at.Add(time.Duration(n) * time.Hour); return &t }
	got := switches([]modeRow{
		{Mode: contract.ModeEmergency, Since: *hour(5), ExpiresAt: hour(9)},
		{Mode: contract.ModeEmergency, Since: *hour(2), EndedAt: hour(4)},
		{Mode: contract.ModeRoutine, Since: *hour(1), EndedAt: hour(2)},
		{Mode: contract.ModeEmergency, Since: *hour(0), EndedAt: hour(1)},
	})
	want := []modeSwitch{{contract.ModeEmergency, *hour(0)}, {contract.ModeRoutine, *hour(1)}, {contract.ModeEmergency, *hour(2)}, {contract.ModeRoutine, *hour(4)}, {contract.ModeEmergency, *hour(5)}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := switches([]modeRow{{Mode: contract.ModeEmergency, Since: at, EndedAt: hour(1)}}); len(got) != 2 {
		t.Errorf("the last one that is over: %v", got)
	}
}

// TestASwitchByALateClock: a mode ends no sooner than it began, and no later than it would have by itself; and the end that a sweep wrote down stays.
func TestASwitchByALateClock(t *testing.T) {
	t.Parallel()
	s := newModeStage(t)
	zero := s.at
	s.mode(contract.ModeEmergency, time.Hour)
	s.at = zero.Add(-time.Minute) // another replica's clock
	s.mode(contract.ModeRoutine, 0)
	s.at = zero.Add(time.Minute)
	s.mode(contract.ModeEmergency, time.Hour)
	s.at = zero.Add(3 * time.Hour) // nobody wrote its end down
	s.mode(contract.ModeRoutine, 0)
	s.at = zero.Add(4 * time.Hour)
	s.mode(contract.ModeEmergency, time.Hour)
	s.at = zero.Add(5 * time.Hour)
	s.sweepBoth(s.sweeper())
	s.at = zero.Add(6 * time.Hour)
	s.mode(contract.ModeRoutine, 0)
	rows, err := modeRows(t.Context(), s.pool, "true", 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range rows {
		end := "-"
		if m.EndedAt != nil {
			end = m.EndedAt.Sub(zero).String()
		}
		got = append(got, m.Mode+" "+m.Since.Sub(zero).String()+" "+end)
	}
	want := []string{"Routine 6h0m0s -", "Emergency 4h0m0s 5h0m0s", "Routine 3h0m0s 4h0m0s", "Emergency 1m0s 1h1m0s", "Routine 0s 1m0s", "Emergency 0s 0s"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestWhichCasesEnterAMode: each open one, once, also one that was missed; none on a platform without a plan; and the history says which mode.
func TestWhichCasesEnterAMode(t *testing.T) {
	t.Parallel()
	s := newModeStage(t)
	plan := s.b.Directory.Platform.Modes
	s.b.Directory.Platform.Modes = nil
	modeOf := func(id uuid.UUID) (mode string) {
		t.Helper()
		s.do(id, func(_ pgx.Tx, c *Case) error { mode = c.Mode; return nil })
		return mode
	}
	id := s.open(contract.SeverityCritical)
	if got := modeOf(id); got != "" {
		t.Errorf("without a plan a case is in mode %q", got)
	}
	s.mode(contract.ModeEmergency, time.Hour)
	w := s.sweeper()
	s.sweepBoth(w)
	if got := modeOf(id); got != "" {
		t.Errorf("a mode of which the plan is gone: %q", got)
	}
	s.b.Directory.Platform.Modes = plan
	s.sweepBoth(w)
	if got := modeOf(id); got != contract.ModeEmergency || number(t, s.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'ModeEntered' AND detail->>'mode' = 'Emergency' AND detail->'Resolve'->>'due' <> ''") != 1 {
		t.Errorf("a case in mode %q, and its history does not say so", got)
	}
	exec := func(query string) {
		t.Helper()
		if _, err := s.pool.Exec(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	exec("UPDATE grid.cases SET mode = 'Routine'") // as one that was opened by another in the same moment
	s.at = s.at.Add(reckonEvery - time.Second)
	s.sweepBoth(w)
	if got := modeOf(id); got != contract.ModeRoutine {
		t.Errorf("it is looked for cases at every sweep: %q", got)
	}
	s.at = s.at.Add(time.Second)
	s.sweepBoth(w)
	if got := modeOf(id); got != contract.ModeEmergency {
		t.Errorf("a case that was missed stays missed: %q", got)
	}
	exec("UPDATE grid.cases SET state = 'Closed', mode = 'Routine'")
	s.at = s.at.Add(reckonEvery)
	s.sweepBoth(w)
	if got := modeOf(id); got != contract.ModeRoutine {
		t.Errorf("a case that is over is in mode %q", got)
	}
}
