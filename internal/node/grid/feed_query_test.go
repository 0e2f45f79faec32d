package grid

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestChangesAreNarrowedAsCasesAre: a filter means for the feed what it means for the list, and leaves out what is of no case.
func TestChangesAreNarrowedAsCasesAre(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, withCommand, func(*service) {})
	boss := w.token("committee", "p-9", RoleDispatcher)
	w.send("s1", 1, `{"smoke":true}`)
	w.send("s2", 1, `{"smoke":true}`)
	var list CaseList
	eventually(t, "two cases", func() bool {
		return w.call("GET", "/v1/cases?state=Dispatched", boss, nil, &list) == 200 && len(list.Cases) == 2
	})
	if got := w.call("PUT", "/v1/mode", w.token("command", "p1", RoleCommander), putMode{"mode": "Emergency", "reason": "r", "until": until(time.Hour)}, nil); got != 200 {
		t.Fatalf("mode: %d", got)
	}
	if got := w.call("POST", "/v1/cases/"+list.Cases[0].ID.String()+"/actions", boss, map[string]any{"action": "Acknowledge"}, nil); got != 200 {
		t.Fatalf("acknowledge: %d", got)
	}
	var all Changes
	eventually(t, "all is numbered", func() bool {
		w.call("GET", "/v1/changes?after=0", boss, nil, &all)
		kinds := map[string]int{}
		for _, c := range all.Changes {
			kinds[c.Kind]++
		}
		return kinds["Acknowledge"] == 1 && kinds["ModeSwitched"] == 1 && kinds["ModeEntered"] == 2
	})
	for _, q := range []url.Values{
		{"state": {"Open"}}, {"state": {"Handling"}}, {"state": {"Closed"}}, {"severity": {"Critical"}}, {"severity": {"Low"}}, {"community": {"jinghu"}}, {"community": {"other"}}, {"class": {"fire"}},
		{"grid": {"g1"}}, {"grid": {"g9"}}, {"organization": {"fire-xinxiang"}}, {"organization": {"works"}}, {"number": {list.Cases[1].Number}}, {"overdue": {"true"}}, {"mine": {"true"}},
		{"state": {"Handling"}, "community": {"jinghu"}, "severity": {"Critical"}},
	} {
		var cases CaseList
		var changes Changes
		if got := w.call("GET", "/v1/cases?"+q.Encode(), boss, nil, &cases); got != 200 {
			t.Fatalf("%s: list: %d", q.Encode(), got)
		}
		if got := w.call("GET", "/v1/changes?after=0&"+q.Encode(), boss, nil, &changes); got != 200 {
			t.Fatalf("%s: changes: %d", q.Encode(), got)
		}
		fits := func(c Change) bool {
			return c.Case != nil && slices.ContainsFunc(cases.Cases, func(one Case) bool { return one.ID == c.Case.ID })
		}
		var want []int64
		for _, c := range all.Changes {
			if fits(c) {
				want = append(want, c.N)
			}
		}
		var got []int64
		for _, c := range changes.Changes {
			got = append(got, c.N)
		}
		if !slices.Equal(got, want) || changes.Next != all.Next {
			t.Errorf("%s: changes %v up to %d, want %v up to %d", q.Encode(), got, changes.Next, want, all.Next)
		}
	}
}

// TestChangesSinceATime: the first request may name a time; one from which changes are gone is refused.
func TestChangesSinceATime(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, func(b *intake.Bundle) {
		b.Directory.Platform.Retention = contract.Retention{DeliverySeconds: 7 * 86400}
	}, func(*service) {})
	boss := w.token("committee", "p-9", RoleDispatcher)
	w.send("s1", 1, `{"smoke":true}`)
	var all Changes
	eventually(t, "three changes", func() bool {
		return w.call("GET", "/v1/changes?after=0", boss, nil, &all) == 200 && len(all.Changes) == 3
	})
	// The same once more, from other times.
	if _, err := w.pool.Exec(t.Context(), `WITH d AS (DELETE FROM grid.changes RETURNING *)
		INSERT INTO grid.changes (case_id, version, kind, community, at) SELECT case_id, version, kind, community, at - (3 - n) * interval '1 hour' FROM d ORDER BY n`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three more", func() bool {
		return w.call("GET", "/v1/changes?after=3", boss, nil, &all) == 200 && len(all.Changes) == 3
	})
	since := func(at time.Time, more string) string {
		return "/v1/changes?since=" + url.QueryEscape(at.Format(time.RFC3339Nano)) + more
	}
	for ago, want := range map[time.Duration]int{3 * time.Hour: 3, 90 * time.Minute: 2, 30 * time.Minute: 1, -time.Minute: 0} {
		var page Changes
		if got := w.call("GET", since(time.Now().Add(-ago), ""), boss, nil, &page); got != 200 || len(page.Changes) != want || page.Next != all.Next {
			t.Errorf("since %s ago: %d, %d changes up to %d, want %d up to %d", ago, got, len(page.Changes), page.Next, want, all.Next)
		}
	}
	for path, want := range map[string]int{since(time.Now().Add(-8*24*time.Hour), ""): 410, since(time.Now(), "&after=0"): 422, "/v1/changes?since=yesterday": 422} {
		if got := w.call("GET", path, boss, nil, nil); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// TestTheFeedTellsOfTheMode: who switches it and why is for few; that it was switched, and that it ended by itself, is for all who see the mode.
func TestTheFeedTellsOfTheMode(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, withCommand, func(*service) {})
	commander := w.token("command", "p1", RoleCommander)
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	for _, body := range []putMode{{"mode": "Emergency", "reason": secretReason, "until": end}, {"mode": "Routine", "reason": secretReason}, {"mode": "Emergency", "reason": secretReason, "until": end}} {
		if got := w.call("PUT", "/v1/mode", commander, body, nil); got != 200 {
			t.Fatalf("%v: %d", body, got)
		}
	}
	if ended, err := endMode(t.Context(), w.pool, end); err != nil || ended != "Emergency" {
		t.Fatalf("it ended: %q %v", ended, err)
	}
	if ended, err := endMode(t.Context(), w.pool, end); err != nil || ended != "" {
		t.Fatalf("it ended once more: %q %v", ended, err)
	}
	for name, c := range map[string]struct {
		token string
		sees  bool
	}{"a dispatcher": {w.token("committee", "p2", RoleDispatcher), true}, "the commander": {commander, true}, "a resident": {w.token("committee", "p5", RoleResident), false}} {
		var page Changes
		eventually(t, name+" reads the feed", func() bool {
			page = Changes{}
			return w.call("GET", "/v1/changes?after=0", c.token, nil, &page) != 200 || page.Next == 4
		})
		told := ""
		for i, one := range page.Changes {
			if one.Mode == nil || one.Case != nil || one.Kind != kindModeSwitched {
				t.Fatalf("%s: change %+v", name, one)
			}
			told += fmt.Sprintf("%s/%d/%v ", one.Mode.Mode, one.Mode.N, one.Mode.ExpiresAt != nil)
			if i == 3 && !one.Mode.Since.Equal(end) {
				t.Errorf("%s: it ended at %v, want %v", name, one.Mode.Since, end)
			}
			if one.Mode.Reason != "" || one.Mode.Person != "" {
				t.Errorf("%s reads %+v", name, one.Mode)
			}
		}
		if want := map[bool]string{true: "Emergency/1/true Routine/2/false Emergency/3/true Routine/3/false ", false: ""}[c.sees]; told != want {
			t.Errorf("%s is told %q, want %q", name, told, want)
		}
	}
}
