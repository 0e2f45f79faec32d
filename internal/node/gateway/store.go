package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// grants serve data.dizuo.datasets and data.dizuo.grants of one revision. Grants stay JSON, in the shards in which they came, and are
// decoded one per lookup, so memory stays near the size of the JSON and a decision costs the same with 100 agreements or 100,000.
// They never change: a new revision makes new ones and takes over the shards that are the same.
//
// OPA's own store would hold every grant decoded, 7 to 12 times its JSON.
type grants struct {
	datasets map[string]ast.Value
	shards   map[string]*grantShard
}

// newGrants takes the grants of a bundle; before are those of the revision before, or nil.
func newGrants(b *intake.Bundle, before *grants) (*grants, error) {
	g := &grants{datasets: make(map[string]ast.Value, len(b.Access.Datasets)), shards: make(map[string]*grantShard, len(b.Grants))}
	for name, d := range b.Access.Datasets {
		v, err := ast.InterfaceToValue(d)
		if err != nil {
			return nil, fmt.Errorf("dataset %s: %w", name, err)
		}
		g.datasets[name] = v
	}
	for name, sealed := range b.Grants {
		if before != nil && before.shards[name] != nil && before.shards[name].digest == sealed.Digest {
			g.shards[name] = before.shards[name]
			continue
		}
		shard, err := newGrantShard(sealed)
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", name, err)
		}
		g.shards[name] = shard
	}
	return g, nil
}

// shard gives the shard with the grants to a consumer, or an empty one.
func (g *grants) shard(consumer string) *grantShard {
	if s := g.shards[contract.GrantsShard(consumer)]; s != nil {
		return s
	}
	return &grantShard{}
}

// text gives the JSON of one grant.
func (g *grants) text(dataset, consumer, agreement string) (string, bool) {
	s := g.shard(consumer)
	entries := s.between(dataset, consumer)
	i, ok := slices.BinarySearchFunc(entries, agreement, func(e grantEntry, name string) int { return cmp.Compare(e.agreement, name) })
	if !ok {
		return "", false
	}
	return s.text(entries[i]), true
}

// grant decodes one grant; ok is false where there is none.
func (g *grants) grant(dataset, consumer, agreement string) (grant contract.Grant, ok bool, err error) {
	text, ok := g.text(dataset, consumer, agreement)
	if !ok {
		return grant, false, nil
	}
	err = json.Unmarshal([]byte(text), &grant)
	return grant, err == nil, err
}

// between decodes the grants of one dataset to one consumer, by agreement. One that cannot be decoded is left out.
func (g *grants) between(dataset, consumer string) iter.Seq2[string, contract.Grant] {
	return func(yield func(string, contract.Grant) bool) {
		s := g.shard(consumer)
		for _, e := range s.between(dataset, consumer) {
			var grant contract.Grant
			if json.Unmarshal([]byte(s.text(e)), &grant) == nil && !yield(e.agreement, grant) {
				return
			}
		}
	}
}

// ID implements storage.Transaction: OPA reads the grants of the one revision under which a request began.
func (g *grants) ID() uint64 { return 1 }

// grantStore lets OPA read grants. It holds none: those of a revision come as the transaction, so that the policy is compiled once and
// not for every revision.
type grantStore struct {
	storage.WritesNotSupported
	storage.TriggersNotSupported
	storage.PolicyNotSupported
}

// errScan refuses a read that would need every grant. No rule of the access policy makes one.
var errScan = errors.New("the gateway's policy store answers lookups of one dataset and one consumer only")

// Read implements storage.Store for the paths below dizuo/datasets/<dataset> and dizuo/grants/<dataset>/<consumer>.
func (grantStore) Read(_ context.Context, transaction storage.Transaction, path storage.Path) (any, error) {
	g, ok := transaction.(*grants)
	if !ok {
		return nil, notFound(path) // compiling reads nothing of a revision
	}
	v, depth, err := g.document(path)
	if err != nil {
		return nil, err
	}
	for _, key := range path[depth:] {
		object, ok := v.(ast.Object)
		if !ok {
			return nil, notFound(path)
		}
		term := object.Get(ast.StringTerm(key))
		if term == nil {
			return nil, notFound(path)
		}
		v = term.Value
	}
	return v, nil
}

// document finds the smallest stored document that holds the path, and how many parts of the path name it.
func (g *grants) document(path storage.Path) (ast.Value, int, error) {
	if len(path) > 0 && path[0] != "dizuo" || len(path) > 1 && path[1] != "datasets" && path[1] != "grants" {
		return nil, 0, notFound(path)
	}
	switch {
	case len(path) >= 3 && path[1] == "datasets":
		v, ok := g.datasets[path[2]]
		if !ok {
			return nil, 0, notFound(path)
		}
		return v, 3, nil
	case len(path) >= 5:
		raw, ok := g.text(path[2], path[3], path[4])
		if !ok {
			return nil, 0, notFound(path)
		}
		v, err := decode(raw)
		return v, 5, err
	case len(path) == 4:
		v, err := g.pair(path)
		return v, 4, err
	}
	return nil, 0, errScan
}

// pair gives all grants of one dataset to one consumer, for requests that name no agreement.
func (g *grants) pair(path storage.Path) (ast.Value, error) {
	s := g.shard(path[3])
	entries := s.between(path[2], path[3])
	if len(entries) == 0 {
		return nil, notFound(path)
	}
	object := ast.NewObject()
	for _, e := range entries {
		v, err := decode(s.text(e))
		if err != nil {
			return nil, err
		}
		object.Insert(ast.StringTerm(e.agreement), ast.NewTerm(v))
	}
	return object, nil
}

func decode(raw string) (ast.Value, error) { return ast.ValueFromReader(strings.NewReader(raw)) }

func notFound(path storage.Path) error {
	return &storage.Error{Code: storage.NotFoundErr, Message: path.String()}
}

// NewTransaction implements storage.Store for whoever compiles: it reads nothing. Writing is refused.
func (grantStore) NewTransaction(_ context.Context, params ...storage.TransactionParams) (storage.Transaction, error) {
	if len(params) > 0 && params[0].Write {
		return nil, &storage.Error{Code: storage.WritesNotSupportedErr, Message: "the gateway's policy store is read-only"}
	}
	return nothing{}, nil
}

type nothing struct{}

// ID implements storage.Transaction.
func (nothing) ID() uint64 { return 0 }

// Commit implements storage.Store.
func (grantStore) Commit(context.Context, storage.Transaction) error { return nil }

// Abort implements storage.Store.
func (grantStore) Abort(context.Context, storage.Transaction) {}

// Truncate implements storage.Store and is refused.
func (grantStore) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return &storage.Error{Code: storage.WritesNotSupportedErr, Message: "the gateway's policy store is read-only"}
}
