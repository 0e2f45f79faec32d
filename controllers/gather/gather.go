// Package gather reads from the caches what compile needs to know. It is the only step between watch and apply that holds
// a client; what it gives is a compile.Snapshot and nothing else.
package gather

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/secrets"
)

// Field indexes of Communities: by division code, by the names of their grids, and by the scenarios that they say something of.
const (
	IndexDivision = "spec.division"
	IndexGrid     = "spec.grids.name"
	IndexScenario = "spec.scenarios.name"
)

// Field indexes of EdgeNodes by the communities that they serve, and of DeviceFleets by where their devices connect.
const (
	IndexServes    = "spec.communities"
	IndexPlacement = "spec.placement"
)

// Field indexes of DataSharingAgreements by the organisations and the datasets that they name.
const (
	IndexOrganization = "spec.organizations"
	IndexDataset      = "spec.datasets.name"
)

// IndexAccessMode is the field index of DeviceFleets by access mode.
const IndexAccessMode = "spec.accessMode"

// Reader gathers.
type Reader struct {
	// Client reads from the caches.
	Client  client.Reader
	Secrets *secrets.Store
	Catalog compile.Catalog
	Images  compile.Images
	// MissingAPIs names API groups that the cluster does not serve.
	MissingAPIs func() []string
	Now         func() time.Time
}

// Start begins a snapshot for an object of the given kind: its namespace, the platforms that it could belong to, and the
// one that it belongs to. The problems say why it belongs to none.
func (r *Reader) Start(ctx context.Context, kind, namespace string) (*compile.Snapshot, compile.Problems, error) {
	s := &compile.Snapshot{
		Now: r.Now(), Catalog: r.Catalog, Images: r.Images, Namespaces: map[string]compile.Namespace{}, MissingAPIs: r.MissingAPIs(),
		Communities: compile.Named[*v1alpha1.Community]{}, Organizations: compile.Named[*v1alpha1.Organization]{},
		Profiles: compile.Named[*v1alpha1.DeviceProfile]{}, Fleets: compile.Named[*v1alpha1.DeviceFleet]{},
		Inventories: map[types.NamespacedName]*compile.Source{}, Approvers: map[string]compile.ApproversRecord{},
		Approvals: map[types.NamespacedName]compile.ApprovalsRecord{},
		Scenarios: compile.Named[*v1alpha1.Scenario]{}, Datasets: compile.Named[*v1alpha1.Dataset]{},
		Agreements: compile.Named[*v1alpha1.DataSharingAgreement]{}, Edges: compile.Named[*v1alpha1.EdgeNode]{}, Secrets: map[types.NamespacedName]map[string][]byte{},
	}
	if err := r.namespace(ctx, s, namespace); err != nil {
		return nil, nil, err
	}
	for _, ns := range []string{namespace, s.Namespaces[namespace].Labels[compile.LabelPlatform]} {
		if err := r.platforms(ctx, s, ns); err != nil {
			return nil, nil, err
		}
	}
	var problems compile.Problems
	s.Platform, problems = compile.Membership(s, kind, namespace)
	if s.Platform != nil && s.Platform.Namespace != namespace {
		if err := r.namespace(ctx, s, s.Platform.Namespace); err != nil {
			return nil, nil, err
		}
	}
	return s, problems, nil
}

// platforms adds the platforms of a namespace to the snapshot.
func (r *Reader) platforms(ctx context.Context, s *compile.Snapshot, namespace string) error {
	if namespace == "" {
		return nil
	}
	var list v1alpha1.GridPlatformList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("platforms of namespace %s: %w", namespace, err)
	}
	for i := range list.Items {
		s.Platforms = append(s.Platforms, &list.Items[i])
	}
	return nil
}

func (r *Reader) namespace(ctx context.Context, s *compile.Snapshot, name string) error {
	var ns corev1.Namespace
	err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &ns)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	s.Namespaces[name] = compile.Namespace{Labels: ns.Labels, Absent: err != nil}
	return nil
}

// MemberNamespaces reads the member namespaces of the snapshot's platform.
func (r *Reader) MemberNamespaces(ctx context.Context, s *compile.Snapshot) error {
	for _, m := range s.Platform.Spec.Members {
		if _, known := s.Namespaces[m.Namespace]; known {
			continue
		}
		if err := r.namespace(ctx, s, m.Namespace); err != nil {
			return err
		}
	}
	return nil
}

// Members gives the namespaces of a platform, its own first: those that it admits in a role that may hold the kind and that
// name it in their label.
func (r *Reader) Members(ctx context.Context, p *v1alpha1.GridPlatform, kind string) ([]string, error) {
	out := []string{p.Namespace}
	for _, m := range p.Spec.Members {
		s := compile.Snapshot{Platforms: []*v1alpha1.GridPlatform{p}, Namespaces: map[string]compile.Namespace{}}
		if err := r.namespace(ctx, &s, m.Namespace); err != nil {
			return nil, err
		}
		if err := r.platforms(ctx, &s, m.Namespace); err != nil {
			return nil, err
		}
		if home, problems := compile.Membership(&s, kind, m.Namespace); home == p && !problems.Fatal() && !slices.Contains(out, m.Namespace) {
			out = append(out, m.Namespace)
		}
	}
	return out, nil
}

// object is what gather reads by name.
type object[T any] interface {
	*T
	client.Object
}

// ByName reads the objects of a kind that hold a name on the platform, from each of its namespaces.
func ByName[T any, P object[T]](ctx context.Context, r *Reader, s *compile.Snapshot, kind string, into compile.Named[P], names ...string) error {
	namespaces, err := r.Members(ctx, s.Platform, kind)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, have := into[name]; have || name == "" {
			continue
		}
		for _, ns := range namespaces {
			o := P(new(T))
			err := r.Client.Get(ctx, types.NamespacedName{Namespace: ns, Name: name}, o)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s %s/%s: %w", kind, ns, name, err)
			}
			if o.GetDeletionTimestamp().IsZero() {
				into.Add(o)
			}
		}
	}
	return nil
}

// Secret reads a Secret into the snapshot and notes where Dizuo is not admitted.
func (r *Reader) Secret(ctx context.Context, s *compile.Snapshot, namespace, name string) error {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	secret, admitted, err := r.Secrets.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := r.admitted(ctx, s, namespace, admitted); err != nil {
		return err
	}
	if secret != nil {
		s.Secrets[key] = secret.Data
	}
	return nil
}

// SecretVersion gives the resource version of a Secret, "" if it is not there, and notes where Dizuo is not admitted.
func (r *Reader) SecretVersion(ctx context.Context, s *compile.Snapshot, key types.NamespacedName) (string, error) {
	version, admitted, err := r.Secrets.Version(ctx, key)
	if err != nil {
		return "", err
	}
	return version, r.admitted(ctx, s, key.Namespace, admitted)
}

// Admission notes whether Dizuo may read Secrets in a namespace.
func (r *Reader) Admission(ctx context.Context, s *compile.Snapshot, namespace string) error {
	admitted, err := r.Secrets.Admitted(ctx, namespace)
	if err != nil {
		return err
	}
	return r.admitted(ctx, s, namespace, admitted)
}

func (r *Reader) admitted(ctx context.Context, s *compile.Snapshot, namespace string, admitted bool) error {
	if _, known := s.Namespaces[namespace]; !known {
		if err := r.namespace(ctx, s, namespace); err != nil {
			return err
		}
	}
	ns := s.Namespaces[namespace]
	ns.SecretsRefused = !admitted
	s.Namespaces[namespace] = ns
	return nil
}
