package compile

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// LabelPlatform is the label of a namespace that names the platform it belongs to, by the platform's namespace (a
// namespace holds at most one platform).
const LabelPlatform = v1alpha1.LabelPlatform

// Snapshot is what compile sees of one platform. Gather fills what the object at hand needs and leaves the rest empty;
// the offline commands fill all of it from files.
type Snapshot struct {
	// Now is the time of this pass.
	Now time.Time
	// Platforms are the platforms that an object could belong to: those in its namespace and the one that its namespace names.
	Platforms []*v1alpha1.GridPlatform
	// Platform is the one that was resolved; see Membership.
	Platform *v1alpha1.GridPlatform
	// Namespaces by name.
	Namespaces map[string]Namespace
	// Catalog is what the release ships.
	Catalog Catalog
	// Images are the release's own images, used where the platform names none.
	Images Images

	Communities   Named[*v1alpha1.Community]
	Organizations Named[*v1alpha1.Organization]
	Profiles      Named[*v1alpha1.DeviceProfile]
	Fleets        Named[*v1alpha1.DeviceFleet]
	Scenarios     Named[*v1alpha1.Scenario]
	Datasets      Named[*v1alpha1.Dataset]
	Agreements    Named[*v1alpha1.DataSharingAgreement]

	// Secrets by namespace and name; a nil value means that the Secret is not there.
	Secrets map[types.NamespacedName]map[string][]byte
	// Generated holds random values for Secrets that are made once, by namespace and name; see GeneratedSecrets.
	Generated map[types.NamespacedName]map[string][]byte
	// Standing is how much of the platform's stack stands in the cluster; for GridPlatforms only.
	Standing Standing
	// Clouds says that the platform has a fleet of access mode Platform; for GridPlatforms only.
	Clouds bool
	// MissingAPIs are API groups that the cluster does not serve, such as "cert-manager.io".
	MissingAPIs []string
}

// Namespace is what compile needs to know of a namespace.
type Namespace struct {
	Labels map[string]string
	// Absent is set when there is no such namespace.
	Absent bool
	// SecretsRefused is set when the operator may not read Secrets there: its owner has not admitted Dizuo.
	SecretsRefused bool
}

// Catalog is the data that the release ships: profiles and scenarios that platforms enable by name.
type Catalog struct {
	Profiles  map[string]*v1alpha1.DeviceProfile
	Scenarios map[string]*v1alpha1.Scenario
}

// Images of the release.
type Images struct {
	Node, Postgres string
}

// Named holds the objects of a platform by name. More than one object under a name means that they contend for it.
type Named[T client.Object] map[string][]T

// Add files an object under its name.
func (n Named[T]) Add(o T) { n[o.GetName()] = append(n[o.GetName()], o) }

// Get gives the object that holds the name.
func (n Named[T]) Get(name string) (T, bool) {
	var none T
	if len(n[name]) == 0 {
		return none, false
	}
	return winner(n[name], "Name", name), true
}
