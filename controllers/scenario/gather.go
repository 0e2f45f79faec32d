package scenario

import (
	"context"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads what a Scenario refers to.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.Scenario) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, "DeviceProfile", s.Profiles, compile.ProfilesOf(o)...); err != nil {
		return nil, nil, err
	}
	if err := r.Gather.Selecting(ctx, s, o.Name); err != nil {
		return nil, nil, err
	}
	if err := gather.ByName(ctx, r.Gather, s, kind, s.Scenarios, o.Name); err != nil {
		return nil, nil, err
	}
	return s, problems, r.combined(ctx, s, o)
}

// combined reads the scenarios that a Scenario combines with, and those that they do: a chain that comes back is a mistake.
func (r *Reconciler) combined(ctx context.Context, s *compile.Snapshot, o *v1alpha1.Scenario) error {
	seen := map[string]bool{o.Name: true}
	for next := []*v1alpha1.Scenario{o}; len(next) > 0; next = next[1:] {
		for _, name := range combines(next[0]) {
			if seen[name] {
				continue
			}
			seen[name] = true
			if err := gather.ByName(ctx, r.Gather, s, kind, s.Scenarios, name); err != nil {
				return err
			}
			if other, ok := s.Scenarios.Get(name); ok {
				next = append(next, other)
			}
		}
	}
	return nil
}

// combines names the scenarios that a Scenario combines with.
func combines(o *v1alpha1.Scenario) (names []string) {
	for _, x := range o.Spec.Combines {
		names = append(names, x.Scenario)
	}
	return names
}
