package gateway

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/pki"
)

// census is an agreement on counts and sums of the table of the tests.
func census() contract.Grant {
	return contract.Grant{
		UID: "uid-census", Generation: 1, Digest: "sha256:bb",
		Fields:     map[string]contract.Mask{"community": {}, "health": {}, "level": {}, "born": {Method: maskGeneralise, To: "Year"}},
		Rows:       contract.Rows{Divisions: []string{"410702"}},
		Purposes:   []string{"Statistics"},
		Aggregates: &contract.Aggregates{Only: true, SmallCell: 10, Dimensions: []string{"community", "health"}, Measures: []string{"level"}},
	}
}

// newCensus is a world in which the fields of the census are not personal, so that systems may ask.
func newCensus(t testing.TB, change ...func(*world)) *world {
	return newWorld(t, append([]func(*world){func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		for _, name := range []string{"health", "born"} {
			f := d.Fields[name]
			f.Personal = "None"
			d.Fields[name] = f
		}
		w.exec("DELETE FROM datasets." + d.Source.Table)
		w.bundle.Access.Grants["elders"]["town"] = map[string]contract.Grant{"census": census()}
	}}, change...)...)
}

func (w *world) table() string { return "datasets." + w.bundle.Access.Datasets["elders"].Source.Table }

// people puts n people into a community, with the same health, and levels from..from+n-1.
func (w *world) people(n int, community, health string, from int) {
	w.t.Helper()
	w.exec(fmt.Sprintf(`INSERT INTO %s (id, community, subject, health, level)
		SELECT coalesce((SELECT max(id) FROM %[1]s), 0) + i, '%s', gen_random_uuid()::text, '%s', %d + i - 1 FROM generate_series(1, %d) i`,
		w.table(), community, health, from, n))
}

type aggregateReply struct {
	status  int
	problem Problem
	Aggregate
	raw string
}

func (w *world) aggregate(organization, query string) aggregateReply {
	w.t.Helper()
	resp, err := w.client(organization).Get(w.http.URL + "/v1/datasets/elders/aggregate?" + query)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	r := aggregateReply{status: resp.StatusCode, raw: string(raw)}
	var into any = &r.problem
	if r.status == http.StatusOK {
		into = &r.Aggregate
	}
	if err := json.Unmarshal(raw, into); err != nil {
		w.t.Fatalf("%d %s: %v", r.status, raw, err)
	}
	return r
}

func (r aggregateReply) lines() []string {
	out := []string{}
	for _, g := range r.Groups {
		raw, _ := json.Marshal(g)
		out = append(out, string(raw))
	}
	return out
}

func TestAggregateTellsLargeGroupsOnly(t *testing.T) {
	w := newCensus(t)
	w.people(23, jinghu, "good", 1)  // 1..23
	w.people(9, jinghu, "poor", 100) // too few
	w.people(10, old, "poor", 1)     // just enough
	w.people(40, east, "good", 1)    // of another county
	for query, want := range map[string][]string{
		"":                                  {`{"by":{},"count":30}`},
		"sum=level":                         {`{"by":{},"count":30,"sums":{"level":{"sum":250,"count":30}}}`},
		"by=community":                      {`{"by":{"community":"` + jinghu + `"},"count":20}`, `{"by":{"community":"` + old + `"},"count":10}`},
		"by=health":                         {`{"by":{"health":"good"},"count":20}`, `{"by":{"health":"poor"},"count":10}`},
		"by=community&where=health:In:poor": {`{"by":{"community":"` + old + `"},"count":10}`},
		"where=health:In:poor,good&where=community:In:" + jinghu: {`{"by":{},"count":20}`},
		"where=health:In:none": {},
	} {
		r := w.aggregate("town", "purpose=Statistics&"+query)
		if r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, r.status, r.raw)
		}
		if diff := cmp.Diff(want, r.lines()); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
		if r.SmallCell != 10 || r.Agreement != "census" || r.Request == "" {
			t.Errorf("%s: %+v", query, r.Aggregate)
		}
	}
	w.server.close()
	for _, l := range w.records() {
		if l.Kind == "release" && (len(l.Subjects) > 0 || l.UID != "uid-census") {
			t.Errorf("release %+v", l)
		}
	}
}

