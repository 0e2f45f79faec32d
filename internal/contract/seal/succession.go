package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/internal/contract"
)

// typSuccession is the header typ of a signed contract.Succession.
const typSuccession = "dizuo-succession"

// Successions are bounded, so that a hub that lies cannot keep a node busy.
const (
	// MaxSuccessions is how many stand in one chain. A key lives about eight months, and an edge node that was away for 90 days enrols anew.
	MaxSuccessions = 16
	// maxSuccession is the largest, in bytes.
	maxSuccession = 2048
)

// Succession says, signed, that the key of another public key (PEM) follows this one on a platform, as compact JWS.
func (s *Signer) Succession(platform string, next []byte, now time.Time) (string, error) {
	raw, err := json.Marshal(contract.Succession{Platform: platform, PublicKey: string(next), IssuedAt: now.UTC().Truncate(time.Second)})
	if err != nil {
		return "", fmt.Errorf("succession of keys: %w", err)
	}
	options := (&jose.SignerOptions{}).WithType(typSuccession).WithHeader("kid", s.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, options)
	if err != nil {
		return "", fmt.Errorf("succession of keys: %w", err)
	}
	jws, err := signer.Sign(raw)
	if err != nil {
		return "", fmt.Errorf("succession of keys: %w", err)
	}
	return jws.CompactSerialize()
}

// ErrNoSuccession says that no chain leads from the keys that are trusted to the one that is asked for.
var ErrNoSuccession = errors.New("no succession of keys")

// Successor gives the public key (PEM) with an id, if successions, one a line in any order, lead to it from a key of t. Each is verified by
// the key before it, and counts for its own platform only. Lines that say nothing to the matter are passed over.
func (t *Trust) Successor(platform, id string, successions []byte) ([]byte, error) {
	lines := strings.Fields(string(successions))
	if len(lines) > MaxSuccessions {
		return nil, fmt.Errorf("%w: %d came, at most %d are taken", ErrNoSuccession, len(lines), MaxSuccessions)
	}
	known := &Trust{keys: maps.Clone(t.keys)}
	for grown := true; grown; {
		grown = false
		for _, line := range lines {
			next, kid, err := known.succession(platform, line)
			if err != nil || known.keys[kid] != nil {
				continue
			}
			if kid == id {
				return []byte(next.opa[kid].Key), nil
			}
			known.keys[kid], grown = next.keys[kid], true
		}
	}
	return nil, fmt.Errorf("%w leads from the keys trusted here to key %.12s", ErrNoSuccession, id)
}

// succession verifies one and gives the key that follows, as a trust of its own, with its id.
func (t *Trust) succession(platform, compact string) (next *Trust, kid string, err error) {
	if len(compact) > maxSuccession {
		return nil, "", fmt.Errorf("succession of keys: %d bytes, at most %d", len(compact), maxSuccession)
	}
	raw, err := t.verify(compact, typSuccession)
	if err != nil {
		return nil, "", err
	}
	var s contract.Succession
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, "", fmt.Errorf("succession of keys: %w", err)
	}
	if s.Platform != platform {
		return nil, "", fmt.Errorf("succession of keys: it is of platform %s, not of %s", s.Platform, platform)
	}
	if next, err = NewTrust([]byte(s.PublicKey)); err != nil {
		return nil, "", err
	}
	if len(next.keys) != 1 {
		return nil, "", errors.New("succession of keys: it names several keys")
	}
	return next, slices.Collect(maps.Keys(next.keys))[0], nil
}

// SuccessionTo reports whether a chain of successions has one that key from signed for key to. It verifies nothing.
func SuccessionTo(successions []string, from, to string) bool {
	for _, line := range successions {
		jws, err := jose.ParseSignedCompact(line, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil || jws.Signatures[0].Protected.KeyID != from {
			continue
		}
		var s contract.Succession
		if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &s) != nil {
			continue
		}
		if next, err := NewTrust([]byte(s.PublicKey)); err == nil && next.keys[to] != nil {
			return true
		}
	}
	return false
}
