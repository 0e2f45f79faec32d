package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// parts keeps, beside the decision log, the signed parts of bundles by which was decided, so that a decision can be made again when
// the bundle is long gone. A file of the bundle gets a second name: nothing is copied.
type parts struct {
	dir string
	in  *intake.Intake
	log *slog.Logger
	// before is the bundle that was given last: lines that rest on it may be on their way.
	before *intake.Bundle
	// settled says whether the platform's store has all lines and the parts that they name; nil keeps every part.
	settled func() bool
}

// hold keeps the parts of a bundle before it comes into force. Parts of fleets and rules are not kept: no decision rests on them.
func (p *parts) hold(b *intake.Bundle) error {
	if p == nil {
		return nil
	}
	before := p.before
	p.before = b
	known := filepath.Join(p.dir, audit.RevisionName(b.Lease.Revision))
	if _, err := readRevision(known); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		p.log.Warn("parts of a bundle are kept anew", "revision", b.Lease.Revision, "err", err)
	}
	lease, index, from, err := p.in.Signed()
	if err != nil {
		return err
	}
	if index.Revision() != b.Lease.Revision {
		return fmt.Errorf("bundle %s is not kept for the decision log, nor put in force: a later one is here already", b.Lease.Revision)
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	for _, ref := range index.Shards {
		if !wanted(ref.Name) {
			continue
		}
		if err := intake.Link(filepath.Join(from, intake.SealedName(ref.Digest)), filepath.Join(p.dir, audit.PartName(ref.Digest))); err != nil {
			return fmt.Errorf("keep shard %s for the decision log: %w", ref.Name, err)
		}
	}
	raw, err := json.Marshal(audit.Revision{Lease: lease, Index: index})
	if err != nil {
		return err
	}
	if err := writeWhole(known, raw); err != nil {
		return err
	}
	return p.forget(b, before)
}

// readRevision reads what writeWhole wrote. A file that says something else than its name, or nothing, is an error.
func readRevision(path string) (audit.Revision, error) {
	var r audit.Revision
	raw, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if got := audit.RevisionName(r.Index.Revision()); got != filepath.Base(path) {
		return r, fmt.Errorf("%s: it is of %s", filepath.Base(path), got)
	}
	return r, nil
}

// writeWhole writes a file whole or not at all: temporary file, fsync, rename, fsync of the folder.
func writeWhole(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// forget removes parts that the store has, that are old, and that neither the bundle in force has nor the one before.
func (p *parts) forget(bundles ...*intake.Bundle) error {
	if p.settled == nil || !p.settled() {
		return nil
	}
	keep := map[string]bool{}
	for _, b := range bundles {
		if b == nil {
			continue
		}
		keep[audit.RevisionName(b.Lease.Revision)] = true
		for _, ref := range b.Index().Shards {
			keep[audit.PartName(ref.Digest)] = true
		}
	}
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		info, infoErr := e.Info()
		if infoErr == nil && !keep[e.Name()] && time.Since(info.ModTime()) > keepFiles {
			err = errors.Join(err, os.Remove(filepath.Join(p.dir, e.Name())))
		}
	}
	return err
}
