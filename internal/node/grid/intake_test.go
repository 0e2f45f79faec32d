package grid

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// reportAs makes a report and gives what it was answered.
func (w *world) reportAs(token, key string, body NewCase) (CaseRef, int) {
	w.t.Helper()
	var ref CaseRef
	return ref, w.call("POST", "/v1/cases", token, body, &ref, "Idempotency-Key", key)
}

// lamp is a report that anybody may make.
func lamp() NewCase {
	return NewCase{Community: "jinghu", Grid: "g1", Class: "lamp", Severity: contract.SeverityLow, Title: "路灯不亮", Source: SourceResident}
}

func TestChannelsOfReports(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	want := map[Role]string{RoleResident: "App Snap", RoleHotline: "Hotline", RoleGridWorker: "App Counter Phone Snap", RoleCommunityWorker: "App Counter Phone Snap", RoleDispatcher: "App Counter Phone Snap", RoleAuditor: "", RoleTechnician: "", "Mayor": ""}
	for role, channels := range want {
		token := w.token("committee", "r-1", role)
		for _, channel := range []string{"App", "Counter", "Hotline", "Phone", "Snap"} {
			body, status := lamp(), 422
			body.Channel = channel
			switch {
			case channels == "":
				status = 403
			case strings.Contains(channels, channel):
				status = 201
			}
			ref, got := w.reportAs(token, fmt.Sprintf("key-%s-%s", role, channel), body)
			if got != status {
				t.Errorf("%s by %s: %d, want %d", role, channel, got, status)
			}
			if got == 201 && (len(ref.Receipt) != 26 || number(t, w.pool, "SELECT count(*) FROM grid.cases WHERE id = $1 AND channel = $2", ref.ID, channel) != 1) {
				t.Errorf("%s by %s: %+v, or another channel", role, channel, ref)
			}
		}
	}
	if _, got := w.reportAs(w.token("committee", "r-1", RoleResident), "key-none", NewCase{Community: "jinghu", Class: "x", Severity: "Low", Title: "t", Source: SourceResident, Channel: "Pigeon"}); got != 422 {
		t.Errorf("a channel that is none: %d, want 422", got)
	}
}

// TestReceiptTellsTheStateAndNothingElse: whoever holds the receipt hears the state of that case, whatever they are; others hear the same as of a receipt that
// never was; the receipt is kept as a digest only.
func TestReceiptTellsTheStateAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	resident, stranger := w.token("committee", "r-1", RoleResident), w.token("vendor", "v-1", "Mayor")
	ref, got := w.reportAs(resident, "key-0001", lamp())
	other, _ := w.reportAs(w.token("committee", "r-2", RoleResident), "key-0002", lamp())
	if got != 201 || ref.Receipt == "" || ref.Receipt == other.Receipt {
		t.Fatalf("%d %+v %+v", got, ref, other)
	}
	state := func(token, receipt string) (string, int) {
		var raw json.RawMessage
		status := w.call("GET", "/v1/reports/"+receipt, token, nil, &raw)
		return string(raw), status
	}
	const dispatched = `{"state":"Dispatched","stateName":"派遣"}`
	written := strings.ToLower(ref.Receipt[:5] + "-" + ref.Receipt[5:])
	for _, receipt := range []string{ref.Receipt, written} {
		for _, token := range []string{resident, stranger} {
			if raw, status := state(token, receipt); status != 200 || strings.TrimSpace(raw) != dispatched {
				t.Errorf("receipt %s: %d %s, want %s", receipt, status, raw, dispatched)
			}
		}
	}
	for _, receipt := range []string{"A", strings.Repeat("A", 26), ref.ID.String(), ref.Number, ref.Receipt[:25], fmt.Sprintf("%x", sha256.Sum256([]byte(ref.Receipt)))} {
		if raw, status := state(resident, receipt); status != 404 {
			t.Errorf("receipt %q: %d %s, want 404", receipt, status, raw)
		}
	}
	if got := w.call("GET", "/v1/reports/"+ref.Receipt, "", nil, nil); got != 401 {
		t.Errorf("without a token: %d, want 401", got)
	}
	if text := everythingKept(t, w); strings.Contains(text, ref.Receipt) || strings.Contains(text, strings.ToLower(ref.Receipt)) {
		t.Error("a table holds the receipt itself")
	}
	// The same request again: the same case, and a receipt that the first answer, which was lost, does not share.
	again, got := w.reportAs(resident, "key-0001", lamp())
	if got != 201 || again.ID != ref.ID || again.Receipt == ref.Receipt {
		t.Errorf("again: %d %+v", got, again)
	}
	late := w.token("committee", "r-3", RoleResident)
	if _, status := state(late, ref.Receipt); status != 404 {
		t.Errorf("the former receipt: %d, want 404", status)
	}
	if _, status := state(late, again.Receipt); status != 200 {
		t.Errorf("the receipt of now: %d, want 200", status)
	}
}

