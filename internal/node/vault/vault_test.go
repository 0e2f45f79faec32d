package vault

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/pseudonym"
	"github.com/dizuo/dizuo/test/postgres"
)

// line adds a line of a gateway's log to the store, as it would be shipped.
func (w *world) line(seq int, kind, request string, at time.Time, body contract.LogBody, subjects ...string) {
	w.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec("INSERT INTO audit.lines (instance, seq, at, kind, request, header, body) VALUES ('gateway-0', $1, $2, $3, $4, '{\"v\":2}', $5)", seq, at, kind, request, raw)
	for _, s := range subjects {
		w.exec("INSERT INTO audit.line_subjects VALUES ($1, 'gateway-0', $2)", s, seq)
	}
}

func (w *world) logName(value string) string {
	return pseudonym.Of(pseudonym.SubjectKey([]byte(strings.Repeat("p", 32))), value)
}

// TestWhoReadMyFathersRecord: a grandson, guardian of his father, learns who read what, also where the line has a list of subjects and
// where the source knows the father by a key of its own; and nothing of anybody else.
func TestWhoReadMyFathersRecord(t *testing.T) {
	w := newWorld(t)
	son := w.person("410702199001010011")
	father := w.person("410702194105060012", Guardian{Subject: son, Kind: "Authorised"})
	w.call("town/PrivacyOfficer", http.MethodPost, "/v1/subjects", map[string]any{
		"subject": father, "identities": []Identity{{"resident-id", "410702194105060012"}, {"clinic", "patient-7"}}}, 200, nil)

	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	decision := func(dataset string) contract.LogBody {
		return contract.LogBody{Input: &contract.DecisionInput{Dataset: dataset, Consumer: "health", Purpose: "HomeVisits", Person: &contract.Person{Subject: "p-9", Roles: []string{"Doctor"}}},
			Decision: &contract.Decision{Allow: true, Agreement: "a4", Fields: map[string]contract.Mask{"phone": {Method: "KeepLast", Keep: 4}, "name": {}, "born": {Method: "Drop"}}}}
	}
	w.line(1, "decision", "r1", at, decision("elder-visits"))
	w.line(2, "release", "r1", at, contract.LogBody{Rows: 2, Subjects: []string{w.logName(father), "other"}}, w.logName(father), "other")
	w.line(3, "decision", "r2", at, decision("elder-visits"))
	w.line(4, "release", "r2", at, contract.LogBody{Rows: 1, Subjects: []string{"other"}}, "other")
	w.exec("INSERT INTO audit.subject_lists VALUES ('sha256:list', $1)", []string{w.logName("patient-7"), "x", "y"})
	w.line(5, "decision", "r3", at.Add(time.Second), decision("clinic"))
	w.line(6, "release", "r3", at.Add(time.Second), contract.LogBody{Rows: 3, SubjectList: &contract.SubjectList{Digest: "sha256:list", Count: 3}})

	var found Subject
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/lookup", map[string]any{"source": "resident-id", "key": "410702199001010011", "reason": "GuardianRequest"}, 200, &found)
	if found.Subject != son || len(found.Wards) != 1 || found.Wards[father] != "Authorised" {
		t.Fatalf("lookup: %+v", found)
	}
	var got Access
	w.call("committee/PrivacyOfficer", http.MethodGet, "/v1/subjects/"+father+"/access?reason=GuardianRequest", nil, 200, &got)
	var reads []string
	acts := 0
	for _, r := range got.Reads {
		if r.Act != "" {
			acts++
			continue
		}
		reads = append(reads, fmt.Sprint(r.At.Format(time.RFC3339Nano), r.Organization, r.Name, r.Role, r.Purpose, r.Dataset, r.Agreement, r.Fields, r.Masked, r.Request, r.Log))
	}
	line := func(at time.Time, dataset, request, log string) string {
		return fmt.Sprint(at.Format(time.RFC3339Nano), "health", "卫健委", "Doctor", "HomeVisits", dataset, "a4", []string{"name", "phone"}, map[string]string{"phone": "KeepLast"}, request, log)
	}
	if want := []string{line(at.Add(time.Second), "clinic", "r3", "gateway-0/6"), line(at, "elder-visits", "r1", "gateway-0/2")}; !slices.Equal(reads, want) {
		t.Errorf("reads:\n%s\nwant:\n%s", strings.Join(reads, "\n"), strings.Join(want, "\n"))
	}
	if acts != 2 { // registered, and added to
		t.Errorf("%d acts of the vault, want 2: %+v", acts, got.Reads)
	}
	if !got.Through["gateway-0"].Equal(at.Add(time.Second)) || len(got.Through) != 1 {
		t.Errorf("through %v", got.Through)
	}
	w.verifyChain()
}

