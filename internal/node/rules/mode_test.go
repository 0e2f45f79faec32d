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