// TestReceiptsAreTriedSlowly counts with a clock of its own: by person, and by organisation.
func TestReceiptsAreTriedSlowly(t *testing.T) {
	var p receiptPace
	now := time.Now()
	tries := func(person string, n int) (taken int) {
		for range n {
			if p.take("o", person, now) == nil {
				taken++
			}
		}
		return taken
	}
	if got := tries("a", 30); got != receiptsEachAtOnce {
		t.Errorf("one person at once: %d tries, want %d", got, receiptsEachAtOnce)
	}
	now = now.Add(3 * time.Second)
	if got := tries("a", 30); got != 3 {
		t.Errorf("three seconds later: %d tries, want 3", got)
	}
	all := 0
	for i := range 200 {
		all += tries(fmt.Sprint(i), 1)
	}
	if all > receiptsOfOrgAtOnce {
		t.Errorf("one organisation at once: %d tries, want %d at most", all, receiptsOfOrgAtOnce)
	}
	for i := range receiptPeopleAtMost + 10 {
		_ = p.take(fmt.Sprint("o", i%50), fmt.Sprint(i), now)
	}
	if len(p.people) > receiptPeopleAtMost {
		t.Errorf("%d people are remembered, want %d at most", len(p.people), receiptPeopleAtMost)
	}
}

func TestTooManyReceiptsAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now() // stands still, so that no try is given back while the test is slow
	w := newPeopleWorldWith(t, func(*intake.Bundle) {}, func(s *service) { s.api.now = func() time.Time { return now } })
	token, last := w.token("committee", "r-1", RoleResident), 0
	for range 2 * receiptsEachAtOnce {
		last = w.call("GET", "/v1/reports/AAAA", token, nil, nil)
	}
	if last != 429 {
		t.Errorf("the last of many: %d, want 429", last)
	}
	ref, _ := w.reportAs(token, "key-0001", lamp())
	if got := w.call("POST", "/v1/cases/"+ref.ID.String()+"/ratings", token, Rating{Score: 5, Receipt: "AAAA"}, nil); got != 429 {
		t.Errorf("receipts tried by ratings: %d, want 429", got)
	}
}

