// Package rules measures the way from a signal to its case: the engine over the shipped catalogue, and a running centre, whose parts are processes;
// see test/stack.
package rules

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/bench/figure"
	"github.com/dizuo/dizuo/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

const (
	// perSecond messages are sent for so long, of which one of every opens a case.
	perSecond, every = 1000, 20
	warm, measure    = 10 * time.Second, 30 * time.Second
	// messages of a run, and cases that they open.
	messages = perSecond * int((warm+measure)/time.Second)
	opened   = messages / every
	// burst of signals that come at once, each the first of its device.
	burst = 5000
	// lone signals come one at a time, and nothing else.
	lone = 50
	// look is how often it is asked which cases are there: so much later they may be seen.
	look = 10 * time.Millisecond
	// Fleets: of the devices that open a case each, of those that speak beside them, and of those that come all at once or alone.
	measured, beside, loud, single = "measured", "beside", "loud", "single"
)

func options() stack.Options {
	o := stack.Options{
		Replicas: 1,
		Database: []string{"fsync=on"},
		Directory: contract.Directory{
			Platform: contract.Platform{Name: stack.Platform, Namespace: "city", TimeZone: "Asia/Shanghai", SLA: map[contract.Severity]contract.SLA{
				contract.SeverityCritical: {AcknowledgeSeconds: 3600, ResolveSeconds: 7200}}},
			Communities: map[string]contract.Community{"jinghu": {Division: "410702001001", Grids: []contract.Grid{{Name: "g1", Posts: []string{"GridWorker"}}}}},
			// It has no webhook: what is measured ends when the case is there.
			Organizations: map[string]contract.Organization{"fire": {Type: "Fire", Jurisdiction: []string{"4107"}, Duties: []string{"fire"}}},
		},
		Rules: contract.Rules{
			Profiles: map[string]contract.Profile{"smoke": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"smoke": {Type: "Boolean", Required: true}, "density": {Type: "Number"}}}},
			Scenarios: map[string]contract.Scenario{"s10": {Profile: "smoke", CaseClass: "fire", Severity: contract.SeverityCritical, Title: "烟感报警", DataClass: "C0",
				Terms: []contract.Term{{When: "msg.smoke == true"}}, Clear: "msg.smoke == false", DedupSeconds: 600,
				Responders: []contract.Responder{{Post: "GridWorker"}, {Duty: "fire"}}}},
		},
		Fleets: map[string]contract.Fleet{},
	}
	for fleet, n := range map[string]int{measured: 2 * opened, beside: burst, loud: burst, single: lone} {
		f := contract.Fleet{Profile: "smoke", AccessMode: "Device", Devices: map[string]contract.Device{}}
		for i := range n {
			f.Devices[name(i)] = contract.Device{Community: "jinghu", Grid: "g1", Building: fmt.Sprint(i % 100)}
		}
		o.Fleets[fleet] = f
	}
	return o
}

func name(i int) string { return fmt.Sprintf("d%06d", i) }

// TestBenchStack measures a centre that runs, and writes figures to DIZUO_BENCH_OUT.
func TestBenchStack(t *testing.T) {
	out := os.Getenv("DIZUO_BENCH_OUT")
	if out == "" {
		t.Skip("make bench-rules runs it")
	}
	s := stack.Start(t, options())
	js := s.Connect(contract.UserIngest)
	figures := bursts(t, s, js)
	figures = append(figures, lonely(t, s, js)...)
	figures = append(figures, steady(t, s, js, "readings", false, 0)...)
	figures = append(figures, steady(t, s, js, "alarms that join", true, opened)...)
	for _, f := range figures {
		t.Logf("%-60s %10g %-6s target %g, met: %t", f.Name, f.Value, f.Unit, f.Target, f.Met)
	}
	if err := figure.Merge(out, figures); err != nil {
		t.Fatal(err)
	}
}

// send publishes a message without waiting for its acknowledgement, and gives when that was.
func send(t *testing.T, js jetstream.JetStream, fleet, device string, smoke bool) time.Time {
	t.Helper()
	at := time.Now()
	msg := &nats.Msg{Subject: contract.IngestPrefix + contract.DeviceSubject(fleet, device, contract.ChannelSignal),
		Data: fmt.Appendf(nil, `{"smoke":%t,"density":3.5,"ts":%q}`, smoke, at.UTC().Format(time.RFC3339Nano))}
	if _, err := js.PublishMsgAsync(msg); err != nil {
		t.Fatal(err)
	}
	return at
}

