package outbox

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// checkpointEvery is how often it is put on record how far the stream goes. What a damaged store lost of the time since is not
	// declared, because nobody knows of it.
	checkpointEvery = time.Second
	// purgeEvery is how often that is taken out of the stream which the hub has committed.
	purgeEvery = 5 * time.Second
	// holdFor is how long Hold does: a reader that says nothing any more may not fill the outbox.
	holdFor = time.Minute
)

// Tend looks after the outbox until ctx ends.
func (o *Outbox) Tend(ctx context.Context) error {
	checkpoint, purge := time.NewTicker(checkpointEvery), time.NewTicker(purgeEvery)
	defer checkpoint.Stop()
	defer purge.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-checkpoint.C:
			err = o.Checkpoint(ctx)
		case <-purge.C:
			err = o.Purge(ctx)
		}
		if err != nil && ctx.Err() == nil {
			o.log.Warn("outbox", "err", err)
		}
	}
}

// Checkpoint puts on record how far the stream goes.
func (o *Outbox) Checkpoint(ctx context.Context) error {
	info, err := o.stream.Info(ctx)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	end := o.s.end(info.State.LastSeq)
	if end <= o.s.Seen {
		return nil
	}
	o.s.Seen = end
	return o.s.save(o.file)
}

// Purge takes out of the stream what the hub has committed.
func (o *Outbox) Purge(ctx context.Context) error {
	o.mu.Lock()
	mark := o.s.Mark
	if o.now().Sub(o.heldAt) < holdFor {
		mark = min(mark, o.held)
	}
	upTo := o.s.inStream(mark)
	due := upTo > o.purged
	o.mu.Unlock()
	if !due {
		return nil
	}
	// The mark first: after a crash between the two it must not lie below what is gone.
	if err := o.keepMark(upTo); err != nil {
		return err
	}
	if err := o.stream.Purge(ctx, jetstream.WithPurgeSequence(upTo+1)); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purged = upTo
	return nil
}

func (o *Outbox) keepMark(upTo uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.s.trim(upTo)
	return o.s.save(o.file)
}
