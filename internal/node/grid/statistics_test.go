package grid

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// lived is a case as who lived through it remembers it: written down while it happens, and not read from the database.
type lived struct {
	community, grid, class, severity, source, dataClass string
	called                                              []string
	opened                                              time.Time
	taken, there, closed                                *time.Time
	state                                               State
	// tardy says which of its times it missed: to be taken, on site, closed.
	tardy     [3]bool
	up, again bool
	score     int
}

// late says that it missed one of its times.
func (l *lived) late() bool { return l.tardy != [3]bool{} }

// done says that it was dealt with, and not that it was no alarm.
func (l *lived) done() bool { return l.state == Closed || l.state == Rated }

var chinaTime = time.FixedZone("", 8*3600)

// live makes a case and lets random things happen to it, at random times from its opening on.
func (w *world) live(r *rand.Rand, opened time.Time) *lived {
	w.t.Helper()
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	l := &lived{community: pick("jinghu", "other"), grid: pick("", "g1"), class: pick("fire", "fire", "noise", "welfare", "rare"), severity: pick("Critical", "Low"),
		source: pick(SourceDevice, SourceResident), dataClass: pick("", "C0", "C1"), opened: opened, state: Dispatched}
	if l.class == "welfare" || l.class == "rare" && r.IntN(2) == 0 {
		l.dataClass = pick("C2", "C3")
	}
	for _, o := range []string{"fire-xinxiang", "property", "gas"} {
		if r.IntN(2) == 0 {
			l.called = append(l.called, o)
		}
	}
	c := &Case{Community: l.community, Grid: l.grid, Class: l.class, Severity: contract.Severity(l.severity), Title: "t", Source: l.source, DataClass: l.dataClass, StartedAt: opened, LastSignalAt: opened}
	office := Actor{Kind: "Person", Organization: "committee", Person: "p", Role: RoleDispatcher}
	if err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) error {
		d := w.bundle.Directory
		if err := insert(w.t.Context(), tx, d, c, system, opened, nil); err != nil {
			return err
		}
		if r.IntN(15) == 0 {
			l.state, l.called = NotFiled, nil
			return move(w.t.Context(), tx, d.Platform, c, Decline, office, opened, nil, nil)
		}
		if err := move(w.t.Context(), tx, d.Platform, c, File, system, opened, nil, nil); err != nil {
			return err
		}
		if err := call(w.t.Context(), tx, d, c, called{Posts: []string{"GridWorker"}, Organizations: l.called}, system, opened, nil); err != nil {
			return err
		}
		now := opened
		for range r.IntN(12) {
			now = now.Add(time.Duration(1+r.IntN(7200_000)) * time.Millisecond)
			var fits []Action
			for _, a := range []Action{Acknowledge, Arrive, Return, Dispatch, RequestVerification, Rework, Close, Close, Rate, MarkVoid, Reopen} {
				if _, err := Next(c.State, a, RoleDispatcher); err == nil && (a != MarkVoid || r.IntN(8) == 0) {
					fits = append(fits, a)
				}
			}
			a, at := fits[r.IntN(len(fits))], now
			if err := move(w.t.Context(), tx, d.Platform, c, a, office, now, nil, nil); err != nil {
				return err
			}
			l.happens(a, at)
		}
		if _, err := tx.Exec(w.t.Context(), "DELETE FROM grid.timers WHERE case_id = $1", c.ID); err != nil { // its times are over: nobody is to miss them now
			return err
		}
		l.tardy, l.up = [3]bool{r.IntN(6) == 0, r.IntN(6) == 0, r.IntN(6) == 0}, r.IntN(4) == 0
		if _, err := tx.Exec(w.t.Context(), "UPDATE grid.cases SET acknowledge_overdue = $2, onsite_overdue = $3, resolve_overdue = $4, escalated = $5 WHERE id = $1",
			c.ID, l.tardy[0], l.tardy[1], l.tardy[2], map[bool]int{true: 1 + r.IntN(3)}[l.up]); err != nil {
			return err
		}
		if l.score = r.IntN(6); l.score > 0 {
			_, err := tx.Exec(w.t.Context(), "UPDATE grid.cases SET score = $2 WHERE id = $1", c.ID, l.score)
			return err
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return l
}

// happens is what people remember of an action.
func (l *lived) happens(a Action, at time.Time) {
	switch a {
	case Acknowledge:
		l.state = Handling
		if l.taken == nil {
			l.taken = &at
		}
	case Arrive:
		if l.there == nil {
			l.there = &at
		}
	case Return:
		l.state = Returned
		if l.taken != nil { // whoever took it gave it back
			l.taken, l.there = nil, nil
		}
	case Dispatch:
		l.state = Dispatched
	case RequestVerification: // whoever says that it is done was there
		l.state = Verifying
		if l.there == nil {
			l.there = &at
		}
	case Rework:
		l.state = Handling
	case Close:
		l.state, l.closed = Closed, &at
	case Rate:
		l.state = Rated
	case MarkVoid:
		l.state, l.closed = Void, nil
	case Reopen:
		l.state, l.closed, l.taken, l.there, l.again = Reopened, nil, nil, nil, true
	}
}

// quantile is what percentile_cont says that it is: between the two values next to its place, in proportion.
func quantile(all []float64, p float64) *float64 {
	if len(all) == 0 {
		return nil
	}
	all = slices.Sorted(slices.Values(all))
	place := p * float64(len(all)-1)
	below := int(place)
	above := min(below+1, len(all)-1)
	x := all[below] + (place-float64(below))*(all[above]-all[below])
	return &x
}

// reckoned gives the figures of cases by plain counting.
func reckoned(all []*lived) (f Figures) {
	var take, arrive, end []float64
	var scores float64
	since := func(list *[]float64, l *lived, at *time.Time) {
		if at != nil {
			*list = append(*list, at.Sub(l.opened).Seconds())
		}
	}
	one := func(n *int64, yes bool) {
		if yes {
			*n++
		}
	}
	for _, l := range all {
		f.Cases++
		one(&f.Closed, l.done())
		one(&f.Void, l.state == Void)
		one(&f.NotFiled, l.state == NotFiled)
		one(&f.Open, !l.done() && l.state != Void && l.state != NotFiled)
		one(&f.Overdue, l.late())
		one(&f.Escalated, l.up)
		one(&f.Reopened, l.again)
		one(&f.Rated, l.score > 0)
		scores += float64(l.score)
		since(&take, l, l.taken)
		since(&arrive, l, l.there)
		since(&end, l, l.closed)
	}
	if f.Rated > 0 {
		mean := scores / float64(f.Rated)
		f.Score = &mean
	}
	f.AcknowledgeP50, f.AcknowledgeP90 = quantile(take, 0.5), quantile(take, 0.9)
	f.OnSiteP50, f.OnSiteP90 = quantile(arrive, 0.5), quantile(arrive, 0.9)
	f.CloseP50, f.CloseP90 = quantile(end, 0.5), quantile(end, 0.9)
	return f
}

// same compares figures: counts are the same, what is rounded is near.
func same(a, b Figures) bool {
	x, y := a.cells(), b.cells()
	for i := range x {
		if x[i] == y[i] {
			continue
		}
		m, err1 := strconv.ParseFloat(x[i], 64)
		n, err2 := strconv.ParseFloat(y[i], 64)
		if i < 9 || err1 != nil || err2 != nil || math.Abs(m-n) > 0.051 {
			return false
		}
	}
	return true
}

// in says to which groups a case belongs, as "period|dimension|…".
func (l *lived) in(interval string, by []string) []string {
	keys := []string{""}
	day := l.opened.In(chinaTime)
	switch interval {
	case "day":
		keys[0] = day.Format(time.DateOnly)
	case "week":
		keys[0] = day.AddDate(0, 0, -(int(day.Weekday())+6)%7).Format(time.DateOnly)
	case "month":
		keys[0] = day.Format("2006-01") + "-01"
	}
	for _, d := range by {
		values := []string{map[string]string{"community": l.community, "grid": l.grid, "class": l.class, "severity": l.severity, "source": l.source}[d]}
		if d == "organization" {
			if values = l.called; len(values) == 0 {
				values = []string{""}
			}
		}
		var more []string
		for _, k := range keys {
			for _, v := range values {
				more = append(more, k+"|"+v)
			}
		}
		keys = more
	}
	return keys
}

// TestStatistics: figures over random histories are those that plain counting gives; nothing small and sensitive is shown, and the parts make the whole.
func TestStatistics(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		street(b)
		// The county sees both communities.
		b.Directory.Organizations["county"] = contract.Organization{Type: "Township", Jurisdiction: []string{"41"}}
	}, func(*service) {})
	r := rand.New(rand.NewPCG(7, 11))
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, chinaTime)
	var all []*lived
	for range 150 {
		all = append(all, w.live(r, begin.Add(time.Duration(r.IntN(40*24*3600))*time.Second)))
	}
	token := w.token("county", "p-1", RoleAuditor)
	for query, of := range map[string]func(*lived) bool{"class=fire": func(l *lived) bool { return l.class == "fire" }, "community=other": func(l *lived) bool { return l.community == "other" }} {
		var got Statistics
		if status := w.call("GET", "/v1/statistics?from=2026-03-01&to=2026-04-10&"+query, token, nil, &got); status != 200 {
			t.Fatal(status)
		}
		if want := reckoned(slices.DeleteFunc(slices.Clone(all), func(l *lived) bool { return !of(l) })); !same(got.Whole, want) {
			t.Errorf("%s: the whole is %v, want %v", query, got.Whole.cells(), want.cells())
		}
	}
	rests := 0
	for n, by := range [][]string{nil, {"community"}, {"class"}, {"organization"}, {"community", "class", "severity"}, {"class", "organization"}, {"grid", "source", "class"}, {"community", "grid", "class", "organization", "severity", "source"}} {
		for _, interval := range []string{"", "day", "week", "month"} {
			from, to := begin, begin.AddDate(0, 0, 40)
			if n%2 == 1 {
				from, to = begin.AddDate(0, 0, 3), begin.AddDate(0, 0, 33)
			}
			query := fmt.Sprintf("/v1/statistics?from=%s&to=%s&by=%s", from.Format(time.DateOnly), to.Format(time.DateOnly), strings.Join(by, ","))
			if len(by) == 0 {
				query = strings.TrimSuffix(query, "&by=")
			}
			if interval != "" {
				query += "&interval=" + interval
			}
			var got Statistics
			if status := w.call("GET", query, token, nil, &got); status != 200 {
				t.Fatalf("%s: %d", query, status)
			}
			rests += checkStatistics(t, query, got, slices.DeleteFunc(slices.Clone(all), func(l *lived) bool { return l.opened.Before(from) || !l.opened.Before(to) }), interval, by)
			w.sameAsCSV(query, token, got)
		}
	}
	if rests < 5 {
		t.Errorf("%d answers have a rest: the test proves nothing of it", rests)
	}
}

