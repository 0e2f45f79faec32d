package offline

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// Playable is what of a platform's files the scenario engine runs.
type Playable struct {
	Rules       contract.Rules
	Fleets      map[string]contract.Fleet
	Communities map[string]contract.Community
	// Zone is the name of the platform's time zone.
	Zone string
	// Off says of scenarios that do not run on the platform why: they are in Rules all the same.
	Off map[string]string
}

// Playable gives what the scenario engine runs of a platform: the scenarios of the files, those that are off too, and with all those of the
// catalogue. What does not compile is left out; it is in the findings.
func (p *Platform) Playable(all bool) (Playable, error) {
	out := Playable{Rules: contract.Rules{Profiles: maps.Clone(p.Plan.Profiles), Scenarios: map[string]contract.Scenario{}}, Fleets: map[string]contract.Fleet{},
		Communities: map[string]contract.Community{}, Zone: p.Plan.Document.TimeZone, Off: map[string]string{}}
	if all {
		maps.Copy(out.Rules.Scenarios, p.Plan.Scenarios)
	}
	if out.Rules.Profiles == nil {
		out.Rules.Profiles = map[string]contract.Profile{}
	}
	for _, m := range p.Members {
		if m.Fatal {
			continue
		}
		switch plan := m.Plan.(type) {
		case compile.ProfilePlan:
			out.Rules.Profiles[m.GetName()] = plan.Document
		case compile.ScenarioPlan:
			out.Rules.Scenarios[m.GetName()] = plan.Document
			if !plan.Running {
				out.Off[m.GetName()] = plan.Why
			}
		case compile.CommunityPlan:
			out.Communities[m.GetName()] = plan.Document
		case compile.FleetPlan:
			devices, _, err := plan.Rows.Decode()
			if err != nil {
				return out, err
			}
			plan.Document.Devices = devices
			out.Fleets[m.GetName()] = plan.Document
		}
	}
	p.combined(&out)
	return out, nil
}

// combined adds the catalogue's scenarios that the others combine with, whether they run on the platform or not: without their alarms a
// combination says nothing.
func (p *Platform) combined(out *Playable) {
	for added := true; added; {
		added = false
		for _, name := range slices.Sorted(maps.Keys(out.Rules.Scenarios)) {
			for _, x := range out.Rules.Scenarios[name].Combines {
				shipped := p.Snapshot.Catalog.Scenarios[x.Scenario]
				if _, have := out.Rules.Scenarios[x.Scenario]; have || shipped == nil {
					continue
				}
				plan, wrong := compile.Scenario(p.Snapshot, shipped)
				if wrong.Fatal() {
					continue
				}
				out.Rules.Scenarios[x.Scenario], added = plan.Document, true
				if !plan.Running {
					out.Off[x.Scenario] = plan.Why
				}
			}
		}
	}
}

// Alone gives the set with a platform of its own, where the files have none: so that a vendor can try a scenario without a city. It has both modes, and lists the
// scenarios that say in which of them they run.
func Alone(ctx context.Context, set *Set, namespace string) (*Set, error) {
	listed := []any{}
	for _, o := range set.Objects {
		if s, ok := o.Object.(*v1alpha1.Scenario); ok && len(s.Spec.Modes) > 0 {
			listed = append(listed, map[string]any{"name": s.Name})
		}
	}
	platform, err := LoadObjects(ctx, []map[string]any{{
		"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": "GridPlatform", "metadata": map[string]any{"name": "trace", "namespace": namespace},
		"spec": map[string]any{"divisions": []any{"11"}, "modes": []any{map[string]any{"name": string(v1alpha1.ModeEmergency)}}, "scenarios": listed},
	}})
	if err != nil {
		return nil, err
	}
	return Over(set, platform), nil
}

// Listed is a scenario in a list.
type Listed struct {
	Name        string `json:"name"`
	CatalogueID string `json:"catalogueID,omitempty"`
	CaseClass   string `json:"caseClass,omitempty"`
	DataClass   string `json:"dataClass"`
	Severity    string `json:"severity,omitempty"`
	// Shipped says that the release has it; of the same name in the files, that one counts.
	Shipped bool   `json:"shipped"`
	Runs    bool   `json:"runs"`
	Why     string `json:"why"`
}

// Listed gives the scenarios of the release and of the files, by catalogue id and name.
func (p *Platform) Listed() []Listed {
	all := maps.Clone(p.Snapshot.Catalog.Scenarios)
	own := map[string]bool{}
	for name := range p.Snapshot.Scenarios {
		if o, ok := p.Snapshot.Scenarios.Get(name); ok {
			all[name], own[name] = o, true
		}
	}
	var out []Listed
	for name, o := range all {
		plan, problems := compile.Scenario(p.Snapshot, o)
		l := Listed{Name: name, CatalogueID: o.Spec.CatalogueID, DataClass: string(o.Spec.DataClass), Shipped: !own[name], Runs: plan.Running && !problems.Fatal(), Why: plan.Why}
		if o.Spec.Case != nil {
			l.CaseClass, l.Severity = o.Spec.Case.Class, string(o.Spec.Case.Severity)
		}
		if problems.Fatal() {
			l.Why = "does not compile"
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(a.CatalogueID, b.CatalogueID), cmp.Compare(a.Name, b.Name))
	})
	return out
}
