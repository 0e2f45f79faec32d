// Package shelf holds, in the operator's memory, what each object contributes to the bundle of its platform, and how far
// that contribution has come: asked for, published under a lease, acknowledged by every online enforcer.
//
//	controllers/<kind>: Put, Keep, Drop --> Shelf --> controllers/publication: Parts, Published
//	reports of nodes:                                 Acknowledge --> who waits is told --> status.enforcement
//
// It is a cache of what reconciling all objects gives; after a restart it fills again before anything is published.
package shelf

import (
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/bundle"
)

// Key names a contributing object.
type Key struct{ Kind, Namespace, Name string }

// Fragment adds an object's documents to the parts of a bundle.
type Fragment func(*bundle.Parts)

// Enforcer is a node as its latest report shows it.
type Enforcer struct {
	// Name is <role>.<instance>.
	Name string
	// Sequence of the lease that it enforces.
	Sequence int64
	Online   bool
	// Problem is why it refuses the newest bundle, and goes on by its last good one.
	Problem string
}

// Enforcement says how far an object's contribution has come.
type Enforcement struct {
	// Known is false before the first bundle was published or recognised after a start.
	Known bool
	// Recognised is set when the contribution was found in the bundle in force at a start: when it came into force is then in
	// the object's own status and nowhere else.
	Recognised  bool
	Revision    string
	Sequence    int64
	RequestedAt time.Time
	EffectiveAt time.Time
	Acked       int
	Total       int
	// Pending enforcers, sorted.
	Pending []string
	// Refusals are, of the pending enforcers that refuse the newest bundle, why; of the platform itself those of all enforcers.
	Refusals map[string]string
}

type entry struct {
	digest      string
	fragment    Fragment
	consumers   []string // of the agreements that it has among the granted
	keep        bool
	changed     uint64 // the board's version in which it changed
	sequence    int64  // of the lease that first carried it; 0 before
	recognised  bool
	requestedAt time.Time
	effectiveAt time.Time
}

type board struct {
	entries map[Key]*entry
	tally
	version   uint64
	published uint64
	revision  string
	sequence  int64
	enforcers []Enforcer
}

// Shelf holds one board per platform. It is safe for use by many goroutines.
type Shelf struct {
	// Dirty is called, without the lock, when a platform has something to publish.
	Dirty func(platform types.NamespacedName)
	// Wake is called, without the lock, for each object whose contribution came into force.
	Wake func(Key)

	mu     sync.Mutex
	boards map[types.NamespacedName]*board
	// home remembers on which board a key stands, because an object may change platforms.
	home map[Key]types.NamespacedName
}

// New gives an empty shelf.
func New() *Shelf {
	return &Shelf{boards: map[types.NamespacedName]*board{}, home: map[Key]types.NamespacedName{},
		Dirty: func(types.NamespacedName) {}, Wake: func(Key) {}}
}

func (s *Shelf) board(platform types.NamespacedName) *board {
	b := s.boards[platform]
	if b == nil {
		b = &board{entries: map[Key]*entry{}, tally: newTally()}
		s.boards[platform] = b
	}
	return b
}

// Put records what an object contributes. digest names the contribution: the same digest changes nothing. A nil fragment
// says that the object contributes nothing, and that this is on purpose.
func (s *Shelf) Put(platform types.NamespacedName, key Key, digest string, fragment Fragment, now time.Time) {
	for _, p := range s.put(platform, key, digest, fragment, now) {
		s.Dirty(p)
	}
}

// put gives the platforms that have something to publish.
func (s *Shelf) put(platform types.NamespacedName, key Key, digest string, fragment Fragment, now time.Time) []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.leave(platform, key)
	b := s.board(platform)
	if e := b.entries[key]; e != nil && e.digest == digest && !e.keep {
		return dirty
	}
	b.version++
	b.set(key, &entry{digest: digest, fragment: fragment, changed: b.version, requestedAt: now})
	return append(dirty, platform)
}

// leave takes a key to a platform and gives the one that it stood on before, if that is another: it must publish without it.
func (s *Shelf) leave(platform types.NamespacedName, key Key) []types.NamespacedName {
	was, ok := s.home[key]
	moved := ok && was != platform
	if moved {
		s.drop(key)
	}
	s.home[key] = platform
	if moved {
		return []types.NamespacedName{was}
	}
	return nil
}

// Keep records that an object cannot be compiled now and that what it last contributed stays in force.
func (s *Shelf) Keep(platform types.NamespacedName, key Key) {
	for _, p := range s.keep(platform, key) {
		s.Dirty(p)
	}
}

func (s *Shelf) keep(platform types.NamespacedName, key Key) []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.leave(platform, key)
	b := s.board(platform)
	if b.entries[key] != nil {
		return dirty
	}
	b.version++
	b.set(key, &entry{keep: true, changed: b.version})
	return append(dirty, platform)
}

// Drop forgets an object on whatever platform it stood.
func (s *Shelf) Drop(key Key) {
	s.mu.Lock()
	platform, ok := s.home[key]
	s.drop(key)
	s.mu.Unlock()
	if ok {
		s.Dirty(platform)
	}
}

func (s *Shelf) drop(key Key) {
	platform, ok := s.home[key]
	if !ok {
		return
	}
	b := s.board(platform)
	b.unset(key)
	delete(s.home, key)
	b.version++
}

// DropPlatform forgets a platform and all that stands on it.
func (s *Shelf) DropPlatform(platform types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.board(platform).entries {
		delete(s.home, key)
	}
	delete(s.boards, platform)
}

