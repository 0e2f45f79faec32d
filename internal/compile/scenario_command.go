package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
)

// scenarioCommands compiles the commands of a scenario. Each must be one that the profile of its devices declares and lets scenarios send,
// with all of its arguments in range: what is refused here would be refused at the alarm, when it is too late to mend.
func scenarioCommands(c *problems, s *Snapshot, o *v1alpha1.Scenario, texts map[string]string) (out []contract.ScenarioCommand) {
	for i, k := range o.Spec.Commands {
		at := fmt.Sprintf("spec.commands[%d]", i)
		if k.Target == v1alpha1.ScopePlatform {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, at+".target", "Platform is not served by this version; use Community or less")
			continue
		}
		field, ref := at+".profileRef.name", k.ProfileRef
		if ref == nil {
			field, ref = "spec.profileRef.name", o.Spec.ProfileRef
		}
		switch {
		case ref == nil:
			continue // scenarioProfile has said so
		case k.Target == v1alpha1.ScopeDevice && o.Spec.ProfileRef != nil && ref.Name != o.Spec.ProfileRef.Name:
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".profileRef", "target Device is the device that sent the signal, of profile "+
				o.Spec.ProfileRef.Name+"; leave profileRef out, or write a wider target")
			continue
		}
		var wrong problems
		profile, ok := profileNamed(&wrong, s, field, ref.Name)
		if !ok {
			if k.ProfileRef != nil { // the scenario's own is told of once
				c.list = append(c.list, wrong.list...)
			}
			continue
		}
		declared, ok := profile.Commands[k.Command]
		if !ok {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonCommandNotFound, at+".command",
				fmt.Sprintf("DeviceProfile %s declares no command %s; add it there, or correct the name", ref.Name, k.Command))
			continue
		}
		if !slices.Contains(declared.Senders, command.SenderScenario) {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonCommandNotFound, at+".command",
				fmt.Sprintf("DeviceProfile %s lets only %s send %s; add Scenario to its senders, or leave the command out", ref.Name, strings.Join(declared.Senders, ", "), k.Command))
			continue
		}
		out = append(out, contract.ScenarioCommand{
			Command: k.Command, At: string(k.At), Target: string(k.Target), Profile: ref.Name,
			Arguments: argumentValues(c, at+".arguments", declared, k.Arguments, texts),
		})
	}
	return out
}
