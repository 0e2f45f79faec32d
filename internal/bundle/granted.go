package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"

	"github.com/dizuo/dizuo/internal/contract"
)

// Granted holds the agreements of a platform by the shard of their grants. A change touches one shard of 64, and Snapshot costs the
// same however many agreements there are. Its zero value is empty.
type Granted struct{ buckets map[string]*bucket }

// bucket is what one shard holds. A bucket that a snapshot shares is copied before it changes.
type bucket struct {
	// agreements by id, which is told apart from the name: one that takes over a name comes before the one that had it goes.
	agreements map[string]named
	// version is the XOR of the digests of id and content of all agreements: the same in whatever order they came.
	version [sha256.Size]byte
	shared  bool
}

type named struct {
	Agreement
	name, digest string
}

// Put adds an agreement under an id that is not taken. digest names its content.
func (g *Granted) Put(id, name, digest string, a Agreement) {
	b := g.own(contract.GrantsShard(a.Consumer))
	b.agreements[id] = named{a, name, digest}
	b.turn(id, digest)
}

// Drop takes away the agreement of a consumer that was put under an id.
func (g *Granted) Drop(id, consumer string) {
	shard := contract.GrantsShard(consumer)
	b := g.own(shard)
	if a, has := b.agreements[id]; has {
		delete(b.agreements, id)
		b.turn(id, a.digest)
	}
	if len(b.agreements) == 0 {
		delete(g.buckets, shard)
	}
}

// own gives a bucket that may be changed.
func (g *Granted) own(shard string) *bucket {
	b := g.buckets[shard]
	switch {
	case b == nil:
		b = &bucket{agreements: map[string]named{}}
	case b.shared:
		b = &bucket{agreements: maps.Clone(b.agreements), version: b.version}
	default:
		return b
	}
	if g.buckets == nil {
		g.buckets = map[string]*bucket{}
	}
	g.buckets[shard] = b
	return b
}

// turn adds an agreement to the version, or takes it out: XOR does both.
func (b *bucket) turn(id, digest string) {
	sum := sha256.Sum256([]byte(id + "\x00" + digest))
	for i := range sum {
		b.version[i] ^= sum[i]
	}
}

// Snapshot gives what is granted now; it stays as it is whatever is put or dropped later.
func (g *Granted) Snapshot() Granted {
	for _, b := range g.buckets {
		b.shared = true
	}
	return Granted{maps.Clone(g.buckets)}
}

// of gives the agreements of a shard.
func (g Granted) of(shard string) map[string]named {
	if b := g.buckets[shard]; b != nil {
		return b.agreements
	}
	return nil
}

// version gives the version of a shard's agreements; "" where there are none.
func (g Granted) version(shard string) string {
	if b := g.buckets[shard]; b != nil {
		return hex.EncodeToString(b.version[:])
	}
	return ""
}

// granted gives the agreements of the parts by shard: those that are so already, else those by name.
func (p Parts) granted() Granted {
	if len(p.Agreements) == 0 {
		return p.Granted
	}
	g := p.Granted.Snapshot()
	for name, a := range p.Agreements {
		g.Put(name, name, "", a)
	}
	return g
}

// grants orders what agreements grant by dataset, consumer and agreement. Grants of datasets that are gone are left out.
func grants(agreements map[string]named, datasets map[string]contract.Dataset) map[string]map[string]map[string]contract.Grant {
	out := map[string]map[string]map[string]contract.Grant{}
	for _, id := range Names(agreements) { // sorted: where two have one name it is always the same one that stands
		a := agreements[id]
		for dataset, grant := range a.Grants {
			if _, ok := datasets[dataset]; !ok {
				continue
			}
			if out[dataset] == nil {
				out[dataset] = map[string]map[string]contract.Grant{}
			}
			if out[dataset][a.Consumer] == nil {
				out[dataset][a.Consumer] = map[string]contract.Grant{}
			}
			out[dataset][a.Consumer][a.name] = grant
		}
	}
	return out
}

// grantsShards gives the shards of the grants, unopened. A part of the consumers without agreements has none.
func grantsShards(p Parts) []Prepared {
	var out []Prepared
	all := p.granted()
	for shard := range all.buckets {
		out = append(out, unopened(contract.Shard{Name: shard, Roots: []string{"dizuo/grants"}}, func() map[string]any {
			return under("grants", grants(all.of(shard), p.Datasets))
		}))
	}
	return out
}

// Policy gives the access policy, the datasets and all grants as one shard: what a stock opa loads as a bundle. A gateway takes them in
// parts.
func Policy(p Parts) (contract.Shard, error) {
	agreements := map[string]named{}
	for _, b := range p.granted().buckets {
		maps.Copy(agreements, b.agreements)
	}
	return unopened(contract.Shard{
		Name: ShardPolicy, Roots: []string{"dizuo/access", "dizuo/datasets", "dizuo/grants"}, Modules: p.Modules,
	}, func() map[string]any {
		return under("datasets", nonNil(p.Datasets), "grants", grants(agreements, p.Datasets))
	}).Open()
}

// ShardPolicy is the name of the shard that Policy gives. It is in no index.
const ShardPolicy = "policy"
