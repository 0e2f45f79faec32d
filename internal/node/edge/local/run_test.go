package local

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

var errDisk = errors.New("disk does not answer")

// boxOf is an outbox that says what a function says, and remembers what is held.
type boxOf struct {
	behind func(from uint64) (contract.EdgeBatch, uint64, bool, error)
	reads  int
	held   []uint64
}

func (b *boxOf) Hold(position uint64) { b.held = append(b.held, position) }

func (b *boxOf) Behind(_ context.Context, from uint64) (contract.EdgeBatch, uint64, bool, error) {
	b.reads++
	return b.behind(from)
}

// running is Scenarios over such an outbox, with a clock of the test's own.
type running struct {
	*Scenarios
	box  *boxOf
	at   time.Time
	sent []string
}

func newRunning(t *testing.T, behind func(from uint64) (contract.EdgeBatch, uint64, bool, error)) *running {
	t.Helper()
	r := &running{box: &boxOf{behind: behind}, at: t0}
	r.Scenarios = New("e1", t.TempDir(), intake.NewStatic(testBundle()), r.box, func(subject string, raw []byte) error {
		var m command.Message
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Error(err)
		}
		args, _ := json.Marshal(m.Arguments)
		r.sent = append(r.sent, strings.TrimPrefix(subject, "dizuo.v1.d.")+" "+m.Command+" "+string(args))
		return nil
	}, func() bool { return true }, prometheus.NewRegistry(), quiet())
	r.now = func() time.Time { return r.at }
	return r
}

// gas is one alarm of gas, then nothing.
func gas(from uint64) (contract.EdgeBatch, uint64, bool, error) {
	b := contract.EdgeBatch{Incarnation: "a", Last: 1, DrainedTo: t0}
	if from == 0 {
		b.Messages = []contract.EdgeMessage{said(1, t0, "gases.g1", contract.ChannelSignal, `{"alarm":true}`)}
	}
	return b, 1, true, nil
}

// TestAnOutboxThatCannotBeReadStopsNoCommand: what was given is sent again, ends in time, and its safe state follows.
func TestAnOutboxThatCannotBeReadStopsNoCommand(t *testing.T) {
	r := newRunning(t, gas)
	if err := r.begin(t.Context(), r.in.Current()); err != nil {
		t.Fatal(err)
	}
	if err := r.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := slices.Clone(r.sent)
	want := []string{`fans.f1.cmd run {"minutes":20}`, `valves.v1.cmd closeValve {}`}
	if slices.Sort(first); !slices.Equal(first, want) {
		t.Fatalf("sent %v", first)
	}
	r.box.behind = func(from uint64) (contract.EdgeBatch, uint64, bool, error) {
		return contract.EdgeBatch{}, from, false, errDisk
	}
	r.sent, r.box.held = nil, nil
	r.at = t0.Add(time.Minute)
	if err := r.read(t.Context()); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if slices.Sort(r.sent); !slices.Equal(r.sent, want) {
		t.Errorf("sent again: %v", r.sent)
	}
	if !slices.Contains(r.box.held, 1) || slices.Contains(r.box.held, 0) {
		t.Errorf("held %v: what cannot be read may not go", r.box.held)
	}
	r.sent = nil
	for _, d := range []time.Duration{5 * time.Minute, time.Second} { // the safe state is given when the command ends, and sent in the next turn
		r.at = r.at.Add(d)
		if err := r.read(t.Context()); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
	}
	if !slices.Contains(r.sent, `fans.f1.cmd run {"minutes":0}`) {
		t.Errorf("no safe state: %v", r.sent)
	}
}

// TestAnOutboxThatCannotBeReadAtTheStartIsWaitedFor, and nothing is let go of meanwhile.
func TestAnOutboxThatCannotBeReadAtTheStartIsWaitedFor(t *testing.T) {
	r := newRunning(t, nil)
	r.box.behind = func(from uint64) (contract.EdgeBatch, uint64, bool, error) {
		if r.box.reads <= 2 {
			return contract.EdgeBatch{}, from, false, errDisk
		}
		return gas(from)
	}
	if err := r.begin(t.Context(), r.in.Current()); err != nil {
		t.Fatal(err)
	}
	if r.box.reads != 3 || len(r.box.held) < 3 {
		t.Errorf("read %d times, held %v", r.box.reads, r.box.held)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.box.behind = func(from uint64) (contract.EdgeBatch, uint64, bool, error) {
		cancel()
		return contract.EdgeBatch{}, from, false, errDisk
	}
	if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// TestAPositionThatDoesNotMoveIsNotSpunOn: a reader whose outbox gives nothing more, and is not at its end, looks again at the next tick.
func TestAPositionThatDoesNotMoveIsNotSpunOn(t *testing.T) {
	r := newRunning(t, gas)
	if err := r.begin(t.Context(), r.in.Current()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.box.reads = 0
	r.box.behind = func(from uint64) (contract.EdgeBatch, uint64, bool, error) {
		if r.box.reads > 3 {
			cancel()
		}
		return contract.EdgeBatch{Incarnation: "a"}, max(from, 1), false, nil
	}
	if err := r.read(ctx); err != nil || r.box.reads != 2 {
		t.Errorf("%d reads, %v", r.box.reads, err)
	}
}
