// Package outbox is what an edge node has heard of its devices and the hub has not committed yet. It is no store of its own: it is
// contract.IngestStream of the node's broker, in which a message lies, synced to disk, before its PUBACK, and a small file beside it.
//
//	outbox.go    opens it and gives what is next
//	position.go  pure: sequences of the stream and those that the hub sees
//	state.go     the file
//	tend.go      what is looked after meanwhile: what was seen stored, what is committed and may go
//
// # Why the hub sees other sequences than the stream has
//
// The hub commits "up to sequence n of that incarnation", so a sequence must never mean two messages. In the stream it can: a store
// that lost its end (a torn block, a bad sector, a folder that was put back) gives those sequences out again. So the file holds the
// highest sequence that was ever sent, synced before the send, or seen stored. A stream that ends below it has lost its end: the
// sequences between are declared lost, and all that come after are shifted above them (see shift). That keeps what waits before the
// damage, whether the hub has it or not. A new incarnation begins only where there is no file.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// envelope is what the form of a message takes beside names and payload, in bytes; a generous guess.
	envelope = 128
	// nearlyFull is the room below which the outbox counts as full: the largest message of a device and what the store adds.
	nearlyFull = 96 << 10
)

// StreamConfig is how the node's broker keeps the outbox: what does not fit is refused, and its device gets no PUBACK.
func StreamConfig(maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: contract.IngestStream, Description: "Outbox: what was acknowledged and the hub has not committed",
		Subjects: []string{contract.IngestPrefix + ">"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxBytes: maxBytes, AllowDirect: true}
}

// Outbox gives what the hub does not have yet, in order. It is safe for concurrent use.
type Outbox struct {
	stream jetstream.Stream
	file   string
	log    *slog.Logger
	now    func() time.Time

	mu sync.Mutex
	s  state
	// purged is the sequence of the stream up to which it was purged.
	purged uint64
	// held is the position behind which a reader inside the node wants to begin, as it said at heldAt.
	held   uint64
	heldAt time.Time
	// oldest is the arrival of the first message that waits; zero if none does.
	oldest time.Time
}

// Open reads the file in dir and holds it against the stream, which must be there (see StreamConfig). Nobody may store anything
// before it returns: what would be given a sequence anew must be known first.
func Open(ctx context.Context, js jetstream.JetStream, dir string, log *slog.Logger) (*Outbox, error) {
	stream, err := js.Stream(ctx, contract.IngestStream)
	if err != nil {
		return nil, fmt.Errorf("outbox: stream %s: %w", contract.IngestStream, err)
	}
	o := &Outbox{stream: stream, file: File(dir), log: log, now: time.Now}
	o.heldAt = o.now() // a reader inside the node has not said yet where it begins
	info := stream.CachedInfo()
	if o.s, err = load(o.file); err != nil {
		return nil, err
	}
	if o.s.Incarnation == "" {
		o.s = fresh(info.Created, info.State.FirstSeq, info.State.LastSeq)
		log.Info("outbox begins", "incarnation", o.s.Incarnation, "base", o.s.Base)
	} else if lost := o.s.reopen(info.Created, info.State.FirstSeq, info.State.LastSeq); lost > 0 {
		log.Error("outbox has lost its end: messages that were acknowledged can be read no more", "lost", lost)
	}
	return o, o.s.save(o.file)
}