func TestAggregateRefusals(t *testing.T) {
	w := newCensus(t, func(w *world) {
		both := census()
		both.UID, both.Aggregates = "uid-both", nil
		w.bundle.Access.Grants["elders"]["health"] = map[string]contract.Grant{"records": both}
	})
	w.people(20, jinghu, "good", 1)
	for query, c := range map[string]struct {
		organization string
		status       int
		reasons      string
	}{
		"purpose=Statistics&by=level":               {"town", 403, "DimensionNotGranted"},
		"purpose=Statistics&sum=health":             {"town", 403, "MeasureNotGranted"},
		"purpose=Statistics&by=phone":               {"town", 403, "DimensionNotGranted,FieldNotGranted"},
		"purpose=Statistics&where=level:In:1":       {"town", 403, "DimensionNotGranted"},
		"purpose=Marketing":                         {"town", 403, "PurposeNotAllowed"},
		"purpose=Statistics":                        {"health", 403, "AggregatesNotGranted"},
		"purpose=Statistics&by=":                    {"property", 403, "NoAgreement"},
		"purpose=Statistics&where=health:NotIn:bad": {"town", 400, "InvalidFilter"},
		"purpose=Statistics&where=health":           {"town", 400, "InvalidFilter"},
	} {
		r := w.aggregate(c.organization, query)
		if r.status != c.status || strings.Join(r.problem.Reasons, ",") != c.reasons {
			t.Errorf("%s %s: %d %s, want %d %s", c.organization, query, r.status, r.raw, c.status, c.reasons)
		}
	}
	if r := w.get("town", "", "elders", "purpose=Statistics&fields=community"); r.status != 403 || r.problem.Reasons[0] != "AggregatesOnly" {
		t.Errorf("records: %d %s", r.status, r.raw)
	}
	if r := w.get("health", "", "elders", "purpose=Statistics&fields=community"); r.status != 200 {
		t.Errorf("records where they are given: %d %s", r.status, r.raw)
	}
}

// Two and three questions, and the day's end: what they differ by tells nobody.
func TestAggregateResistsDifferencing(t *testing.T) {
	w := newCensus(t, func(w *world) { // a certificate, bound by its key, for some days
		long := pki.New(t, "town").Client(t, "spiffe://town.example/system", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(96 * time.Hour) })
		w.certs["town"] = long
		w.bundle.Directory.Organizations["town"] = contract.Organization{Type: "Township", KeyDigests: []string{contract.Digest(long.Leaf.RawSubjectPublicKeyInfo)}}
	})
	w.people(20, jinghu, "good", 1)
	w.people(1, jinghu, "rare", 1)
	w.people(20, old, "good", 1)
	ask := func(query string) string {
		t.Helper()
		r := w.aggregate("town", "purpose=Statistics&sum=level&"+query)
		if r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, r.status, r.raw)
		}
		return strings.Join(r.lines(), "\n")
	}
	all, without := ask("where=community:In:"+jinghu), ask("where=health:In:good&where=community:In:"+jinghu)
	if all != without {
		t.Errorf("two questions differ by the one of health rare:\n%s\n%s", all, without)
	}
	if total, parts := ask(""), ask("by=community"); !strings.Contains(total, `"count":40`) || strings.Count(parts, `},"count":20`) != 2 {
		t.Errorf("three questions: total %s, parts %s", total, parts)
	}
	if rare := ask("where=health:In:rare"); rare != ask("where=health:In:nothing") {
		t.Errorf("a small group is told from one that is not there: %s", rare)
	}
	before := ask("by=health")
	w.people(1, jinghu, "good", 77)
	w.people(100, old, "poor", 1)
	if again := ask("by=health"); again != before {
		t.Errorf("asked again on the same day: %s, before %s", again, before)
	}
	w.exec("DELETE FROM " + w.table() + " WHERE health = 'poor'")
	w.bundle.Lease.ExpiresAt = time.Now().Add(72 * time.Hour)
	w.next()
	if again := ask("by=health"); again != before {
		t.Errorf("under a new revision with the same agreement: %s, before %s", again, before)
	}
	tomorrow := time.Now().Add(24 * time.Hour)
	w.now = func() time.Time { return tomorrow }
	if next := ask("by=health"); next != before {
		t.Errorf("one newcomer of level 77 shows on the next day: %s, before %s", next, before)
	}
	w.people(60, jinghu, "poor", 1)
	later := time.Now().Add(48 * time.Hour)
	w.now = func() time.Time { return later }
	if next := ask("by=health"); next == before {
		t.Error("the next day's table is the old one")
	}
}

