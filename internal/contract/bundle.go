package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Shard is one part of a bundle: an OPA bundle of its own (signed, with roots that no other shard has), so that a change
// ships what changed and plain opa can verify each part.
type Shard struct {
	// Name is unique in a bundle; see the Shard* constants.
	Name string
	// Roots are the data paths that the shard owns, such as "dizuo/grants".
	Roots []string
	// Data is the document below the empty path.
	Data map[string]any
	// Modules are Rego files, path to text.
	Modules map[string]string
}

// Names of shards. Fleets come one shard each: ShardFleet + name and ShardCredentials + name.
const (
	// ShardDirectory holds the platform, its communities and its organisations.
	ShardDirectory = "directory"
	// ShardAccess holds the Rego of policies/access, the datasets and the grants.
	ShardAccess = "access"
	// ShardGrants precedes two hex digits: the grants to a part of the consumers; see GrantsShard.
	ShardGrants = "grants."
	// ShardRules holds the device profiles and the scenarios.
	ShardRules = "rules"
	// ShardFleet precedes a fleet's name: its registry rows without secrets.
	ShardFleet = "fleet."
	// ShardCredentials precedes a fleet's name: issuers and password hashes, read by the roles broker, auth and ingest only.
	ShardCredentials = "credentials."
)

// GrantsShard names the shard with the grants to a consumer: one of 64, so that a change ships a part and not all. Several own the root
// "dizuo/grants": one decision needs one of them, that of its consumer.
func GrantsShard(consumer string) string {
	sum := sha256.Sum256([]byte(consumer))
	return fmt.Sprintf("%s%02x", ShardGrants, sum[0]&0x3f)
}

// Index lists the shards of one revision of a bundle, sorted by name.
type Index struct {
	// Shards of the bundle, sorted by name.
	Shards []ShardRef `json:"shards"`
}

// ShardRef points at a shard by content.
type ShardRef struct {
	// Name of the shard.
	Name string `json:"name"`
	// Digest of the shard's content, without its signature: see ContentDigest.
	Digest string `json:"digest"`
}

// Revision is the content hash of the index, and so of the whole bundle.
func (x Index) Revision() string {
	sorted := slices.SortedFunc(slices.Values(x.Shards), func(a, b ShardRef) int { return strings.Compare(a.Name, b.Name) })
	raw, err := json.Marshal(Index{Shards: sorted})
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	return Digest(raw)
}

// ContentDigest hashes name, roots, data and modules of a shard. Signatures stay outside, because ECDSA gives another one
// each time and a revision must not change while nothing did. Data must be made of JSON values only.
func (s Shard) ContentDigest() (string, error) {
	raw, err := json.Marshal(struct {
		Name    string            `json:"name"`
		Roots   []string          `json:"roots"`
		Data    map[string]any    `json:"data"`
		Modules map[string]string `json:"modules"`
	}{s.Name, slices.Sorted(slices.Values(s.Roots)), s.Data, s.Modules})
	if err != nil {
		return "", fmt.Errorf("shard %s: %w", s.Name, err)
	}
	return Digest(raw), nil
}

// Digest gives "sha256:" and the hex SHA-256 of b. The algorithm is named so that SM3 can stand beside it.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ObjectName gives the name of a content-addressed object in BundleStore; kind is "index" or "shard".
func ObjectName(kind, digest string) string { return kind + "/" + strings.ReplaceAll(digest, ":", "-") }

// ObjectSuccessions names what EdgeGet gives beside the objects of a node's own bundle: the successions of keys, signed, one a line.
const ObjectSuccessions = "successions"

// SuccessionsFile is the name of the file with the same text, beside the file of keys that nodes at the centre trust.
const SuccessionsFile = "successions.txt"

// Succession says that one key follows another, which signs it. A node that trusts the one learns the other by it, however many came between.
type Succession struct {
	// Platform is namespace and name of the platform, joined by a slash.
	Platform string `json:"platform"`
	// PublicKey is the key that follows (PEM, SPKI).
	PublicKey string    `json:"publicKey"`
	IssuedAt  time.Time `json:"issuedAt"`
}

// Lease gives a bundle time and order, which a content hash has not: without it an old signed bundle would re-open revoked
// access, and a node could not tell "current" from "cut off". It is signed and renewed though nothing changed.
type Lease struct {
	// Platform is namespace and name of the platform, joined by a slash.
	Platform string `json:"platform"`
	// Scope is ScopeCenter or "edge." and the name of an edge node.
	Scope string `json:"scope"`
	// Revision is the content hash of the index that is in force.
	Revision string `json:"revision"`
	// Sequence only grows. A node persists the highest it saw and refuses a lower one.
	Sequence int64 `json:"sequence"`
	// IssuedAt is when the control plane signed.
	IssuedAt time.Time `json:"issuedAt"`
	// ExpiresAt is when a node that heard nothing newer must fail closed.
	ExpiresAt time.Time `json:"expiresAt"`
}

// Follows says whether a node that holds the sequence seen may take l at the time now, for the platform and scope it
// serves. The error names what is wrong.
func (l Lease) Follows(platform, scope string, seen int64, now time.Time) error {
	switch {
	case l.Platform != platform:
		return fmt.Errorf("lease is for platform %q, this node serves %q", l.Platform, platform)
	case l.Scope != scope:
		return fmt.Errorf("lease is for scope %q, this node serves %q", l.Scope, scope)
	case l.Sequence < seen:
		return fmt.Errorf("lease has sequence %d, lower than %d which was seen before", l.Sequence, seen)
	case !l.ExpiresAt.After(now):
		return fmt.Errorf("lease %d expired at %s", l.Sequence, l.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}
