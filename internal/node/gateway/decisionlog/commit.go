package decisionlog

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// write takes what waits in the queue, as much as there is, and commits it as one.
func (l *Log) write() {
	defer close(l.done)
	batch := make([]pending, 0, maxBatch)
	for first := range l.queue {
		batch = l.gather(append(batch[:0], first))
		err := l.commit(batch)
		l.note(err)
		for _, p := range batch {
			p.result <- err // holds one, so this never waits
		}
	}
}

// gather takes what else waits. While nobody waits for any of it, it looks out a little for a record that somebody does wait for, which
// often comes: a decision and its release then share a sync.
func (l *Log) gather(batch []pending) []pending {
	waited := batch[0].waited
	var over <-chan time.Time
	for len(batch) < maxBatch {
		var p pending
		ok := true
		select {
		case p, ok = <-l.queue:
		default:
			if waited {
				return batch
			}
			if over == nil {
				timer := time.NewTimer(linger)
				defer timer.Stop()
				over = timer.C
			}
			select {
			case p, ok = <-l.queue:
			case <-over:
				return batch
			}
		}
		if !ok {
			return batch
		}
		batch, waited = append(batch, p), waited || p.waited
	}
	return batch
}

// note keeps the state of the log for Err, and says when it changes.
func (l *Log) note(err error) {
	l.state.Lock()
	defer l.state.Unlock()
	switch {
	case err != nil && l.broken == nil:
		l.o.Log.Error("decision log cannot be written: every request is refused until it can", "err", err)
	case err == nil && l.broken != nil:
		l.o.Log.Info("decision log can be written again")
	}
	l.broken = err
}

// commit writes and syncs a batch, or none of it. After a failure the file is cut back to what was synced before: lines
// that were never acknowledged must not stand before lines that are.
func (l *Log) commit(batch []pending) error {
	began := time.Now()
	if l.writable() != nil {
		if err := l.cutBack(); err != nil {
			return err
		}
	}
	end := l.end
	l.buffer = l.buffer[:0]
	for _, p := range batch {
		line, err := end.Next(p.record)
		if err != nil {
			return err
		}
		l.buffer = append(l.buffer, line...)
	}
	day := batch[0].record.At.UTC().Truncate(24 * time.Hour)
	if l.size > 0 && (l.size+int64(len(l.buffer)) > l.o.MaxBytes || day.After(l.day)) {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if _, err := l.file.Write(l.buffer); err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	if l.size == 0 {
		l.day = day
	}
	l.end, l.size = end, l.size+int64(len(l.buffer))
	l.state.Lock()
	l.synced = end
	l.state.Unlock()
	if l.o.Synced != nil {
		l.o.Synced(len(batch), time.Since(began))
	}
	return nil
}

// cutBack opens the file again at the end of what was synced.
func (l *Log) cutBack() error {
	name := l.file.Name()
	_ = l.file.Close()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	l.file = f
	if err := f.Truncate(l.size); err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	return nil
}

// rotate begins the file of the next line.
func (l *Log) rotate() error {
	f, err := os.OpenFile(filepath.Join(l.o.Dir, chain.FileName(l.end.Sequence+1)), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	if err := syncDir(l.o.Dir); err != nil {
		_ = f.Close()
		return err
	}
	_ = l.file.Close()
	l.file, l.size = f, 0
	return nil
}

// syncDir makes the names of files in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	return nil
}
