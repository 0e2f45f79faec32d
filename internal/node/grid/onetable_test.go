package grid

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestOneTableOfTheRelease: each indicator has a name of its own, words in both languages, and a document where it says that it comes from one.
func TestOneTableOfTheRelease(t *testing.T) {
	t.Parallel()
	table, err := readOneTable()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, x := range table.Indicators {
		if seen[x.ID] || x.ID == "" || seen[x.Name] || seen[x.NameEN] {
			t.Errorf("%s: its id or name is taken", x.ID)
		}
		seen[x.ID], seen[x.Name], seen[x.NameEN] = true, true, true
		if x.Name == "" || x.NameEN == "" || x.Unit == "" || x.Definition == "" || x.DefinitionEN == "" {
			t.Errorf("%s: words are missing: %+v", x.ID, x)
		}
		if x.Origin != "Ours" && (x.Origin != "Text" || x.Cite == "") {
			t.Errorf("%s: origin %q, cited %q", x.ID, x.Origin, x.Cite)
		}
	}
	if len(table.Indicators) < 10 || table.Title == "" || table.Source == "" {
		t.Errorf("%d indicators of %q by %q", len(table.Indicators), table.Title, table.Source)
	}
}

// expected reckons the table of a month by plain counting, from what people remember.
func expected(all []*lived, from, to time.Time) map[string]*float64 {
	within := func(at *time.Time) bool { return at != nil && !at.Before(from) && at.Before(to) }
	num := func(n float64) *float64 { return &n }
	var opened, closed, devices, people, critical, overdue, up, again, taken, void, rated, scores, takenLate, closedLate float64
	var take, end []float64
	for _, l := range all {
		if within(&l.opened) {
			opened++
			for _, x := range []struct {
				n   *float64
				yes bool
			}{{&devices, l.source == SourceDevice}, {&people, l.source == SourceResident}, {&critical, l.severity == "Critical"}, {&overdue, l.late()}, {&up, l.up}, {&again, l.again},
				{&void, l.source == SourceDevice && l.state == Void}, {&taken, l.taken != nil}, {&takenLate, l.taken != nil && l.tardy[0]}} {
				if x.yes {
					*x.n++
				}
			}
			if l.taken != nil {
				take = append(take, l.taken.Sub(l.opened).Minutes())
			}
		}
		if within(l.closed) {
			closed++
			end = append(end, l.closed.Sub(l.opened).Hours())
			if l.tardy[2] {
				closedLate++
			}
			if l.score > 0 {
				rated, scores = rated+1, scores+float64(l.score)
			}
		}
	}
	out := map[string]*float64{"devices": num(0), "opened": num(opened), "openedByDevices": num(devices), "openedByPeople": num(people), "critical": num(critical), "closed": num(closed),
		"overdue": num(overdue), "escalated": num(up), "reopened": num(again), "takenMedian": quantile(take, 0.5), "closedMedian": quantile(end, 0.5)}
	if closed > 0 {
		out["closedOnTime"] = num(100 * (closed - closedLate) / closed)
	}
	if taken > 0 {
		out["takenOnTime"] = num(100 * (taken - takenLate) / taken)
	}
	if devices > 0 {
		out["falseAlarms"] = num(100 * void / devices)
	}
	if rated > 0 {
		out["score"] = num(scores / rated)
	}
	return out
}

func near(a, b *float64) bool {
	return a == nil && b == nil || a != nil && b != nil && *a-*b < 0.0051 && *b-*a < 0.0051
}

