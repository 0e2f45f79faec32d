package community

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads the platform and the rivals for the community's name and division code.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.Community) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, kind, s.Communities, o.Name); err != nil {
		return nil, nil, err
	}
	members, err := r.Gather.Members(ctx, s.Platform, kind)
	if err != nil {
		return nil, nil, err
	}
	for _, code := range compile.Codes(o) {
		if err := r.rivalsFor(ctx, s, code, members); err != nil {
			return nil, nil, err
		}
	}
	if err := r.Gather.Selected(ctx, s, o); err != nil {
		return nil, nil, err
	}
	return s, problems, r.edges(ctx, s, o)
}

// edges reads the edge nodes of the platform that name the community.
func (r *Reconciler) edges(ctx context.Context, s *compile.Snapshot, o *v1alpha1.Community) error {
	members, err := r.Gather.Members(ctx, s.Platform, "EdgeNode")
	if err != nil {
		return err
	}
	var list v1alpha1.EdgeNodeList
	if err := r.Client.List(ctx, &list, client.MatchingFields{gather.IndexServes: o.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("edge nodes of community %s: %w", o.Name, err)
	}
	for i := range list.Items {
		if slices.Contains(members, list.Items[i].Namespace) {
			s.Edges.Add(&list.Items[i])
		}
	}
	return nil
}

// rivalsFor reads the communities of the platform that name a code.
func (r *Reconciler) rivalsFor(ctx context.Context, s *compile.Snapshot, code string, members []string) error {
	var rivals v1alpha1.CommunityList
	if err := r.Client.List(ctx, &rivals, client.MatchingFields{gather.IndexDivision: code}); err != nil {
		return fmt.Errorf("communities of division %s: %w", code, err)
	}
	for i := range rivals.Items {
		rival := &rivals.Items[i]
		known := slices.ContainsFunc(s.Communities[rival.Name], func(c *v1alpha1.Community) bool { return c.Namespace == rival.Namespace })
		if !known && rival.DeletionTimestamp.IsZero() && slices.Contains(members, rival.Namespace) {
			s.Communities.Add(rival)
		}
	}
	return nil
}
