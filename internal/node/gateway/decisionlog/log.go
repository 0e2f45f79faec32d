// Package decisionlog writes the decision log of a gateway: chained lines in files, synced before the answer that they
// cover leaves. Many requests share one write and one fsync (group commit).
//
//	Append, Enqueue -> queue -> commit.go: seal, rotate, write, fsync -> waiters
//
// open.go checks what is there at start and cuts a torn tail. The form of a line is internal/contract/decisionlog's.
package decisionlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// DefaultMaxBytes is the size at which a new file is begun.
const DefaultMaxBytes = 64 << 20

// maxBatch is how many lines share one fsync at most; maxQueue is how many wait before callers are held up.
const (
	maxBatch = 512
	maxQueue = 4096
)

// linger is how long a record that nobody waits for yet may wait for company.
const linger = 5 * time.Millisecond

// ErrClosed is given for records after Close.
var ErrClosed = errors.New("decision log is closed")

// Options of a log.
type Options struct {
	// Dir is the folder; it is made if it is not there. One process at a time may hold it.
	Dir string
	// Instance is the gateway. The chain is named after it: a log that is begun anew gets the instance and random digits, so
	// that a volume that was lost is a chain that ended, and not a fork of it.
	Instance string
	// MaxBytes is the size at which a new file is begun; 0 means DefaultMaxBytes.
	MaxBytes int64
	// Since and Replay: at start Replay gets every line of the files that hold lines from Since on. It may get older
	// ones too. Nil replays nothing.
	Since  time.Time
	Replay func(chain.Line)
	// Synced is told after every commit how many records it held and how long write and fsync took. Nil tells nobody.
	Synced func(records int, took time.Duration)
	Log    *slog.Logger
}

// Log is an open decision log. It is safe for use by many goroutines.
type Log struct {
	o    Options
	lock *os.File

	queue chan pending
	done  chan struct{}

	mu     sync.RWMutex // held while sending to queue, so that Close waits for senders
	closed bool

	state  sync.Mutex
	broken error
	// held says why no decision is taken though lines can be written.
	held error
	// synced is the end of what is on disk.
	synced chain.Chain

	// The rest belongs to the writing goroutine: the end of what is synced, and the file that holds it.
	end  chain.Chain
	file *os.File
	size int64
	// day is that of the first line of file: each begins a file, so that a file is kept for no longer than its lines are.
	day time.Time
	// buffer is reused from commit to commit.
	buffer []byte
}

type pending struct {
	record chain.Record
	result chan<- error
	// waited says that somebody waits for it from the beginning.
	waited bool
}

// Open checks the end of the log in o.Dir, cuts a torn tail, and goes on with its chain.
func Open(o Options) (*Log, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	l := &Log{o: o, queue: make(chan pending, maxQueue), done: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("decision log %s: %w", o.Dir, err)
	}
	go l.write()
	return l, nil
}

// Append adds a record and returns once it is on disk. An error means that the caller must let nothing leave that the
// record would cover; the record may be in the log nevertheless if ctx ended first.
func (l *Log) Append(ctx context.Context, r chain.Record) error {
	t, err := l.enqueue(ctx, r, true)
	if err != nil {
		return err
	}
	return t.Wait(ctx)
}

// Ticket stands for a record that is on its way to disk.
type Ticket struct{ result <-chan error }

// Wait returns once the record is on disk, or with the reason why it is not. It may be called once.
func (t Ticket) Wait(ctx context.Context) error {
	select {
	case err := <-t.result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("decision log: %w", ctx.Err())
	}
}

// Enqueue adds a record without waiting for the disk. It stands in the log before every record that is added later. Who
// must know that it is there waits for the ticket, for a later record may be written though this one failed. It is on disk with the
// next record that is appended, and after linger if there is none.
func (l *Log) Enqueue(ctx context.Context, r chain.Record) (Ticket, error) {
	return l.enqueue(ctx, r, false)
}

func (l *Log) enqueue(ctx context.Context, r chain.Record, waited bool) (Ticket, error) {
	result := make(chan error, 1)
	return Ticket{result}, l.send(ctx, pending{r, result, waited})
}

// Err says why the log takes no decision now, or nil.
func (l *Log) Err() error {
	l.state.Lock()
	defer l.state.Unlock()
	return cmp.Or(l.broken, l.held)
}

// Hold makes the log refuse decisions, and so the gateway requests, until it is called with nil. What was decided before is
// still logged to its end.
func (l *Log) Hold(why error) {
	l.state.Lock()
	defer l.state.Unlock()
	if (why == nil) != (l.held == nil) {
		l.o.Log.Warn("decision log: held", "why", why)
	}
	l.held = why
}

func (l *Log) holding() error {
	l.state.Lock()
	defer l.state.Unlock()
	return l.held
}

// writable says why the last commit failed, or nil.
func (l *Log) writable() error {
	l.state.Lock()
	defer l.state.Unlock()
	return l.broken
}

// End gives the end of what is on disk.
func (l *Log) End() chain.Chain {
	l.state.Lock()
	defer l.state.Unlock()
	return l.synced
}

// Close writes what waits, and lets go of the folder.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.queue)
	l.mu.Unlock()
	<-l.done
	return errors.Join(l.writable(), l.file.Close(), l.lock.Close())
}

func (l *Log) send(ctx context.Context, p pending) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	if held := l.holding(); held != nil && p.record.Kind == contract.LogDecision {
		return held
	}
	if err := l.finish(&p.record); err != nil {
		return err
	}
	select {
	case l.queue <- p:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("decision log: %w", ctx.Err())
	}
}
