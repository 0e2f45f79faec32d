package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

const (
	// factsToEdge bounds the facts of one answer, factsLookedAt how many are looked at for it.
	factsToEdge, factsLookedAt = 256, 4096
)

// asking is a batch of an edge node whose answer says what the node does not know.
type asking struct {
	edge  string
	known contract.EdgeKnown
	// reply is the place of the answer among the replies.
	reply int
}

// asks notes that the answer which is being made is to say what a node does not know. A node of the version before asks for nothing.
func (b *batch) asks(edge string, known *contract.EdgeKnown) {
	if known != nil {
		b.asking = append(b.asking, asking{edge, *known, len(b.replies)})
	}
}

// tell adds to the answers what their nodes do not know: the mode, and facts.
func (b *batch) tell(ctx context.Context) error {
	for _, a := range b.asking {
		var is contract.EdgeContext
		digest, err := digestOf(b.s.switched)
		if err != nil {
			return err
		}
		if digest != a.known.Modes {
			is.ModesDigest, is.Modes = digest, b.s.switched
		}
		if err := b.s.tellFacts(ctx, a, b.now, &is); err != nil {
			return err
		}
		if out, ok := b.replies[a.reply].body.(contract.EdgeBatchReply); ok && (is.ModesDigest != "" || is.FactsDigest != "" || is.Reset) {
			out.Context = &is
			b.replies[a.reply].body = out
		}
	}
	return nil
}

func digestOf(x any) (string, error) {
	raw, err := json.Marshal(x)
	if err != nil {
		return "", err
	}
	return contract.Digest(raw), nil
}

// switchesOf gives the switches that rows say, the last row first, with the end that the last of them has.
func switchesOf(rows []modeRow) (out []contract.ModeSwitch) {
	for _, m := range switches(rows) {
		out = append(out, contract.ModeSwitch{Mode: m.mode, Since: m.at})
	}
	if len(rows) > 0 && rows[0].EndedAt == nil && rows[0].ExpiresAt != nil {
		out[len(out)-1].ExpiresAt = rows[0].ExpiresAt.UTC()
	}
	return out
}

// interest is what an edge node is told of: its places, and of each the facts that scenarios on its own devices name. The household next door, which
// has no device at the node, is none of it.
type interest struct {
	// digest names it; empty where it is nothing.
	digest string
	// names of facts, all of them, and by place.
	names  []string
	places map[string][]string
}

func interestKey(scope, id string) string { return scope + "\x1f" + id }

// add notes that a name matters at a place.
func (i *interest) add(scope, id, name string) {
	k := interestKey(scope, id)
	if !slices.Contains(i.places[k], name) {
		i.places[k] = append(i.places[k], name)
	}
	if !slices.Contains(i.names, name) {
		i.names = append(i.names, name)
	}
}

func (i *interest) holds(f said) bool {
	return slices.Contains(i.places[interestKey(f.Scope, f.ID)], f.Name)
}

// interestOf gives the interest of an edge node. facts gives the names that a scenario asks for. It is pure.
func interestOf(in contract.Rules, fleets map[string]contract.Fleet, communities []string, facts func(scenario string) []string) (interest, error) {
	out := interest{places: map[string][]string{}}
	for fleet, f := range fleets {
		if f.Placement != contract.PlacementEdge {
			continue
		}
		named := map[string][]string{}
		for _, c := range communities {
			named[c] = factsNamed(in, f.Profile, c, facts)
		}
		for device, row := range f.Devices {
			for _, name := range named[row.Community] {
				for _, scope := range factScopes(name) {
					if id, ok := rules.Place(scope, fleet, device, &row); ok {
						out.add(string(scope), id, name)
					}
				}
			}
		}
	}
	if len(out.places) == 0 {
		return out, nil
	}
	all := make([]string, 0, len(out.places))
	for _, k := range slices.Sorted(maps.Keys(out.places)) {
		slices.Sort(out.places[k])
		all = append(all, k+"\x1e"+strings.Join(out.places[k], "\x1f"))
	}
	var err error
	out.digest, err = digestOf(all)
	return out, err
}

// factScopes gives the scopes in which a name is said: a consent of a subject alone.
func factScopes(name string) []rules.Scope {
	if name == consentsFact {
		return []rules.Scope{rules.ScopeSubject}
	}
	return rules.Scopes()
}

