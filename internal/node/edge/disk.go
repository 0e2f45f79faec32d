package edge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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

// roomFor refuses a disk that cannot hold the outbox.
func roomFor(dir string, storage int64, free func(string) (int64, error)) error {
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
}

// watchDisk shuts the door while the disk is nearly full and gives up the ballast; with room again it takes the ballast and opens. It
// opens the door first of all, if there is room.
func watchDisk(ctx context.Context, f files, d door, free func(string) (int64, error), every time.Duration, log *slog.Logger) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	open, first := false, true
	for {
		have, err := free(f.dir)
		limit := int64(openAbove)
		if first {
			limit = shutBelow
		}
		switch {
		case err != nil:
			return err
		case open && have < shutBelow:
			log.Error("disk is nearly full: devices are let in no more", "free", have)
			if err := d.Shut(); err != nil {
				return err
			}
			open = false
			_ = os.Remove(f.ballast())
		case !open && have >= limit:
			if err := ballast(f.ballast(), have); err != nil {
				log.Warn("ballast", "err", err)
			}
			d.Open()
			open = true
			log.Info("devices are let in")
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
