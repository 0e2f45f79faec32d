package publication

import "github.com/dizuo/dizuo/internal/contract"

// keepRevisions is how many revisions of a scope stay in the store, for nodes that fetch while a newer one comes.
const keepRevisions = 3

// indexObject stands as the name of an index itself, among the shards that history counts. No shard has it.
const indexObject = ""

// history holds the last indexes of each scope and counts who names which object: scopes share objects, and one is gone only when none
// names it any more.
type history struct {
	scopes map[string][]contract.Index
	named  map[contract.ShardRef]int
}

func newHistory() history {
	return history{scopes: map[string][]contract.Index{}, named: map[contract.ShardRef]int{}}
}

// push adds the index of a scope and gives what nobody names any more.
func (h history) push(scope string, index contract.Index) (gone []contract.ShardRef) {
	was := h.scopes[scope]
	if n := len(was); n > 0 && was[n-1].Revision() == index.Revision() {
		return nil
	}
	h.count(index, 1)
	h.scopes[scope] = append(was, index)
	if len(h.scopes[scope]) > keepRevisions {
		oldest := h.scopes[scope][0]
		h.scopes[scope] = h.scopes[scope][1:]
		gone = h.count(oldest, -1)
	}
	return gone
}

// forget drops a scope and gives what nobody names any more.
func (h history) forget(scope string) (gone []contract.ShardRef) {
	for _, index := range h.scopes[scope] {
		gone = append(gone, h.count(index, -1)...)
	}
	delete(h.scopes, scope)
	return gone
}

// count adds to the count of each object of an index and gives those that are named no more. Objects are told apart by content alone.
func (h history) count(index contract.Index, by int) (gone []contract.ShardRef) {
	refs := []contract.ShardRef{{Name: indexObject, Digest: index.Revision()}}
	for _, ref := range index.Shards {
		refs = append(refs, contract.ShardRef{Name: "shard", Digest: ref.Digest})
	}
	for _, ref := range refs {
		if h.named[ref] += by; h.named[ref] <= 0 {
			delete(h.named, ref)
			gone = append(gone, ref)
		}
	}
	return gone
}
