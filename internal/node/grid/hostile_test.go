package grid

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

func limited(perMinute int32) func(*intake.Bundle) {
	return func(b *intake.Bundle) {
		f := b.Fleets["smokes"]
		f.Limits.MessagesPerMinute, f.Placement = perMinute, contract.PlacementEdge
		b.Fleets["smokes"] = f
		b.Edges = map[string]contract.Edge{"e1": {Communities: []string{"jinghu"}}, "e2": {Communities: []string{"other"}}}
	}
}

// What an edge node acknowledged while the line was cut is taken whatever its clock says: one without a battery begins in 1970, and is set
// once the line is back. A message each minute is within the limit, though all of it comes in one batch.
func TestBacklogOfAnEdgeWithAWrongClockIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, limited(2), func(s *service) { s.worker.burst = time.Minute })
	nc, _ := connect(t, w.broker.ClientURL())
	defer nc.Close()
	ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a"})
	now := time.Now()
	var b contract.EdgeBatch
	b.Incarnation = "a"
	for i := range 90 {
		at := time.Unix(0, 0) // the first half hour
		switch {
		case i >= 60: // right
			at = now.Add(-90 * time.Minute)
		case i >= 30: // ahead
			at = now.Add(3 * time.Hour)
		}
		m := signal(uint64(i+1), "s1")
		m.At = at.Add(time.Duration(i) * time.Minute).UnixMilli()
		b.Messages = append(b.Messages, m)
	}
	if r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, b); r.Mark != 90 || r.Error != "" {
		t.Fatalf("%+v", r)
	}
	if taken, limited := w.counted("taken"), w.counted("limited"); taken != 90 || limited != 0 {
		t.Errorf("%v of 90 acknowledged messages taken, %v dropped by the limit", taken, limited)
	}
}

// What waits in the ingest log is judged by when it came there, also if a message of QoS 0 of the same device came by since.
func TestQoSZeroDoesNotLimitWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, limited(2), func(s *service) {
		s.worker.burst = time.Minute
		s.worker.now = func() time.Time { return time.Now().Add(2 * time.Hour) } // as if the log were worked off two hours later
	})
	w.send("s1", 0, `{"smoke":true}`)
	eventually(t, "QoS 0", func() bool { return w.counted("taken") == 1 })
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "QoS 1", func() bool { return w.counted("taken")+w.counted("limited") == 2 })
	if w.counted("limited") != 0 {
		t.Error("an acknowledged message was dropped")
	}
}

// Nothing that one edge node says ends the session of all.
func TestNoEdgeEndsTheSession(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, limited(0), func(*service) {})
	nc, _ := connect(t, w.broker.ClientURL())
	defer nc.Close()
	if r := ask[contract.HelloReply](t, nc, "e2", contract.EdgeHello, contract.Hello{Incarnation: "a\x00"}); r.Error == "" {
		t.Errorf("an incarnation that no column holds: %+v", r)
	}
	for _, base := range []uint64{0, 7, math.MaxInt64 - 1, math.MaxInt64} {
		incarnation := fmt.Sprint("b", base)
		if r := ask[contract.HelloReply](t, nc, "e2", contract.EdgeHello, contract.Hello{Incarnation: incarnation, Base: base, Last: math.MaxUint64}); r.Mark != base || r.Error != "" {
			t.Fatalf("%+v", r)
		}
		far := contract.EdgeBatch{Incarnation: incarnation, Messages: []contract.EdgeMessage{signal(math.MaxUint64, "s1")}, Last: math.MaxUint64,
			Lost: []contract.LostRange{{From: base + 1, To: math.MaxUint64}, {From: 0, To: math.MaxUint64}}, DrainedTo: time.Now().Add(1000 * time.Hour)}
		if r := ask[contract.EdgeBatchReply](t, nc, "e2", contract.EdgeUp, far); r.Mark != base || r.Error == "" {
			t.Errorf("a sequence beyond what is kept: %+v", r)
		}
		far.Messages = []contract.EdgeMessage{{Sequence: base + 1, At: math.MinInt64, Fleet: "smokes", Device: "s1", Channel: "a.b\x00"}}
		ask[contract.EdgeBatchReply](t, nc, "e2", contract.EdgeUp, far)
	}
	ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a"})
	m := signal(1, "s1")
	m.Payload = []byte(`{"smoke":true,"id":"\u0000","x\u0000":"\u0000"}`)
	ack := signal(2, "s1")
	ack.Channel, ack.Payload = contract.ChannelAck, []byte(`{"id":"`+uuid.NewString()+`","result":"Done","detail":"\u0000"}`)
	if r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, contract.EdgeBatch{Incarnation: "a", Messages: []contract.EdgeMessage{m, ack}}); r.Mark != 2 || r.Error != "" {
		t.Errorf("%+v", r)
	}
	if n := testutil.ToFloat64(w.svc.worker.metrics.sessions); n != 1 {
		t.Errorf("%v sessions, want the first alone", n)
	}
}

