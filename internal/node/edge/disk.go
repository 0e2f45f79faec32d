package edge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// reserve is what the disk must have beyond the outbox, in bytes: for the bundle, the small streams and the ballast.
	reserve = 256 << 20
	// shutBelow is the free space below which nobody is let in: at none JetStream would end itself. openAbove lets them in again.
	shutBelow, openAbove = 128 << 20, 192 << 20
	// ballastBytes lie there to be given up on a full disk, so that there is room to work off what waits.
	ballastBytes = 64 << 20
	diskEvery    = time.Second
)

// free gives the bytes that this process may still write in a folder.
func free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // types differ by platform
}

// roomFor refuses a disk that cannot hold the outbox. A node that has one already goes on with what it has, and gives up the ballast: what
// waits there must get out, which makes room too.
func (f files) roomFor(storage int64, free func(string) (int64, error), log *slog.Logger) error {
	err := room(f.dir, storage, free)
	if _, there := os.Stat(f.outbox()); err == nil || there != nil {
		return err
	}
	log.Error("disk is too small for the outbox, or full", "err", err)
	_ = os.Remove(f.ballast())
	return nil
}

func room(dir string, storage int64, free func(string) (int64, error)) error {
	have, err := free(dir)
	if err != nil {
		return err
	}
	used, err := sizeOf(dir)
	if err != nil {
		return err
	}
	if have+used < storage+reserve {
		return fmt.Errorf("storageBytes: %d and %d for the rest do not fit %s, which has %d: write less, or take a larger disk", storage, reserve, dir, have+used)
	}
	return nil
}

// sizeOf gives the bytes of all files below a folder.
func sizeOf(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// door lets devices in, or nobody.
type door interface {
	Open()
	Shut() error
	// Err says why nothing can be kept any more until the process starts anew, or nil.
	Err() error
}

// disk is what watch last found, for a report and for readiness.
type disk struct{ full atomic.Bool }

var errDiskFull = errors.New("disk is nearly full: devices are let in no more; make room where stateDir lies, and they are let in again")

// Err says that nobody is let in because the disk is full, or nil.
func (d *disk) Err() error {
	if d.full.Load() {
		return errDiskFull
	}
	return nil
}

// watch shuts the door while the disk is nearly full and gives up the ballast; with room again it takes the ballast and opens. It
// opens the door first of all, if there is room. It ends where the store did: what is on the disk is safe, and is opened by a new start.
func (d *disk) watch(ctx context.Context, f files, door door, free func(string) (int64, error), every time.Duration, log *slog.Logger) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	open, first := false, true
	for {
		have, err := free(f.dir)
		switch {
		case err != nil:
			return err
		case door.Err() != nil:
			return door.Err()
		case have < shutBelow && (open || first):
			log.Error("disk is nearly full: devices are let in no more", "free", have)
			d.full.Store(true)
			if err := door.Shut(); err != nil {
				return err
			}
			open = false
			_ = os.Remove(f.ballast())
		case !open && (first || have >= openAbove):
			d.full.Store(false)
			door.Open()
			open = true
			log.Info("devices are let in", "free", have)
		}
		if open {
			if err := ballast(f.ballast(), have); err != nil {
				log.Warn("ballast", "err", err)
			}
		}
		first = false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// ballast makes the ballast if it is not there and leaves enough free.
func ballast(file string, have int64) error {
	if info, err := os.Stat(file); err == nil && info.Size() == ballastBytes || have < openAbove+ballastBytes {
		return nil
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for range ballastBytes / len(block) { // written, not punched: a hole holds nothing
		if _, err := out.Write(block); err != nil {
			_ = out.Close()
			_ = os.Remove(file)
			return err
		}
	}
	return errors.Join(out.Sync(), out.Close())
}
