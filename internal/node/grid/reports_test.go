package grid

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestOneTableAtTheEnds: a month begins with its first moment and ends before the first of the next, by the clock of the platform; and of the
// table as a file the heads are as the release has them.
func TestOneTableAtTheEnds(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		street(b)
		com := b.Directory.Communities["jinghu"]
		com.DisplayName = "镜湖"
		b.Directory.Communities["jinghu"] = com
		b.Directory.Organizations["county"] = contract.Organization{Type: "Township", Jurisdiction: []string{"41"}}
	}, func(*service) {})
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, chinaTime)
	to := from.AddDate(0, 1, 0)
	open := func(opened time.Time, dataClass string) {
		c := w.filed("t", Case{Grid: "g1", Class: "fire", DataClass: dataClass}, []string{"GridWorker"}, nil)
		w.exec("UPDATE grid.cases SET opened_at = $2 WHERE id = $1", c.ID, opened)
	}
	closed := func(at time.Time) {
		c := w.filed("t", Case{Grid: "g1", Class: "fire"}, []string{"GridWorker"}, nil)
		w.exec("UPDATE grid.cases SET opened_at = $2, closed_at = $3, state = 'Closed' WHERE id = $1", c.ID, from.AddDate(0, 0, -40), at)
	}
	for _, at := range []time.Time{from.Add(-time.Millisecond), from, to.Add(-time.Millisecond), to} {
		open(at, "C0")
		closed(at)
	}
	w.exec("INSERT INTO grid.devices (fleet, device, profile, community, grid) VALUES ('f', 'a', 'p', 'jinghu', 'g1'), ('f', 'b', 'p', 'jinghu', ''), ('f', 'c', 'p', 'other', '')")
	token := w.token("county", "p-1", RoleAuditor)
	table := func(period, token string) (out OneTable) {
		t.Helper()
		if status := w.call("GET", "/v1/one-table?period="+period, token, nil, &out); status != 200 {
			t.Fatal(period, status)
		}
		return out
	}
	march := table("2026-03", token)
	if got, done := show(march.Total.Values["opened"]), show(march.Total.Values["closed"]); got != "2" || done != "2" {
		t.Errorf("%s opened and %s closed in the month, want 2 and 2", got, done)
	}
	if got := []string{show(march.Rows[0].Values["devices"]), show(march.Rows[1].Values["devices"]), show(march.Total.Values["devices"])}; !slices.Equal(got, []string{"2", "1", "3"}) {
		t.Errorf("devices %v, want 2, 1 and 3 in total", got)
	}
	if got := table("2026-03", w.token("committee", "p-1", RoleDispatcher)).Total.Values["devices"]; show(got) != "2" {
		t.Errorf("a committee has %s devices, want the 2 of its community", show(got))
	}
	now := time.Now().In(chinaTime)
	if march.Complete != now.After(to) || table(now.AddDate(1, 0, 0).Format("2006-01"), token).Complete {
		t.Error("a month that is over is complete, and one to come is not")
	}
	for lang, want := range map[string]string{
		"en": "period community name division|2026-03 jinghu 镜湖 410702001001|2026-03 other  410302001001|2026-03 total  |Devices registered (devices)|Cases opened (cases)|Score (of 5)",
		"zh": "月份 社区 名称 区划代码|2026-03 jinghu 镜湖 410702001001|2026-03 other  410302001001|2026-03 合计  |在册设备数 (台)|新增事件数 (件)|群众评分 (分)",
	} {
		rows := w.csv("/v1/one-table?period=2026-03&format=csv&lang="+lang, token)
		var got []string
		for _, row := range rows {
			got = append(got, strings.Join(row[:4], " "))
		}
		if got = append(got, rows[0][4], rows[0][5], rows[0][len(rows[0])-1]); strings.Join(got, "|") != want {
			t.Errorf("%s: %s, want %s", lang, strings.Join(got, "|"), want)
		}
	}
	// One case with sensitive data in the month: nothing that it counts in is shown, not in total either.
	for n, class := range []string{"C1", "C2", "C3"} {
		month := from.AddDate(0, -3-n, 0)
		open(month.AddDate(0, 0, 3), class)
		got := table(month.Format("2006-01"), token)
		hidden := class != "C1"
		if slices.Contains(got.Rows[0].Withheld, "opened") != hidden || slices.Contains(got.Total.Withheld, "opened") != hidden || (got.Total.Values["opened"] == nil) != hidden {
			t.Errorf("one case of %s: %+v, in total %+v", class, *got.Rows[0], got.Total)
		}
	}
}

