package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
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
	// settled says whether the platform's store has all lines and the parts that they name; nil keeps every part.
	settled func() bool
}

// hold keeps the parts of a bundle before it comes into force. Parts of fleets and rules are not kept: no decision rests on them.
func (p *parts) hold(b *intake.Bundle) error {
	if p == nil {
		return nil
	}
	lease, from, err := p.in.Signed()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	known := filepath.Join(p.dir, audit.RevisionName(b.Lease.Revision))
	if _, err := os.Stat(known); err == nil {
		return nil
	}
	for _, ref := range b.Index().Shards {
		if !wanted(ref.Name) {
			continue
		}
		if err := intake.Link(filepath.Join(from, intake.SealedName(ref.Digest)), filepath.Join(p.dir, audit.PartName(ref.Digest))); err != nil {
			return fmt.Errorf("keep shard %s for the decision log: %w", ref.Name, err)
		}
	}
	raw, err := json.Marshal(audit.Revision{Lease: lease, Index: b.Index()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(known, raw, 0o600); err != nil {
		return err
	}
	d, err := os.Open(p.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close(), p.forget(b))
}

// forget removes parts that the store has, that are old, and that the bundle in force does not have.
func (p *parts) forget(b *intake.Bundle) error {
	if p.settled == nil || !p.settled() {
		return nil
	}
	keep := map[string]bool{audit.RevisionName(b.Lease.Revision): true}
	for _, ref := range b.Index().Shards {
		keep[audit.PartName(ref.Digest)] = true
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
