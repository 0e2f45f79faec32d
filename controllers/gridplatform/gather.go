package gridplatform

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/internal/compile"
)

// gather reads the platform's Secrets, the organisations' webhook secrets, and which scenarios and profiles are the
// platform's own.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.GridPlatform) (*compile.Snapshot, error) {
	s, _, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil {
		return nil, err
	}
	s.Platform = o
	if err := r.Gather.Admission(ctx, s, o.Namespace); err != nil {
		return nil, err
	}
	if err := r.Gather.MemberNamespaces(ctx, s); err != nil {
		return nil, err
	}
	if err := r.secrets(ctx, s); err != nil {
		return nil, err
	}
	if err := errors.Join(r.Gather.CityGuardrails(ctx, r.CityGuardrails, s), r.Gather.AcceptedGuardrails(ctx, s)); err != nil {
		return nil, err
	}
	if s.Clouds, err = r.clouds(ctx, s); err != nil {
		return nil, err
	}
	if s.Standing, err = r.standing(ctx, o); err != nil {
		return nil, err
	}
	return s, r.objects(ctx, s)
}

// secrets reads the Secrets that cert-manager fills, and those that are made once; what is not there yet is made up now.
func (r *Reconciler) secrets(ctx context.Context, s *compile.Snapshot) error {
	ns := s.Platform.Namespace
	for _, name := range []string{compile.SecretSigning, compile.SecretAudit, compile.SecretOperator, compile.SecretBrokerTLS} {
		if err := r.Gather.Secret(ctx, s, ns, name); err != nil {
			return err
		}
	}
	if external := s.Platform.Spec.Database.External; external != nil {
		if err := r.Gather.Secret(ctx, s, ns, external.DSNSecretRef.Name); err != nil {
			return err
		}
	}
	for _, in := range s.Platform.Spec.Integrations {
		if in.SecretRef == nil {
			continue
		}
		if err := r.Gather.Secret(ctx, s, ns, in.SecretRef.Name); err != nil {
			return err
		}
	}
	if compile.UsesEMQX(s.Platform) {
		if err := r.deviceCAs(ctx, s); err != nil {
			return err
		}
	}
	generated, err := r.Gather.Generated(ctx, s.Platform)
	s.Generated = generated
	return err
}

// deviceCAs reads the fleets of the platform and the CAs under which devices hold certificates.
func (r *Reconciler) deviceCAs(ctx context.Context, s *compile.Snapshot) error {
	ns := s.Platform.Namespace
	for _, member := range r.members(ctx, s, "DeviceFleet") {
		var list v1alpha1.DeviceFleetList
		if err := r.Client.List(ctx, &list, client.InNamespace(member), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("fleets of namespace %s: %w", member, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; o.Spec.Identity.Type != v1alpha1.FleetIdentityPassword {
				s.Fleets.Add(o)
				for _, name := range compile.FleetCANames(o, s.Now) {
					if err := r.Gather.Secret(ctx, s, ns, name); err != nil {
						return err
					}
				}
			}
		}
	}
	return r.Gather.Secret(ctx, s, ns, compile.SecretDevices)
}

// clouds says whether the platform has a fleet of access mode Platform. An index knows, so it costs the same with a thousand fleets.
func (r *Reconciler) clouds(ctx context.Context, s *compile.Snapshot) (bool, error) {
	for _, member := range r.members(ctx, s, "DeviceFleet") {
		var one v1alpha1.DeviceFleetList
		if err := r.Client.List(ctx, &one, client.InNamespace(member), client.MatchingFields{gather.IndexAccessMode: string(v1alpha1.AccessPlatform)},
			client.Limit(1), client.UnsafeDisableDeepCopy); err != nil {
			return false, fmt.Errorf("fleets of namespace %s: %w", member, err)
		}
		if len(one.Items) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// sources reads the datasets that are in databases of their providers, with the connection strings.
func (r *Reconciler) sources(ctx context.Context, s *compile.Snapshot) error {
	for _, ns := range r.members(ctx, s, "Dataset") {
		var list v1alpha1.DatasetList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("datasets of namespace %s: %w", ns, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			if o.Spec.Source.DSNSecretRef == nil || !o.DeletionTimestamp.IsZero() {
				continue
			}
			s.Datasets.Add(o)
			if err := r.Gather.Secret(ctx, s, o.Namespace, o.Spec.Source.DSNSecretRef.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Reconciler) objects(ctx context.Context, s *compile.Snapshot) error {
	for _, ns := range r.members(ctx, s, "EdgeNode") { // whether there is one opens the door for them
		var list v1alpha1.EdgeNodeList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("edge nodes of namespace %s: %w", ns, err)
		}
		for i := range list.Items {
			s.Edges.Add(&list.Items[i])
		}
	}
	for _, ns := range r.members(ctx, s, "Organization") {
		var list v1alpha1.OrganizationList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns)); err != nil {
			return fmt.Errorf("organisations of namespace %s: %w", ns, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			s.Organizations.Add(o)
			if o.Spec.Webhook != nil {
				if err := r.Gather.Secret(ctx, s, o.Namespace, o.Spec.Webhook.SecretRef.Name); err != nil {
					return err
				}
			}
		}
	}
	if err := r.sources(ctx, s); err != nil {
		return err
	}
	var names []string
	for name := range s.Catalog.Scenarios {
		names = append(names, name)
	}
	if err := r.Gather.Selecting(ctx, s, names...); err != nil {
		return err
	}
	names = append(names, compile.ScenariosNamed(s.Platform)...)
	if err := gather.ByName(ctx, r.Gather, s, "Scenario", s.Scenarios, names...); err != nil {
		return err
	}
	var profiles []string
	for name := range s.Catalog.Profiles {
		profiles = append(profiles, name)
	}
	return gather.ByName(ctx, r.Gather, s, "DeviceProfile", s.Profiles, profiles...)
}

func (r *Reconciler) members(ctx context.Context, s *compile.Snapshot, of string) []string {
	namespaces, err := r.Gather.Members(ctx, s.Platform, of)
	if err != nil {
		return []string{s.Platform.Namespace}
	}
	return namespaces
}