// watcher sees when the cases of a fleet are there, for everybody to read.
type watcher struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// watch looks until ctx ends. wait ends then, too.
func watch(ctx context.Context, t *testing.T, s *stack.Stack, fleet string) (w *watcher, wait func()) {
	t.Helper()
	w = &watcher{seen: map[string]time.Time{}}
	var work sync.WaitGroup
	work.Go(func() {
		var last time.Time
		for tick := time.NewTicker(look); ctx.Err() == nil; <-tick.C {
			rows, err := s.Pool.Query(ctx, "SELECT device, opened_at FROM grid.cases WHERE fleet = $1 AND opened_at >= $2", fleet, last)
			now := time.Now()
			if err != nil {
				continue
			}
			var device string
			var opened time.Time
			w.mu.Lock()
			_, _ = pgx.ForEachRow(rows, []any{&device, &opened}, func() error {
				if _, known := w.seen[device]; !known {
					w.seen[device] = now
				}
				if at := opened.Add(-5 * time.Second); at.After(last) { // a transaction may be committed that long after it began
					last = at
				}
				return nil
			})
			w.mu.Unlock()
		}
	})
	return w, work.Wait
}

func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// until waits for so many cases.
func (w *watcher) until(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); w.count() < n; time.Sleep(look) {
		if time.Now().After(deadline) {
			t.Fatalf("%d cases of %d", w.count(), n)
		}
	}
}

// percentiles gives those of 50 and 99 of a hundred.
func percentiles(times []time.Duration) (p50, p99 time.Duration) {
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100]
}

// bursts measures how many cases a second are opened when all signals are there.
func bursts(t *testing.T, s *stack.Stack, js jetstream.JetStream) []figure.Figure {
	ctx, cancel := context.WithCancel(t.Context())
	w, wait := watch(ctx, t, s, loud)
	begin := time.Now()
	for i := range burst {
		send(t, js, loud, name(i), true)
	}
	w.until(t, burst)
	took := time.Since(begin)
	cancel()
	wait()
	return []figure.Figure{figure.AtLeast("Stack cases/s", burst/took.Seconds(), "1/s", 0)}
}

// lonely measures signals that come alone.
func lonely(t *testing.T, s *stack.Stack, js jetstream.JetStream) []figure.Figure {
	ctx, cancel := context.WithCancel(t.Context())
	w, wait := watch(ctx, t, s, single)
	sent := map[string]time.Time{}
	for i := range lone {
		sent[name(i)] = send(t, js, single, name(i), true)
		w.until(t, i+1)
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	wait()
	return w.figures(sent, "Stack message to case, alone", 0)
}

// steady measures signals that come among others, which all say the same: alarms join the case of their device, and others do nothing to cases.
// first is the first device that opens a case.
func steady(t *testing.T, s *stack.Stack, js jetstream.JetStream, among string, alarms bool, first int) []figure.Figure {
	ctx, cancel := context.WithCancel(t.Context())
	w, wait := watch(ctx, t, s, measured)
	sent, begin := map[string]time.Time{}, time.Now()
	for n := range messages {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / perSecond)))
		if n%every > 0 {
			send(t, js, beside, name(n%burst), alarms)
			continue
		}
		device := name(first + n/every)
		if at := send(t, js, measured, device, true); at.Sub(begin) > warm {
			sent[device] = at
		}
	}
	rate := float64(messages) / time.Since(begin).Seconds()
	w.until(t, first+opened)
	cancel()
	wait()
	label := fmt.Sprintf("Stack message to case at %d/s among %s", perSecond, among)
	return append(w.figures(sent, label, 1000), figure.AtLeast(label+", sent", rate, "1/s", 0.98*perSecond))
}

// figures gives the percentiles of what was sent; target is of the 99th, in milliseconds.
func (w *watcher) figures(sent map[string]time.Time, name string, target float64) []figure.Figure {
	var times []time.Duration
	for device, at := range sent {
		times = append(times, w.seen[device].Sub(at))
	}
	p50, p99 := percentiles(times)
	return []figure.Figure{figure.AtMost(name+", p50", float64(p50.Microseconds())/1000, "ms", 0), figure.AtMost(name+", p99", float64(p99.Microseconds())/1000, "ms", target)}
}
