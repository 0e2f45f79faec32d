package command

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
)

func TestTargets(t *testing.T) {
	at := func(community, grid, micro, compound, building, household string) contract.Device {
		return contract.Device{Community: community, Grid: grid, MicroGrid: micro, Compound: compound, Building: building, Household: household}
	}
	fleets := map[string]contract.Fleet{
		"f": {Profile: "pump", Devices: map[string]contract.Device{
			"a": at("jinghu", "g1", "m1", "east", "1", "h1"), "b": at("jinghu", "g1", "m1", "east", "1", "h2"), "c": at("jinghu", "g1", "m2", "east", "2", "h1"),
			"d": at("jinghu", "g2", "m1", "west", "1", ""), "e": at("jinghu", "", "", "", "", ""), "x": at("other", "g1", "m1", "east", "1", "h1"),
		}},
		"g": {Profile: "pump", Devices: map[string]contract.Device{"a": at("jinghu", "g1", "m1", "east", "1", "h1")}},
		"h": {Profile: "lamp", Devices: map[string]contract.Device{"a": at("jinghu", "g1", "m1", "east", "1", "h1")}},
	}
	for _, c := range []struct{ target, from, want string }{
		{"Device", "a", "f.a"}, {"Household", "a", "f.a f.c g.a"}, {"Building", "a", "f.a f.b g.a"}, {"Compound", "a", "f.a f.b f.c g.a"}, {"MicroGrid", "a", "f.a f.b g.a"},
		{"Grid", "a", "f.a f.b f.c g.a"}, {"Community", "a", "f.a f.b f.c f.d f.e g.a"}, {"Household", "e", ""}, {"Building", "e", ""}, {"Grid", "e", ""}, {"MicroGrid", "e", ""}, {"Compound", "e", ""},
		{"Platform", "a", ""}, {"", "a", ""},
	} {
		var got []string
		for _, d := range Targets(fleets, contract.ScenarioCommand{Target: c.target, Profile: "pump"}, Target{"f", c.from}) {
			got = append(got, contract.DeviceID(d.Fleet, d.Device))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s of %s: %v, want %s", c.target, c.from, got, c.want)
		}
	}
}

// closing is a platform with a detector whose alarm closes the valve of its household.
func closing() (contract.Rules, map[string]contract.Fleet) {
	return contract.Rules{
			Profiles: map[string]contract.Profile{"gas": {}, "valve": {Commands: map[string]contract.Command{"close": {Senders: []string{SenderScenario}, ExpiresSeconds: 300}}}},
			Scenarios: map[string]contract.Scenario{"s11": {Profile: "gas", Commands: []contract.ScenarioCommand{
				{Command: "close", At: "Raised", Target: "Household", Profile: "valve"}, {Command: "close", At: "Raised", Target: "Household", Profile: "valve"}}}},
		}, map[string]contract.Fleet{
			"gases":  {Profile: "gas", Devices: map[string]contract.Device{"g1": {Community: "jinghu", Household: "h1"}}},
			"valves": {Profile: "valve", Devices: map[string]contract.Device{"v1": {Community: "jinghu", Household: "h1"}, "v2": {Community: "jinghu", Household: "h1"}}},
		}
}

