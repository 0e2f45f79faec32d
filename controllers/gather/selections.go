package gather

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// Selecting reads the communities of the platform that say something of a scenario.
func (r *Reader) Selecting(ctx context.Context, s *compile.Snapshot, scenarios ...string) error {
	var names []string
	for _, scenario := range scenarios {
		var list v1alpha1.CommunityList
		if err := r.Client.List(ctx, &list, client.MatchingFields{IndexScenario: scenario}, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("communities that select scenario %s: %w", scenario, err)
		}
		for i := range list.Items {
			if name := list.Items[i].Name; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return ByName(ctx, r, s, "Community", s.Communities, names...) // whoever holds the name speaks for the community
}

// Selected reads the scenarios of which a Community says something, with their profiles.
func (r *Reader) Selected(ctx context.Context, s *compile.Snapshot, o *v1alpha1.Community) error {
	var names, profiles []string
	for _, sel := range o.Spec.Scenarios {
		names = append(names, sel.Name)
	}
	if len(names) == 0 {
		return nil
	}
	if err := ByName(ctx, r, s, "Scenario", s.Scenarios, names...); err != nil {
		return err
	}
	for _, name := range names {
		sc, ok := s.Scenarios.Get(name)
		if !ok {
			sc = s.Catalog.Scenarios[name]
		}
		if sc != nil {
			profiles = append(profiles, compile.ProfilesOf(sc)...)
		}
	}
	return ByName(ctx, r, s, "DeviceProfile", s.Profiles, profiles...)
}
