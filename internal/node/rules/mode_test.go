package rules

import (
	"fmt"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestOffButForVariants: a scenario that is off runs where a variant says so, and in no mode or community that none names.
func TestOffButForVariants(t *testing.T) {
	s := &story{rows: map[string]contract.Device{"bin-1": {Community: "a"}, "bin-2": {Community: "b"}, "bin-3": {Community: "c"}}, rules: contract.Rules{
		Profiles: map[string]contract.Profile{"bin": {Fields: map[string]contract.Field{"full": numeric()}}},
		Scenarios: map[string]contract.Scenario{"s18": {Profile: "bin", Severity: contract.SeverityLow, Params: map[string]any{"full": 90.0}, Off: true, Clear: "msg.full < 20.0",
			Terms:    []contract.Term{{When: "msg.full >= params.full"}},
			Variants: map[string]contract.Variant{"Emergency/": {}, "/b": {Params: map[string]any{"full": 50.0}}, "Emergency/c": {Off: true}}}},
	}}
	fill := func(at int, levels ...float64) {
		for i, full := range levels {
			s.say(second(at+i), fmt.Sprint("bin-", i+1), map[string]any{"full": full})
		}
	}
	fill(0, 95, 60, 95)
	fill(500, 10, 10, 10)
	s.steps = append(s.steps, modeStep{contract.ModeEmergency, second(1000)})
	fill(2000, 95, 60, 95)
	fill(2500, 10, 10, 10)
	s.steps = append(s.steps, modeStep{contract.ModeRoutine, second(3000)})
	fill(4000, 95, 60, 95)
	s.until = second(9000)
	s.expect(t, "s18 f/bin-2 01T00:00:01 Low cleared 01T00:08:21", "s18 f/bin-1 01T00:33:20 Low cleared 01T00:41:40", "s18 f/bin-2 01T00:33:21 Low cleared 01T00:41:41", "s18 f/bin-2 01T01:06:41 Low")
}

// TestVariantsOfOtherKinds: a variant with terms of another kind is refused, for the keys of the scenario are the same in all.
func TestVariantsOfOtherKinds(t *testing.T) {
	for name, c := range map[string]struct {
		terms []contract.Term
		fits  bool
	}{
		"another number": {[]contract.Term{{When: "msg.full >= 50.0", ForSeconds: 60}}, true},
		"no duration":    {[]contract.Term{{When: "msg.full >= 50.0"}}, false},
		"a count":        {[]contract.Term{{When: "msg.full >= 50.0", Count: &contract.Count{AtLeast: 2, WithinSeconds: 60}}}, false},
		"one more":       {[]contract.Term{{When: "msg.full >= 50.0", ForSeconds: 60}, {When: "msg.full < 1.0", ForSeconds: 60}}, false},
	} {
		_, problems := Check(contract.Rules{
			Profiles: map[string]contract.Profile{"bin": {Fields: map[string]contract.Field{"full": numeric()}}},
			Scenarios: map[string]contract.Scenario{"s18": {Profile: "bin", Severity: contract.SeverityLow, CaseClass: "bin", Terms: []contract.Term{{When: "msg.full >= 90.0", ForSeconds: 30}},
				Variants: map[string]contract.Variant{"Emergency/": {Terms: c.terms}}}},
		})
		if (len(problems) == 0) != c.fits || !c.fits && problems[0].Field != "variants.Emergency/" {
			t.Errorf("%s: %+v", name, problems)
		}
	}
}

// TestModesThatAreRemembered: the last switches, in the order of their times, whenever they are told; told twice is told once.
func TestModesThatAreRemembered(t *testing.T) {
	e := &Engine{set: &set{}}
	for i := range 3 * MaxModes {
		n := (i*7)%(3*MaxModes) + 1 // in no order
		e.SetMode(fmt.Sprint(n), second(n))
		e.SetMode(fmt.Sprint(n), second(n))
	}
	if len(e.modes) != MaxModes {
		t.Errorf("%d are remembered, want %d", len(e.modes), MaxModes)
	}
	for n := 2*MaxModes + 1; n <= 3*MaxModes; n++ {
		if got := e.modeAt(second(n).UnixMilli()); got != fmt.Sprint(n) {
			t.Errorf("at second %d the mode is %q", n, got)
		}
	}
}