// TestOldFormsDoNotUndoAWithdrawal: a clerk who still has the form, or one of before, writes it down again. What the person gives anew counts.
func TestOldFormsDoNotUndoAWithdrawal(t *testing.T) {
	w := newWorld(t)
	const clerk = "committee/ConsentRecorder"
	who := w.person("elder")
	give := func(given time.Time, status int, scope string, purposes ...string) (c Consent) {
		t.Helper()
		in := map[string]any{"subject": who, "scope": scope, "purposes": purposes, "evidence": "form 12"}
		if !given.IsZero() {
			in["givenAt"] = given
		}
		w.call(clerk, http.MethodPost, "/v1/consents", in, status, &c)
		return c
	}
	day := time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
	c := give(day, 200, "care", "HomeVisits", "PensionService")
	w.call(clerk, http.MethodPost, "/v1/consents/"+c.ID.String()+"/withdraw", map[string]string{"evidence": "letter 3"}, 200, nil)
	give(day.Add(time.Second), 409, "care", "HomeVisits")
	give(day.Add(-time.Hour), 409, "care", "PensionService", "Billing")
	give(day.Add(time.Second), 200, "care", "Billing")
	give(day.Add(time.Second), 200, "other", "HomeVisits")
	give(time.Time{}, 200, "care", "HomeVisits")
}

// A withdrawal ends what was agreed to, on however many forms; other scopes, other purposes and other people are left alone. Where only one
// entry is meant, only it ends.
func TestAWithdrawalEndsEveryFormOfIt(t *testing.T) {
	w := newWorld(t)
	const clerk = "committee/ConsentRecorder"
	elder, neighbour := w.person("elder"), w.person("neighbour")
	give := func(hours int, subject, scope string, purposes ...string) string {
		t.Helper()
		var c Consent
		in := map[string]any{"subject": subject, "scope": scope, "purposes": purposes, "evidence": "form"}
		if hours > 0 {
			in["givenAt"] = time.Now().Add(-time.Duration(hours) * time.Hour).UTC()
		}
		w.call(clerk, http.MethodPost, "/v1/consents", in, 200, &c)
		return c.ID.String()
	}
	first, second := give(9, elder, "care", "HomeVisits"), give(8, elder, "care", "HomeVisits", "PensionService")
	give(7, elder, "care", "PensionService")
	give(6, elder, "meals", "HomeVisits")
	give(5, neighbour, "care", "HomeVisits")
	standing := func(subject string) (n int) {
		var list struct{ Consents []Consent }
		w.call(clerk, http.MethodGet, "/v1/consents?subject="+subject, nil, 200, &list)
		for _, c := range list.Consents {
			if c.WithdrawnAt == nil {
				n++
			}
		}
		return n
	}
	withdraw := func(id string, only bool) (out struct {
		Consent
		Along []Consent
	}) {
		w.call(clerk, http.MethodPost, "/v1/consents/"+id+"/withdraw", map[string]any{"evidence": "letter", "only": only}, 200, &out)
		return out
	}
	out := withdraw(first, false)
	if out.ID.String() != first || out.WithdrawnAt == nil || len(out.Along) != 1 || out.Along[0].ID.String() != second || out.Along[0].WithdrawalEvidence != "letter" {
		t.Errorf("withdrawn: %+v", out)
	}
	if e, n := standing(elder), standing(neighbour); e != 2 || n != 1 {
		t.Errorf("%d of the person's and %d of the neighbour's stand", e, n)
	}
	give(0, elder, "care", "PensionService") // a double of the third
	var list struct{ Consents []Consent }
	w.call(clerk, http.MethodGet, "/v1/consents?subject="+elder, nil, 200, &list)
	if out := withdraw(list.Consents[0].ID.String(), true); len(out.Along) != 0 || standing(elder) != 2 {
		t.Errorf("only one was meant: %+v, %d stand", out, standing(elder))
	}
}

