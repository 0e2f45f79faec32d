package grid

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// contextWorld is a hub with the edge node e1, on whose smoke detectors a scenario asks for facts and a consent.
func contextWorld(t *testing.T) (*world, *nats.Conn) {
	t.Helper()
	w := newWorldWith(t, func(b *intake.Bundle) {
		withCommand(b)
		b.Edges = map[string]contract.Edge{"e1": {Communities: []string{"jinghu"}}}
		f := b.Fleets["smokes"]
		f.Placement = contract.PlacementEdge
		row := f.Devices["s1"]
		row.Household = "h-1"
		f.Devices["s1"] = row
		b.Fleets["smokes"] = f
		b.Rules.Scenarios["asks"] = contract.Scenario{Profile: f.Profile, DataClass: "C2", ConsentScope: "watch", Trigger: contract.Trigger{When: "msg.smoke == true", Unless: "context.away"}}
	}, func(*service) {})
	w.listens()
	nc, _ := connect(t, w.broker.ClientURL())
	t.Cleanup(nc.Close)
	if r := ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a"}); r.Error != "" {
		t.Fatal(r.Error)
	}
	return w, nc
}

func known(t *testing.T, nc *nats.Conn, k *contract.EdgeKnown) *contract.EdgeContext {
	t.Helper()
	r := ask[contract.EdgeBatchReply](t, nc, "e1", contract.EdgeUp, contract.EdgeBatch{Incarnation: "a", Known: k})
	if r.Error != "" || r.Again {
		t.Fatalf("%+v", r)
	}
	return r.Context
}

// TestAnEdgeNodeHearsTheMode: once for each switch, with its end, and nothing where it did not ask.
func TestAnEdgeNodeHearsTheMode(t *testing.T) {
	t.Parallel()
	w, nc := contextWorld(t)
	k := contract.EdgeKnown{}
	if c := known(t, nc, nil); c != nil {
		t.Errorf("%+v for a node that did not ask", c)
	}
	first := known(t, nc, &k)
	if first == nil || first.ModesDigest == "" || len(first.Modes) != 0 {
		t.Fatalf("%+v, want that there was no switch", first)
	}
	k.Modes, k.Facts, k.Position = first.ModesDigest, first.FactsDigest, first.Position
	if c := known(t, nc, &k); c != nil {
		t.Errorf("%+v, which it knows", c)
	}
	ends := until(time.Hour)
	if code := w.call("PUT", "/v1/mode", w.token("command", "p1", RoleCommander), putMode{"mode": "Emergency", "reason": "r", "until": ends}, nil); code != 200 {
		t.Fatal(code)
	}
	c := known(t, nc, &k)
	if c == nil || len(c.Modes) != 1 || c.Modes[0].Mode != contract.ModeEmergency || c.Modes[0].ExpiresAt.Sub(ends).Abs() > time.Second {
		t.Fatalf("%+v", c)
	}
	k.Modes = c.ModesDigest
	if code := w.call("PUT", "/v1/mode", w.token("command", "p1", RoleCommander), putMode{"mode": "Routine", "reason": "r"}, nil); code != 200 {
		t.Fatal(code)
	}
	c = known(t, nc, &k)
	if c == nil || len(c.Modes) != 2 || c.Modes[1].Mode != contract.ModeRoutine || !c.Modes[0].ExpiresAt.IsZero() || !c.Modes[1].ExpiresAt.IsZero() {
		t.Fatalf("%+v", c)
	}
}