// TestStatisticsWithoutATime: the last 30 days are counted where no time is asked for, up to now.
func TestStatisticsWithoutATime(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, street, func(*service) {})
	for _, ago := range []time.Duration{0, time.Minute, 29 * 24 * time.Hour, 31 * 24 * time.Hour, -time.Hour} {
		c := w.filed("t", Case{Grid: "g1", Class: "=fire"}, []string{"GridWorker"}, nil)
		w.exec("UPDATE grid.cases SET opened_at = $2 WHERE id = $1", c.ID, time.Now().Add(-ago))
	}
	token := w.token("committee", "p-1", RoleDispatcher)
	var got Statistics
	if status := w.call("GET", "/v1/statistics?by=class", token, nil, &got); status != 200 || got.Whole.Cases != 3 || got.To.Sub(got.From) != 30*24*time.Hour {
		t.Errorf("%d: %d cases from %s to %s, want the 3 of 30 days", status, got.Whole.Cases, got.From, got.To)
	}
	if rows := w.csv("/v1/statistics?by=class&format=csv", token); len(rows) != 2 || rows[1][0] != "'=fire" {
		t.Errorf("a class that a spreadsheet would run: %q", rows)
	}
}

// TestStatisticsThatMayNotBeShown: too few sensitive cases, with nothing to put them with, are in no group and not in the whole; and the answer says so.
func TestStatisticsThatMayNotBeShown(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, street, func(*service) {})
	for n, class := range []string{"C2", "C3"} {
		w.filed("t", Case{Grid: fmt.Sprint("g", n+1), Class: "welfare", DataClass: class}, []string{"GridWorker"}, []string{"gas", "property"})
		for _, by := range []string{"?by=grid", "?by=organization", ""} {
			var got Statistics
			if status := w.call("GET", "/v1/statistics"+by, w.token("committee", "p-1", RoleDispatcher), nil, &got); status != 200 || !got.Withheld || got.Whole.Cases != 0 || len(got.Groups) > 0 {
				t.Errorf("%d sensitive cases, %q: %d %+v", n+1, by, status, got)
			}
		}
	}
}

// TestStatisticsOfTooManyGroups are refused, and the answer says what to ask for instead.
func TestStatisticsOfTooManyGroups(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, street, func(*service) {})
	w.filed("t", Case{Grid: "g1", Class: "c0"}, []string{"GridWorker"}, nil)
	w.exec(`INSERT INTO grid.cases (id, number, community, grid, class, severity, title, state, source, started_at, last_signal_at, opened_at, updated_at)
		SELECT gen_random_uuid(), 'n' || i, 'jinghu', '', 'c' || i, 'Low', 't', 'Filed', 'System', now(), now(), now(), now() FROM generate_series(1, $1) i`, maxCells-1)
	token := w.token("committee", "p-1", RoleDispatcher)
	if status := w.call("GET", "/v1/statistics?by=class", token, nil, nil); status != 200 {
		t.Errorf("%d groups: %d", maxCells, status)
	}
	w.filed("t", Case{Grid: "g1", Class: "one more"}, []string{"GridWorker"}, nil)
	if status := w.call("GET", "/v1/statistics?by=class", token, nil, nil); status != 422 {
		t.Errorf("one group more: %d, want 422", status)
	}
	if status := w.call("GET", "/v1/statistics?by=severity", token, nil, nil); status != 200 {
		t.Errorf("fewer dimensions: %d", status)
	}
}
