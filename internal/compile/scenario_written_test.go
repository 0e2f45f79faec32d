package compile

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// TestScenarioWritten: what a scenario has wrong by itself is wrong with or without its profile; what hangs on others is only told.
func TestScenarioWritten(t *testing.T) {
	profile := &v1alpha1.DeviceProfile{ObjectMeta: metav1.ObjectMeta{Name: "smoke"}, Spec: v1alpha1.DeviceProfileSpec{
		Heartbeat: metav1.Duration{Duration: time.Minute},
		Fields:    []v1alpha1.ProfileField{{Name: "smoke", Type: "Boolean"}, {Name: "level", Type: "Number"}},
	}}
	good := func(change func(*v1alpha1.ScenarioSpec)) *v1alpha1.Scenario {
		o := &v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n"}, Spec: v1alpha1.ScenarioSpec{
			Input: v1alpha1.InputDevice, ProfileRef: &v1alpha1.ProfileRef{Name: "smoke"}, DataClass: v1alpha1.DataClassC0,
			Parameters: []v1alpha1.ScenarioParameter{{Name: "hold", Type: v1alpha1.ParameterDuration, Default: "30s"}, {Name: "limit", Type: v1alpha1.ParameterNumber, Default: "3", Max: "5"}},
			Trigger:    v1alpha1.Trigger{When: "msg.smoke == true", For: "${hold}", Dedup: "10m", Lateness: metav1.Duration{Duration: 2 * time.Minute}},
			Case:       &v1alpha1.ScenarioCase{Class: "fire", Severity: v1alpha1.SeverityHigh, Title: "烟雾", MergeBy: v1alpha1.ScopeDevice},
		}}
		if change != nil {
			change(&o.Spec)
		}
		return o
	}
	for name, c := range map[string]struct {
		change      func(*v1alpha1.ScenarioSpec)
		wrong, told string
	}{
		"good":         {nil, "", ""},
		"syntax":       {func(s *v1alpha1.ScenarioSpec) { s.Trigger.When = "msg.smoke ==" }, "spec.trigger.when: no valid CEL: column 13: the expression ends too early", ""},
		"undeclared":   {func(s *v1alpha1.ScenarioSpec) { s.Trigger.Clear = "mgs.smoke" }, "spec.trigger.clear: no valid CEL: column 1: undeclared reference to 'mgs'", ""},
		"no condition": {func(s *v1alpha1.ScenarioSpec) { s.Trigger.Unless = "1 + 2" }, "spec.trigger.unless: gives int; write an expression that gives bool", ""},
		"applies to":   {func(s *v1alpha1.ScenarioSpec) { s.Subject = &v1alpha1.ScenarioSubject{AppliesTo: "device.zone ="} }, "spec.subject.appliesTo: no valid CEL: column 13", ""},
		"in a term":    {func(s *v1alpha1.ScenarioSpec) { s.Trigger.AnyOf = []v1alpha1.Term{{When: "true"}, {When: "tru"}} }, "spec.trigger.anyOf[1].when: no valid CEL: column 1", ""},
		"missed message": {func(s *v1alpha1.ScenarioSpec) {
			s.Trigger.Absent = &v1alpha1.AbsentTrigger{Event: "msg.", Duration: "1h"}
		}, "spec.trigger.absent.event: no valid CEL", ""},
		"distinct": {func(s *v1alpha1.ScenarioSpec) {
			s.Trigger.Count = &v1alpha1.CountTrigger{AtLeast: "2", Within: "1m", DistinctBy: "dev.id"}
		}, "spec.trigger.count.distinctBy: no valid CEL", ""},
		"baseline":             {func(s *v1alpha1.ScenarioSpec) { s.Baselines = []v1alpha1.Baseline{{Name: "b", Value: "msg.level +"}} }, "spec.baselines[0].value: no valid CEL", ""},
		"raise":                {func(s *v1alpha1.ScenarioSpec) { s.Raise = []v1alpha1.SeverityRaise{{Name: "r", When: "(true"}} }, "spec.raise[0].when: no valid CEL", ""},
		"parameter not there":  {func(s *v1alpha1.ScenarioSpec) { s.Trigger.For = "${hodl}" }, "spec.trigger.for: ${hodl} names no parameter of type Duration", ""},
		"default out of range": {func(s *v1alpha1.ScenarioSpec) { s.Parameters[1].Default = "7" }, "spec.parameters: spec.parameters[1].default: 7 is out of bounds; write at most 5", ""},
		"act of a device": {func(s *v1alpha1.ScenarioSpec) {
			s.Act, s.Case, s.Trigger.For = &v1alpha1.CaseAct{Action: v1alpha1.CaseActReopen}, nil, ""
		}, "spec.act: is done to the very case that changed; write input Case", ""},
		"profile of a case": {func(s *v1alpha1.ScenarioSpec) { s.Input = v1alpha1.InputCase }, "spec.profileRef: goes with input Device or Record, and input is Case", ""},
		"device of a case": {func(s *v1alpha1.ScenarioSpec) {
			s.Input, s.ProfileRef, s.Case.Title = v1alpha1.InputCase, nil, "${device}"
		}, "spec.case.title: ${device} is filled in by nothing where the input is Case", ""},
		"ledger of commands": {func(s *v1alpha1.ScenarioSpec) {
			s.Input, s.ProfileRef, s.Ledger = v1alpha1.InputCommand, nil, &v1alpha1.LedgerEntry{Name: "l", Subject: "msg.command", Amount: "1"}
		}, "spec.ledger: goes with input Device or Record, and input is Command", ""},
		"amount": {func(s *v1alpha1.ScenarioSpec) {
			s.Trigger.For, s.Ledger = "", &v1alpha1.LedgerEntry{Name: "l", Subject: "device.id", Amount: "1 +"}
		}, "spec.ledger.amount: no valid CEL", ""},
		"title":                {func(s *v1alpha1.ScenarioSpec) { s.Case.Title = "${who}" }, "spec.case.title: ${who} is filled in by nothing", ""},
		"field of the profile": {func(s *v1alpha1.ScenarioSpec) { s.Trigger.When = "msg.smok == true" }, "", "spec.trigger.when: column 1: field msg.smok is not in the profile; its fields are level, smoke"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good(c.change)
			there, absent := &Snapshot{Profiles: Named[*v1alpha1.DeviceProfile]{}}, &Snapshot{}
			there.Profiles.Add(profile)
			for with, s := range map[string]*Snapshot{"with its profile": there, "without": absent} {
				wrong, told := ScenarioWritten(s, o)
				if c.wrong == "" && len(wrong) > 0 || c.wrong != "" && !texts(wrong, c.wrong) {
					t.Errorf("%s: wrong is %v, want %q", with, wrong, c.wrong)
				}
				if s == there && c.told != "" && !texts(told, c.told) || s == absent && c.told != "" && len(told) > 0 {
					t.Errorf("%s: told is %v, want %q", with, told, c.told)
				}
			}
		})
	}
}