// checkStatistics holds an answer against plain counting, and says whether it has a rest.
func checkStatistics(t *testing.T, query string, got Statistics, all []*lived, interval string, by []string) (rests int) {
	t.Helper()
	want := map[string][]*lived{}
	for _, l := range all {
		for _, key := range l.in(interval, by) {
			want[key] = append(want[key], l)
		}
	}
	if got.Withheld {
		t.Errorf("%s: there is enough to show everything with", query)
	}
	if !same(got.Whole, reckoned(all)) {
		t.Errorf("%s: the whole is %v, want %v", query, got.Whole.cells(), reckoned(all).cells())
	}
	shown := map[string]bool{}
	var cases int64
	for _, g := range got.Groups {
		cases += g.Cases
		if g.Rest {
			rests++
			if g.Cases < leastCell {
				t.Errorf("%s: the rest has %d cases", query, g.Cases)
			}
			continue
		}
		key := g.Period
		for _, d := range by {
			key += "|" + **g.dimension(d)
		}
		shown[key] = true
		if !same(g.Figures, reckoned(want[key])) {
			t.Errorf("%s: %s has %v, want %v", query, key, g.cells(), reckoned(want[key]).cells())
		}
		if g.Cases < leastCell && slices.ContainsFunc(want[key], func(l *lived) bool { return l.dataClass == "C2" || l.dataClass == "C3" }) {
			t.Errorf("%s: %s shows %d cases with sensitive data", query, key, g.Cases)
		}
	}
	// What is not shown is the rest, and in it is no more than there must be: small sensitive groups, and what makes them three.
	var hidden []*lived
	small, once := 0, map[*lived]bool{}
	for key, list := range want {
		if shown[key] {
			continue
		}
		if len(list) < leastCell {
			small++
		}
		hidden = append(hidden, list...)
		for _, l := range list {
			once[l] = true
		}
	}
	if rests == 0 && len(hidden) > 0 || rests == 1 && !same(got.Groups[len(got.Groups)-1].Figures, reckoned(hidden)) {
		t.Errorf("%s: the rest is %v, want %v", query, got.Groups[len(got.Groups)-1].cells(), reckoned(hidden).cells())
	}
	if !slices.Contains(by, "organization") && cases != got.Whole.Cases {
		t.Errorf("%s: the parts have %d cases, the whole %d", query, cases, got.Whole.Cases)
	}
	return rests
}

