package rules

import (
	"slices"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestContains: a scope holds another if the other's place says which of its own it lies in, and a place is named from the community down.
func TestContains(t *testing.T) {
	holds := map[Scope][]Scope{
		ScopePlatform:  scopes,
		ScopeCommunity: scopes[1:],
		ScopeCompound:  {ScopeCompound, ScopeBuilding, ScopeHousehold, ScopeDevice},
		ScopeGrid:      {ScopeGrid, ScopeMicroGrid, ScopeBuilding, ScopeHousehold, ScopeDevice},
		ScopeMicroGrid: {ScopeMicroGrid, ScopeBuilding, ScopeHousehold, ScopeDevice},
		ScopeBuilding:  {ScopeBuilding, ScopeHousehold, ScopeDevice},
		ScopeHousehold: {ScopeHousehold, ScopeDevice},
		ScopeDevice:    {ScopeDevice},
	}
	for _, outer := range scopes {
		for _, inner := range scopes {
			if want := slices.Contains(holds[outer], inner); Contains(outer, inner) != want {
				t.Errorf("%s holds %s: %v, want %v", outer, inner, !want, want)
			}
		}
	}
}

// TestGraverForGood: what made an alarm graver may be over for long, the alarm stays as grave as it made it.
func TestGraverForGood(t *testing.T) {
	smoke, clean := map[string]any{"smoke": true}, map[string]any{"smoke": false}
	rule := smokeRule()
	rule.Raise = []contract.Raise{{Name: "second", Severity: contract.SeverityCritical, Count: &contract.Count{AtLeast: 2, DistinctBy: "device.id", WithinSeconds: 180, Scope: "Community"}}}
	s := fireStory(map[string]contract.Scenario{"s10": rule})
	s.say(second(0), "smoke-1", smoke)
	s.say(second(60), "smoke-2", smoke)
	s.say(second(120), "smoke-1", clean)
	s.say(second(5000), "smoke-3", smoke)
	s.say(second(6000), "smoke-3", clean)
	s.say(second(7000), "smoke-3", smoke)
	s.until = second(9000)
	s.expect(t, "s10 f/smoke-1 01T00:00:00 Critical cleared 01T00:02:00 with second", "s10 f/smoke-2 01T00:01:00 Critical with second",
		"s10 f/smoke-3 01T01:23:20 High cleared 01T01:40:00", "s10 f/smoke-3 01T01:56:40 High")
}

// TestOthersOfThePlace: a device that the scenario is not about says nothing of the place that it shares with one that it is about.
func TestOthersOfThePlace(t *testing.T) {
	row := func(alone string) contract.Device {
		return contract.Device{Community: "c", Household: "h", Attributes: map[string]string{"alone": alone}}
	}
	s := &story{rows: map[string]contract.Device{"door-1": row("yes"), "door-2": row("no"), "door-3": row("yes")}, rules: contract.Rules{
		Profiles: map[string]contract.Profile{"door": {Fields: map[string]contract.Field{"exit": boolean()}}},
		Scenarios: map[string]contract.Scenario{"s01": {Profile: "door", Severity: contract.SeverityHigh, DedupSeconds: 60, AppliesTo: `device.attributes.alone == "yes"`,
			Terms: []contract.Term{{Absent: &contract.Absent{Event: "msg.exit", Seconds: 1000, Scope: "Household"}}}}}}}
	in := map[string]any{"exit": false}
	s.say(second(0), "door-1", map[string]any{"exit": true})
	s.say(second(500), "door-2", in)
	s.say(second(700), "door-2", map[string]any{"exit": true})
	s.say(second(900), "door-3", in)
	s.say(second(950), "door-2", in)
	s.say(second(1500), "door-2", map[string]any{"exit": true})
	s.say(second(1700), "door-3", map[string]any{"exit": true})
	s.until = second(2500)
	s.expect(t, "s01 h 01T00:16:40 High cleared 01T00:28:20")
}

// TestFactsThatEnd: a fact ends by itself, unless somebody says it anew before; in whatever order that is heard.
func TestFactsThatEnd(t *testing.T) {
	at := func(n int) int64 { return second(n).UnixMilli() }
	say := []Fact{
		{Scope: ScopeHousehold, ID: "h", Name: "away", Value: true, Since: second(0), Until: second(100)},
		{Scope: ScopeHousehold, ID: "h", Name: "away", Value: true, Since: second(50)},
		{Scope: ScopeHousehold, ID: "h", Name: "away", Since: second(200)},
		{Scope: ScopeHousehold, ID: "h", Name: "away", Value: true, Since: second(300), Until: second(400)},
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}} {
		f := facts{}
		for _, i := range order {
			f.set(say[i])
		}
		for second, want := range map[int]bool{-1: false, 0: true, 99: true, 100: true, 199: true, 200: false, 300: true, 399: true, 400: false} {
			if _, got := valueAt(f[placeKey{ScopeHousehold, "h"}]["away"], at(second)); got != want {
				t.Errorf("%v: second %d: %v, want %v", order, second, got, want)
			}
		}
	}
}
