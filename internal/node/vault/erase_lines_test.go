package vault

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestErasedLines: what is 180 days old and speaks of the erased person alone goes, by receipts that name these lines and nobody; what is younger, speaks of
// others, too, or is of somebody else stays; and later goes what became old.
func TestErasedLines(t *testing.T) {
	w := newWorld(t)
	father := w.person("father")
	w.call("town/PrivacyOfficer", http.MethodPost, "/v1/subjects", map[string]any{"subject": father, "identities": []Identity{{"resident-id", "father"}, {"clinic", "patient-7"}}}, 200, nil)
	me, clinic := w.logName(father), w.logName("patient-7")
	days := func(n int) time.Time { return time.Now().AddDate(0, 0, -n) }
	filtered := contract.LogBody{Input: &contract.DecisionInput{Filter: []contract.Requirement{{}}}, Decision: &contract.Decision{}}
	urgent := contract.LogBody{Input: &contract.DecisionInput{BreakGlass: &contract.BreakGlassRequest{Reason: "Wang fell"}}, Decision: &contract.Decision{}}
	quotes := contract.LogBody{Input: &contract.DecisionInput{Purpose: `"filter":[`}, Decision: &contract.Decision{}}
	release := contract.LogBody{Rows: 1}
	seq := 0
	add := func(kind, request string, at time.Time, b contract.LogBody, subjects ...string) {
		seq++
		w.line(seq, kind, request, at, b, subjects...)
	}
	add("decision", "alone", days(200), filtered)          // 1 goes
	add("release", "alone", days(200), release, me)        // 2 goes
	add("release", "alone", days(200), release, clinic)    // 3 goes: by the clinic's key
	add("end", "alone", days(200), contract.LogBody{})     // 4 names nobody
	add("decision", "plain", days(200), quotes)            // 5 has no filter
	add("release", "plain", days(200), release, me)        // 6 goes
	add("decision", "shared", days(200), filtered)         // 7 others, too
	add("release", "shared", days(200), release, me)       // 8 goes
	add("release", "shared", days(200), release, me, "he") // 9 others, too
	add("decision", "urgent", days(190), urgent)           // 10 goes
	add("release", "urgent", days(190), release, me)       // 11 goes
	add("decision", "young", days(181), filtered)          // 12 its release is young
	add("release", "young", days(179), release, me)        // 13 young
	add("decision", "other", days(200), filtered)          // 14 somebody else
	add("release", "other", days(200), release, "he")      // 15 somebody else
	add("decision", "list", days(200), filtered)           // 16 a list of others, too
	w.exec("INSERT INTO audit.subject_lists VALUES ('sha256:list', $1)", []string{me, "x"})
	add("release", "list", days(200), contract.LogBody{SubjectList: &contract.SubjectList{Digest: "sha256:list", Count: 2}}) // 17 the same
	add("release", "list", days(200), release, me)                                                                           // 18 goes
	w.exec("INSERT INTO audit.break_glass (request, uid, reviewer, at, review_due, reason) SELECT r, 'u', 'office', now(), now(), 'Wang fell' FROM unnest(ARRAY['urgent', 'young']) r")

	gone := func() (out []int64) {
		t.Helper()
		if err := w.sql("", "SELECT coalesce(array_agg(seq ORDER BY seq), '{}') FROM audit.lines WHERE instance = 'gateway-0' AND body IS NULL", nil, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	work := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = w.s.eraseLines(t.Context(), w.bundle.Directory.Platform); err != nil {
				t.Fatal(err)
			}
		}
	}
	work()
	if len(gone()) != 0 {
		t.Fatalf("%v went, and nobody was erased", gone())
	}
	var out struct{ Receipt Erasure }
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+father+"/erase", map[string]string{"reason": "SubjectRequest"}, 200, &out)
	work()
	want := []int64{1, 2, 3, 6, 8, 10, 11, 18}
	if got := gone(); !slices.Equal(got, want) {
		t.Errorf("%v went, want %v", got, want)
	}
	var reasons, left string
	if err := w.sql("", "SELECT string_agg(request, ' ') FROM audit.break_glass WHERE reason <> ''", nil, &reasons); err != nil || reasons != "young" {
		t.Errorf("reasons of %q are left: %v", reasons, err)
	}
	if err := w.sql("", "SELECT string_agg(seq || ' ' || subject, ', ' ORDER BY seq, subject) FROM audit.line_subjects WHERE instance = 'gateway-0'", nil, &left); err != nil || left != "13 "+me+", 15 he, 9 he" && left != "9 he, 13 "+me+", 15 he" {
		t.Errorf("the index has %q: %v", left, err)
	}
	if got := w.named(out.Receipt, father); !slices.Equal(got, want) {
		t.Errorf("receipts name %v, want %v", got, want)
	}
	// What was young becomes old: time goes on by 2 days for the lines, and for the worker.
	w.exec("ALTER TABLE audit.lines DISABLE TRIGGER lines_only_erased; UPDATE audit.lines SET at = at - interval '2 days'; ALTER TABLE audit.lines ENABLE TRIGGER lines_only_erased")
	work()
	if got := gone(); !slices.Equal(got, want) {
		t.Errorf("before it is looked again: %v", got)
	}
	w.exec("UPDATE vault.erasing SET next_at = now()")
	work()
	want = append(want, 12, 13)
	slices.Sort(want)
	if got := gone(); !slices.Equal(got, want) {
		t.Errorf("later: %v went, want %v", got, want)
	}
	if got := w.named(out.Receipt, father); !slices.Equal(got, want) {
		t.Errorf("later: receipts name %v, want %v", got, want)
	}
	// Lines that a gateway ships late may come for 180 days; then it is over.
	var open int
	count := func() int {
		if err := w.sql("", "SELECT count(*) FROM vault.erasing", nil, &open); err != nil {
			t.Fatal(err)
		}
		return open
	}
	if count() != 1 {
		t.Error("it is over before lines can have come")
	}
	w.exec("UPDATE vault.erasing SET next_at = now(), at = now() - interval '181 days'")
	work()
	if count() != 0 {
		t.Error("it is never over")
	}
	w.verifyChain()
}

// named gives the lines that receipts of an erasure name, each checked as an auditor checks it.
func (w *world) named(of Erasure, subject string) (out []int64) {
	w.t.Helper()
	var all []string
	if err := w.sql(contract.DatabaseUserAuditor, "SELECT array_agg(jws) FROM audit.line_receipts", nil, &all); err != nil {
		w.t.Fatal(err)
	}
	for _, jws := range all {
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
		var c contract.ErasureClaim
		if err := json.Unmarshal(raw, &c); err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(string(raw), subject) || strings.Contains(string(raw), w.logName(subject)) {
			w.t.Errorf("a receipt of lines names the person: %s", raw)
		}
		if c.Erasure != of.ID.String() || c.Platform != of.Platform {
			w.t.Errorf("a receipt of something else: %s", raw)
		}
		for _, r := range c.Records {
			if r.Instance != "gateway-0" {
				w.t.Error(fmt.Sprint("a line of ", r.Instance))
			}
			out = append(out, r.Sequence)
		}
	}
	slices.Sort(out)
	return out
}