// sameAsCSV asks for the same as CSV, reads it and holds it against the JSON.
func (w *world) sameAsCSV(query, token string, want Statistics) {
	w.t.Helper()
	rows := w.csv(query+"&format=csv", token)
	if head := rows[0]; head[len(head)-len(figureNames)] != "cases" || len(rows) != len(want.Groups)+1 {
		w.t.Fatalf("%s: head %v, %d rows for %d groups", query, head, len(rows), len(want.Groups))
	}
	for i, g := range want.Groups {
		row := rows[i+1]
		at := len(row) - len(figureNames)
		if !slices.Equal(row[at:], g.cells()) {
			w.t.Errorf("%s: row %d has %v, JSON %v", query, i, row[at:], g.cells())
		}
		for j, name := range rows[0][:at] {
			value := g.Period
			if name != "period" && !g.Rest {
				value = **g.dimension(name)
			}
			if g.Rest {
				value = restKey
			}
			if row[j] != value {
				w.t.Errorf("%s: row %d: %s is %q, JSON %q", query, i, name, row[j], value)
			}
		}
	}
}

// csv reads a CSV answer.
func (w *world) csv(path, token string) [][]string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", w.api.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/csv; charset=utf-8" {
		w.t.Fatalf("%s: %d %s %v %s", path, resp.StatusCode, resp.Header.Get("Content-Type"), err, raw)
	}
	name := "statistics.csv"
	if at, err := url.Parse(path); err != nil || at.Path == "/v1/one-table" {
		name = "one-table-" + at.Query().Get("period") + ".csv"
	}
	if got := resp.Header.Get("Content-Disposition"); got != `attachment; filename="`+name+`"` {
		w.t.Errorf("%s: %s, want the name %s", path, got, name)
	}
	text, marked := strings.CutPrefix(string(raw), "\ufeff")
	if !marked {
		w.t.Errorf("%s: no byte order mark", path)
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// TestStatisticsOfOthers: nobody counts a case that their list does not have.
func TestStatisticsOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, street, func(*service) {})
	w.exec("INSERT INTO grid.roster (organization, person, role, community, grid) VALUES ('committee', 'p-1', 'GridWorker', 'jinghu', 'g1')")
	for i := range 4 {
		w.filed(fmt.Sprint("f", i), Case{Grid: "g1", Class: "fire", DataClass: "C0"}, []string{"GridWorker"}, nil)
		w.filed(fmt.Sprint("w", i), Case{Grid: "g2", Class: "welfare", DataClass: "C2"}, []string{"GridWorker"}, []string{"gas"}[:i%2])
	}
	for _, who := range []struct {
		organization, person string
		role                 Role
	}{
		{"committee", "p-1", RoleDispatcher}, {"committee", "p-1", RoleGridWorker}, {"committee", "p-2", RoleGridWorker}, {"property", "p-1", RoleDispatcher}, {"gas", "p-1", RoleAuditor},
		{"fire-luoyang", "p-1", RoleDispatcher}, {"vendor", "p-1", RoleAuditor}, {"committee", "p-1", RoleResident}, {"committee", "p-1", "Mayor"},
	} {
		var got Statistics
		if status := w.call("GET", "/v1/statistics?by=grid", w.token(who.organization, who.person, who.role), nil, &got); status != 200 {
			t.Fatal(status)
		}
		want := len(w.listed(who.organization, who.person, who.role, "limit=100"))
		var parts int64
		for _, g := range got.Groups {
			parts += g.Cases
		}
		if who.organization == "gas" { // two welfare cases, which are in a group of their own, go with the others
			if want != 6 || len(got.Groups) != 1 || !got.Groups[0].Rest {
				t.Errorf("gas: %d listed, groups %+v", want, got.Groups)
			}
		}
		var table OneTable
		if status := w.call("GET", "/v1/one-table?period="+time.Now().In(chinaTime).Format("2006-01"), w.token(who.organization, who.person, who.role), nil, &table); status != 200 {
			t.Fatal(status)
		}
		if opened := table.Total.Values["opened"]; opened == nil || int(*opened) != want {
			t.Errorf("%+v: the monthly table has %s, their list %d", who, show(opened), want)
		}
		if int(got.Whole.Cases) != want || int(parts) != want {
			t.Errorf("%+v counts %d, in parts %d; their list has %d", who, got.Whole.Cases, parts, want)
		}
	}
	token := w.token("committee", "p-1", RoleDispatcher)
	for _, wrong := range []string{"by=person", "by=grid,grid", "interval=year", "from=yesterday", "from=2026-03-02&to=2026-03-01", "format=xml"} {
		if got := w.call("GET", "/v1/statistics?"+wrong, token, nil, nil); got != 422 {
			t.Errorf("%s: %d", wrong, got)
		}
	}
	if got := w.call("GET", "/v1/statistics", "", nil, nil); got != 401 {
		t.Errorf("without a token: %d", got)
	}
}

