package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/dizuo/dizuo/internal/contract"
)

// grantStore serves data.dizuo.datasets and data.dizuo.grants to OPA. Grants stay compact JSON and are decoded one per
// lookup, so memory stays near the size of the JSON and a decision costs the same with 100 agreements or 100,000. It is
// read-only and never changes: a new bundle makes a new store.
//
// OPA's own store would hold every grant decoded, 7 to 12 times its JSON.
type grantStore struct {
	storage.WritesNotSupported
	storage.TriggersNotSupported
	storage.PolicyNotSupported

	datasets map[string]ast.Value
	// entries are sorted by dataset, consumer and agreement; pairs finds those of one dataset and consumer.
	entries []grantEntry
	pairs   map[pair]span
}

type pair struct{ dataset, consumer string }

type span struct{ from, to int32 }

type grantEntry struct {
	agreement string
	// json is a contract.Grant. It is a string over one common arena.
	json string
}

// errScan refuses a read that would need every grant. No rule of the access policy makes one.
var errScan = errors.New("the gateway's policy store answers lookups of one dataset and one consumer only")

// newGrantStore encodes an access document.
func newGrantStore(a contract.Access) (*grantStore, error) {
	s := &grantStore{datasets: make(map[string]ast.Value, len(a.Datasets)), pairs: map[pair]span{}}
	for name, d := range a.Datasets {
		v, err := ast.InterfaceToValue(d)
		if err != nil {
			return nil, fmt.Errorf("dataset %s: %w", name, err)
		}
		s.datasets[name] = v
	}
	var arena strings.Builder
	var ends []int
	for dataset, consumers := range a.Grants {
		for consumer, agreements := range consumers {
			from := len(s.entries)
			for agreement, grant := range agreements {
				raw, err := json.Marshal(grant)
				if err != nil {
					return nil, fmt.Errorf("grant of dataset %s to %s under %s: %w", dataset, consumer, agreement, err)
				}
				arena.Write(raw)
				ends = append(ends, arena.Len())
				s.entries = append(s.entries, grantEntry{agreement: agreement})
			}
			s.pairs[pair{dataset, consumer}] = span{int32(from), int32(len(s.entries))}
		}
	}
	s.cut(arena.String(), ends)
	return s, nil
}

// cut gives every entry its part of the arena, then sorts the entries of each pair by agreement.
func (s *grantStore) cut(arena string, ends []int) {
	at := 0
	for i, end := range ends {
		s.entries[i].json, at = arena[at:end], end
	}
	for _, p := range s.pairs {
		slices.SortFunc(s.entries[p.from:p.to], func(a, b grantEntry) int { return cmp.Compare(a.agreement, b.agreement) })
	}
}

func (s *grantStore) find(dataset, consumer, agreement string) (string, bool) {
	p := s.pairs[pair{dataset, consumer}]
	entries := s.entries[p.from:p.to]
	i, ok := slices.BinarySearchFunc(entries, agreement, func(e grantEntry, name string) int { return cmp.Compare(e.agreement, name) })
	if !ok {
		return "", false
	}
	return entries[i].json, true
}

// Read implements storage.Store for the paths below dizuo/datasets/<dataset> and dizuo/grants/<dataset>/<consumer>.
func (s *grantStore) Read(_ context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	v, depth, err := s.document(path)
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
func (s *grantStore) document(path storage.Path) (ast.Value, int, error) {
	if len(path) > 0 && path[0] != "dizuo" || len(path) > 1 && path[1] != "datasets" && path[1] != "grants" {
		return nil, 0, notFound(path)
	}
	switch {
	case len(path) >= 3 && path[1] == "datasets":
		v, ok := s.datasets[path[2]]
		if !ok {
			return nil, 0, notFound(path)
		}
		return v, 3, nil
	case len(path) >= 5:
		raw, ok := s.find(path[2], path[3], path[4])
		if !ok {
			return nil, 0, notFound(path)
		}
		v, err := decode(raw)
		return v, 5, err
	case len(path) == 4:
		v, err := s.between(path)
		return v, 4, err
	}
	return nil, 0, errScan
}

// between gives all grants of one dataset to one consumer, for requests that name no agreement.
func (s *grantStore) between(path storage.Path) (ast.Value, error) {
	p, ok := s.pairs[pair{path[2], path[3]}]
	if !ok {
		return nil, notFound(path)
	}
	object := ast.NewObject()
	for _, e := range s.entries[p.from:p.to] {
		v, err := decode(e.json)
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

// readTransaction is the only transaction there is: a store never changes.
type readTransaction struct{}

// ID implements storage.Transaction.
func (readTransaction) ID() uint64 { return 1 }

// NewTransaction implements storage.Store. Writing is refused.
func (s *grantStore) NewTransaction(_ context.Context, params ...storage.TransactionParams) (storage.Transaction, error) {
	if len(params) > 0 && params[0].Write {
		return nil, &storage.Error{Code: storage.WritesNotSupportedErr, Message: "the gateway's policy store is read-only"}
	}
	return readTransaction{}, nil
}

// Commit implements storage.Store.
func (s *grantStore) Commit(context.Context, storage.Transaction) error { return nil }

// Abort implements storage.Store.
func (s *grantStore) Abort(context.Context, storage.Transaction) {}

// Truncate implements storage.Store and is refused.
func (s *grantStore) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return &storage.Error{Code: storage.WritesNotSupportedErr, Message: "the gateway's policy store is read-only"}
}
