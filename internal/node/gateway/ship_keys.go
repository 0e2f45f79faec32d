package gateway

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// keysEvery is how often the store is told of keys that it knows that they are still in use.
const keysEvery = time.Hour

// publicKeys brings the public keys into the store by which bundles are verified and checkpoints signed, so that what they signed can be checked
// when they are long gone. It does so when one came or went, and each hour.
func (s *shipper) publicKeys(ctx context.Context) error {
	var raw []byte
	if s.trustFile != "" {
		var err error
		if raw, err = os.ReadFile(s.trustFile); err != nil {
			return err
		}
	}
	now := s.now()
	if digest := contract.Digest(raw); digest != s.trusted || now.Sub(s.keysAt) >= keysEvery {
		b := &pgx.Batch{}
		for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
			queueKey(b, "bundle", block.Bytes, now)
		}
		if s.checkpointKey != nil {
			der, err := x509.MarshalPKIXPublicKey(s.checkpointKey)
			if err != nil {
				return err
			}
			queueKey(b, "checkpoint", der, now)
		}
		if b.Len() > 0 {
			if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
		}
		s.trusted, s.keysAt = digest, now
	}
	return nil
}

func queueKey(b *pgx.Batch, kind string, der []byte, now time.Time) {
	id := strings.TrimPrefix(contract.Digest(der), "sha256:")
	b.Queue(`INSERT INTO audit.public_keys AS k (kind, id, public_key, first_seen, last_seen) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (kind, id) DO UPDATE SET last_seen = greatest(k.last_seen, excluded.last_seen)`, kind, id, base64.StdEncoding.EncodeToString(der), now)
}

// public gives the key by which checkpoints are signed; nil without an anchor.
func (a *anchor) public() crypto.PublicKey {
	if a == nil {
		return nil
	}
	return a.key.Public()
}