// Hello gives what a session with the hub begins with.
func (o *Outbox) Hello(ctx context.Context) (contract.Hello, error) {
	info, err := o.stream.Info(ctx)
	if err != nil {
		return contract.Hello{}, fmt.Errorf("outbox: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return contract.Hello{Incarnation: o.s.Incarnation, Base: o.s.Base, Last: o.s.end(info.State.LastSeq)}, nil
}

// Heard takes the mark in the hub's answer to Hello. A mark above all that was ever sent says that this outbox was put back from a
// copy: its sequences mean other messages at the hub. All after the last mark known here is then sent under new ones, some of it twice
// rather than some of it never.
func (o *Outbox) Heard(mark uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if mark > o.s.Sent {
		o.log.Error("outbox was put back from a copy: what waits is sent under new sequences", "mark", mark, "sent", o.s.Sent)
		o.s.jump(mark)
		return o.s.save(o.file)
	}
	o.s.Mark = mark // lower than before, where the hub's database was put back: then what is still here goes again
	return nil
}

// Next gives the messages behind mark, as many as one batch may hold; none at the end of the outbox. What is not there any more is
// declared lost. Everything in the batch is on record as sent before Next returns.
func (o *Outbox) Next(ctx context.Context, mark uint64) (contract.EdgeBatch, error) {
	r, done, err := o.behind(ctx, mark)
	if err != nil {
		return contract.EdgeBatch{}, err
	}
	return *r.batch, o.sending(r.at, r.first, done)
}

// Behind is Next for a reader inside the node, of whom nothing is put on record. position is where it goes on; done says that it is at the
// end of the outbox. A position above that end is one of messages that were lost with it: the reader is at the end then.
func (o *Outbox) Behind(ctx context.Context, from uint64) (b contract.EdgeBatch, position uint64, done bool, err error) {
	r, done, err := o.behind(ctx, from)
	if err != nil {
		return contract.EdgeBatch{}, from, false, err
	}
	return *r.batch, min(r.at, r.batch.Last), done, nil
}

func (o *Outbox) behind(ctx context.Context, mark uint64) (*reader, bool, error) {
	before := o.now()
	info, err := o.stream.Info(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("outbox: %w", err)
	}
	o.mu.Lock()
	s := o.s
	o.mu.Unlock()
	b := contract.EdgeBatch{Incarnation: s.Incarnation, Last: s.end(info.State.LastSeq)}
	r := &reader{o: o, s: s, batch: &b, at: mark}
	done, err := r.read(ctx, info.State)
	if err != nil {
		return nil, false, err
	}
	if done {
		b.DrainedTo = before
	} else if n := len(b.Messages); n > 0 { // the stream's times grow with its sequences
		b.DrainedTo = time.UnixMilli(b.Messages[n-1].At)
	}
	return r, done, nil
}

// Hold keeps in the outbox what lies behind a position for holdFor, though the hub has committed it: a reader inside the node begins there
// anew after a crash.
func (o *Outbox) Hold(position uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held, o.heldAt = position, o.now()
}

// sending puts on record that everything up to sequence is about to be sent.
func (o *Outbox) sending(sequence uint64, first time.Time, done bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.oldest = first; done && first.IsZero() {
		o.oldest = time.Time{}
	}
	if sequence <= o.s.Sent {
		return nil
	}
	o.s.Sent = sequence
	return o.s.save(o.file)
}

// Committed takes the hub's answer to a batch: everything up to mark is safe there and may go here.
func (o *Outbox) Committed(b contract.EdgeBatch, mark uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range b.Lost {
		if from := max(l.From, o.s.Mark+1); mark >= l.To && l.To >= from {
			o.s.Lost += int64(l.To - from + 1)
		}
	}
	o.s.Mark = max(o.s.Mark, mark)
}

// Count says how the outbox stands, for a report.
func (o *Outbox) Count(ctx context.Context) (contract.Outbox, error) {
	info, err := o.stream.Info(ctx)
	if err != nil {
		return contract.Outbox{}, fmt.Errorf("outbox: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	out := contract.Outbox{Messages: int64(info.State.Msgs), Bytes: int64(info.State.Bytes), Lost: o.s.Lost, Oldest: o.oldest,
		Full: info.Config.MaxBytes > 0 && int64(info.State.Bytes)+nearlyFull > info.Config.MaxBytes}
	if done := o.s.inStream(o.s.Mark); done >= info.State.FirstSeq { // committed, and not purged yet
		out.Messages = max(0, out.Messages-int64(done-info.State.FirstSeq+1))
	}
	if out.Messages > 0 && out.Oldest.IsZero() {
		out.Oldest = info.State.FirstTime
	}
	if out.Messages == 0 {
		out.Oldest = time.Time{}
	}
	return out, nil
}

// reader fills one batch.
type reader struct {
	o     *Outbox
	s     state
	batch *contract.EdgeBatch
	// at is the sequence, as the hub sees it, up to which the batch speaks.
	at    uint64
	bytes int
	first time.Time
}

// read goes on from at until the batch is full or the stream, as it was, is at its end: then done is true.
func (r *reader) read(ctx context.Context, is jetstream.StreamState) (done bool, err error) {
	for {
		next := r.s.inStream(r.at) + 1
		if next > is.LastSeq || is.Msgs == 0 {
			r.gap(r.s.end(is.LastSeq))
			return true, nil
		}
		m, err := r.o.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(">"))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound), err == nil && m.Sequence > is.LastSeq:
			return r.missing(ctx, next, is)
		case err != nil:
			return false, fmt.Errorf("outbox: message %d: %w", next, err)
		}
		if len(r.batch.Messages) >= contract.MaxEdgeBatch || r.bytes+len(m.Data)+envelope > contract.MaxEdgeBatchBytes && len(r.batch.Messages) > 0 {
			return false, nil
		}
		r.add(m)
	}
}

// missing deals with a stream that says to hold next, or what comes after it, and gives nothing. The server has one answer for "not
// there" and for "could not read", and a disk that hesitates must not cost what it holds: so a gap is declared only where something
// behind it can be read, or where the stream itself says that nothing is there.
func (r *reader) missing(ctx context.Context, next uint64, is jetstream.StreamState) (done bool, err error) {
	if next < is.FirstSeq { // it was emptied meanwhile, from the front
		return false, nil
	}
	info, err := r.o.stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return false, fmt.Errorf("outbox: %w", err)
	}
	from, _ := slices.BinarySearch(info.State.Deleted, next)
	to, _ := slices.BinarySearch(info.State.Deleted, is.LastSeq+1)
	if uint64(to-from) == is.LastSeq-next+1 {
		r.gap(r.s.end(is.LastSeq))
		return true, nil
	}
	if len(r.batch.Messages) > 0 {
		return false, nil
	}
	return false, fmt.Errorf("outbox: message %d of %d cannot be read", next, is.LastSeq)
}

// gap declares everything up to sequence lost.
func (r *reader) gap(sequence uint64) {
	if sequence > r.at {
		r.batch.Lost = append(r.batch.Lost, contract.LostRange{From: r.at + 1, To: sequence})
		r.at = sequence
	}
}

// add puts a message into the batch. What no device can have sent goes without names, for the hub to count and step over.
func (r *reader) add(m *jetstream.RawStreamMsg) {
	sequence := r.s.position(m.Sequence)
	r.gap(sequence - 1)
	one := contract.EdgeMessage{Sequence: sequence, At: m.Time.UnixMilli(), Payload: m.Data}
	if fleet, device, channel, err := contract.ParseDeviceSubject(m.Subject); err == nil {
		one.Fleet, one.Device, one.Channel = fleet, device, channel
	}
	if r.batch.Messages = append(r.batch.Messages, one); r.first.IsZero() {
		r.first = m.Time
	}
	r.at = sequence
	r.bytes += len(m.Data) + envelope
}