// TestScenarioWrittenIsNotAboutOthers: what a platform sets, and who else has the name, refuses nobody's scenario.
func TestScenarioWrittenIsNotAboutOthers(t *testing.T) {
	o := &v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n"}, Spec: v1alpha1.ScenarioSpec{
		Input: v1alpha1.InputDevice, ProfileRef: &v1alpha1.ProfileRef{Name: "not-there"}, Trigger: v1alpha1.Trigger{When: "true", Lateness: metav1.Duration{Duration: 2 * time.Minute}},
		Case: &v1alpha1.ScenarioCase{Class: "fire", Severity: v1alpha1.SeverityHigh, Title: "t"},
	}}
	other := &v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "m"}}
	p := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"}}
	p.Spec.Scenarios = []v1alpha1.ScenarioSelection{{Name: "s", Parameters: map[string]v1alpha1.ParameterValue{"nothing": "3"}}}
	s := &Snapshot{Platform: p, Scenarios: Named[*v1alpha1.Scenario]{"s": {other}}}
	if _, found := Scenario(s, o); len(found) < 3 {
		t.Fatalf("the example has too little between objects: %v", found)
	}
	if wrong, _ := ScenarioWritten(s, o); len(wrong) > 0 {
		t.Errorf("refused for %v", wrong)
	}
	if len(p.Spec.Scenarios) != 1 {
		t.Error("the platform of the cache was changed")
	}
}

func texts(problems Problems, want string) bool {
	for _, p := range problems {
		if strings.HasPrefix(p.Text(), want) {
			return true
		}
	}
	return false
}