// A replica that waits hears QoS 0, too. When its turn comes it does not take again what the other one took.
func TestWaitingReplicaTakesNoQoSZeroAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, js := connect(t, w.broker.ClientURL())
	defer nc.Close()
	second := newService(contract.NodeConfig{Grid: &contract.GridConfig{}}, w.pool, w.in, nc, js, prometheus.NewRegistry(), quiet())
	waiting := make(chan struct{})
	var once sync.Once
	second.worker.ready = func(error) { once.Do(func() { close(waiting) }) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- second.worker.run(ctx) }()
	<-waiting
	w.send("s1", 0, `{"smoke":true}`)
	eventually(t, "case by the first", func() bool { return w.cases("Dispatched") == 1 })
	w.stop()
	w.send("s2", 1, `{"smoke":true}`)
	eventually(t, "case by the second", func() bool { return w.cases("Dispatched") == 2 })
	w.send("s3", 0, `{"smoke":true}`)
	eventually(t, "QoS 0 by the second", func() bool { return w.cases("Dispatched") == 3 })
	cancel()
	<-done
	if n := number(t, w.pool, "SELECT signals FROM grid.cases WHERE device = 's1'"); n != 1 {
		t.Errorf("one message of QoS 0 gave %d signals", n)
	}
}

// The database knows to the minute when a device was heard. One that says something every few seconds was not away because of that, and
// is not sent its desired state again.
func TestDesiredStateOfADeviceThatNeverWasAway(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(b *intake.Bundle) {
		p := b.Rules.Profiles["pump"]
		p.HeartbeatSeconds = 5
		b.Rules.Profiles["pump"] = p
	})
	at := time.Now().Truncate(time.Minute)
	var mu sync.Mutex
	o.stop()
	o.tune = func(s *service) {
		s.api.commander.now, s.api.now = o.now, o.now
		s.worker.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	}
	o.begin()
	say := func(seconds int, n float64) { // at QoS 0, which arrives by the worker's clock
		mu.Lock()
		at = at.Truncate(time.Minute).Add(time.Duration(seconds) * time.Second)
		mu.Unlock()
		client := mqttClient(t, o.broker, contract.ClientID("pumps", "p1"))
		wait(t, client.Publish(contract.DeviceTopic("pumps", "p1", contract.ChannelTelemetry), 0, false, `{"level":1}`))
		client.Disconnect(100)
		eventually(t, "the device is heard", func() bool { return o.counted("taken") >= n })
	}
	say(1, 1)
	var v DesiredView
	if got := o.call("PUT", "/v1/devices/pumps.p1/desired/lamp", o.boss(), map[string]any{"arguments": map[string]any{"on": true}}, &v); got != 200 {
		t.Fatalf("desired: %d", got)
	}
	o.next("desired")
	if _, err := o.pool.Exec(t.Context(), "UPDATE grid.desired SET state = 'Done'"); err != nil {
		t.Fatal(err)
	}
	o.advance(2 * time.Minute)
	for i := range 5 {
		say(11+i*10, float64(2+i))
	}
	o.nothing("a device that was never away")
	say(59+17, 7)
	o.next("desired after a silence")
}

// What a cloud says at QoS 0 that nobody can read is counted for its fleet as well.
func TestMisfitsAtQoSZeroAreCounted(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t)
	c := mqttClient(t, w.broker, "cloud")
	wait(t, c.Publish(contract.PlatformTopic("nb-smoke", contract.PlatformUp), 0, false, "garbage"))
	eventually(t, "refused", func() bool { return w.counted("malformed") == 1 })
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "marker", func() bool { return w.cases("Dispatched") == 1 })
	if n := number(t, w.pool, "SELECT coalesce(sum(messages), 0) FROM grid.invalid_messages WHERE fleet = 'nb-smoke'"); n != 1 {
		t.Errorf("%d invalid messages are counted, want 1", n)
	}
}

