package vault

import (
	"net/http"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestWhoReadThoughTheStreamWasCut: what left before a stream was cut is told by the decision before it, and not by the one that cut it.
func TestWhoReadThoughTheStreamWasCut(t *testing.T) {
	w := newWorld(t)
	father := w.person("410702194105060012")
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	decided := func(agreement string, allow bool, fields map[string]contract.Mask) contract.LogBody {
		return contract.LogBody{Input: &contract.DecisionInput{Dataset: "elder-visits", Consumer: "health", Purpose: "HomeVisits"},
			Decision: &contract.Decision{Allow: allow, Agreement: agreement, Fields: fields}}
	}
	w.line(1, "decision", "r1", at, decided("a4", true, map[string]contract.Mask{"phone": {}, "name": {}}))
	w.line(2, "release", "r1", at, contract.LogBody{Rows: 1}, w.logName(father))
	w.line(3, "decision", "r1", at.Add(time.Second), decided("a4", true, map[string]contract.Mask{"name": {}}))
	w.line(4, "release", "r1", at.Add(time.Second), contract.LogBody{Rows: 1}, w.logName(father))
	w.line(5, "decision", "r1", at.Add(2*time.Second), decided("a4", false, nil))
	var got Access
	w.call("committee/PrivacyOfficer", http.MethodGet, "/v1/subjects/"+father+"/access?reason=SubjectRequest", nil, 200, &got)
	fields := map[string]int{}
	for _, r := range got.Reads {
		if r.Act == "" {
			fields[r.Log] = len(r.Fields)
		}
	}
	if len(fields) != 2 || fields["gateway-0/2"] != 2 || fields["gateway-0/4"] != 1 {
		t.Errorf("number of fields by line: %v, want 2 of line 2 and 1 of line 4", fields)
	}
}

// TestRegisterTellsNothing: whether a number is in the vault does not show in how a registration is refused, each refusal is a line that
// the person finds, and an organisation cannot go through a list.
func TestRegisterTellsNothing(t *testing.T) {
	w := newWorld(t)
	at := time.Now()
	w.s.now = func() time.Time { return at }
	first, _ := w.person("n"), w.person("m")
	lines := func() (n int) {
		if err := w.sql("", "SELECT count(*) FROM audit.line_subjects WHERE subject = $1", []any{w.logName(first)}, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	try := func(want int, division string, numbers ...string) {
		t.Helper()
		var identities []Identity
		for _, n := range numbers {
			identities = append(identities, Identity{"resident-id", n})
		}
		w.call("east/PrivacyOfficer", http.MethodPost, "/v1/subjects", map[string]any{"division": division, "identities": identities}, want, nil)
	}
	try(403, jinghu, "n") // a division of others: the vault is not asked
	try(403, jinghu, "unknown")
	before := lines()
	try(409, "", "n")
	try(409, "", "unknown")
	try(409, "", "n", "m")
	try(409, east, "n")
	try(409, east, "n", "m")
	if got := lines() - before; got != 4 {
		t.Errorf("%d lines about the person of 4 refusals", got)
	}
	var left int
	if err := w.sql("", "SELECT count(*) FROM vault.subjects", nil, &left); err != nil || left != 2 {
		t.Errorf("%d subjects, want 2: %v", left, err)
	}
	for range lookupsAtOnce - 7 {
		try(403, jinghu, "x")
	}
	try(429, jinghu, "n")
	at = at.Add(time.Second)
	try(403, jinghu, "n")
	w.verifyChain()
}

// TestRetentionOfEmergencies: who broke the glass and why goes with the bodies of the log, also where nobody reviewed it.
func TestRetentionOfEmergencies(t *testing.T) {
	w := newWorld(t)
	w.exec(`INSERT INTO audit.break_glass (request, uid, reviewer, at, review_due, person, reason)
		SELECT n::text, 'u', 'office', now() - n * interval '1 day', now(), 'p', 'fire' FROM unnest(ARRAY[1, 179, 200]) n`)
	for range 2 {
		if _, err := w.s.forget(t.Context(), contract.Retention{DecisionLogSeconds: 3600}); err != nil {
			t.Fatal(err)
		}
	}
	var left string
	if err := w.sql("", "SELECT string_agg(request, ' ' ORDER BY request) FROM audit.break_glass WHERE person <> '' AND reason <> ''", nil, &left); err != nil || left != "1 179" {
		t.Errorf("persons and reasons are left of %q, %v", left, err)
	}
	for _, statement := range []string{"SELECT audit.forget_emergencies(now())", "SELECT audit.forget_emergencies(NULL)"} {
		if w.sql(contract.DatabaseUserVault, statement, nil) == nil {
			t.Errorf("%s: person and reason go before 180 days", statement)
		}
	}
}

// TestErasureIsBounded: a call erases no more lines than it can in its time, and the next ones the rest; what one kind fails at does not undo
// another.
func TestErasureIsBounded(t *testing.T) {
	w := newWorld(t)
	w.exec(`INSERT INTO audit.lines (instance, seq, at, kind, request, header, body) SELECT 'gateway-0', n, now() - interval '400 days', 'release', 'r', '{"v":2}', '{}' FROM generate_series(1, 450) n`)
	w.exec("INSERT INTO grid.consents (subject, scope, given_at, withdrawn_at) VALUES ($1, 'gone', now() - interval '9 years', now() - interval '1096 days')", w.person("n"))
	w.exec("REVOKE EXECUTE ON FUNCTION grid.forget_consents(timestamptz) FROM dizuo_vault")
	for _, want := range []int{250, 50, 0} {
		if _, err := w.s.forget(t.Context(), contract.Retention{DecisionLogSeconds: 3600}); err == nil {
			t.Error("consents that cannot be forgotten are not told")
		}
		var left int
		if err := w.sql("", "SELECT count(*) FROM audit.lines WHERE instance = 'gateway-0' AND body IS NOT NULL", nil, &left); err != nil || left != want {
			t.Fatalf("%d bodies left, want %d: %v", left, want, err)
		}
	}
}
