package fetch

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
)

// Key is a public key that signed something of what was taken, or of what was before or after.
type Key struct {
	// Kind is "bundle" or "checkpoint".
	Kind string `json:"kind"`
	// ID is the hexadecimal SHA-256 of the key (SPKI, DER): what is compared by another way.
	ID string `json:"id"`
	// FirstSeen and LastSeen say when a gateway trusted it or signed with it, to the hour.
	FirstSeen time.Time `json:"firstSeen"`
	LastSeen  time.Time `json:"lastSeen"`
}

// keys writes all public keys that were ever used, former ones too, one file a kind.
func (f *fetcher) keys(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT kind, public_key, first_seen, last_seen FROM audit.public_keys ORDER BY kind, first_seen, id`)
	if err != nil {
		return err
	}
	files := map[string]*bytes.Buffer{"bundle": {}, "checkpoint": {}}
	var k Key
	var public string
	_, err = pgx.ForEachRow(rows, []any{&k.Kind, &public, &k.FirstSeen, &k.LastSeen}, func() error {
		der, err := base64.StdEncoding.DecodeString(public)
		if err != nil {
			return fmt.Errorf("key %s of the store: %w", k.Kind, err)
		}
		k.ID = strings.TrimPrefix(contract.Digest(der), "sha256:") // and not what the store says that it is
		out := files[k.Kind]
		fmt.Fprintf(out, "%s from %s to %s\n", k.ID, k.FirstSeen.UTC().Format(time.RFC3339), k.LastSeen.UTC().Format(time.RFC3339))
		f.sum.Keys = append(f.sum.Keys, k)
		return pem.Encode(out, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
	})
	if err != nil {
		return err
	}
	for kind, name := range map[string]string{"bundle": audit.FetchedBundleKeys, "checkpoint": audit.FetchedAuditKeys} {
		if files[kind].Len() == 0 {
			continue
		}
		if err := f.out.file(name, files[kind].Bytes()); err != nil {
			return err
		}
	}
	return nil
}
