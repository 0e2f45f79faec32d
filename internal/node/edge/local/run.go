package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

const (
	// lookEvery is how often an outbox that was at its end is looked at, and so what an alarm waits for its command at most.
	lookEvery = 100 * time.Millisecond
	// saveEvery is how often the state is written while no command is given. What came since is read again after a crash.
	saveEvery = 10 * time.Second
	// behindEvery is how often commands are sent while the outbox is being read from far behind.
	behindEvery = time.Second
	// firstMax is what is waited at most before an outbox that could not be read at the start is tried again.
	firstMax = 5 * time.Second
	// clockStep is by how much the machine's clock may be set without anything being forgotten.
	clockStep = 5 * time.Minute
)

// Outbox is what devices said; see package outbox.
type Outbox interface {
	Behind(ctx context.Context, from uint64) (b contract.EdgeBatch, position uint64, done bool, err error)
	Hold(position uint64)
}

// Scenarios runs the scenarios of an edge node. Its methods are safe for concurrent use.
type Scenarios struct {
	edge    string
	file    string
	in      *intake.Intake
	box     Outbox
	publish func(subject string, payload []byte) error
	hub     func() bool
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time

	mu   sync.Mutex
	core *core // nil before the first bundle
	// at is when the state was written last, or found unchanged; sent is when due commands were looked for.
	at, sent time.Time
}

// New makes it for the edge node of that name. dir holds its file; publish hands a message to the node's own broker, at QoS 0; hub says
// whether the hub takes what is sent to it.
func New(edge, dir string, in *intake.Intake, box Outbox, publish func(string, []byte) error, hub func() bool, reg prometheus.Registerer, log *slog.Logger) *Scenarios {
	return &Scenarios{edge: edge, file: filepath.Join(dir, "scenarios.json"), in: in, box: box, publish: publish, hub: hub, log: log, metrics: newMetrics(reg), now: time.Now}
}

// Run reads the outbox until ctx ends. The lease does not matter here: a leak of gas does not wait for one, and what the last good bundle
// says is what a signed bundle said.
func (s *Scenarios) Run(ctx context.Context) error {
	select {
	case b := <-s.in.Subscribe():
		if err := s.begin(ctx, b); err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last, said := s.now(), ""
	for {
		if step := stepOf(last, s.now()); step.Abs() > clockStep {
			s.log.Warn("the machine's clock was set: scenarios that wait for time begin anew", "by", step.Round(time.Second))
			s.locked(func() { s.core.reset(s.now()) })
		}
		last = s.now()
		err := s.read(ctx)
		if ctx.Err() != nil {
			s.locked(s.save)
			return ctx.Err()
		}
		if err != nil && err.Error() != said {
			s.log.Warn("scenarios do not read the outbox", "err", err)
			said = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// stepOf gives by how much the wall clock moved more than the time that passed.
func stepOf(last, now time.Time) time.Duration {
	return now.Round(0).Sub(last.Round(0)) - now.Sub(last)
}

func (s *Scenarios) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// begin takes back what is on disk.
func (s *Scenarios) begin(ctx context.Context, b *intake.Bundle) error {
	first, err := s.first(ctx)
	if err != nil {
		return err
	}
	c := newCore(s.edge, b, s.metrics, s.log)
	raw, err := os.ReadFile(s.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err == nil:
		err = c.restore(raw, first.Incarnation)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("state of scenarios not usable: they begin with what the outbox still holds", "file", s.file, "err", err)
		c = newCore(s.edge, b, s.metrics, s.log)
	}
	s.log.Info("scenarios run", "scenarios", c.engine.Loaded(), "behind", c.position, "commands", len(c.orders))
	s.locked(func() { s.core, s.at = c, s.now() })
	s.box.Hold(c.position)
	return nil
}

// first waits until the outbox can be read. A disk that is slow after the machine's start is no reason to begin the agent anew.
func (s *Scenarios) first(ctx context.Context) (contract.EdgeBatch, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = lookEvery, firstMax
	return backoff.Retry(ctx, func() (contract.EdgeBatch, error) {
		s.box.Hold(0) // the position that is on disk is not known yet
		b, _, _, err := s.box.Behind(ctx, 0)
		return b, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, next time.Duration) {
		s.log.Warn("scenarios wait for the outbox", "err", err, "again", next.Round(time.Millisecond))
	}))
}

// read takes what waits in the outbox, then the time, and sends what is due; that too where the outbox cannot be read. It ends where the
// position does not move.
func (s *Scenarios) read(ctx context.Context) error {
	for {
		s.mu.Lock()
		from := s.core.position
		s.mu.Unlock()
		b, position, done, err := s.box.Behind(ctx, from)
		if err != nil {
			if ctx.Err() == nil {
				s.locked(func() { s.turn(s.now(), true) })
			}
			return err
		}
		s.locked(func() { s.work(b, position, done) })
		if done || position == from || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (s *Scenarios) work(b contract.EdgeBatch, position uint64, done bool) {
	c, now := s.core, s.now()
	s.renew()
	c.take(b, position, now)
	if done {
		c.tick(b.DrainedTo, now)
	}
	s.turn(now, done || now.Sub(s.sent) >= behindEvery)
}

// renew takes another bundle, if there is one.
func (s *Scenarios) renew() {
	if is := s.in.Current(); is != s.core.bundle {
		s.core.update(is)
	}
}

// turn does what time alone makes due.
func (s *Scenarios) turn(now time.Time, send bool) {
	s.renew()
	if send {
		s.send(now)
	}
	if now.Sub(s.at) >= saveEvery {
		s.save()
	}
}

// send sends what is due, once it is on disk.
func (s *Scenarios) send(now time.Time) {
	s.sent = now
	out := s.core.due(now)
	if _, err := s.in.Live(now); err == nil && !s.hub() { // a desired state is no safety action
		out = append(out, s.core.dueDesired(now)...)
	}
	if s.core.unsaved {
		s.save()
	}
	for _, o := range out {
		s.metrics.sent.Inc()
		if err := s.publish(o.subject, o.payload); err != nil {
			s.log.Warn("command not sent; it is sent again", "err", err)
		}
	}
}

// save writes the state, if it is not what is on disk already. A disk that takes nothing keeps no valve open: the ids would be the same after a crash.
func (s *Scenarios) save() {
	s.at = s.now()
	if s.core.changed || s.core.unsaved {
		raw, err := s.core.snapshot()
		if err == nil {
			err = replace(s.file, raw)
		}
		if err != nil {
			s.core.changed = true
			s.log.Error("state of scenarios not kept: after a crash they begin with what was kept before", "err", err)
			return
		}
	}
	s.box.Hold(s.core.position)
}

// replace replaces a file whole and on disk.
func replace(file string, raw []byte) error {
	tmp, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Passes says whether what the hub says to a device goes on to it, and remembers what it wants of the device.
func (s *Scenarios) Passes(fleet, device string, channel contract.Channel, payload []byte, id uuid.UUID) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := command.Target{Fleet: fleet, Device: device}
	switch {
	case s.core == nil:
		return true
	case channel == contract.ChannelDesired:
		s.core.want(d, payload, s.now())
		return true
	}
	return s.core.passes(d, id, commandName(payload), s.now())
}
