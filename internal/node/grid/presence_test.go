package grid

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// crowd gives a bundle of fleets f0, f1, ... with devices d0, d1, ... each, dealt out to communities c0, c1, ...
func crowd(fleets, devices, communities int) *intake.Bundle {
	b := &intake.Bundle{Fleets: map[string]contract.Fleet{}, Rules: contract.Rules{Profiles: map[string]contract.Profile{"smoke": {HeartbeatSeconds: 60}}}}
	names, where := numbered("d", devices), numbered("c", communities)
	for f := range fleets {
		rows := make(map[string]contract.Device, devices)
		for d, name := range names {
			rows[name] = contract.Device{Community: where[d%communities]}
		}
		b.Fleets[fmt.Sprint("f", f)] = contract.Fleet{Profile: "smoke", Devices: rows}
	}
	return b
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

// with gives the bundle with the rows of one fleet changed, as a new shard would.
func with(b *intake.Bundle, fleet string, change func(rows map[string]contract.Device)) *intake.Bundle {
	next := *b
	next.Fleets = maps.Clone(b.Fleets)
	f := next.Fleets[fleet]
	f.Devices = maps.Clone(f.Devices)
	change(f.Devices)
	next.Fleets[fleet] = f
	return &next
}

func began(b *intake.Bundle) *presence {
	p := &presence{}
	p.begin(recall(b), map[string]int64{})
	return p
}

func (p *presence) hears(at time.Time, ids ...string) {
	batch := map[device]time.Time{}
	for _, id := range ids {
		fleet, name, _ := strings.Cut(id, ".")
		batch[device{fleet, name}] = at
	}
	p.heard(batch, nil)
}

func counted(t *testing.T, p *presence, b *intake.Bundle, now time.Time) census {
	t.Helper()
	c, ok := p.count(b, now)
	if !ok {
		t.Fatal("nothing is known")
	}
	return c
}

type there = contract.PresenceReport

func TestPresenceByFleetAndCommunity(t *testing.T) {
	b := crowd(2, 4, 2)
	p := &presence{}
	var r contract.Report
	if p.report(b, noon, &r); r.Fleets != nil || r.Communities != nil {
		t.Errorf("before a session something is said: %+v", r)
	}
	m := recall(b)
	m.hear(device{"f0", "d0"}, seconds(noon.Add(-time.Hour)))
	p.begin(m, map[string]int64{"f1": 7, "gone": 1})
	p.hears(noon, "f0.d1", "f1.d0", "f1.d2", "f1.d3", "nosuch.d0")
	p.heard(nil, map[string]int64{"f0": 2, "f1": 1})
	p.report(b, noon.Add(3*time.Minute), &r) // three intervals are not more than three
	want := map[string]contract.FleetReport{"f0": {PresenceReport: there{Online: 1, Offline: 1, NeverSeen: 2}, InvalidMessages: 2},
		"f1": {PresenceReport: there{Online: 3, NeverSeen: 1}, InvalidMessages: 8}}
	if !maps.Equal(r.Fleets, want) {
		t.Errorf("fleets: %+v", r.Fleets)
	}
	if c := map[string]there{"c0": {Online: 2, Offline: 1, NeverSeen: 1}, "c1": {Online: 2, NeverSeen: 2}}; !maps.Equal(r.Communities, c) {
		t.Errorf("communities: %+v", r.Communities)
	}
	if c := counted(t, p, b, noon.Add(3*time.Minute+time.Second)); c.fleets["f1"].PresenceReport != (there{Offline: 3, NeverSeen: 1}) {
		t.Errorf("after more than three intervals of silence: %+v", c.fleets["f1"])
	}
	b.Rules.Profiles["smoke"] = contract.Profile{HeartbeatSeconds: 60, MissedHeartbeats: 5}
	if c := counted(t, p, b, noon.Add(5*time.Minute)); c.fleets["f1"].Online != 3 {
		t.Errorf("after five intervals of five: %+v", c.fleets["f1"])
	}
	b.Rules.Profiles["smoke"] = contract.Profile{}
	if c := counted(t, p, b, noon.Add(1000*time.Hour)); c.fleets["f1"].PresenceReport != (there{Online: 3, NeverSeen: 1}) {
		t.Errorf("without an interval nobody is offline: %+v", c.fleets["f1"])
	}
	p.forget()
	if _, ok := p.count(b, noon); ok {
		t.Error("a replica that does not work any more still says who is there")
	}
}

// A device counts where its row is, at once, and a row that comes back finds when it was last heard.
func TestPresenceFollowsTheRows(t *testing.T) {
	b := crowd(1, 2, 1)
	p := began(b)
	p.hears(noon, "f0.d0", "f0.d1")
	moved := with(b, "f0", func(rows map[string]contract.Device) { rows["d1"] = contract.Device{Community: "elsewhere"} })
	if c := counted(t, p, moved, noon); c.communities["c0"] != (there{Online: 1}) || c.communities["elsewhere"] != (there{Online: 1}) || len(c.communities) != 2 {
		t.Errorf("after a move: %+v", c.communities)
	}
	without := with(moved, "f0", func(rows map[string]contract.Device) { delete(rows, "d1") })
	if c := counted(t, p, without, noon); c.fleets["f0"].PresenceReport != (there{Online: 1}) || len(c.communities) != 1 {
		t.Errorf("without the row: %+v", c)
	}
	p.hears(noon.Add(time.Minute), "f0.d1") // the batch was taken with the rows of before
	back := with(without, "f0", func(rows map[string]contract.Device) {
		rows["d1"], rows["d2"] = contract.Device{Community: "c0"}, contract.Device{}
	})
	if c := counted(t, p, back, noon.Add(4*time.Minute)); c.fleets["f0"].PresenceReport != (there{Online: 1, Offline: 1, NeverSeen: 1}) ||
		!maps.Equal(c.communities, map[string]there{"c0": {Online: 1, Offline: 1}}) {
		t.Errorf("the row is back, and one is in store: %+v", c)
	}
	none := *back
	none.Fleets = nil
	if c := counted(t, p, &none, noon); len(c.fleets)+len(c.communities) > 0 {
		t.Errorf("without fleets: %+v", c)
	}
	if c := counted(t, p, back, noon.Add(4*time.Minute)); c.fleets["f0"].Online != 1 {
		t.Errorf("the fleet is back: %+v", c.fleets)
	}
}

// Nothing is said of devices whose edge node is not heard, not even that they were never seen.
func TestPresenceBehindAnEdge(t *testing.T) {
	b := crowd(2, 4, 2)
	f := b.Fleets["f1"]
	f.Placement = contract.PlacementEdge
	b.Fleets["f1"] = f
	p := began(b)
	p.hears(noon, "f0.d0", "f1.d0", "f1.d1")
	if c := counted(t, p, b, noon); c.fleets["f1"].PresenceReport != (there{Unknown: 4}) || c.fleets["f0"].PresenceReport != (there{Online: 1, NeverSeen: 3}) ||
		c.communities["c0"] != (there{Online: 1, NeverSeen: 1, Unknown: 2}) {
		t.Errorf("no edge is heard: %+v", c)
	}
	p.drained.Store(&map[string]time.Time{"c0": noon})
	if c := counted(t, p, b, noon); c.fleets["f1"].PresenceReport != (there{Online: 1, NeverSeen: 1, Unknown: 2}) {
		t.Errorf("one of two is heard: %+v", c)
	}
}

func TestSeenIsWrittenOnceAMinute(t *testing.T) {
	b := crowd(1, 2, 1)
	p := began(b)
	written := func(at time.Time) int {
		batch := map[device]time.Time{{"f0", "d0"}: at}
		n := len(p.news(batch))
		p.heard(batch, nil)
		return n
	}
	for _, tc := range []struct {
		at   time.Duration
		want int
	}{{0, 1}, {10 * time.Second, 0}, {59 * time.Second, 0}, {60 * time.Second, 1}, {119 * time.Second, 0}, {30 * time.Second, 0}, {time.Hour, 1}} {
		if got := written(noon.Add(tc.at)); got != tc.want {
			t.Errorf("heard %s after noon: %d written, want %d", tc.at, got, tc.want)
		}
	}
	if got := endOfMinute(seconds(noon.Add(17 * time.Second))); got != seconds(noon.Add(59*time.Second)) {
		t.Errorf("a minute alone is known: %d", got)
	}
}

// A million devices (under -short a twentieth), of which a quarter is heard in each of four hours, counted at the end of each while
// others count, too.
func TestMillionDevices(t *testing.T) {
	const fleets, communities, hours = 20, 200, 4
	devices := 50_000
	if testing.Short() {
		devices = 2_500
	}
	b := crowd(fleets, devices, communities)
	p := began(b)
	names := numbered("d", devices)
	for hour := range hours {
		now := noon.Add(time.Duration(hour) * time.Hour)
		var other sync.WaitGroup
		other.Go(func() { p.count(b, now) })
		for f := range fleets {
			batch := map[device]time.Time{}
			for d := hour * devices / hours; d < (hour+1)*devices/hours; d++ {
				batch[device{fmt.Sprint("f", f), names[d]}] = now
			}
			p.heard(batch, nil)
		}
		other.Wait()
		var sum there
		c := counted(t, p, b, now.Add(3*time.Minute))
		for _, n := range c.communities {
			sum = plus(sum, n)
		}
		share := int64(fleets * devices / hours)
		if want := (there{Online: share, Offline: int64(hour) * share, NeverSeen: int64(hours-1-hour) * share}); sum != want || len(c.communities) != communities {
			t.Fatalf("hour %d: %+v in %d communities, want %+v", hour, sum, len(c.communities), want)
		}
	}
}

// Rows change and devices are counted while messages come in: what was heard is never forgotten.
func TestNothingHeardIsLostWhileRowsChange(t *testing.T) {
	const devices = 500
	b := crowd(1, devices, 5)
	p := began(b)
	var busy sync.WaitGroup
	for i := range 4 {
		busy.Go(func() {
			for n := range 50 {
				p.count(with(b, "f0", func(rows map[string]contract.Device) {
					rows[fmt.Sprint("d", (i+4*n)%devices)] = contract.Device{Community: "moved"}
				}), noon)
			}
		})
	}
	for d := range devices {
		p.hears(noon, fmt.Sprint("f0.d", d))
	}
	busy.Wait()
	if c := counted(t, p, b, noon); c.fleets["f0"].Online != devices {
		t.Errorf("%d of %d devices are remembered", c.fleets["f0"].Online, devices)
	}
}

func TestPresenceMetrics(t *testing.T) {
	b := crowd(1, 2, 1)
	p := began(b)
	p.heard(map[device]time.Time{{"f0", "d0"}: noon}, map[string]int64{"f0": 3})
	c := presenceCollector{p, intake.NewStatic(b), func() time.Time { return noon }}
	if err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP dizuo_grid_community_devices Devices of a community by presence: online, offline, never_seen, unknown. From the working replica.
# TYPE dizuo_grid_community_devices gauge
dizuo_grid_community_devices{community="c0",presence="never_seen"} 1
dizuo_grid_community_devices{community="c0",presence="offline"} 0
dizuo_grid_community_devices{community="c0",presence="online"} 1
dizuo_grid_community_devices{community="c0",presence="unknown"} 0
# HELP dizuo_grid_devices Devices of a fleet by presence: online, offline, never_seen, unknown. From the working replica.
# TYPE dizuo_grid_devices gauge
dizuo_grid_devices{fleet="f0",presence="never_seen"} 1
dizuo_grid_devices{fleet="f0",presence="offline"} 0
dizuo_grid_devices{fleet="f0",presence="online"} 1
dizuo_grid_devices{fleet="f0",presence="unknown"} 0
# HELP dizuo_grid_invalid_messages_total Messages of a fleet that did not fit its profile, over restarts. From the working replica.
# TYPE dizuo_grid_invalid_messages_total counter
dizuo_grid_invalid_messages_total{fleet="f0"} 3
`)); err != nil {
		t.Error(err)
	}
	p.forget()
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("a replica that does not work gives %d series", n)
	}
}

// What a session wrote, the next one knows: when devices were heard, and how many messages did not fit.
func TestPresenceOverSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("s1", 1, `{"smoke":false}`)
	w.send("s2", 1, `{"smoke":`)                     // malformed
	w.send("s2", 1, `{"smoke":false,"density":101}`) // a field beyond its range
	check := func(when string) {
		eventually(t, when, func() bool {
			c, ok := w.svc.presence.count(w.bundle, time.Now())
			f := c.fleets["smokes"]
			return ok && f.Online == 2 && f.InvalidMessages == 2
		})
	}
	check("two devices heard, two messages that do not fit")
	w.stop()
	w.begin()
	check("the same after a restart")
	if n := number(t, w.pool, "SELECT messages FROM grid.invalid_messages WHERE fleet = 'smokes'"); n != 2 {
		t.Errorf("%d invalid messages are kept", n)
	}
}