// An old form that is written down while the withdrawal is not yet committed waits for it, and is refused.
func TestAnOldFormWaitsForAWithdrawal(t *testing.T) {
	w := newWorld(t)
	const clerk = "committee/ConsentRecorder"
	elder := w.person("elder")
	given := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	var c Consent
	w.call(clerk, http.MethodPost, "/v1/consents", map[string]any{"subject": elder, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "form", "givenAt": given}, 200, &c)
	conn, err := pgx.Connect(t.Context(), postgres.DSN(w.owner))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := oneAtATime(t.Context(), tx, elder, "care"); err != nil {
		t.Fatal(err)
	}
	if _, err := endConsents(t.Context(), tx, c, false, "letter"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		w.call(clerk, http.MethodPost, "/v1/consents", map[string]any{"subject": elder, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "old form", "givenAt": given.Add(-time.Hour)}, 409, nil)
	}()
	for waiting := 0; waiting == 0; {
		select {
		case <-answered:
			t.Fatal("the old form did not wait for the withdrawal")
		default:
		}
		if err := w.sql("", "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", nil, &waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-answered
}

// A body that is too long is told so.
func TestABodyThatIsTooLong(t *testing.T) {
	w := newWorld(t)
	w.call("committee/ConsentRecorder", http.MethodPost, "/v1/consents", map[string]string{"evidence": strings.Repeat("x", contract.MaxVaultBodyBytes)}, 413, nil)
}

// TestConsentIsInForceWithTheNextRead asks as the gateway asks, right after each act.
func TestConsentIsInForceWithTheNextRead(t *testing.T) {
	w := newWorld(t)
	child, mother := w.person("child"), w.person("mother")
	in := map[string]any{"subject": child, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "form 12", "guardian": mother}
	w.call("committee/ConsentRecorder", http.MethodPost, "/v1/consents", in, 422, nil) // not the guardian yet
	w.person("child", Guardian{Subject: mother, Kind: "Parent"})
	covers := func(purpose string) (is bool) {
		if err := w.sql(contract.DatabaseUserGateway, `SELECT EXISTS (SELECT FROM grid.consents c WHERE c.subject = $1 AND c.scope = 'care' AND $2 = ANY(c.purposes) AND c.given_at <= now()
			AND (c.withdrawn_at IS NULL OR c.withdrawn_at > now()) AND (c.expires_at IS NULL OR c.expires_at > now()))`, []any{child, purpose}, &is); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if covers("HomeVisits") {
		t.Fatal("covered before it was given")
	}
	var c Consent
	w.call("committee/ConsentRecorder", http.MethodPost, "/v1/consents", in, 200, &c)
	if !covers("HomeVisits") || covers("PensionService") || c.GivenTo != "committee" || c.RecordedBy != "p-1" {
		t.Errorf("given: %+v", c)
	}
	w.call("east/ConsentRecorder", http.MethodPost, "/v1/consents/"+c.ID.String()+"/withdraw", map[string]string{"evidence": "x"}, 404, nil)
	w.call("town/ConsentRecorder", http.MethodPost, "/v1/consents/"+c.ID.String()+"/withdraw", map[string]string{"evidence": "letter 3"}, 200, &c)
	if covers("HomeVisits") || c.WithdrawnAt == nil || c.WithdrawalEvidence != "letter 3" {
		t.Errorf("withdrawn: %+v", c)
	}
	at := *c.WithdrawnAt
	w.call("town/ConsentRecorder", http.MethodPost, "/v1/consents/"+c.ID.String()+"/withdraw", map[string]string{"evidence": "again"}, 200, &c)
	if !c.WithdrawnAt.Equal(at) || c.WithdrawalEvidence != "letter 3" {
		t.Errorf("a second withdrawal changed the first: %+v", c)
	}
	var list struct{ Consents []Consent }
	w.call("committee/ConsentRecorder", http.MethodGet, "/v1/consents?subject="+child, nil, 200, &list)
	if len(list.Consents) != 1 || list.Consents[0].ID != c.ID {
		t.Errorf("list: %+v", list)
	}
	w.verifyChain()
}

// TestErase: nothing leads to the person any more, in the tables or by the API; who holds more is asked; the receipt is signed and says so;
// and the chains verify as before.
func TestErase(t *testing.T) {
	w := newWorld(t)
	w.exec("CREATE TABLE datasets.households (id bigint, subject text); ALTER TABLE datasets.households OWNER TO " + w.owner.User)
	mother, child := w.person("mother"), ""
	child = w.person("child", Guardian{Subject: mother, Kind: "Parent"})
	w.call("town/PrivacyOfficer", http.MethodPost, "/v1/subjects", map[string]any{"subject": mother, "identities": []Identity{{"resident-id", "mother"}, {"clinic", "patient-7"}}}, 200, nil)
	w.exec("INSERT INTO datasets.households VALUES (1, $1), (2, $2), (3, $1)", mother, child)
	w.call("committee/ConsentRecorder", http.MethodPost, "/v1/consents", map[string]any{"subject": mother, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "f"}, 200, nil)
	w.line(1, "decision", "r1", time.Now(), contract.LogBody{})
	w.line(2, "release", "r1", time.Now(), contract.LogBody{Rows: 1}, w.logName(mother))
	lines := func() (text string) {
		if err := w.sql("", "SELECT string_agg(header || coalesce(encode(body, 'hex'), ''), ';' ORDER BY instance, seq) FROM audit.lines WHERE instance = 'gateway-0'", nil, &text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := lines()

	w.call("property/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+mother+"/erase", map[string]string{"reason": "SubjectRequest"}, 403, nil)
	w.call("east/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+mother+"/erase", map[string]string{"reason": "SubjectRequest"}, 404, nil)
	var out struct {
		Receipt Erasure
		JWS     string
	}
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+mother+"/erase", map[string]string{"reason": "SubjectRequest"}, 200, &out)
	e := w.receipt(out.JWS)
	if fmt.Sprint(e) != fmt.Sprint(out.Receipt) || e.Subject != mother || e.Organization != "committee" {
		t.Errorf("receipt %+v, signed %+v", out.Receipt, e)
	}
	if e.Destroyed.Keys != 1 || e.Destroyed.Identities != 2 || e.Destroyed.Relations != 1 || e.ConsentsWithdrawn != 1 || len(e.Destroyed.Rows) != 1 || e.Destroyed.Rows["households"] != 2 {
		t.Errorf("destroyed %+v", e)
	}
	if len(e.Asked) != 2 || e.Asked[0].Dataset != "clinic" || e.Asked[0].Organization != "health" || e.Asked[1].Organization != "civil-affairs" {
		t.Errorf("asked %+v", e.Asked)
	}
	for what, query := range map[string]string{
		"keys": "SELECT count(*) FROM vault.keys WHERE subject = $1", "identities": "SELECT count(*) FROM vault.identities WHERE subject = $1",
		"relations": "SELECT count(*) FROM vault.relations WHERE $1 IN (subject, guardian)", "rows": "SELECT count(*) FROM datasets.households WHERE subject = $1",
		"consents": "SELECT count(*) FROM grid.consents WHERE subject = $1 AND withdrawn_at IS NULL",
	} {
		var n int
		if err := w.sql("", query, []any{mother}, &n); err != nil || n != 0 {
			t.Errorf("%s: %d left, %v", what, n, err)
		}
	}
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/lookup", map[string]any{"source": "resident-id", "key": "mother", "reason": "SubjectRequest"}, 404, nil)
	w.call("committee/PrivacyOfficer", http.MethodGet, "/v1/subjects/"+mother+"/access?reason=SubjectRequest", nil, 404, nil)
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+mother+"/erase", map[string]string{"reason": "SubjectRequest"}, 404, nil)
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects", map[string]any{"subject": mother, "division": jinghu, "identities": []Identity{{"resident-id", "mother"}}}, 409, nil)

	// The clinic learns by the task whom it knows the person by, and nobody else does.
	var tasks struct{ Tasks []Task }
	w.call("health/DataSteward", http.MethodGet, "/v1/tasks", nil, 200, &tasks)
	if len(tasks.Tasks) != 1 || tasks.Tasks[0].Text != "patient-7\n" || tasks.Tasks[0].ID != e.Asked[0].Task {
		t.Fatalf("tasks %+v", tasks)
	}
	w.call("civil-affairs/DataSteward", http.MethodPost, "/v1/tasks/"+tasks.Tasks[0].ID.String()+"/done", map[string]string{"outcome": "Done"}, 404, nil)
	w.call("health/DataSteward", http.MethodPost, "/v1/tasks/"+tasks.Tasks[0].ID.String()+"/done", map[string]string{"outcome": "Done"}, 204, nil)
	var left int
	if err := w.sql("", "SELECT count(*) FROM vault.tasks WHERE id = $1 AND sealed IS NOT NULL", []any{tasks.Tasks[0].ID}, &left); err != nil || left != 0 {
		t.Errorf("the key of the person stays with a task that is done: %v", err)
	}
	if lines() != before {
		t.Error("an erasure changed lines of a gateway")
	}
	w.verifyChain()
}

// TestCorrectIsATaskOfTheOneWriter: it is sealed in the table, the writer alone reads it, and an organisation with a webhook is told.
func TestCorrectIsATaskOfTheOneWriter(t *testing.T) {
	w := newWorld(t)
	subject := w.person("n")
	d := w.bundle.Access.Datasets["elder-visits"]
	d.Writer = "town"
	w.bundle.Access.Datasets["elder-visits"] = d
	ask := map[string]any{"dataset": "elder-visits", "fields": []string{"phone"}, "statement": "the number is 13800000001", "reason": "SubjectRequest"}
	var asked struct {
		Asked
		JWS string
	}
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+subject+"/correct", ask, 200, &asked)
	var receipt Answer
	w.signed(asked.JWS, contract.AnswerType, &receipt)
	want := Answer{Format: contract.AnswerFormat, ID: receipt.ID, Platform: "dizuo-henan/henan", Subject: subject, At: receipt.At, Organization: "committee", Person: receipt.Person, Reason: "SubjectRequest",
		Correction: &Correction{Asked: Asked{Dataset: "elder-visits", Organization: "town", Task: asked.Task}, Fields: []string{"phone"}}}
	if diff := cmp.Diff(want, receipt); diff != "" || receipt.Person == "" || receipt.ID == uuid.Nil || time.Since(receipt.At) > time.Hour {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
	ask["fields"] = []string{"salary"}
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+subject+"/correct", ask, 422, nil)
	var plain bool
	var payload []byte
	if err := w.sql("", "SELECT position('13800000001'::bytea IN sealed) > 0 FROM vault.tasks", nil, &plain); err != nil || plain {
		t.Errorf("the statement lies open: %v", err)
	}
	if err := w.sql("", "SELECT payload FROM grid.dispatch_outbox WHERE organization = 'town' AND case_id IS NULL", nil, &payload); err != nil || !strings.Contains(string(payload), asked.Task.String()) || strings.Contains(string(payload), "13800000001") {
		t.Errorf("message %s, %v", payload, err)
	}
	var tasks struct{ Tasks []Task }
	w.call("civil-affairs/DataSteward", http.MethodGet, "/v1/tasks", nil, 200, &tasks)
	if len(tasks.Tasks) != 0 {
		t.Errorf("another organisation reads %+v", tasks)
	}
	w.call("town/DataSteward", http.MethodGet, "/v1/tasks", nil, 200, &tasks)
	if len(tasks.Tasks) != 1 || tasks.Tasks[0].Text != "the number is 13800000001" {
		t.Errorf("tasks %+v", tasks)
	}
	w.verifyChain()
}

// TestWhoMayAsk holds who may do what against a table written out by hand.
func TestWhoMayAsk(t *testing.T) {
	w := newWorld(t)
	subject := w.person("n")
	consent := map[string]any{"subject": subject, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "f"}
	lookup := map[string]any{"source": "resident-id", "key": "n", "reason": "Supervision"}
	for _, c := range []struct {
		as, method, path string
		in               any
		want             int
	}{
		{"committee/PrivacyOfficer", "POST", "/v1/subjects/lookup", lookup, 200},
		{"town/PrivacyOfficer", "POST", "/v1/subjects/lookup", lookup, 200},
		{"office/PrivacyOfficer", "POST", "/v1/subjects/lookup", lookup, 200},
		{"east/PrivacyOfficer", "POST", "/v1/subjects/lookup", lookup, 404},
		{"committee/ConsentRecorder", "POST", "/v1/subjects/lookup", lookup, 403},
		{"committee/GridWorker", "POST", "/v1/subjects/lookup", lookup, 403},
		{"property/PrivacyOfficer", "POST", "/v1/subjects/lookup", lookup, 403},
		{"health/PrivacyOfficer", "POST", "/v1/subjects/lookup", lookup, 403},
		{"property/ConsentRecorder", "POST", "/v1/consents", consent, 403},
		{"committee/GridWorker", "POST", "/v1/consents", consent, 403},
		{"east/ConsentRecorder", "POST", "/v1/consents", consent, 404},
		{"committee/ConsentRecorder", "POST", "/v1/consents", consent, 200},
		{"east/PrivacyOfficer", "GET", "/v1/consents?subject=" + subject, nil, 404},
		{"east/PrivacyOfficer", "GET", "/v1/subjects/" + subject + "/access?reason=Supervision", nil, 404},
		{"committee/PrivacyOfficer", "GET", "/v1/subjects/" + subject + "/access", nil, 422},
		{"committee/PrivacyOfficer", "GET", "/v1/subjects/" + subject + "/access?reason=curiosity", nil, 422},
		{"committee/Auditor", "GET", "/v1/lines", nil, 403},
		{"office/PrivacyOfficer", "GET", "/v1/lines", nil, 403},
		{"office/Auditor", "GET", "/v1/lines", nil, 200},
		{"east/PrivacyOfficer", "POST", "/v1/subjects", map[string]any{"division": jinghu, "identities": []Identity{{"resident-id", "m"}}}, 403},
		{"east/PrivacyOfficer", "POST", "/v1/subjects", map[string]any{"division": east, "identities": []Identity{{"resident-id", "n"}}}, 409},
	} {
		w.call(c.as, c.method, c.path, c.in, c.want, nil)
	}
	w.send(w.token("committee", "PrivacyOfficer", contract.RoleGateway), "POST", "/v1/subjects/lookup", lookup, 401, nil) // shown to the gateway, replayed here
	w.verifyChain()
}

// receipt checks the receipt of an erasure as somebody would who trusts the platform's CA.
func (w *world) receipt(jws string) (e Erasure) {
	w.t.Helper()
	w.signed(jws, contract.ErasureType, &e)
	return e
}

// signed checks a receipt of a kind and reads it.
func (w *world) signed(jws, kind string, into any) {
	w.t.Helper()
	parsed, err := jose.ParseSignedCompact(jws, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		w.t.Fatal(err)
	}
	chains, err := parsed.Signatures[0].Protected.Certificates(x509.VerifyOptions{Roots: w.ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := parsed.Verify(chains[0][0].PublicKey)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; got != kind {
		w.t.Errorf("receipt of kind %v, want %s", got, kind)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		w.t.Fatal(err)
	}
}

var hashMember = regexp.MustCompile(`,"hash":"[0-9a-f]{64}"`)

// verifyChain reads the vault's chain from the store and checks it byte by byte, without the code that wrote it.
func (w *world) verifyChain() {
	w.t.Helper()
	previous, n := "", 0
	for seq := 1; ; seq++ {
		var header string
		var body []byte
		if err := w.sql("", "SELECT header, body FROM audit.lines WHERE instance = 'vault' AND seq = $1", []any{seq}, &header, &body); err != nil {
			break
		}
		n++
		var m map[string]any
		if err := json.Unmarshal([]byte(header), &m); err != nil {
			w.t.Fatal(err)
		}
		sum, of := sha256.Sum256([]byte(hashMember.ReplaceAllString(header, ""))), sha256.Sum256(body)
		if m["hash"] != hex.EncodeToString(sum[:]) || m["previous"] != previous || m["body"] != "sha256:"+hex.EncodeToString(of[:]) || m["seq"] != float64(seq) {
			w.t.Fatalf("line %d breaks the chain: %s", seq, header)
		}
		previous = m["hash"].(string)
	}
	var all int
	if err := w.sql("", "SELECT count(*) FROM audit.lines WHERE instance = 'vault'", nil, &all); err != nil || all != n || n == 0 {
		w.t.Fatalf("%d lines, %d in the chain, %v", all, n, err)
	}
}

// TestRetention: consents go three years after they ended, tasks after they were done, bodies of the log by the platform's time and never
// before 180 days; the header stays, and the chain with it.
func TestRetention(t *testing.T) {
	w := newWorld(t)
	subject := w.person("n")
	w.exec(`INSERT INTO grid.consents (subject, scope, given_at, withdrawn_at, expires_at) VALUES ($1, 'gone', now() - interval '9 years', now() - interval '1096 days', NULL),
		($1, 'expired', now() - interval '9 years', NULL, now() - interval '1096 days'), ($1, 'late', now() - interval '9 years', now() - interval '1094 days', NULL), ($1, 'stands', now() - interval '9 years', NULL, NULL)`, subject)
	for seq, days := range []int{1, 179, 181, 400} {
		w.line(seq+1, "release", "r", time.Now().AddDate(0, 0, -days), contract.LogBody{Rows: 1}, "s")
	}
	for _, keep := range []int64{0, 3600} { // a bundle that does not say, and less than the law asks
		if _, err := w.s.forget(t.Context(), contract.Retention{DecisionLogSeconds: keep}); err != nil {
			t.Fatal(err)
		}
	}
	var scopes string
	var erased, links int
	if err := w.sql("", "SELECT string_agg(scope, ' ' ORDER BY scope) FROM grid.consents", nil, &scopes); err != nil || scopes != "late stands" {
		t.Errorf("consents %q, %v", scopes, err)
	}
	if err := w.sql("", "SELECT count(*) FROM audit.lines WHERE instance = 'gateway-0' AND body IS NULL AND header <> ''", nil, &erased); err != nil || erased != 2 {
		t.Errorf("%d bodies erased, want 2: %v", erased, err)
	}
	if err := w.sql("", "SELECT count(*) FROM audit.line_subjects WHERE instance = 'gateway-0'", nil, &links); err != nil || links != 2 {
		t.Errorf("%d links, want 2: %v", links, err)
	}
	w.verifyChain()
}

// TestNobodyGoesThroughAListOfNumbers: an organisation's lookups are bounded, whatever its people find, and those of another go on.
func TestNobodyGoesThroughAListOfNumbers(t *testing.T) {
	w := newWorld(t)
	at := time.Now()
	w.s.now = func() time.Time { return at }
	w.person("n")
	try := func(as string, want int) {
		w.call(as, http.MethodPost, "/v1/subjects/lookup", map[string]any{"source": "resident-id", "key": "4107021949", "reason": "SubjectRequest"}, want, nil)
	}
	for range lookupsAtOnce - 1 { // one was taken to register
		try("committee/PrivacyOfficer", 404)
	}
	try("committee/PrivacyOfficer", 429)
	try("town/PrivacyOfficer", 404)
	at = at.Add(time.Second)
	try("committee/PrivacyOfficer", 404)
}