func TestAggregateFollowsConsentAndRows(t *testing.T) {
	w := newCensus(t, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		d.ConsentScope = "census-" + d.Source.Table
		w.bundle.Access.Datasets["elders"] = d
		g := census()
		g.Rows.Requirements = []contract.Requirement{{Field: "health", Operator: "NotIn", Values: []string{"poor"}}}
		w.bundle.Access.Grants["elders"]["town"]["census"] = g
	})
	w.people(30, jinghu, "good", 1)
	w.people(30, jinghu, "poor", 1)
	scope := w.bundle.Access.Datasets["elders"].ConsentScope
	w.exec(`INSERT INTO grid.consents (subject, scope, purposes, given_at) SELECT subject, '` + scope + `', '{Statistics}', now() - interval '1 hour' FROM ` + w.table() + ` WHERE health = 'poor' OR level <= 15`)
	r := w.aggregate("town", "purpose=Statistics&by=health")
	if diff := cmp.Diff([]string{`{"by":{"health":"good"},"count":15}`}, r.lines()); diff != "" {
		t.Error(diff, r.raw)
	}
}

// Two communities that change places carry the same codes: the day's table is made anew all the same.
func TestAggregateFollowsCommunities(t *testing.T) {
	w := newCensus(t, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		d.Source.DivisionColumn, d.Source.CommunityColumn = "", "community"
		w.bundle.Access.Datasets["elders"] = d
		w.bundle.Directory.Communities = map[string]contract.Community{"jinghu": {Division: jinghu}, "east": {Division: east}}
	})
	w.people(20, "jinghu", "good", 1)
	w.people(40, "east", "good", 1)
	if r := w.aggregate("town", "purpose=Statistics"); r.status != 200 || r.lines()[0] != `{"by":{},"count":20}` {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	w.bundle.Directory.Communities = map[string]contract.Community{"jinghu": {Division: east}, "east": {Division: jinghu}}
	w.next()
	if r := w.aggregate("town", "purpose=Statistics"); r.status != 200 || r.lines()[0] != `{"by":{},"count":40}` {
		t.Errorf("after the change: %d %s", r.status, r.raw)
	}
}

// A dimension that is masked is picked by as it is told: whoever may group by it sees the same groups.
func TestAggregatePicksByMaskedDimensions(t *testing.T) {
	w := newCensus(t, func(w *world) {
		g := census()
		g.Aggregates.Dimensions = []string{"born"}
		w.bundle.Access.Grants["elders"]["town"]["census"] = g
	})
	w.people(30, jinghu, "good", 1)
	w.exec(`UPDATE ` + w.table() + ` SET born = CASE WHEN id % 3 = 0 THEN date '1941-05-06' ELSE date '1942-07-08' END`)
	for where, want := range map[string][]string{
		"born:In:1942":       {`{"by":{},"count":20}`},
		"born:In:1941,1942":  {`{"by":{},"count":30}`},
		"born:In:1942-07-08": {},
	} {
		if r := w.aggregate("town", "purpose=Statistics&where="+where); r.status != 200 || cmp.Diff(want, r.lines()) != "" {
			t.Errorf("%s: %d %s, want %s", where, r.status, r.raw, want)
		}
	}
}

// Two persons with many records are two persons; one who makes up a figure makes it go.
func TestAggregateCountsPersons(t *testing.T) {
	w := newCensus(t)
	w.people(9, jinghu, "good", 1)
	w.exec("INSERT INTO " + w.table() + " (id, community, subject, health, level) SELECT 1000 + i, '" + jinghu + "', 'p' || i % 2, 'poor', 5 FROM generate_series(1, 50) i")
	w.exec("INSERT INTO " + w.table() + " (id, community, subject, health, level) SELECT 2000 + i, '" + old + "', 'p' || i, 'poor', CASE i WHEN 1 THEN 100000 ELSE 1 END FROM generate_series(1, 20) i")
	w.exec("INSERT INTO " + w.table() + " (id, community, subject, health, level) SELECT 3000 + i, '" + old + "', 'q' || i, 'good', CASE WHEN i < 10 THEN 8 END FROM generate_series(1, 20) i")
	got := w.aggregate("town", "purpose=Statistics&by=health,community&sum=level").lines()
	want := []string{`{"by":{"community":"` + old + `","health":"good"},"count":20}`, `{"by":{"community":"` + old + `","health":"poor"},"count":20}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
