package shelf_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/shelf"
)

var (
	henan = types.NamespacedName{Namespace: "henan", Name: "henan"}
	other = types.NamespacedName{Namespace: "other", Name: "other"}
	one   = shelf.Key{Kind: "Community", Namespace: "henan", Name: "one"}
	two   = shelf.Key{Kind: "Community", Namespace: "henan", Name: "two"}
	start = time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
)

// noted is a shelf that notes whom it calls.
type noted struct {
	*shelf.Shelf
	mu    sync.Mutex
	dirty []string
	woken []string
}

func newShelf() *noted {
	n := &noted{Shelf: shelf.New()}
	n.Dirty = func(p types.NamespacedName) { n.mu.Lock(); n.dirty = append(n.dirty, p.Name); n.mu.Unlock() }
	n.Wake = func(k shelf.Key) { n.mu.Lock(); n.woken = append(n.woken, k.Name); n.mu.Unlock() }
	return n
}

// called gives whom the shelf called since the last time, sorted.
func (n *noted) called() (dirty, woken []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	dirty, woken = n.dirty, n.woken
	n.dirty, n.woken = nil, nil
	slices.Sort(dirty)
	slices.Sort(woken)
	return dirty, woken
}

func (n *noted) expect(t *testing.T, what string, dirty, woken []string) {
	t.Helper()
	d, w := n.called()
	if !slices.Equal(d, dirty) || !slices.Equal(w, woken) {
		t.Errorf("%s: called platforms %v and objects %v, want %v and %v", what, d, w, dirty, woken)
	}
}

func adds(name string) shelf.Fragment {
	return func(p *bundle.Parts) { p.Communities[name] = contract.Community{Division: name} }
}

func (n *noted) communities(platform types.NamespacedName) []string {
	parts, _ := n.Parts(platform)
	return bundle.Names(parts.Communities)
}

func (n *noted) publish(platform types.NamespacedName, sequence int64, now time.Time) {
	_, version := n.Parts(platform)
	n.Published(platform, version, fmt.Sprintf("r%d", sequence), sequence, false, now)
}

func TestPublicationAndAcknowledgement(t *testing.T) {
	s := newShelf()
	if s.Enforcement(henan, one).Known {
		t.Error("known before anything was published")
	}
	s.Put(henan, one, "a", adds("one"), start)
	s.expect(t, "new", []string{"henan"}, nil)
	s.Put(henan, one, "a", adds("one"), start.Add(time.Hour))
	s.expect(t, "the same again", nil, nil)

	s.Acknowledge(henan, []shelf.Enforcer{{Name: "grid.0", Sequence: 6, Online: true}, {Name: "auth.0", Sequence: 6, Online: true}}, start)
	s.expect(t, "acknowledged what came before", nil, nil)
	_, version := s.Parts(henan)
	s.Put(henan, two, "b", adds("two"), start.Add(time.Second)) // comes while the first is being published
	s.Published(henan, version, "r7", 7, false, start.Add(2*time.Second))
	s.expect(t, "published, not acknowledged", []string{"henan"}, nil)
	want := shelf.Enforcement{Known: true, Revision: "r7", Sequence: 7, RequestedAt: start, Total: 2, Pending: []string{"auth.0", "grid.0"}}
	if diff := cmp.Diff(want, s.Enforcement(henan, one)); diff != "" {
		t.Error(diff)
	}
	if e := s.Enforcement(henan, two); e.Sequence != 0 || !e.Known {
		t.Errorf("what came after the parts were taken counts as published: %+v", e)
	}

	s.Acknowledge(henan, []shelf.Enforcer{{Name: "grid.0", Sequence: 7, Online: true}, {Name: "auth.0", Sequence: 6, Online: true}}, start.Add(3*time.Second))
	s.expect(t, "one of two", nil, nil)
	if e := s.Enforcement(henan, one); e.Acked != 1 || !slices.Equal(e.Pending, []string{"auth.0"}) || !e.EffectiveAt.IsZero() {
		t.Errorf("one of two: %+v", e)
	}
	s.Acknowledge(henan, []shelf.Enforcer{{Name: "grid.0", Sequence: 7, Online: true}, {Name: "auth.0", Sequence: 7, Online: true}}, start.Add(4*time.Second))
	s.expect(t, "both", nil, []string{"one"})
	if e := s.Enforcement(henan, one); e.Acked != 2 || len(e.Pending) != 0 || !e.EffectiveAt.Equal(start.Add(4*time.Second)) {
		t.Errorf("both: %+v", e)
	}
	s.Acknowledge(henan, []shelf.Enforcer{{Name: "grid.0", Sequence: 7, Online: true}, {Name: "auth.0", Sequence: 7, Online: true}}, start.Add(5*time.Second))
	s.expect(t, "the same again", nil, nil)
	if e := s.Enforcement(henan, one); !e.EffectiveAt.Equal(start.Add(4 * time.Second)) {
		t.Errorf("a later report moved the time: %+v", e)
	}
}

