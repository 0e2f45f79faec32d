// Package exchangesim simulates a system that cases are exchanged with, such as a 12345 hotline: a store with versions of its own, people who open and
// move cases, and an interface that fails, loses answers and echoes. It shares no type and no rule with the grid service, so that a test of both
// tests the exchange and not one idea of it twice.
package exchangesim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Case is a case as the system has it and sends it.
type Case struct {
	ID       string `json:"id"`
	Version  int64  `json:"version"`
	Origin   Origin `json:"origin"`
	Seen     int64  `json:"seen,omitempty"`
	State    string `json:"state"`
	Class    string `json:"class"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Division string `json:"division,omitempty"`
	Grid     string `json:"grid,omitempty"`

	// UpdatedAt is by the clock of the store.
	UpdatedAt time.Time `json:"updatedAt"`
}

// Origin says where a case comes from.
type Origin struct {
	System string `json:"system"`
	ID     string `json:"id"`
}

// change is an entry of the system's own feed. Told says that the other side caused it.
type change struct {
	N    int64  `json:"n"`
	ID   string `json:"id"`
	Told bool   `json:"told,omitempty"`
}

// Store is all that the system keeps. It outlives the server.
type Store struct {
	mu sync.Mutex
	// Name is what the system calls itself.
	Name  string
	cases map[string]*Case
	feed  []change
	// answers are given again to a key that comes again.
	answers map[string]answer
	// pushed is the entry of the feed up to which cases were sent to the other side.
	pushed int64
	now    func() time.Time

	// Acted counts what people did here, Written what the other side wrote, and Dropped what it did not take of what was sent.
	acted, written, dropped int
}

type answer struct {
	Status int
	Body   []byte
}

// NewStore gives an empty store of a system; now is its clock.
func NewStore(name string, now func() time.Time) *Store {
	return &Store{Name: name, cases: map[string]*Case{}, answers: map[string]answer{}, now: now}
}

// put writes a version of a case.
func (s *Store) put(c Case, told bool) {
	c.UpdatedAt = s.now().UTC()
	s.cases[c.ID] = &c
	s.feed = append(s.feed, change{int64(len(s.feed)) + 1, c.ID, told})
}

// Cases gives a copy of all cases, by id.
func (s *Store) Cases() map[string]Case {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Case{}
	for id, c := range s.cases {
		out[id] = *c
	}
	return out
}

// Counts gives what people did here, what the other side wrote, and what it did not take.
func (s *Store) Counts() (acted, written, dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acted, s.written, s.dropped
}

// Open opens a case of the system's own, in a division, and gives its id.
func (s *Store) Open(division, class string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acted++
	id := fmt.Sprintf("GD-%s-%06d", s.now().UTC().Format("20060102"), len(s.cases)+1)
	s.put(Case{ID: id, Version: 1, Origin: Origin{s.Name, id}, State: "Filed", Class: class, Severity: "Low", Title: "模拟工单", Division: division}, false)
	return id
}

// moves are what people here do to a case, by its state: to those that they opened, and to those that were sent to them.
var moves = map[bool]map[string][]string{
	true:  {"Dispatched": {"Void"}, "Handling": {"Closed", "Void"}, "Verifying": {"Closed", "Handling"}, "Closed": {"Reopened", "Rated"}, "Returned": {"Void"}},
	false: {"Dispatched": {"Handling", "Returned"}, "Handling": {"Verifying", "Returned"}, "Verifying": {"Closed", "Handling"}},
}

// Move lets a person do something to a case at random, and says whether there was one to do something to.
func (s *Store) Move(r *rand.Rand) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, c := range s.cases {
		if len(moves[c.Origin.System == s.Name][c.State]) > 0 {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return false
	}
	slices.Sort(ids)
	c := *s.cases[ids[r.IntN(len(ids))]]
	to := moves[c.Origin.System == s.Name][c.State]
	c.State = to[r.IntN(len(to))]
	c.Version++
	s.acted++
	s.put(c, false)
	return true
}

// Set lets a person bring a case to a state, whatever it is in.
func (s *Store) Set(id, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *s.cases[id]
	c.State = state
	c.Version++
	s.acted++
	s.put(c, false)
}

// Retitle lets a person change what only this side keeps.
func (s *Store) Retitle(id, title string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *s.cases[id]
	c.Title = title
	c.Version++
	s.acted++
	s.put(c, false)
}

// Lose forgets a case, as after a backup was restored.
func (s *Store) Lose(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cases, id)
}

// MarshalJSON and UnmarshalJSON keep the store in a file.
func (s *Store) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(kept{s.Name, s.cases, s.feed, s.pushed})
}

// UnmarshalJSON reads what MarshalJSON wrote; the clock stays.
func (s *Store) UnmarshalJSON(raw []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var k kept
	if err := json.Unmarshal(raw, &k); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	s.Name, s.cases, s.feed, s.pushed = k.Name, k.Cases, k.Feed, k.Pushed
	return nil
}

type kept struct {
	Name   string           `json:"name"`
	Cases  map[string]*Case `json:"cases"`
	Feed   []change         `json:"feed"`
	Pushed int64            `json:"pushed"`
}

// ids gives the ids of all cases, sorted.
func (s *Store) ids() []string {
	var out []string
	for id := range s.cases {
		out = append(out, id)
	}
	slices.SortFunc(out, strings.Compare)
	return out
}
