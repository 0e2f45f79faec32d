package devicefleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/artifact"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/shelf"
)

// gather reads profile, vendor, communities and inventories that a fleet names, and its CA.
func (r *Reconciler) gather(ctx context.Context, o *v1alpha1.DeviceFleet) (*compile.Snapshot, compile.Problems, error) {
	s, problems, err := r.Gather.Start(ctx, kind, o.Namespace)
	if err != nil || s.Platform == nil {
		return s, problems, err
	}
	if err := gather.ByName(ctx, r.Gather, s, kind, s.Fleets, o.Name); err != nil {
		return nil, nil, err
	}
	if err := gather.ByName(ctx, r.Gather, s, "DeviceProfile", s.Profiles, o.Spec.ProfileRef.Name); err != nil {
		return nil, nil, err
	}
	if o.Spec.Vendor != nil {
		if err := gather.ByName(ctx, r.Gather, s, "Organization", s.Organizations, o.Spec.Vendor.Name); err != nil {
			return nil, nil, err
		}
	}
	if err := r.secrets(ctx, s, o); err != nil {
		return nil, nil, err
	}
	reads := map[origin]bool{}
	if err := r.inventory(ctx, s, o, kit.Key(kind, o), reads); err != nil {
		return nil, nil, err
	}
	if err := r.gateways(ctx, s, o, reads); err != nil {
		return nil, nil, err
	}
	r.remembered.reads(client.ObjectKeyFromObject(o), reads)
	if err := r.named(ctx, s, o); err != nil {
		return nil, nil, err
	}
	return s, problems, r.rivals(ctx, s)
}

// named reads what the rows of a fleet name.
func (r *Reconciler) named(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet) error {
	rows := compile.RowsName(s, o)
	r.remembered.names(client.ObjectKeyFromObject(o), rows)
	if err := gather.ByName(ctx, r.Gather, s, "Community", s.Communities, rows.Communities...); err != nil {
		return err
	}
	if err := gather.ByName(ctx, r.Gather, s, "Organization", s.Organizations, rows.Maintainers...); err != nil {
		return err
	}
	namespaces, err := r.Gather.Members(ctx, s.Platform, "Community")
	if err != nil {
		return err
	}
	s.GridsThere = map[string]bool{}
	for _, grid := range rows.Grids {
		var there v1alpha1.CommunityList
		if err := r.Client.List(ctx, &there, client.MatchingFields{gather.IndexGrid: grid}, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("communities with grid %s: %w", grid, err)
		}
		s.GridsThere[grid] = slices.ContainsFunc(there.Items, func(c v1alpha1.Community) bool { return slices.Contains(namespaces, c.Namespace) })
	}
	return nil
}

// rivals tells the platform's index of device claims which fleets there are.
func (r *Reconciler) rivals(ctx context.Context, s *compile.Snapshot) error {
	namespaces, err := r.Gather.Members(ctx, s.Platform, kind)
	if err != nil {
		return err
	}
	var fleets []*v1alpha1.DeviceFleet
	for _, ns := range namespaces {
		var list v1alpha1.DeviceFleetList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("fleets of namespace %s: %w", ns, err)
		}
		for i := range list.Items {
			if list.Items[i].DeletionTimestamp.IsZero() {
				fleets = append(fleets, &list.Items[i])
			}
		}
	}
	index := r.claims.of(kit.PlatformKey(s.Platform))
	index.Know(fleets)
	s.Claimed = index.Lost
	return nil
}

