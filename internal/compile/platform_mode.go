package compile

import (
	"fmt"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// modes gives the plans of a platform by mode. What is other of scenarios in a mode is in their variants.
func modes(o *v1alpha1.GridPlatform) map[string]contract.Mode {
	if len(o.Spec.Modes) == 0 {
		return nil
	}
	out := map[string]contract.Mode{}
	for _, m := range o.Spec.Modes {
		out[string(m.Name)] = contract.Mode{DisplayName: m.DisplayName, SLA: slaOf(m.SLA), MaxSeconds: int64(m.MaxDuration.Seconds())}
	}
	return out
}

// slaOf gives the times that lines say, by severity. A line that says only within what a case is taken has the other default times of its
// severity, none of them shorter than that.
func slaOf(lines []v1alpha1.SLA) map[contract.Severity]contract.SLA {
	out := map[contract.Severity]contract.SLA{}
	for _, line := range lines {
		v := contract.SLA{AcknowledgeSeconds: int64(line.Acknowledge.Seconds()), Working: line.Clock == v1alpha1.ClockWorking}
		if line.OnSite != nil {
			v.OnSiteSeconds = int64(line.OnSite.Seconds())
		}
		if line.Resolve != nil {
			v.ResolveSeconds = int64(line.Resolve.Seconds())
		}
		if line.OnSite == nil && line.Resolve == nil {
			for _, d := range v1alpha1.DefaultSLA() {
				if d.Severity == line.Severity {
					v.OnSiteSeconds, v.ResolveSeconds = max(v.AcknowledgeSeconds, int64(d.OnSite.Seconds())), max(v.AcknowledgeSeconds, int64(d.Resolve.Seconds()))
				}
			}
		}
		out[contract.Severity(line.Severity)] = v
	}
	return out
}

// unknownScenarios tells of names in a list of scenarios that name none.
func unknownScenarios(c *problems, s *Snapshot, at string, list []v1alpha1.ScenarioSelection) {
	for i, sel := range list {
		_, own := s.Scenarios.Get(sel.Name)
		if _, shipped := s.Catalog.Scenarios[sel.Name]; !own && !shipped {
			c.list = append(c.list, Problem{
				Condition: v1alpha1.ConditionReferencesResolved, Reason: v1alpha1.ReasonScenarioNotFound, Field: fmt.Sprintf("%s[%d].name", at, i),
				Message: "Scenario " + sel.Name + " is neither on the platform nor in the catalogue", Waiting: true, Partial: true,
			})
		}
	}
}