// Parts gives the parts of a platform's bundle and the version to hand to Published.
func (s *Shelf) Parts(platform types.NamespacedName) (parts bundle.Parts, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.board(platform)
	parts = bundle.NewParts()
	for _, e := range b.fragments {
		e.fragment(&parts)
	}
	parts.Granted, parts.Kinds = b.granted.Snapshot(), map[string]string{}
	for kind, version := range b.kinds {
		parts.Kinds[kind] = hex.EncodeToString(version[:])
	}
	return parts, b.version
}

// Kept gives the keys whose last contribution must be taken from the bundle before; see Adopt.
func (s *Shelf) Kept(platform types.NamespacedName) (kept []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.board(platform).kept {
		kept = append(kept, key)
	}
	return kept
}

// Has reports whether an object stands on a platform's board.
func (s *Shelf) Has(platform types.NamespacedName, key Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.board(platform).entries[key] != nil
}

// Knows reports whether an object has been recorded, in whatever way and on whatever platform.
func (s *Shelf) Knows(key Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.home[key]
	return ok
}

// Find gives the keys of a kind on a platform: those of a name, or all where the name is empty.
func (s *Shelf) Find(platform types.NamespacedName, kind, name string) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Key
	for key := range s.board(platform).entries {
		if key.Kind == kind && (name == "" || key.Name == name) {
			out = append(out, key)
		}
	}
	return out
}

// Adopt replaces a kept entry by what the bundle before held.
func (s *Shelf) Adopt(platform types.NamespacedName, key Key, fragment Fragment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.board(platform)
	if e := b.entries[key]; e != nil && e.keep {
		b.set(key, &entry{digest: "kept", fragment: fragment, changed: e.changed})
	}
}

// Published records that the parts of a version are out under a lease. found says that they were out already when the
// operator started.
func (s *Shelf) Published(platform types.NamespacedName, version uint64, revision string, sequence int64, found bool, now time.Time) {
	s.mu.Lock()
	b := s.board(platform)
	for _, e := range b.waiting {
		if e.sequence == 0 && e.changed <= version {
			e.sequence, e.recognised = sequence, found
		}
	}
	b.published, b.revision, b.sequence = version, revision, sequence
	woken := b.settle(now)
	s.mu.Unlock()
	for _, key := range woken {
		s.Wake(key)
	}
}

// Acknowledge takes the enforcers of a platform and wakes the objects whose contribution came into force, and those that wait where one refuses
// the bundle, or does so no more.
func (s *Shelf) Acknowledge(platform types.NamespacedName, enforcers []Enforcer, now time.Time) {
	s.mu.Lock()
	b := s.board(platform)
	refused := b.refusals()
	b.enforcers = slices.SortedFunc(slices.Values(enforcers), func(x, y Enforcer) int { return cmp.Compare(x.Name, y.Name) })
	woken := b.settle(now)
	if !maps.Equal(refused, b.refusals()) {
		woken = slices.AppendSeq(woken, maps.Keys(b.waiting))
	}
	s.mu.Unlock()
	for _, key := range woken {
		s.Wake(key)
	}
}

// refusals gives why enforcers refuse the newest bundle, by their names.
func (b *board) refusals() map[string]string {
	out := map[string]string{}
	for _, e := range b.enforcers {
		if e.Problem != "" {
			out[e.Name] = e.Problem
		}
	}
	return out
}

// settle marks what every online enforcer has acknowledged and gives the keys that were waiting for it.
func (b *board) settle(now time.Time) []Key {
	lowest, known := b.lowest()
	var woken []Key
	for key, e := range b.waiting {
		if known && e.sequence > 0 && e.sequence <= lowest {
			e.effectiveAt = now
			delete(b.waiting, key)
			woken = append(woken, key)
		}
	}
	return woken
}

// lowest gives the lowest sequence among online enforcers.
func (b *board) lowest() (int64, bool) {
	lowest, known := int64(0), false
	for _, e := range b.enforcers {
		if e.Online && (!known || e.Sequence < lowest) {
			lowest, known = e.Sequence, true
		}
	}
	return lowest, known
}

// Enforcement says how far an object's contribution has come.
func (s *Shelf) Enforcement(platform types.NamespacedName, key Key) Enforcement {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.board(platform)
	e := b.entries[key]
	if e == nil || b.sequence == 0 {
		return Enforcement{}
	}
	out := Enforcement{Known: true, Recognised: e.recognised, Sequence: e.sequence, RequestedAt: e.requestedAt, EffectiveAt: e.effectiveAt, Total: len(b.enforcers)}
	if e.sequence > 0 {
		out.Revision = b.revision
	}
	for _, n := range b.enforcers {
		acked := e.sequence > 0 && n.Sequence >= e.sequence
		if acked {
			out.Acked++
		} else {
			out.Pending = append(out.Pending, n.Name)
		}
		if n.Problem != "" && (!acked || key.Kind == "GridPlatform") {
			if out.Refusals == nil {
				out.Refusals = map[string]string{}
			}
			out.Refusals[n.Name] = n.Problem
		}
	}
	return out
}

// Lease gives revision and sequence in force, and what the enforcers of the platform run.
func (s *Shelf) Lease(platform types.NamespacedName) (revision string, sequence int64, enforcers []Enforcer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.board(platform)
	return b.revision, b.sequence, slices.Clone(b.enforcers)
}