// TestOneTable: the table of a month is what plain counting gives, in total and by community, and the CSV file says the same.
func TestOneTable(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		street(b)
		b.Directory.Organizations["county"] = contract.Organization{Type: "Township", Jurisdiction: []string{"41"}}
	}, func(*service) {})
	r := rand.New(rand.NewPCG(3, 5))
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, chinaTime)
	to := from.AddDate(0, 1, 0)
	var all []*lived
	for i := range 160 {
		opened := from.Add(time.Duration(r.IntN(50*24*3600)-10*24*3600) * time.Second)
		if i%4 == 0 { // on the last evening before the month, or in it: closed on the other side of midnight, or never
			opened = []time.Time{from, to}[i/4%2].Add(-time.Duration(r.IntN(6*3600)) * time.Second)
		}
		all = append(all, w.live(r, opened))
	}
	token := w.token("county", "p-1", RoleAuditor)
	var got OneTable
	if status := w.call("GET", "/v1/one-table?period=2026-03", token, nil, &got); status != 200 {
		t.Fatal(status)
	}
	if len(got.Rows) != 2 || got.Rows[0].Community != "jinghu" || got.Rows[0].Division != "410702001001" || !got.From.Equal(from) || !got.To.Equal(to) {
		t.Fatalf("%+v", got)
	}
	check := func(what string, row OneTableRow, of []*lived) {
		want := expected(of, from, to)
		for _, x := range got.Indicators {
			if x.ID == "devices" || slices.Contains(row.Withheld, x.ID) {
				continue
			}
			if !near(row.Values[x.ID], want[x.ID]) {
				t.Errorf("%s: %s is %s, want %s", what, x.ID, show(row.Values[x.ID]), show(want[x.ID]))
			}
		}
		if len(row.Withheld) > 3 {
			t.Errorf("%s: %v are withheld: the test proves little", what, row.Withheld)
		}
	}
	for _, row := range got.Rows {
		check(row.Community, *row, slices.DeleteFunc(slices.Clone(all), func(l *lived) bool { return l.community != row.Community }))
	}
	check("total", got.Total, all)
	for _, lang := range []string{"zh", "en"} {
		rows := w.csv("/v1/one-table?period=2026-03&format=csv&lang="+lang, token)
		if len(rows) != 4 || len(rows[0]) != 4+len(got.Indicators) {
			t.Fatalf("%d rows: %v", len(rows), rows)
		}
		for i, row := range append(got.Rows, &got.Total) {
			for j, x := range got.Indicators {
				want := show(row.Values[x.ID])
				if slices.Contains(row.Withheld, x.ID) {
					want = "*"
				}
				if rows[i+1][4+j] != want {
					t.Errorf("%s: row %d, %s: %q, JSON %q", lang, i+1, rows[0][4+j], rows[i+1][4+j], want)
				}
			}
		}
	}
	var none OneTable
	if status := w.call("GET", "/v1/one-table?period=2026-03", w.token("fire-luoyang", "p-1", RoleDispatcher), nil, &none); status != 200 || len(none.Rows) != 1 || none.Rows[0].Community != "other" {
		t.Errorf("who covers the other city: %d, %+v", status, none.Rows)
	}
	for _, who := range []string{"vendor", "committee"} {
		var empty OneTable
		status := w.call("GET", "/v1/one-table?period=2026-03", w.token(who, "p-1", "Mayor"), nil, &empty)
		if status != 200 || len(empty.Rows) != 0 || *empty.Total.Values["opened"] != 0 {
			t.Errorf("%s: %d %+v", who, status, empty)
		}
	}
	for _, wrong := range []string{"", "?period=2026-13", "?period=2026", "?period=2026-03&format=xls"} {
		if status := w.call("GET", "/v1/one-table"+wrong, token, nil, nil); status != 422 {
			t.Errorf("%q: %d", wrong, status)
		}
	}
}

func show(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}

// TestOneTableWithholds: what is of one or two cases with sensitive data is not shown, nor what it could be reckoned from.
func TestOneTableWithholds(t *testing.T) {
	t.Parallel()
	num := func(n float64) *float64 { return &n }
	for name, tc := range map[string]struct {
		values []value
		want   string
	}{
		"nothing":               {nil, "a 0 b 0 total 0"},
		"ordinary":              {[]value{{"a", false, 1, false, num(1)}, {"", true, 1, false, num(1)}}, "a 1 b 0 total 1"},
		"sensitive, enough":     {[]value{{"a", false, 3, true, num(3)}, {"", true, 3, true, num(3)}}, "a 3 b 0 total 3"},
		"sensitive, one":        {[]value{{"a", false, 1, true, num(1)}, {"b", false, 9, false, num(9)}, {"", true, 10, true, num(10)}}, "a * b 9 total *"},
		"sensitive, two of two": {[]value{{"a", false, 2, true, num(2)}, {"b", false, 2, true, num(2)}, {"", true, 4, true, num(4)}}, "a * b * total 4"},
		"of one that is gone":   {[]value{{"gone", false, 2, true, num(2)}, {"b", false, 5, true, num(5)}, {"", true, 7, true, num(7)}}, "a 0 b 5 total *"},
	} {
		rows := map[string]*OneTableRow{"a": {Values: map[string]*float64{}}, "b": {Values: map[string]*float64{}}}
		total := OneTableRow{Values: map[string]*float64{}}
		fillIn("x", true, tc.values, rows, &total)
		text := func(r OneTableRow) string {
			if len(r.Withheld) > 0 {
				if r.Values["x"] != nil {
					t.Errorf("%s: %s is withheld and shown", name, show(r.Values["x"]))
				}
				return "*"
			}
			return show(r.Values["x"])
		}
		if got := fmt.Sprintf("a %s b %s total %s", text(*rows["a"]), text(*rows["b"]), text(total)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