// factsNamed gives the names of facts that scenarios on a profile ask for where they run in a community, in some mode.
func factsNamed(in contract.Rules, profile, community string, facts func(scenario string) []string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(in.Scenarios)) {
		s := in.Scenarios[name]
		if s.Profile != profile || !runsIn(s, community) {
			continue
		}
		for _, fact := range facts(name) {
			if !slices.Contains(out, fact) {
				out = append(out, fact)
			}
		}
	}
	return out
}

// runsIn says whether a scenario runs in a community in some mode.
func runsIn(s contract.Scenario, community string) bool {
	modes := []string{""}
	for key := range s.Variants {
		mode, _, _ := strings.Cut(key, "/")
		modes = append(modes, mode)
	}
	return slices.ContainsFunc(modes, func(mode string) bool {
		v, found := s.Variant(mode, community)
		return found && !v.Off || !found && !s.Off
	})
}

// interests are what a session told edge nodes, of one revision of the bundle.
type interests struct {
	revision string
	of       map[string]interest
	// looked is up to which number there is nothing new for a node that stands at a position.
	looked map[string]factsSeen
}

// factsSeen is how far a node knows what is said, and up to which number there is nothing more for it.
type factsSeen struct {
	digest      string
	known, upTo int64
}

// interestOfEdge gives the interest of an edge node under the bundle in force.
func (s *session) interestOfEdge(edge string) (interest, error) {
	if s.interests.of == nil || s.interests.revision != s.bundle.Lease.Revision {
		s.interests = interests{s.bundle.Lease.Revision, map[string]interest{}, map[string]factsSeen{}}
	}
	if i, ok := s.interests.of[edge]; ok {
		return i, nil
	}
	i, err := interestOf(s.bundle.Rules, s.bundle.Fleets, s.bundle.Edges[edge].Communities, s.engine.Facts)
	if err == nil {
		s.interests.of[edge] = i
	}
	return i, err
}

// tellFacts adds what a node does not know of what is said of its places.
func (s *session) tellFacts(ctx context.Context, a asking, now time.Time, is *contract.EdgeContext) error {
	i, err := s.interestOfEdge(a.edge)
	if err != nil {
		return err
	}
	reset, from := i.digest != a.known.Facts, a.known.Position
	if reset {
		from = 0
	}
	if i.digest == "" { // nothing, and nothing any more
		is.Reset = reset
		return nil
	}
	start := from
	if at := s.interests.looked[a.edge]; !reset && at.digest == i.digest && at.known == from {
		start = at.upTo
	}
	list, upTo, more, err := s.factsAfter(ctx, i, start, now)
	if err != nil {
		return err
	}
	if len(list) == 0 && !reset && !more {
		s.interests.looked[a.edge] = factsSeen{i.digest, from, upTo}
		return nil
	}
	is.FactsDigest, is.Reset, is.Facts, is.Position, is.More = i.digest, reset, list, upTo, more
	return nil
}

// factsAfter gives facts that concern an interest, in order, after a number and up to another; more says that there are more behind that.
func (s *session) factsAfter(ctx context.Context, i interest, after int64, now time.Time) (out []contract.EdgeFact, upTo int64, more bool, err error) {
	// They commit in the order of their numbers: up to the last that is seen now, all are.
	if err := s.conn.QueryRow(ctx, "SELECT coalesce(max(n), 0) FROM grid.facts").Scan(&upTo); err != nil {
		return nil, 0, false, fmt.Errorf("what is said: %w", err)
	}
	if upTo = max(upTo, after); upTo == after {
		return nil, upTo, false, nil
	}
	rows, err := s.conn.Query(ctx, "SELECT "+factColumns+" FROM grid.facts f WHERE f.n > $2 AND f.n <= $3 AND f.name = ANY($4) AND NOT "+over+" ORDER BY f.n LIMIT $5",
		now.Add(-factsMatter), after, upTo, i.names, factsLookedAt)
	if err != nil {
		return nil, 0, false, fmt.Errorf("what is said: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[said])
	if err != nil {
		return nil, 0, false, fmt.Errorf("what is said: %w", err)
	}
	for n, x := range list {
		if i.holds(x) {
			f, err := x.fact()
			if err != nil {
				return nil, 0, false, err
			}
			out = append(out, contract.EdgeFact{N: x.N, Scope: x.Scope, ID: x.ID, Name: x.Name, Member: x.Member, Value: f.Value, Since: f.Since.UTC(), Until: f.Until})
		}
		if last := n == len(list)-1; len(out) == factsToEdge && !last || last && len(list) == factsLookedAt {
			return out, x.N, true, nil
		}
	}
	return out, upTo, false, nil
}
