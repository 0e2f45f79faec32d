package gateway

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// brokenVault answers until it is away.
type brokenVault struct {
	stubVault
	answers int
}

func (v *brokenVault) consenting(ctx context.Context, dataset string, keys, scopes []string, purpose string) (map[string]string, error) {
	if v.answers--; v.answers < 0 {
		return nil, errVault
	}
	return v.stubVault.consenting(ctx, dataset, keys, scopes, purpose)
}

// Counts in a provider's own database are of those who consent, and one who has two keys counts as one person.
func TestForeignAggregate(t *testing.T) {
	grant := func(smallCell int, scope string) func(*contract.Grant) {
		return func(g *contract.Grant) {
			g.Fields["village"], g.ConsentScope = contract.Mask{}, scope
			g.Aggregates = &contract.Aggregates{Dimensions: []string{"village"}, SmallCell: smallCell}
			g.Generation++
		}
	}
	w := newWorld(t, foreign, func(w *world) {
		w.bundle.Access.Datasets["elders"].Fields["village"] = contract.DatasetField{Type: "String", Column: "village", Personal: "None"}
	})
	count := func() string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.http.URL+"/v1/datasets/elders/aggregate?purpose=HomeVisits&by=village", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Dizuo-Person", w.token("town", "GridWorker"))
		r, err := send(w.client("town"), req)
		if err != nil {
			t.Fatal(err)
		}
		if r.status != 200 {
			return r.problem.Reasons[0]
		}
		var n int64 = -1
		_, _ = fmt.Sscanf(r.raw, `{"groups":[{"by":{"village":"jinghu"},"count":%d`, &n)
		return fmt.Sprint(n)
	}
	vault := stubVault{}
	for i := 3; i <= 100; i += 3 {
		vault[fmt.Sprintf("k%d", i)] = fmt.Sprintf("subject-%d", i)
	}
	vault["k6"] = "subject-3"
	for _, c := range []struct {
		what      string
		smallCell int
		scope     string
		vault     subjectMap
		want      string
	}{
		{"without consent", 5, "", nil, "90"},
		{"no vault", 5, "care", nil, reasonConsentUnavailable},
		{"vault away", 5, "care", &brokenVault{}, reasonConsentUnavailable},
		{"30 records of 29 persons", 29, "care", vault, "30"},
		{"29 persons are fewer than 30", 30, "care", vault, "-1"},
		{"nobody consents", 5, "care", stubVault{}, "-1"},
	} {
		w.server.subjects = c.vault
		w.regrant(grant(c.smallCell, c.scope))
		if got := count(); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// Neither the count nor the presence of a next page tells of rows that are left out, and a vault that goes away ends what is read.
func TestForeignPagesTellNothing(t *testing.T) {
	w := newWorld(t, foreign)
	w.regrant(func(g *contract.Grant) { g.ConsentScope = "care" })
	read := func(query string) reply {
		return w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&"+query)
	}
	w.server.subjects = stubVault{"k1": "a", "k2": "b"}
	if r := read("limit=2"); len(r.Records) != 2 || r.Next != "" {
		t.Errorf("all that consent fit: %d records, next %t: %.200s", len(r.Records), r.Next != "", r.raw)
	}
	if r := read("limit=1"); len(r.Records) != 1 || r.Next == "" {
		t.Errorf("one more consents: %d records, next %t", len(r.Records), r.Next != "")
	} else if last := read("limit=1&cursor=" + r.Next); len(last.Records) != 1 || last.Records[0]["phone"] == r.Records[0]["phone"] || last.Next != "" {
		t.Errorf("the last: %.200s after %.200s", last.raw, r.raw)
	}
	w.server.subjects = &brokenVault{stubVault{"k1": "a"}, 1}
	if r := read("limit=50"); r.status != 503 || r.problem.Reasons[0] != reasonConsentUnavailable || len(r.Records) > 0 {
		t.Errorf("the vault went away in the middle of a page: %d %.200s", r.status, r.raw)
	}
	// What needs no consent is read, and logged under the provider's key.
	w.regrant(func(g *contract.Grant) { g.ConsentScope = "" })
	if r := read("limit=500"); r.status != 200 || len(r.Records) < 5 || r.Next != "" {
		t.Errorf("without consent: %d, %d records, next %t: %.200s", r.status, len(r.Records), r.Next != "", r.raw)
	}
	w.close()
	var named bool
	for _, r := range w.records() {
		for _, s := range r.Subjects {
			named = named || s == pseudonym(w.server.keys.subject, contract.ForeignSubject("elders", "k3"))
		}
	}
	if !named {
		t.Error("the log does not name the provider's key")
	}
}

// A server that is not what it says to be writes figures that would take all memory.
func TestFiguresAreNumbers(t *testing.T) {
	for _, bad := range []string{"1e999999999", "1/3", "0x1p-2", "NaN", "Infinity", ""} {
		one := "1"
		if readSum(&one, &bad, &one, 1) != nil || readSum(&one, &one, &bad, 1) != nil {
			t.Errorf("%q is taken for a figure", bad)
		}
	}
	if got, sum := readSum(new(string), nil, nil, 1), "12.50"; got != nil {
		t.Error(got)
	} else if n := "7"; readSum(&n, &sum, &sum, 1) == nil {
		t.Error("12.50 is no figure")
	}
}