// TestAnEdgeNodeHearsFactsOfItsPlaces: those that its scenarios name, in order, each once; nothing of the household next door, of another name, or of a
// consent of another scope's subject.
func TestAnEdgeNodeHearsFactsOfItsPlaces(t *testing.T) {
	t.Parallel()
	w, nc := contextWorld(t)
	say := func(scope rules.Scope, id, name, member string, value any) {
		t.Helper()
		f := rules.Fact{Scope: scope, ID: id, Name: name, Member: member, Value: value, Since: time.Now().UTC()}
		if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error { return sayFact(t.Context(), tx, f, Actor{}, time.Now()) }); err != nil {
			t.Fatal(err)
		}
	}
	say(rules.ScopeHousehold, "h-1", "away", "", true)
	say(rules.ScopeHousehold, "h-2", "away", "", true)
	say(rules.ScopeHousehold, "h-1", "livesAlone", "", true)
	say(rules.ScopeCommunity, "jinghu", "away", "", false)
	say(rules.ScopeCommunity, "other", "away", "", false)
	say(rules.ScopeHousehold, "h-1", "consents", "watch", true)
	if _, err := w.vault().Exec(t.Context(), "INSERT INTO grid.consents (subject, scope, given_at) VALUES ('h-1', 'watch', now()), ('h-2', 'watch', now())"); err != nil {
		t.Fatal(err)
	}
	k := contract.EdgeKnown{}
	hear := func(want ...string) {
		t.Helper()
		c := known(t, nc, &k)
		var got []string
		if c != nil {
			for _, f := range c.Facts {
				got = append(got, f.Scope+" "+f.ID+" "+f.Name+" "+f.Member)
			}
			if c.FactsDigest != "" {
				k.Facts, k.Position = c.FactsDigest, c.Position
			}
			if c.ModesDigest != "" {
				k.Modes = c.ModesDigest
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	hear("Household h-1 away ", "Community jinghu away ", "Subject h-1 consents watch")
	hear()
	say(rules.ScopeHousehold, "h-2", "away", "", false)
	hear()
	say(rules.ScopeHousehold, "h-1", "away", "", nil)
	hear("Household h-1 away ")
	// Another bundle: the node has a device in the other household, and none in the first.
	b := *w.bundle
	b.Fleets = map[string]contract.Fleet{}
	for name, f := range w.bundle.Fleets {
		f.Devices = cloned(f.Devices)
		b.Fleets[name] = f
	}
	row := b.Fleets["smokes"].Devices["s1"]
	row.Household = "h-2"
	b.Fleets["smokes"].Devices["s1"] = row
	b.Lease.Revision = "other"
	w.in.Set(&b)
	hear("Household h-2 away ", "Community jinghu away ", "Subject h-2 consents watch", "Household h-2 away ")
	hear()
}

func cloned(in map[string]contract.Device) map[string]contract.Device {
	out := map[string]contract.Device{}
	for k, v := range in {
		out[k] = v
	}
	return out
}

// TestInterestOfAnEdgeNode: a scenario that is off in the community asks for nothing there.
func TestInterestOfAnEdgeNode(t *testing.T) {
	fleets := map[string]contract.Fleet{
		"here":   {Profile: "p", Placement: contract.PlacementEdge, Devices: map[string]contract.Device{"d": {Community: "a", Household: "h"}, "e": {Community: "b", Household: "i"}}},
		"centre": {Profile: "p", Devices: map[string]contract.Device{"d": {Community: "a", Household: "j"}}},
	}
	facts := func(string) []string { return []string{"away"} }
	for name, c := range map[string]struct {
		s    contract.Scenario
		want bool
	}{
		"runs":                       {contract.Scenario{}, true},
		"off":                        {contract.Scenario{Off: true, Variants: map[string]contract.Variant{"/b": {}}}, false},
		"off but in a mode":          {contract.Scenario{Off: true, Variants: map[string]contract.Variant{"Emergency/": {}}}, true},
		"off here":                   {contract.Scenario{Variants: map[string]contract.Variant{"/a": {Off: true}}}, false},
		"off here in the mode alone": {contract.Scenario{Variants: map[string]contract.Variant{"Emergency/a": {Off: true}}}, true},
		"of another profile":         {contract.Scenario{Profile: "q"}, false},
	} {
		if c.s.Profile == "" {
			c.s.Profile = "p"
		}
		i, err := interestOf(contract.Rules{Scenarios: map[string]contract.Scenario{"s": c.s}}, fleets, []string{"a"}, facts)
		if err != nil {
			t.Fatal(err)
		}
		holds := i.holds(said{Scope: "Household", ID: "h", Name: "away"})
		if holds != c.want || (i.digest != "") != c.want || i.holds(said{Scope: "Household", ID: "i", Name: "away"}) || i.holds(said{Scope: "Household", ID: "j", Name: "away"}) {
			t.Errorf("%s: %+v", name, i)
		}
		if c.want && !slices.Equal(i.names, []string{"away"}) {
			t.Errorf("%s: %v", name, i.names)
		}
	}
}