// One edge away for days must not hang everybody, and where nobody is online nothing is in force.
func TestOfflineEnforcers(t *testing.T) {
	s := newShelf()
	s.Put(henan, one, "a", adds("one"), start)
	s.publish(henan, 3, start)
	s.Acknowledge(henan, []shelf.Enforcer{{Name: "auth.0", Sequence: 3}, {Name: "edge.a", Sequence: 1}}, start)
	if e := s.Enforcement(henan, one); !e.EffectiveAt.IsZero() {
		t.Errorf("in force with nobody online: %+v", e)
	}
	s.Acknowledge(henan, []shelf.Enforcer{{Name: "auth.0", Sequence: 3, Online: true}, {Name: "edge.a", Sequence: 1}}, start)
	e := s.Enforcement(henan, one)
	if e.EffectiveAt.IsZero() || e.Acked != 1 || e.Total != 2 || !slices.Equal(e.Pending, []string{"edge.a"}) {
		t.Errorf("got %+v", e)
	}
}

// A renewed lease carries what was published before; an object keeps the sequence that first carried it.
func TestRenewalKeepsTheFirstSequence(t *testing.T) {
	s := newShelf()
	s.Put(henan, one, "a", adds("one"), start)
	s.publish(henan, 3, start)
	s.publish(henan, 4, start)
	if e := s.Enforcement(henan, one); e.Sequence != 3 {
		t.Errorf("got %+v", e)
	}
	s.Put(henan, one, "changed", adds("one"), start)
	if e := s.Enforcement(henan, one); e.Sequence != 0 || e.Revision != "" {
		t.Errorf("a change that is not out yet: %+v", e)
	}
	if revision, sequence, _ := s.Lease(henan); revision != "r4" || sequence != 4 {
		t.Errorf("lease %s %d", revision, sequence)
	}
}