// A device that answers the same to the same desired state, again and again, fills no history; another answer stands there.
func TestTheSameAckFillsNoHistory(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	var v DesiredView
	if got := o.call("PUT", "/v1/devices/pumps.p1/desired/lamp", o.boss(), map[string]any{"arguments": map[string]any{"on": true}}, &v); got != 200 {
		t.Fatalf("desired: %d", got)
	}
	for _, result := range []string{"Done", "Done", "Done", "Failed", "Failed", "Done"} {
		o.next("desired")
		o.say("p1", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":%q}`, v.ID, result))
		eventually(t, result, func() bool {
			return number(t, o.pool, "SELECT count(*) FROM grid.desired WHERE state = $1", result) == 1
		})
		o.advance(2 * time.Minute)
		o.say("p1", contract.ChannelState, `{"level":1}`)
	}
	o.next("desired")
	if n := number(t, o.pool, "SELECT count(*) FROM grid.desired_history HAVING max(n) = count(*)"); n != 1+3 {
		t.Errorf("%d lines of history, want Set, Done, Failed, Done", n)
	}
}

// By a clock that is ahead, what an edge node's batch goes up to may be later than now. That says nothing of what waits behind it.
func TestAnEdgeWhoseClockIsAheadHidesNoBacklog(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, limited(0), func(*service) {})
	nc, _ := connect(t, w.broker.ClientURL())
	defer nc.Close()
	ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a"})
	drained := func(sequence, last uint64) int64 {
		b := contract.EdgeBatch{Incarnation: "a", Messages: []contract.EdgeMessage{signal(sequence, "s1")}, Last: last, DrainedTo: time.Now().Add(3 * time.Hour)}
		if r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, b); r.Mark != sequence || r.Error != "" {
			t.Fatalf("%+v", r)
		}
		return number(t, w.pool, "SELECT count(*) FROM grid.edge_position WHERE edge = 'e1' AND drained_to <= now()")
	}
	if drained(1, 2) != 0 {
		t.Error("one more message waits, and everything counts as known")
	}
	if drained(2, 2) != 1 {
		t.Error("nothing waits, and nothing is known")
	}
}

// An edge node speaks for the fleets that are placed at edge nodes, or were until a while ago by the clock of the centre, whatever time it
// writes itself: not for a fleet of its community that connects to the centre.
func TestAnEdgeSpeaksForNoFleetOfTheCentre(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*contract.Fleet)
		want   string
	}{
		"placed at edge nodes": {func(f *contract.Fleet) { f.Placement = contract.PlacementEdge }, "taken"},
		"placed at the centre": {func(*contract.Fleet) {}, "violation"},
		"left edge nodes":      {func(f *contract.Fleet) { f.EdgeUntil = time.Now().Add(time.Hour) }, "taken"},
		"left them long ago":   {func(f *contract.Fleet) { f.EdgeUntil = time.Now().Add(-time.Second) }, "violation"},
		"a cloud's":            {func(f *contract.Fleet) { f.AccessMode = contract.AccessPlatform }, "violation"},
	} {
		t.Run(name, func(t *testing.T) {
			w := edgeWorldWith(t, c.change)
			nc, _ := connect(t, w.broker.ClientURL())
			defer nc.Close()
			if r := ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a"}); r.Error != "" {
				t.Fatal(r.Error)
			}
			fresh, old := signal(1, "s1"), signal(2, "s1")
			old.At = time.Now().Add(-48 * time.Hour).UnixMilli()
			if r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, contract.EdgeBatch{Incarnation: "a", Messages: []contract.EdgeMessage{fresh, old}}); r.Mark != 2 || r.Error != "" {
				t.Fatalf("%+v, want that it goes on", r)
			}
			if n := testutil.ToFloat64(w.svc.worker.metrics.edgeMessages.WithLabelValues("e1", c.want)); n != 2 {
				t.Errorf("%v of 2 are %s", n, c.want)
			}
			if n := w.signals(); (n > 0) != (c.want == "taken") {
				t.Errorf("%d signals", n)
			}
		})
	}
}
