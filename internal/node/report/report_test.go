package report_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/report"
)

func broker(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// role is a role that enforces a lease; the test moves it on.
type role struct {
	mu       sync.Mutex
	sequence int64
	revision string
	at       time.Time
}

func (r *role) apply(sequence int64, revision string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence, r.revision, r.at = sequence, revision, at
}

func (r *role) applied() (int64, string, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sequence, r.revision, r.at
}

// start runs the reports of gateway dizuo-gateway-0.a and gives what comes into the bucket, and a stop that waits.
func start(t *testing.T, js jetstream.JetStream, r *role, every time.Duration, src ...report.Source) (<-chan jetstream.KeyValueEntry, func()) {
	t.Helper()
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: contract.ReportBucket})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.Watch(t.Context(), contract.ReportKey(contract.RoleGateway, "dizuo-gateway-0.a"), jetstream.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	return watch.Updates(), run(t, js, r, every, src...)
}

func run(t *testing.T, js jetstream.JetStream, r *role, every time.Duration, src ...report.Source) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- report.Run(ctx, js, contract.RoleGateway, "dizuo-gateway-0.a", intake.NewStatic(nil), r.applied, every, src...)
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Run ended with %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func next(t *testing.T, ch <-chan jetstream.KeyValueEntry) jetstream.KeyValueEntry {
	t.Helper()
	select {
	case e := <-ch:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("no report came")
	}
	return nil
}

func decode(t *testing.T, e jetstream.KeyValueEntry) contract.Report {
	t.Helper()
	var r contract.Report
	if err := json.Unmarshal(e.Value(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// With an interval of an hour a report comes at the start and with each lease that is enforced, and is taken back at the end.
func TestAtStartOnApplyAndAtTheEnd(t *testing.T) {
	r := &role{}
	cases := func(c *contract.Report) { c.OpenCases = map[string]int64{"jinghu": 2} }
	decisions := func(c *contract.Report) { c.Decisions = map[string]contract.DecisionReport{"visits": {Allowed: 1}} }
	ch, stop := start(t, broker(t), r, time.Hour, cases, decisions)
	first := decode(t, next(t, ch))
	if first.Role != contract.RoleGateway || first.Instance != "dizuo-gateway-0.a" || first.At.IsZero() || first.Version == "" || first.Contract != contract.ContractVersion || first.Sequence != 0 ||
		first.OpenCases["jinghu"] != 2 || first.Decisions["visits"].Allowed != 1 {
		t.Errorf("at the start: %+v", first)
	}
	at := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	r.apply(7, "sha256:abc", at)
	if got := decode(t, next(t, ch)); got.Sequence != 7 || got.Revision != "sha256:abc" || !got.EffectiveAt.Equal(at) {
		t.Errorf("applied: %+v", got)
	}
	r.apply(8, "sha256:abc", at)
	if got := decode(t, next(t, ch)); got.Sequence != 8 {
		t.Errorf("renewed: %+v", got)
	}
	stop()
	if e := next(t, ch); e.Operation() != jetstream.KeyValueDelete {
		t.Errorf("at the end: %s %s", e.Operation(), e.Value())
	}
}

// Nothing new still gives a report each interval: it is the heartbeat.
func TestEachInterval(t *testing.T) {
	ch, _ := start(t, broker(t), &role{}, 20*time.Millisecond)
	last := decode(t, next(t, ch)).At
	for range 3 {
		now := decode(t, next(t, ch)).At
		if now.Sub(last) < 10*time.Millisecond {
			t.Errorf("two reports within %s", now.Sub(last))
		}
		last = now
	}
}

// A report that could not be written comes with the next interval.
func TestABucketThatComesLater(t *testing.T) {
	js := broker(t)
	r := &role{}
	r.apply(3, "r", time.Now())
	run(t, js, r, 20*time.Millisecond)
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: contract.ReportBucket})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.Watch(t.Context(), "gateway.*")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if e := next(t, watch.Updates()); e != nil { // nil ends what was there at the start
			if got := decode(t, e); got.Sequence != 3 {
				t.Errorf("got %+v", got)
			}
			return
		}
	}
}