// artifact takes a fleet's artefact from the store, which fetches what it has not and then calls the fleet of that key again.
func (r *Reconciler) artifact(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet, key shelf.Key, reads map[origin]bool) error {
	if o.Spec.Inventory.Artifact == nil {
		return nil
	}
	a := o.Spec.Inventory.Artifact
	ref := artifact.Ref{URL: a.URL, SHA256: a.SHA256}
	if a.SecretRef != nil {
		if err := r.Gather.Secret(ctx, s, o.Namespace, a.SecretRef.Name); err != nil {
			return err
		}
		data := s.Secrets[types.NamespacedName{Namespace: o.Namespace, Name: a.SecretRef.Name}]
		if data == nil {
			return nil // compile says that it is not there
		}
		ref.Credentials = artifact.Credentials{Token: text(data["token"]), Username: text(data["username"]), Password: text(data["password"])}
	}
	got := r.Artifacts.Get(o.Namespace, ref, key.Name, func() { r.Wakes.Wake(key) })
	out := compile.Artifact{Data: got.Data, Mismatch: errors.Is(got.Err, artifact.ErrDigest), RetryAt: got.RetryAt}
	if got.Err != nil {
		out.Problem = got.Err.Error()
	}
	if out.Data != nil {
		at := origin{"artifact", client.ObjectKeyFromObject(o)}
		reads[at] = true
		source, err := r.remembered.source(types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, at, a.SHA256, func() (string, *compile.Source, error) {
			return a.SHA256, compile.SourceOfArtifact(out.Data), nil
		})
		if err != nil {
			return err
		}
		out.Source = source
	}
	if s.Artifacts == nil {
		s.Artifacts = map[types.NamespacedName]compile.Artifact{}
	}
	s.Artifacts[client.ObjectKeyFromObject(o)] = out
	return nil
}

// text takes the line end from a value of a Secret that was made from a file.
func text(value []byte) string { return strings.TrimSpace(string(value)) }

func (r *Reconciler) secrets(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet) error {
	if err := r.Gather.Admission(ctx, s, o.Namespace); err != nil {
		return err
	}
	for _, name := range append(compile.FleetCANames(o, s.Now), compile.SecretBrokerTLS, compile.SecretDevices, compile.SecretEdges) {
		if err := r.Gather.Secret(ctx, s, s.Platform.Namespace, name); err != nil {
			return err
		}
	}
	return nil
}

// inventory takes what a fleet's rows stand in. The fleet of the key is the one that reads them. A Secret that was parsed is not read again.
func (r *Reconciler) inventory(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet, key shelf.Key, reads map[origin]bool) error {
	if o.Spec.Inventory == nil {
		return nil
	}
	var sources []*compile.Source
	for _, ref := range o.Spec.Inventory.Secrets {
		at := types.NamespacedName{Namespace: o.Namespace, Name: ref.Name}
		version, err := r.Gather.SecretVersion(ctx, s, at)
		switch {
		case err != nil:
			return err
		case version == "":
			continue
		case compile.Full(sources): // it is there, and more need not be known
			s.Secrets[at] = map[string][]byte{}
			continue
		}
		reads[origin{"Secret", at}] = true
		source, err := r.remembered.source(types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, origin{"Secret", at}, version, func() (string, *compile.Source, error) {
			secret, err := r.Gather.Secrets.Read(ctx, at)
			if err != nil || secret == nil {
				return "", nil, err
			}
			return secret.ResourceVersion, compile.SourceOfSecret(at.Name, secret.Data), nil
		})
		if err != nil {
			return err
		}
		if source != nil {
			s.Inventories[at] = source
			sources = append(sources, source)
		}
	}
	return r.artifact(ctx, s, o, key, reads)
}

// gateways reads the fleets of the same namespace whose devices speak for rows of this one, and their inventories.
func (r *Reconciler) gateways(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DeviceFleet, reads map[origin]bool) error {
	for _, name := range compile.GatewaysNamed(s, o) {
		if err := gather.ByName(ctx, r.Gather, s, kind, s.Fleets, name); err != nil {
			return err
		}
		f, ok := s.Fleets.Get(name)
		if !ok || f.Namespace != o.Namespace {
			continue
		}
		if err := r.inventory(ctx, s, f, kit.Key(kind, o), reads); err != nil {
			return err
		}
	}
	return nil
}
