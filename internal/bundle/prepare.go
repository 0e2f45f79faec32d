package bundle

import (
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// Prepared is a shard by its content, which is made only for who asks: of a million devices a change touches one fleet.
type Prepared struct {
	contract.ShardRef
	// Open gives the shard, normalized.
	Open func() (contract.Shard, error)
}

// Memo remembers the digests of shards by the version of what they hold. It is of one platform. Its zero value remembers nothing.
type Memo struct{ known map[string]known }

type known struct{ version, digest string }

// held is how many new shards Prepare keeps in hand, normalized, for who opens them. A change makes few; the first publication makes
// all, and would hold every device of the platform at once.
const held = 8

// Prepare gives the shards of the parts, sorted by name.
func (m *Memo) Prepare(p Parts) ([]Prepared, error) {
	next := map[string]known{}
	var out []Prepared
	made := 0
	for _, s := range shards(p) {
		version := versionOf(p, s.Name)
		ref := contract.ShardRef{Name: s.Name}
		open := func() (contract.Shard, error) { return seal.Normalize(s) }
		if was := m.known[s.Name]; version != "" && was.version == version {
			ref.Digest = was.digest
		} else {
			normal, err := seal.Normalize(s)
			if err != nil {
				return nil, err
			}
			if ref.Digest, err = normal.ContentDigest(); err != nil {
				return nil, err
			}
			if made++; made <= held {
				open = func() (contract.Shard, error) { return normal, nil }
			}
		}
		next[s.Name] = known{version, ref.Digest}
		out = append(out, Prepared{ref, open})
	}
	m.known = next
	return out, nil
}

// versionOf gives the version of what a shard holds; "" where it has none.
func versionOf(p Parts, shard string) string {
	for _, prefix := range []string{contract.ShardFleet, contract.ShardCredentials} {
		if fleet, ok := strings.CutPrefix(shard, prefix); ok {
			return p.Versions[fleet]
		}
	}
	return ""
}

// Index lists shards by content.
func Index(prepared []Prepared) contract.Index {
	var index contract.Index
	for _, p := range prepared {
		index.Shards = append(index.Shards, p.ShardRef)
	}
	return index
}
