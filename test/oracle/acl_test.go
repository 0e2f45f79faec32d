package oracle

import (
	"slices"
	"testing"
)

var rows = []Row{{Fleet: "smoke", Device: "s1"}, {Fleet: "smoke", Device: "S1"}, {Fleet: "smoke", Device: "s3", ClientID: "IMEI-866123"}, {Fleet: "smoke-2", Device: "s1"},
	{Fleet: "door", Device: "cmd"}, {Fleet: "sensor", Device: "a", Via: "smoke.s1"}, {Fleet: "meter", Device: "_platform", Cloud: true}, {Fleet: "meter", Device: "m1", Silent: true}}

// TestOracleTruths are decisions that a person has written down from the prose.
func TestOracleTruths(t *testing.T) {
	s1, s3 := Identity{"smoke", "s1", "smoke_s1"}, Identity{"smoke", "s3", "IMEI-866123"}
	pub, pub1, sub := Action{Publish, 0}, Action{Publish, 1}, Action{Subscribe, 0}
	for _, tc := range []struct {
		identity Identity
		topic    string
		action   Action
		want     bool
	}{
		{s1, "dizuo/v1/d/smoke/s1/telemetry", pub, true},
		{s1, "dizuo/v1/d/smoke/s1/signal", pub1, true},
		{s1, "dizuo/v1/d/smoke/s1/state", pub1, true},
		{s1, "dizuo/v1/d/smoke/s1/ack", pub, true},
		{s1, "dizuo/v1/d/smoke/s1/cmd", sub, true},
		{s1, "dizuo/v1/d/smoke/s1/desired", sub, true},
		{s3, "dizuo/v1/d/smoke/s3/signal", pub1, true},
		{Identity{"door", "cmd", "door_cmd"}, "dizuo/v1/d/door/cmd/cmd", sub, true},

		{s1, "dizuo/v1/d/sensor/a/signal", pub1, true},
		{s1, "dizuo/v1/d/sensor/a/cmd", sub, true},
		{Identity{"meter", "_platform", "meter__platform"}, "dizuo/v1/p/meter/up", pub1, true},
		{Identity{"meter", "_platform", "meter__platform"}, "dizuo/v1/p/meter/down", sub, true},

		{s3, "dizuo/v1/d/sensor/a/signal", pub1, false},
		{Identity{"sensor", "a", "sensor_a"}, "dizuo/v1/d/sensor/a/signal", pub1, false},
		{Identity{"meter", "m1", "meter_m1"}, "dizuo/v1/d/meter/m1/signal", pub1, false},
		{Identity{"meter", "_platform", "meter__platform"}, "dizuo/v1/p/meter/up", sub, false},
		{Identity{"meter", "_platform", "meter__platform"}, "dizuo/v1/p/smoke/up", pub, false},
		{Identity{"meter", "_platform", "meter__platform"}, "dizuo/v1/d/meter/m1/signal", pub, false},
		{s1, "dizuo/v1/p/smoke/up", pub, false},
		{s1, "dizuo/v1/d/smoke/s1/signal", Action{Publish, 2}, false},
		{s1, "dizuo/v1/d/smoke/s1/cmd", Action{Subscribe, 1}, false},
		{s1, "dizuo/v1/d/smoke/s1/cmd", pub, false},
		{s1, "dizuo/v1/d/smoke/s1/signal", sub, false},
		{s1, "dizuo/v1/d/smoke/s3/signal", pub, false},
		{s1, "dizuo/v1/d/smoke/S1/signal", pub, false},
		{s1, "dizuo/v1/d/smoke-2/s1/signal", pub, false},
		{s1, "dizuo/v1/d/smoke/s1/+", sub, false},
		{s1, "#", sub, false},
		{s1, "dizuo/v1/d/smoke/s1/cmd/#", sub, false},
		{s1, "/dizuo/v1/d/smoke/s1/cmd", sub, false},
		{s1, "dizuo.v1.d.smoke.s1.cmd", sub, false},
		{s1, "$share/g/dizuo/v1/d/smoke/s1/cmd", sub, false},
		{s1, "dizuo/v1/c/chengdong/smoke/s1/signal", pub, false},
		{s1, "", pub, false},
		{s1, "dizuo/v1/d/smoke/s1/signal", Action{}, false},
		// A device without a row, and one with another's client id or with that by its name where another is bound.
		{Identity{"smoke", "s2", "smoke_s2"}, "dizuo/v1/d/smoke/s2/signal", pub, false},
		{Identity{"door", "s1", "door_s1"}, "dizuo/v1/d/door/s1/signal", pub, false},
		{Identity{"smoke", "s1", "smoke_S1"}, "dizuo/v1/d/smoke/s1/signal", pub, false},
		{Identity{"smoke", "s3", "smoke_s3"}, "dizuo/v1/d/smoke/s3/signal", pub, false},
		{Identity{}, "dizuo/v1/d///signal", pub, false},
	} {
		if got := Allowed(rows, tc.identity, tc.topic, tc.action); got != tc.want {
			t.Errorf("%+v %+v %q: %v, want %v", tc.identity, tc.action, tc.topic, got, tc.want)
		}
	}
}

// TestOracleGenerator holds that triples reach both sides, and that each kind is what its name says: only Right is allowed.
func TestOracleGenerator(t *testing.T) {
	const n = 10_000
	g, again := NewGenerator(7, rows), NewGenerator(7, rows)
	made, allowed := map[string]int{}, 0
	for range n {
		triple := g.Next()
		if same := again.Next(); same != triple {
			t.Fatalf("the same seed gives %+v and %+v", triple, same)
		}
		made[triple.Kind]++
		ok := Allowed(rows, triple.Identity, triple.Topic, triple.Action)
		if ok {
			allowed++
		}
		if ok != (triple.Kind == Right) {
			t.Fatalf("%s: %+v is allowed: %v", triple.Kind, triple, ok)
		}
		if len(triple.Topic) > 65_535 {
			t.Fatalf("%s: a topic of %d bytes does not fit in a packet", triple.Kind, len(triple.Topic))
		}
	}
	if allowed < n*3/10 || allowed > n*4/10 {
		t.Errorf("%d of %d are allowed, want about a third", allowed, n)
	}
	for _, kind := range Kinds() {
		if made[kind] < n/100 {
			t.Errorf("%s: %d of %d", kind, made[kind], n)
		}
	}
	if len(made) != len(Kinds()) || slices.Contains(Kinds()[1:], Right) {
		t.Errorf("kinds %v, made %v", Kinds(), made)
	}
}
