package grid

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// newFactWorld is a service with places of every kind, whose clock the test moves.
func newFactWorld(t *testing.T) (*world, *testClock) {
	clock := &testClock{}
	return newWorldWith(t, func(b *intake.Bundle) {
		factsBundle(b)
		com := b.Directory.Communities["jinghu"]
		com.Grids = []contract.Grid{{Name: "g1", Posts: []string{"GridWorker"}, MicroGrids: []contract.MicroGrid{{Name: "m1"}, {Name: "m2"}}}, {Name: "g2"}}
		b.Directory.Communities["jinghu"] = com
		b.Directory.Organizations["street"] = contract.Organization{Type: "Township", Jurisdiction: []string{"410702001"}}
	}, func(s *service) { s.api.now = clock.now }), clock
}

// TestWhatIsSaidOverTheAPI: the last word counts, until its end; a set has each of its members, with who said so.
func TestWhatIsSaidOverTheAPI(t *testing.T) {
	t.Parallel()
	w, clock := newFactWorld(t)
	const away, set = "/v1/facts/Household/h-1/away", "/v1/facts/Household/h-1/registers"
	put := func(path string, body FactBody) (v FactView) {
		t.Helper()
		if got := w.call(http.MethodPut, path, w.tokenAt(clock, "committee", RoleCommunityWorker), body, &v); got != 200 {
			t.Fatalf("%s: %d", path, got)
		}
		return v
	}
	put(away, FactBody{Value: true})
	clock.forward(time.Second)
	end := clock.now().Add(30 * time.Minute) // within the lease
	if v := put(away, FactBody{Value: "until evening", Until: &end}); v.Value != "until evening" || v.Organization != "committee" || v.Person != "p-1" || v.Since.IsZero() || v.Until == nil || !v.Until.Equal(end) || v.Members != nil {
		t.Errorf("%+v", v)
	}
	var v FactView
	if status := w.call(http.MethodGet, away, w.tokenAt(clock, "street", RoleAuditor), nil, &v); status != 200 || v.Value != "until evening" || v.Until == nil || v.Until.Sub(end).Abs() > time.Millisecond || v.Organization != "committee" || v.Person != "p-1" {
		t.Errorf("%d %+v", status, v)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.facts WHERE until - since BETWEEN interval '29 minutes' AND interval '30 minutes' AND organization = 'committee' AND person = 'p-1'"); n != 1 {
		t.Errorf("%d rows have the end", n)
	}
	clock.forward(30 * time.Minute)
	if status := w.call(http.MethodGet, away, w.tokenAt(clock, "street", RoleAuditor), nil, nil); status != 404 {
		t.Errorf("at its end: %d, want 404", status)
	}
	put(away, FactBody{Value: 2.5})
	if v := (FactView{}); w.call(http.MethodGet, away, w.tokenAt(clock, "street", RoleAuditor), nil, &v) != 200 || v.Value != 2.5 || v.Until != nil {
		t.Errorf("said anew: %+v", v)
	}

	for _, member := range []string{"elderly", "ill"} {
		if v := put(set+"/"+member, FactBody{}); len(v.Members) != 1 || v.Members[0].Member != member || v.Members[0].Organization != "committee" || v.Members[0].Since.IsZero() || v.Value != nil || !v.Since.IsZero() {
			t.Errorf("%s: %+v", member, v)
		}
	}
	members := func() string {
		t.Helper()
		var v FactView
		status := w.call(http.MethodGet, set, w.tokenAt(clock, "street", RoleAuditor), nil, &v)
		var names []string
		for _, m := range v.Members {
			if m.Organization != "committee" || m.Person != "p-1" || m.Since.IsZero() {
				t.Errorf("%+v", m)
			}
			names = append(names, m.Member)
		}
		return strings.Join(append(names, http.StatusText(status)), " ")
	}
	if got := members(); got != "elderly ill OK" {
		t.Errorf("the set: %s", got)
	}
	office := w.tokenAt(clock, "street", RoleDispatcher)
	if got := w.call(http.MethodDelete, set+"/ill", office, nil, nil); got != 200 || members() != "elderly OK" {
		t.Errorf("one taken out: %d, %s", got, members())
	}
	put(set+"/ill", FactBody{})
	if got := w.call(http.MethodDelete, set, office, nil, nil); got != 200 || members() != "Not Found" {
		t.Errorf("all taken out: %d, %s", got, members())
	}
	if got := w.call(http.MethodDelete, "/v1/facts/Household/h-1/never", office, nil, nil); got != 200 {
		t.Errorf("what nobody said is taken back: %d", got)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.facts WHERE name = 'never' AND value IS NULL"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// TestPlacesOfFacts: what is no place of the directory or the registry, under exactly its name, is not there.
func TestPlacesOfFacts(t *testing.T) {
	t.Parallel()
	w, clock := newFactWorld(t)
	office := w.tokenAt(clock, "committee", RoleDispatcher)
	for place, want := range map[string]int{
		"Community/jinghu": 200, "Community/nowhere": 404, "Community/jinghu/g1": 404, "Community/other": 404,
		"Grid/jinghu/g1": 200, "Grid/jinghu/g9": 404, "Grid/jinghu": 404, "Grid/jinghu/g1/m1": 404, "Grid/other/g1": 404,
		"MicroGrid/jinghu/g1/m1": 200, "MicroGrid/jinghu/g1/m9": 404, "MicroGrid/jinghu/g2/m1": 404, "MicroGrid/jinghu/g1": 404, "MicroGrid/jinghu/g1/m1/x": 404,
		"Device/smokes/s1": 200, "Device/smokes/nothing": 404, "Device/nothing/s1": 404, "Device/smokes": 404, "Device/smokes/s1/x": 404, "Device/smokes/s3": 404,
		"Building/jinghu/garden/7": 200, "Building/jinghu/garden/9": 404, "Compound/jinghu/garden": 200, "Compound/jinghu/park": 404, "Household/h-2": 200, "Household/h-3": 404, "Household/h": 404,
	} {
		scope, id, _ := strings.Cut(place, "/")
		if got := w.call(http.MethodPut, "/v1/facts/"+scope+"/"+url.PathEscape(id)+"/outage", office, FactBody{Value: true}, nil); got != want {
			t.Errorf("%s: %d, want %d", place, got, want)
		}
	}
	long := strings.Repeat("长", 85) // 255 bytes
	for value, want := range map[string]int{long: 200, long + "x": 200, long + "xy": 422} {
		if got := w.call(http.MethodPut, "/v1/facts/Household/h-1/note", office, FactBody{Value: value}, nil); got != want {
			t.Errorf("%d bytes: %d, want %d", len(value), got, want)
		}
	}
	for role, want := range map[Role]int{RoleCommunityWorker: 200, RoleDispatcher: 200, RoleCommander: 403, RoleAuditor: 403, RoleResident: 404} {
		for _, path := range []string{"/away", "/registers/ill"} {
			body := FactBody{Value: true}
			if got := w.call(http.MethodPut, "/v1/facts/Household/h-1"+path, w.tokenAt(clock, "committee", role), body, nil); got != want {
				t.Errorf("%s says %s: %d, want %d", role, path, got, want)
			}
		}
	}
	if got := w.call(http.MethodDelete, "/v1/facts/Household/h-1/consents", office, nil, nil); got != 403 {
		t.Errorf("consents are taken back here: %d", got)
	}
}

// TestFactsAreForgotten when they are no longer said for as long as they are kept, and those that are said still are not, however old.
func TestFactsAreForgotten(t *testing.T) {
	w := newWorldWith(t, factsBundle, func(*service) {})
	w.stop()
	at := time.Now()
	ago := func(d time.Duration) time.Time { return at.Add(-d) }
	const day = 24 * time.Hour
	say := func(id string, since time.Time, value any, until *time.Time) {
		t.Helper()
		w.exec("INSERT INTO grid.facts (scope, id, name, member, value, since, until, organization, person, at) VALUES ('Household', $1, 'away', '', $2, $3, $4, 'committee', 'p', $3)", id, value, since, until)
	}
	ended, lately := ago(31*day), ago(29*day)
	say("h-1", ago(100*day), "true", nil) // is said still
	say("h-2", ago(100*day), "true", nil) // taken back long ago
	say("h-2", ago(31*day), nil, nil)     // and nothing since
	say("h-3", ago(100*day), "true", nil) // taken back lately
	say("h-3", ago(29*day), nil, nil)
	say("h-4", ago(100*day), "true", &ended) // ended long ago
	say("h-5", ago(100*day), "true", &lately)
	w.exec("INSERT INTO grid.feed_position (reader, n) SELECT $1, max(n) FROM grid.facts ON CONFLICT (reader) DO UPDATE SET n = excluded.n", factsReader)
	w.begin()
	eventually(t, "a session", func() bool { return number(t, w.pool, "SELECT count(*) FROM grid.facts WHERE id = 'h-4'") == 0 })
	for h, want := range map[string]int64{"h-1": 1, "h-2": 0, "h-3": 2, "h-4": 0, "h-5": 1} {
		if n := number(t, w.pool, "SELECT count(*) FROM grid.facts WHERE id = $1", h); n != want {
			t.Errorf("%s: %d rows are left, want %d", h, n, want)
		}
	}
	office := w.token("committee", "p-1", RoleCommunityWorker)
	if v := (FactView{}); w.call(http.MethodGet, "/v1/facts/Household/h-1/away", office, nil, &v) != 200 || v.Value != true {
		t.Errorf("what is said for long: %+v", v)
	}
}

// TestFactsOfRows: the end and the member of what is said reach the engine.
func TestFactsOfRows(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	until := since.Add(time.Hour)
	got, err := said{Scope: "Household", ID: "h", Name: "registers", Member: "ill", Value: []byte("true"), Since: since, Until: &until}.fact()
	if want := (rules.Fact{Scope: rules.ScopeHousehold, ID: "h", Name: "registers", Member: "ill", Value: true, Since: since, Until: until}); err != nil || got != want {
		t.Errorf("%+v, want %+v: %v", got, want, err)
	}
	if got, err = (said{Since: since}).fact(); err != nil || got.Value != nil || !got.Until.IsZero() {
		t.Errorf("taken back: %+v, %v", got, err)
	}
	if _, err = (said{Value: []byte("{")}).fact(); err == nil {
		t.Error("a value that is none")
	}
}