// What stood in the bundle already when the operator started is recognised, and only that.
func TestRecognised(t *testing.T) {
	s := newShelf()
	s.Put(henan, one, "a", adds("one"), start)
	_, version := s.Parts(henan)
	s.Published(henan, version, "r5", 5, true, start)
	s.Put(henan, two, "b", adds("two"), start)
	s.publish(henan, 6, start)
	if a, b := s.Enforcement(henan, one), s.Enforcement(henan, two); !a.Recognised || a.Sequence != 5 || b.Recognised || b.Sequence != 6 {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestKeepLastGoodAndAdopt(t *testing.T) {
	s := newShelf()
	s.Put(henan, one, "a", adds("one"), start)
	s.Keep(henan, one)
	s.expect(t, "kept over what is there", []string{"henan"}, nil)
	if got := s.communities(henan); !slices.Equal(got, []string{"one"}) {
		t.Errorf("an object that does not compile now took its last good state away: %v", got)
	}
	// After a restart nothing is there: the entry is known, and what it was must be taken from the bundle before.
	s = newShelf()
	s.Keep(henan, two)
	s.expect(t, "kept after a restart", []string{"henan"}, nil)
	if kept := s.Kept(henan); !slices.Equal(kept, []shelf.Key{two}) || !s.Has(henan, two) {
		t.Errorf("kept %v", kept)
	}
	s.Keep(henan, two)
	s.expect(t, "kept again", nil, nil)
	s.Adopt(henan, two, adds("two"))
	if kept := s.Kept(henan); len(kept) != 0 || !slices.Equal(s.communities(henan), []string{"two"}) {
		t.Errorf("adopted: kept %v, communities %v", kept, s.communities(henan))
	}
	s.Adopt(henan, two, adds("never"))
	s.Adopt(henan, one, adds("never"))
	if got := s.communities(henan); !slices.Equal(got, []string{"two"}) {
		t.Errorf("adopted over what was not kept: %v", got)
	}
	s.Put(henan, two, "good again", adds("two-new"), start)
	if got := s.communities(henan); !slices.Equal(got, []string{"two-new"}) {
		t.Errorf("good again: %v", got)
	}
}

// A nil fragment contributes nothing on purpose: a revoked agreement must not be kept.
func TestNothingOnPurpose(t *testing.T) {
	s := newShelf()
	s.Put(henan, one, "a", adds("one"), start)
	s.Put(henan, one, "", nil, start)
	s.Keep(henan, one)
	if got := s.communities(henan); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	s.publish(henan, 2, start)
	s.Acknowledge(henan, []shelf.Enforcer{{Name: "a", Sequence: 2, Online: true}}, start)
	if e := s.Enforcement(henan, one); e.EffectiveAt.IsZero() {
		t.Errorf("when a revocation came into force is not known: %+v", e)
	}
}

// An object that moves leaves nothing where it was, and both platforms publish, whether it compiles on the new one or not.
func TestMovingBetweenPlatforms(t *testing.T) {
	for name, move := range map[string]func(*noted){
		"compiles there":         func(s *noted) { s.Put(other, one, "a", adds("one"), start) },
		"does not compile there": func(s *noted) { s.Keep(other, one) },
		"has no place there":     func(s *noted) { s.Put(other, one, "", nil, start) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf()
			s.Put(henan, one, "a", adds("one"), start)
			s.called()
			move(s)
			s.expect(t, "moved", []string{"henan", "other"}, nil)
			if got := s.communities(henan); len(got) != 0 || s.Has(henan, one) || !s.Has(other, one) {
				t.Errorf("left behind: %v", got)
			}
			s.Drop(one)
			s.expect(t, "dropped", []string{"other"}, nil)
			if s.Has(other, one) {
				t.Error("still there after it was dropped")
			}
		})
	}
}

func TestDrop(t *testing.T) {
	s := newShelf()
	s.Drop(one)
	s.expect(t, "unknown", nil, nil)
	s.Put(henan, one, "a", adds("one"), start)
	s.Put(henan, two, "a", adds("two"), start)
	_, before := s.Parts(henan)
	s.called()
	s.Drop(one)
	s.expect(t, "known", []string{"henan"}, nil)
	if _, after := s.Parts(henan); after == before || !slices.Equal(s.communities(henan), []string{"two"}) {
		t.Errorf("version %d then %d, communities %v", before, after, s.communities(henan))
	}
	s.DropPlatform(henan)
	if s.Has(henan, two) || len(s.communities(henan)) != 0 {
		t.Error("a dropped platform still has objects")
	}
	s.Drop(two)
	s.expect(t, "after its platform", []string(nil), nil)
}

func TestFind(t *testing.T) {
	s := newShelf()
	s.Put(henan, one, "a", nil, start)
	s.Put(henan, two, "a", nil, start)
	s.Put(henan, shelf.Key{Kind: "DeviceFleet", Namespace: "v", Name: "one"}, "a", nil, start)
	if got := s.Find(henan, "Community", ""); len(got) != 2 {
		t.Errorf("all: %v", got)
	}
	if got := s.Find(henan, "Community", "two"); !slices.Equal(got, []shelf.Key{two}) {
		t.Errorf("one name: %v", got)
	}
	if got := s.Find(other, "Community", ""); len(got) != 0 {
		t.Errorf("another platform: %v", got)
	}
}

// Many controllers put while one publishes and one acknowledges: nothing is lost, and everything ends in force.
func TestConcurrentUse(t *testing.T) {
	s := newShelf()
	const objects, rounds = 20, 50
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	for i := range objects {
		key := shelf.Key{Kind: "Community", Namespace: "henan", Name: fmt.Sprintf("c%02d", i)}
		writers.Go(func() {
			for r := range rounds {
				s.Put(henan, key, fmt.Sprint(r), adds(key.Name), start)
				s.Enforcement(henan, key)
			}
		})
	}
	others.Go(func() {
		for sequence := int64(1); ; sequence++ {
			s.publish(henan, sequence, start)
			s.Acknowledge(henan, []shelf.Enforcer{{Name: "a", Sequence: sequence, Online: true}}, start)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(done)
	others.Wait()
	_, sequence, _ := s.Lease(henan)
	s.publish(henan, sequence+1, start)
	s.Acknowledge(henan, []shelf.Enforcer{{Name: "a", Sequence: sequence + 1, Online: true}}, start)
	if got := s.communities(henan); len(got) != objects {
		t.Errorf("%d of %d objects", len(got), objects)
	}
	for i := range objects {
		if e := s.Enforcement(henan, shelf.Key{Kind: "Community", Namespace: "henan", Name: fmt.Sprintf("c%02d", i)}); e.EffectiveAt.IsZero() || e.Acked != 1 {
			t.Errorf("c%02d: %+v", i, e)
		}
	}
}