func TestSuppress(t *testing.T) {
	t.Parallel()
	made := func(k string, n int64, sensitive bool) cell {
		c := cell{Key: k, N: n, Sensitive: sensitive}
		for i := range n {
			if n < leastCell {
				c.Cases = append(c.Cases, uuid.NewSHA1(uuid.Nil, fmt.Append(nil, k, i)))
			}
		}
		return c
	}
	open, secret := func(k string, n int64) cell { return made(k, n, false) }, func(k string, n int64) cell { return made(k, n, true) }
	as := func(k string, of cell) cell { // the same cases again, as of another organisation that was called to them
		of.Key = k
		return of
	}
	for name, tc := range map[string]struct {
		cells     []cell
		rest, out []string
	}{
		"nothing":                        {nil, nil, nil},
		"no sensitive data":              {[]cell{open("a", 1), open("b", 2)}, nil, nil},
		"large enough":                   {[]cell{secret("a", 3)}, nil, nil},
		"small ones make a rest":         {[]cell{secret("a", 1), secret("b", 2), open("c", 1)}, []string{"a", "b"}, nil},
		"the smallest others go with it": {[]cell{secret("a", 1), open("b", 9), open("c", 1), secret("d", 3), open("e", 1)}, []string{"a", "c", "e"}, nil},
		"nothing to go with":             {[]cell{secret("a", 1), secret("b", 1)}, nil, []string{"a", "b"}},
		"the same cases twice":           {[]cell{secret("a", 2), as("b", secret("a", 2))}, nil, []string{"a", "b"}},
		"the same ones, and one more":    {[]cell{secret("a", 2), as("b", secret("a", 2)), open("c", 1), open("d", 9)}, []string{"a", "b", "c"}, nil},
		"others of the same cases":       {[]cell{secret("a", 1), as("b", open("a", 1)), open("c", 3)}, []string{"a", "b", "c"}, nil},
		"too little to go with":          {[]cell{secret("a", 1), open("b", 1)}, nil, []string{"a", "b"}},
	} {
		rest, out := suppress(tc.cells)
		if !slices.Equal(rest, tc.rest) || !slices.Equal(out, tc.out) {
			t.Errorf("%s: rest %v, out %v; want %v, %v", name, rest, out, tc.rest, tc.out)
		}
	}
}

func TestHarmless(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"fire": "fire", "": "", "-1.5": "-1.5", "=1+1": "'=1+1", "@x": "'@x", "-x": "'-x", "火": "火", "2026-11-01": "2026-11-01"} {
		if got := harmless(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
