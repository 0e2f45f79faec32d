package edgenode

import (
	"context"
	"fmt"
	"slices"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

// gather reads the communities that the node serves and who else would, its token and certificates, and what the nodes say of it.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.EdgeNode) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, kind, s.Edges, o.Name); err != nil {
		return nil, nil, err
	}
	if err := gather.ByName(ctx, r.Gather, s, "Community", s.Communities, o.Spec.Communities...); err != nil {
		return nil, nil, err
	}
	for _, read := range []func(context.Context, *compile.Snapshot, *v1alpha1.EdgeNode) error{r.rivals, r.secrets, r.issued, r.loads} {
		if err := read(ctx, s, o); err != nil {
			return nil, nil, err
		}
	}
	return s, problems, nil
}

// rivals reads the edge nodes of the platform that name one of the communities.
func (r *Reconciler) rivals(ctx context.Context, s *compile.Snapshot, o *v1alpha1.EdgeNode) error {
	members, err := r.Gather.Members(ctx, s.Platform, kind)
	if err != nil {
		return err
	}
	for _, community := range o.Spec.Communities {
		var list v1alpha1.EdgeNodeList
		if err := r.Client.List(ctx, &list, client.MatchingFields{gather.IndexServes: community}); err != nil {
			return fmt.Errorf("edge nodes of community %s: %w", community, err)
		}
		for i := range list.Items {
			rival := &list.Items[i]
			known := slices.ContainsFunc(s.Edges[rival.Name], func(e *v1alpha1.EdgeNode) bool { return e.Namespace == rival.Namespace })
			if !known && rival.DeletionTimestamp.IsZero() && slices.Contains(members, rival.Namespace) {
				s.Edges.Add(rival)
			}
		}
	}
	return nil
}

// secrets reads the CA of edge nodes, the broker's, and the node's token.
func (r *Reconciler) secrets(ctx context.Context, s *compile.Snapshot, o *v1alpha1.EdgeNode) error {
	if err := r.Gather.Admission(ctx, s, o.Namespace); err != nil {
		return err
	}
	for _, name := range []string{compile.SecretEdges, compile.SecretBrokerTLS} {
		if err := r.Gather.Secret(ctx, s, s.Platform.Namespace, name); err != nil {
			return err
		}
	}
	return r.Gather.EdgeToken(ctx, s, o)
}

// issued reads the node's CertificateRequests.
func (r *Reconciler) issued(ctx context.Context, s *compile.Snapshot, o *v1alpha1.EdgeNode) error {
	if !r.APIs.Serves(cmv1.SchemeGroupVersion.WithKind("CertificateRequest")) {
		return nil
	}
	var list cmv1.CertificateRequestList
	if err := r.APIs.List(ctx, &list, client.InNamespace(s.Platform.Namespace), client.MatchingLabels{
		render.LabelOwnerKind: kind, render.LabelOwnerNamespace: o.Namespace, render.LabelOwnerName: o.Name,
	}); err != nil {
		return fmt.Errorf("certificate requests: %w", err)
	}
	for _, cr := range list.Items {
		i := compile.EdgeIssued{Chain: cr.Status.Certificate, EdgeRequest: compile.EdgeRequest{
			Name: cr.Name, CSR: cr.Spec.Request, Server: slices.Contains(cr.Spec.Usages, cmv1.UsageServerAuth), Life: compile.EdgeCertificateLife,
		}}
		if cr.Spec.Duration != nil {
			i.Life = cr.Spec.Duration.Duration
		}
		for _, c := range cr.Status.Conditions {
			final := c.Reason == cmv1.CertificateRequestReasonFailed || c.Reason == cmv1.CertificateRequestReasonDenied
			if c.Type == cmv1.CertificateRequestConditionReady && c.Status == cmmeta.ConditionFalse && final {
				i.Failed = c.Message
			}
		}
		s.Edge.Issued = append(s.Edge.Issued, i)
	}
	return nil
}

// loads reads what devices may send to the node. While a fleet has not been looked at since the operator started, that is not known.
func (r *Reconciler) loads(ctx context.Context, s *compile.Snapshot, o *v1alpha1.EdgeNode) error {
	members, err := r.Gather.Members(ctx, s.Platform, "DeviceFleet")
	if err != nil {
		return err
	}
	for _, ns := range members {
		var list v1alpha1.DeviceFleetList
		err := r.Client.List(ctx, &list, client.InNamespace(ns), client.MatchingFields{gather.IndexPlacement: string(v1alpha1.PlacementEdge)}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return fmt.Errorf("fleets at edge nodes: %w", err)
		}
		for i := range list.Items {
			f := &list.Items[i]
			s.Edge.LoadsUnknown = s.Edge.LoadsUnknown || (f.DeletionTimestamp.IsZero() && !r.Loads.Knows(kit.Key("DeviceFleet", f)))
		}
	}
	s.Edge.Loads = r.Loads.Of(kit.PlatformKey(s.Platform), o.Spec.Communities)
	return nil
}

// news takes over what the nodes say of the machine. What they heard counts from those alone that know the present credential: of a
// token that was made anew the others know nothing, and tell of the former.
func (r *Reconciler) news(s *compile.Snapshot, o *v1alpha1.EdgeNode) kit.EdgeNews {
	platform := kit.PlatformKey(s.Platform)
	news := r.Reports.Edge(platform, o.Name)
	present := r.Shelf.Enforcement(platform, kit.Key(kind, o)).Sequence
	for _, h := range news.Heard {
		if present > 0 && h.Sequence >= present {
			s.Edge.Heard = append(s.Edge.Heard, h.EdgeHeard)
		}
	}
	s.Edge.HeardAt = news.HeardAt
	return news
}
