package intake

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// A node at the centre reads its keys from a file that is brought to it. An edge node got them when it enrolled, and keeps the file itself:
//
//	lease of an unknown key -> the hub's successions -> do they lead there from a key of ours? -> on disk -> used
//	-> the bundle that the new key signed is on disk -> the former key is forgotten
//
// It trusts one key at a time, so that a former one that leaks later opens nothing.

// trusted gives the keys by which a lease is verified.
func (i *Intake) trusted(ctx context.Context, store Objects, jws string) (*seal.Trust, error) {
	trust, err := readTrust(i.cfg.TrustFile)
	if err != nil || !i.keepsKeys() {
		return trust, err
	}
	id := seal.LeaseKey(jws)
	if id == "" || trust.Holds(id) {
		return trust, nil
	}
	successions, err := store.GetBytes(ctx, contract.ObjectSuccessions)
	if err != nil {
		return nil, fmt.Errorf("the platform signs with key %.12s, which is not trusted here, and its succession did not come: %w", id, err)
	}
	next, err := trust.Successor(i.cfg.Platform, id, successions)
	if err != nil {
		return nil, fmt.Errorf("the platform signs with key %.12s: %w; enrol this node anew (set spec.approved of its EdgeNode to false, take it away again, "+
			"remove edge.crt where stateDir lies, and start with the new token)", id, err)
	}
	raw, err := os.ReadFile(i.cfg.TrustFile)
	if err != nil {
		return nil, err
	}
	if err := i.writeKeys(append(raw, next...)); err != nil {
		return nil, err
	}
	i.log.Info("the platform's signing key has a successor", "key", id)
	return readTrust(i.cfg.TrustFile)
}

// forget leaves the key that signs as the only one that an edge node trusts. What fails is done with the next lease.
func (i *Intake) forget(trust *seal.Trust, id string) {
	if !i.keepsKeys() || trust.Count() == 1 {
		return
	}
	if err := i.writeKeys(trust.Only(id)); err != nil {
		i.log.Warn("former keys of bundles are trusted still", "err", err)
	}
}

// keepsKeys says that the file of keys is the node's own.
func (i *Intake) keepsKeys() bool { return i.cfg.Role == contract.RoleEdge }

func (i *Intake) writeKeys(keys []byte) error {
	return disk{filepath.Dir(i.cfg.TrustFile)}.write(filepath.Base(i.cfg.TrustFile), keys)
}
