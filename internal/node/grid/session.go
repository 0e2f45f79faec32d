package grid

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/reading"
	"github.com/dizuo/dizuo/internal/node/rules"
)

const (
	// maxBatch bounds the messages of one transaction.
	maxBatch = 512
	// ackWait is long: a session that ends makes the consumer anew and never waits for a redelivery.
	ackWait = 5 * time.Minute
	// workTimeout bounds a transaction, so that a database that vanished without a word ends the session.
	workTimeout = 30 * time.Second
	// lockEvery is how often a waiting replica asks whether it is its turn.
	lockEvery = 2 * time.Second
)

// session works off the ingest log from what the database says. It ends at the first fault; what was not committed is
// then in no memory, and the next session does it again.
type session struct {
	w      *worker
	conn   *pgxpool.Conn
	engine *rules.Engine
	cons   jetstream.Consumer
	bundle *intake.Bundle

	streamCreated time.Time
	sequence      uint64 // of the stream, committed
	// former says that the engine's state in the form of the version before is still in the database.
	former    bool
	delivered uint64 // of the consumer
	// pull is the request for messages that is under way; nil if there is none.
	pull jetstream.MessageBatch
	// amiss is since when the broker says that it delivered another number of messages than were seen here; zero while it agrees.
	amiss time.Time
	// watermark is a time up to which all messages were taken.
	watermark time.Time
	ticked    time.Time

	facts   int64 // up to which n the engine knows what is said, committed
	changes int64 // and up to which n it has read the feed
	edges   *edges
	// served are the edge nodes by community, of the bundle servedOf.
	served   map[string][]string
	servedOf *intake.Bundle
	reader   *reading.Reader
	// early are acks from edge nodes whose commands have not come about here.
	early []ackFrom
	// modes are the switches of mode that the engine has heard of.
	modes []modeSwitch
	// consents says that a scenario asks for them, of the bundle consentsOf.
	consents   bool
	consentsOf *intake.Bundle
	// interests are what edge nodes are told of.
	interests interests
	// switched are the same as edge nodes hear them, with the end that the last has.
	switched []contract.ModeSwitch
}

// begin takes the lock, loads the state and makes the consumer. It waits for its turn behind another replica.
func (w *worker) begin(ctx context.Context, b *intake.Bundle) (*session, error) {
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	s := &session{w: w, conn: conn, bundle: b, reader: w.newReader()}
	if err := s.load(ctx); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// end gives up the lock by closing the connection, whatever state it is in.
func (s *session) end() {
	s.edges.end()
	raw := s.conn.Hijack()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the session's context may be over
	defer cancel()
	_ = raw.Close(ctx)
	s.w.metrics.working.Set(0)
	s.w.metrics.pending.Set(0) // another replica says it from now on
	s.w.presence.forget()
}

func (s *session) load(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	s.w.metrics.working.Set(1)
	s.w.metrics.sessions.Inc()
	if err := s.restore(ctx); err != nil {
		return err
	}
	if err := s.consume(ctx); err != nil {
		return err
	}
	return s.loadEdges(ctx)
}

// restore makes the engine as the database has it.
func (s *session) restore(ctx context.Context) error {
	var problems []rules.Problem
	s.reader.Update(s.bundle.Rules.Profiles, s.bundle.Fleets)
	options := s.w.engineOptions()
	options.Until, options.Zone = s.until, location(s.bundle.Directory.Platform)
	options.Rows = func(fleet, device string) (contract.Device, string, bool) { return lookup(s.bundle)(fleet, device) }
	s.engine, problems = rules.New(s.bundle.Rules, options)
	s.w.tellProblems(problems)
	if err := s.learnModes(ctx); err != nil {
		return err
	}
	if err := s.loadFacts(ctx); err != nil {
		return err
	}
	if err := s.loadChanges(ctx); err != nil {
		return err
	}
	if err := s.loadStates(ctx); err != nil {
		return err
	}
	return s.loadSeen(ctx)
}

// lock waits until this replica is the one that works. It asks again and again: a blocking wait would not notice that the
// server is gone.
func (s *session) lock(ctx context.Context) error {
	for said := false; ; said = true {
		var mine bool
		qctx, cancel := context.WithTimeout(ctx, workTimeout)
		err := s.conn.QueryRow(qctx, "SELECT pg_try_advisory_lock($1)", workerLock).Scan(&mine)
		cancel()
		if err != nil {
			return fmt.Errorf("lock of the working replica: %w", err)
		}
		if s.w.another = s.w.another || !mine; s.w.another {
			s.w.passOver()
		}
		if mine {
			s.w.another = false
			s.bundle = s.w.in.Current() // it may have waited for days
			return nil
		}
		s.w.ready(nil) // it serves the API meanwhile, and a rollout must not wait for the replica that it replaces
		if !said {
			s.w.log.Info("another replica works; waiting")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockEvery):
		}
	}
}