// TestIDsOfAlarms holds the derivation still: hub and edge node may be of different versions. The golden ids were computed by another
// program (Python: hashlib and uuid) from the comment on derived.
func TestIDsOfAlarms(t *testing.T) {
	r, fleets := closing()
	at := time.Date(2026, 6, 1, 8, 0, 0, 123456789, time.FixedZone("", 8*3600))
	a := Alarm{Scenario: "s11", Fleet: "gases", Device: "g1", Start: at.Truncate(time.Millisecond), At: at, Kind: "Raised"}
	order := func(place int, device string) Order {
		t.Helper()
		o, code := a.Order(r, fleets, place, Target{"valves", device}, at)
		if code != "" {
			t.Fatal(code)
		}
		return o
	}
	o := order(1, "v1")
	if first := order(0, "v1").ID; bytes.Compare(first[:], o.ID[:]) >= 0 {
		t.Error("commands of one alarm sort by their place")
	}
	if want := "019e807a-ec7b-7001-9599-82d4f59ff45c"; o.ID.String() != want {
		t.Errorf("%s, want %s", o.ID, want)
	}
	if o.ID.Version() != 7 || o.ID.Variant() != uuid.RFC4122 {
		t.Errorf("version %d, variant %s", o.ID.Version(), o.ID.Variant())
	}
	safe := SafeID(o.ID, Expired)
	if want := "019e807a-ec7c-7000-984f-5f11e6d7aea0"; safe.String() != want {
		t.Errorf("%s, want %s", safe, want)
	}
	if bytes.Compare(safe[:], o.ID[:]) <= 0 || safe == SafeID(o.ID, Withdrawn) {
		t.Error("a safe state sorts behind its command, and one of each kind")
	}
	seen := map[uuid.UUID]bool{}
	for range 2 {
		for place := range 2 {
			for _, d := range []string{"v1", "v2"} {
				seen[order(place, d).ID] = true
			}
		}
		a.Start = a.Start.Add(-time.Minute) // another alarm of the same millisecond
	}
	if len(seen) != 8 {
		t.Errorf("%d ids for 8 commands of one millisecond", len(seen))
	}
	a.At = a.At.Add(time.Millisecond)
	if later := order(0, "v1").ID; bytes.Compare(later[:], o.ID[:]) <= 0 {
		t.Error("what is later sorts behind")
	}
}

// TestOrdersOfAlarms: what may not be told is not, and time counts from the alarm.
func TestOrdersOfAlarms(t *testing.T) {
	r, fleets := closing()
	at := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	a := Alarm{Scenario: "s11", Fleet: "gases", Device: "g1", Start: at, At: at, Kind: "Raised"}
	for _, c := range []struct {
		what string
		to   Target
		now  time.Time
		code Code
		ends time.Time
	}{
		{"at once", Target{"valves", "v1"}, at, "", at.Add(5 * time.Minute)},
		{"a clock ahead", Target{"valves", "v1"}, at.Add(-time.Minute), "", at.Add(4 * time.Minute)},
		{"just in time", Target{"valves", "v1"}, at.Add(299 * time.Second), "", at.Add(5 * time.Minute)},
		{"too late", Target{"valves", "v1"}, at.Add(300 * time.Second), AlarmTooOld, at.Add(5 * time.Minute)},
		{"gone", Target{"valves", "v9"}, at, DeviceGone, time.Time{}},
		{"without the command", Target{"gases", "g1"}, at, UndeclaredCommand, time.Time{}},
	} {
		if o, code := a.Order(r, fleets, 0, c.to, c.now); code != c.code || !o.ExpiresAt.Equal(c.ends) {
			t.Errorf("%s: %q, ends %s", c.what, code, o.ExpiresAt)
		}
	}
}

// TestOrdersOfAMode: what an alarm commands is as in its mode, in the community of its device, under the id that it has in every mode: the device
// takes it for the same where node and hub do not know the same mode.
func TestOrdersOfAMode(t *testing.T) {
	r, fleets := closing()
	s := r.Scenarios["s11"]
	if len(s.Commands) < 2 {
		t.Fatal("the scenario has one command")
	}
	other := slices.Clone(s.Commands)
	other[0].Command = "otherwise"
	s.Variants = map[string]contract.Variant{"Emergency/": {Commands: other}, "Emergency/elsewhere": {}, "/elsewhere": {Commands: other}, "Other/": {Commands: other[:1]}}
	r.Scenarios["s11"] = s
	at := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	for mode, want := range map[string]string{"": s.Commands[0].Command, "Routine": s.Commands[0].Command, "Emergency": "otherwise", "Other": s.Commands[0].Command} {
		a := Alarm{Scenario: "s11", Fleet: "gases", Device: "g1", Start: at, At: at, Kind: "Raised", Mode: mode}
		if got := a.Commands(r, fleets); len(got) != len(s.Commands) || got[0].Command != want {
			t.Errorf("%q: %+v", mode, got)
		}
		if _, code := a.Order(r, fleets, 0, Target{"valves", "v1"}, at); (code == UndeclaredCommand) != (want == "otherwise") {
			t.Errorf("%q: %q", mode, code)
		}
		a.Mode = ""
		first, _ := a.Order(r, fleets, 1, Target{"valves", "v1"}, at)
		a.Mode = mode
		if same, _ := a.Order(r, fleets, 1, Target{"valves", "v1"}, at); same.ID != first.ID {
			t.Errorf("%q: another id", mode)
		}
	}
}
