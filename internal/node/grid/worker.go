package grid

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// tickEvery is how often triggers that wait for time are looked at.
const tickEvery = time.Second

// worker runs sessions, one after the other.
type worker struct {
	pool     *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	in       *intake.Intake
	presence *presence
	metrics  *metrics
	// commander sends what devices are told.
	commander *commander
	log       *slog.Logger
	now       func() time.Time
	// ready hears nil when a session runs and the fault when one ends.
	ready func(error)
	// burst is how long a device may send at once what its limit gives for that time.
	burst time.Duration
	// loose are messages of QoS 0.
	loose chan *nats.Msg
	// committed is called when a batch is.
	committed func()
	// another says that another replica worked since this one did.
	another bool
}

// run keeps a session going until ctx ends.
func (w *worker) run(ctx context.Context) error {
	for _, subject := range []string{"dizuo.v1.d.>", contract.PlatformSubject("*", contract.PlatformUp)} {
		sub, err := w.nc.Subscribe(subject, w.takeLoose)
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 200*time.Millisecond, 5*time.Second
	for ctx.Err() == nil {
		err := w.session(ctx, pause.Reset)
		if ctx.Err() != nil {
			break
		}
		w.ready(err)
		w.log.Warn("session ended", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
	return ctx.Err()
}

// takeLoose keeps messages of QoS 0. The server sets the header: what has it came from an MQTT client, and every other QoS
// is in the ingest log, too.
func (w *worker) takeLoose(m *nats.Msg) {
	if m.Header.Get("Nmqtt-Pub") != "0" {
		return
	}
	select {
	case w.loose <- m:
	default:
		w.metrics.messages.WithLabelValues("dropped").Inc()
	}
}

// session runs one session. good is called when it works.
func (w *worker) session(ctx context.Context, good func()) error {
	b, err := w.firstBundle(ctx)
	if err != nil {
		return err
	}
	s, err := w.begin(ctx, b)
	if err != nil {
		return err
	}
	defer s.end()
	for {
		before := w.now()
		got, err := s.fetch(ctx)
		if err != nil {
			return err
		}
		if err := s.advanceWatermark(ctx, got, before); err != nil {
			return err
		}
		wctx, cancel := context.WithTimeout(ctx, workTimeout)
		err = s.work(wctx, got, w.drainLoose(), s.edges.drain(w.now()))
		if err == nil {
			err = w.commander.turn(wctx, s.conn, s.bundle)
		}
		cancel()
		if err != nil {
			return err
		}
		w.committed()
		w.ready(nil)
		good()
	}
}

// firstBundle waits until there is a bundle.
func (w *worker) firstBundle(ctx context.Context) (*intake.Bundle, error) {
	if b := w.in.Current(); b != nil {
		return b, nil
	}
	select {
	case b := <-w.in.Subscribe():
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// drainLoose takes the messages of QoS 0 that wait.
func (w *worker) drainLoose() (out []*nats.Msg) {
	for len(out) < maxBatch {
		select {
		case m := <-w.loose:
			out = append(out, m)
		default:
			return out
		}
	}
	return out
}

// passOver drops the messages of QoS 0 that wait: whoever worked meanwhile has heard them, too.
func (w *worker) passOver() {
	for len(w.drainLoose()) > 0 {
	}
}

func (w *worker) engineOptions() rules.Options {
	return rules.Options{
		OnError: func(scenario, part string, err error) {
			w.metrics.faults.WithLabelValues(scenario, part).Inc()
			w.log.Debug("expression failed", "scenario", scenario, "part", part, "err", err)
		},
		OnTooLate: func(scenario string) { w.metrics.late.WithLabelValues(scenario).Inc() },
	}
}

func (w *worker) tellProblems(problems []rules.Problem) {
	for _, p := range problems {
		w.log.Error("scenario does not run", "scenario", p.Scenario, "field", p.Field, "problem", p.Message)
	}
}

// lookup reads a row of a bundle.
func lookup(b *intake.Bundle) rules.Lookup {
	return func(fleet, device string) (contract.Device, string, bool) {
		f := b.Fleets[fleet]
		row, ok := f.Devices[device]
		return row, f.Profile, ok
	}
}
