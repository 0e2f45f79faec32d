package bundle_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
)

// Whatever is put and dropped in whatever order, by a memo that remembers and by one that does not the same shards come out; and a
// snapshot stays as it was.
func TestGrantedIsWhatWasPutLess(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var memo bundle.Memo
	var granted bundle.Granted
	type put struct {
		digest string
		a      bundle.Agreement
	}
	stands := map[string]put{}
	datasets, counted := map[string]contract.Dataset{"visits": {}, "beds": {}}, 0
	var former bundle.Parts
	var formerIndex contract.Index
	for step := range 600 {
		name := fmt.Sprintf("a%d", r.IntN(40))
		if was, ok := stands[name]; ok {
			granted.Drop(name, was.a.Consumer)
			delete(stands, name)
		}
		if r.IntN(3) > 0 {
			uid := fmt.Sprint(r.IntN(5))
			a := bundle.Agreement{Consumer: fmt.Sprintf("c%d", r.IntN(9)), Grants: map[string]contract.Grant{"visits": {UID: uid}, "beds": {UID: uid}}}
			stands[name] = put{fmt.Sprint(a), a}
			granted.Put(name, name, stands[name].digest, a)
		}
		if r.IntN(20) == 0 { // a dataset comes or goes
			counted++
			if _, has := datasets["beds"]; has {
				datasets = map[string]contract.Dataset{"visits": {}}
			} else {
				datasets = map[string]contract.Dataset{"visits": {}, "beds": {}}
			}
		}
		ordered, byName := parts(), parts()
		ordered.Agreements, ordered.Granted, ordered.Kinds = nil, granted.Snapshot(), map[string]string{"Dataset": fmt.Sprint(counted)}
		byName.Agreements = map[string]bundle.Agreement{}
		for name, p := range stands {
			byName.Agreements[name] = p.a
		}
		ordered.Datasets, byName.Datasets = datasets, datasets
		got, want := bundle.Index(prepare(t, &memo, ordered)), index(t, byName)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("step %d: %s", step, diff)
		}
		if step > 0 {
			if diff := cmp.Diff(formerIndex, index(t, former)); diff != "" {
				t.Fatalf("step %d: the snapshot before changed: %s", step, diff)
			}
		}
		former, formerIndex = ordered, got
	}
}

// One who grants to nobody else ships one shard and leaves the rest alone.
func TestOneGrantShipsOneShard(t *testing.T) {
	p := parts()
	for i := range 1000 {
		p.Granted.Put(fmt.Sprint(i), fmt.Sprint(i), "d", bundle.Agreement{Consumer: fmt.Sprintf("c%d", i), Grants: map[string]contract.Grant{"visits": {UID: "1"}}})
	}
	was := index(t, p)
	p.Granted.Drop("7", "c7")
	now := index(t, p)
	changed := 0
	for _, ref := range was.Shards {
		if !slices.Contains(now.Shards, ref) {
			if changed++; ref.Name != contract.GrantsShard("c7") {
				t.Errorf("%s changed", ref.Name)
			}
		}
	}
	if changed != 1 || len(was.Shards) < 64 {
		t.Errorf("%d of %d shards changed", changed, len(was.Shards))
	}
}