// TestContactIsKeptApart: who was called to the case reads it, which is written down; it is in no other answer, event, log, report or table, nor can its
// digest be guessed from what is kept; and it is erased.
func TestContactIsKeptApart(t *testing.T) {
	t.Parallel()
	const name, phone = "孙合成", "13800007733" // synthetic
	h := &heard{}
	w := newPeopleWorldWith(t, func(*intake.Bundle) {}, h.listen)
	body := lamp()
	body.Channel, body.Contact = "Snap", &Contact{Name: name, Phone: phone}
	resident, boss := w.token("committee", "r-1", RoleResident), w.token("committee", "p-9", RoleDispatcher)
	ref, got := w.reportAs(resident, "key-0001", body)
	if got != 201 {
		t.Fatal(got)
	}
	stays := body
	stays.Contact = &Contact{Name: name, Phone: "13800007744"}
	if again, got := w.reportAs(resident, "key-0001", stays); got != 201 || again.ID != ref.ID {
		t.Errorf("the key speaks of the contact: %d", got)
	}
	path := "/v1/cases/" + ref.ID.String()
	for _, c := range []struct {
		org        string
		role       Role
		get, erase int
	}{
		{"committee", RoleResident, 404, 404}, {"committee", RoleAuditor, 403, 403}, {"property", RoleDispatcher, 403, 403}, {"fire-luoyang", RoleDispatcher, 404, 404},
		{"vendor", RoleDispatcher, 404, 404}, {"committee", RoleGridWorker, 404, 404}, {"committee", RoleHotline, 404, 404},
	} {
		token := w.token(c.org, "x", c.role)
		if get, erase := w.call("GET", path+"/contact", token, nil, nil), w.call("DELETE", path+"/contact", token, nil, nil); get != c.get || erase != c.erase {
			t.Errorf("%s %s: %d %d, want %d %d", c.org, c.role, get, erase, c.get, c.erase)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.people_reads"); n != 0 {
		t.Errorf("%d reads are written down of those refused", n)
	}
	var contact Contact
	if got := w.call("GET", path+"/contact", boss, nil, &contact); got != 200 || contact != (Contact{name, phone}) {
		t.Errorf("who was called: %d %+v", got, contact)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.people_reads WHERE subject = 'reporter' AND case_id = $1 AND person = 'p-9'", ref.ID); n != 1 {
		t.Errorf("%d reads are written down, want 1", n)
	}
	var answers bytes.Buffer
	for _, p := range []string{path, "/v1/cases", "/v1/reports/" + ref.Receipt} {
		var raw json.RawMessage
		w.call("GET", p, boss, nil, &raw)
		answers.Write(raw)
	}
	for where, text := range map[string]string{"tables": everythingKept(t, w, "grid.report_contacts"), "logs, reports, metrics or webhooks": saidToOthers(t, w, h), "other answers": answers.String()} {
		if strings.Contains(text, name) || strings.Contains(text, phone) || len(text) < 100 {
			t.Errorf("%s hold the contact, or nothing: %d bytes", where, len(text))
		}
	}
	if got := w.call("DELETE", path+"/contact", boss, nil, nil); got != 204 {
		t.Errorf("erase: %d", got)
	}
	if got := w.call("GET", path+"/contact", boss, nil, nil); got != 404 {
		t.Errorf("erased: %d, want 404", got)
	}
}

// TestContactsGoAsNotesDo: by the class of the case, when it is over for as long; that of an open case stays.
func TestContactsGoAsNotesDo(t *testing.T) {
	grid, owner := database(t)
	now := time.Now().UTC()
	ago := func(seconds int64) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	stays := map[uuid.UUID]bool{}
	for class, seconds := range map[string]int64{"": 1000, "C0": 1000, "C3": 100} {
		for _, state := range []string{"Closed", "Handling"} {
			for _, off := range []int64{1, -1} {
				id := uuid.New()
				exec1(t, owner, `INSERT INTO grid.cases (id, number, community, class, severity, title, data_class, state, source, started_at, last_signal_at, opened_at, updated_at)
					VALUES ($1, $1::uuid::text, 'c', 'x', 'Low', 't', $2, $3, 'System', $4, $4, $4, $4)`, id, class, state, ago(seconds+off))
				exec1(t, owner, "INSERT INTO grid.report_contacts (case_id, at, phone) VALUES ($1, $2, '1')", id, ago(2*seconds))
				stays[id] = off < 0 || state == "Handling"
			}
		}
	}
	pool := poolOf(t, grid)
	k := &retainer{pool: pool, log: quiet(), now: func() time.Time { return now }, profiles: noProfiles}
	if _, err := k.forget(t.Context(), contract.Retention{NoteSeconds: 1000, NoteClasses: map[string]int64{"C3": 100}}); err != nil {
		t.Fatal(err)
	}
	for id, there := range stays {
		if got := number(t, pool, "SELECT count(*) FROM grid.report_contacts WHERE case_id = $1", id) == 1; got != there {
			t.Errorf("%s: there %v, want %v", id, got, there)
		}
	}
}