func (s *session) loadStates(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, "SELECT scenario, scope, id, state FROM grid.engine_keys")
	if err != nil {
		return fmt.Errorf("engine state: %w", err)
	}
	var one rules.KeyState
	_, err = pgx.ForEachRow(rows, []any{&one.Scenario, &one.Scope, &one.ID, &one.State}, func() error {
		if err := s.engine.Restore(one); err != nil {
			s.w.log.Error("engine state dropped", "err", err) // one broken row must not stop every alarm
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("engine state: %w", err)
	}
	return s.loadFormer(ctx)
}

// loadFormer converts what the version before left, by device. The first commit writes it in the new form and takes the old one away.
func (s *session) loadFormer(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, "SELECT fleet, device, state FROM grid.engine_state")
	if err != nil {
		return fmt.Errorf("engine state: %w", err)
	}
	var fleet, device string
	var state []byte
	_, err = pgx.ForEachRow(rows, []any{&fleet, &device, &state}, func() error {
		s.former = true
		if _, err := s.engine.RestoreDevice(fleet, device, state); err != nil {
			s.w.log.Error("engine state dropped", "err", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("engine state: %w", err)
	}
	return nil
}

// consume makes the durable consumer anew, behind what is committed.
func (s *session) consume(ctx context.Context) error {
	stream, err := s.w.js.Stream(ctx, contract.IngestStream)
	if err != nil {
		return fmt.Errorf("ingest log %s: %w", contract.IngestStream, err)
	}
	info := stream.CachedInfo()
	s.streamCreated = info.Created.UTC().Truncate(time.Microsecond) // PostgreSQL keeps microseconds
	if s.sequence, err = position(ctx, s.conn, s.streamCreated, takenOver(info)); err != nil {
		return err
	}
	err = s.w.js.DeleteConsumer(ctx, contract.IngestStream, contract.IngestConsumer)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("consumer %s of the session before: %w", contract.IngestConsumer, err)
	}
	s.cons, err = s.w.js.CreateConsumer(ctx, contract.IngestStream, jetstream.ConsumerConfig{
		Durable: contract.IngestConsumer, FilterSubject: contract.IngestFilter,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.sequence + 1,
		AckPolicy: jetstream.AckAllPolicy, AckWait: ackWait, MaxAckPending: 4 * maxBatch,
	})
	if err != nil {
		return fmt.Errorf("consumer %s: %w", contract.IngestConsumer, err)
	}
	s.w.log.Info("working off the ingest log", "behind", s.sequence, "scenarios", s.engine.Loaded(), "keys", s.engine.Keys())
	return nil
}

// takenOver says that a stream holds messages from before it was made: a broker that became a cluster took it over as it was.
func takenOver(info *jetstream.StreamInfo) bool {
	return !info.State.FirstTime.IsZero() && info.State.FirstTime.Before(info.Created)
}

// position gives the sequence up to which the stream is worked off; 0 for a stream that was made anew, and not taken over.
func position(ctx context.Context, conn *pgxpool.Conn, created time.Time, takenOver bool) (uint64, error) {
	var sequence int64
	var was time.Time
	err := conn.QueryRow(ctx, "SELECT sequence, stream_created FROM grid.ingest_position WHERE stream = $1", contract.IngestStream).Scan(&sequence, &was)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("ingest position: %w", err)
	case !was.Equal(created) && !takenOver:
		return 0, nil
	}
	return uint64(sequence), nil
}
