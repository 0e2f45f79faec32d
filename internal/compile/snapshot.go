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
	Edges         Named[*v1alpha1.EdgeNode]

	// Approvers are the records of organisations' approvers, by the Organization's name; nil outside a cluster, where none are kept.
	Approvers map[string]ApproversRecord
	// Approvals are the records of agreements' approvals, by namespace and name; nil outside a cluster, where none are kept.
	Approvals map[types.NamespacedName]ApprovalsRecord

	// GridsThere are names of grids that some Community of the platform has, of those that the rows of a fleet name; Communities that are
	// in the Snapshot need not be told of here.
	GridsThere map[string]bool
	// Artifacts are the inventories that fleets name by address and digest, by the fleet's namespace and name.
	Artifacts map[types.NamespacedName]Artifact
	// Inventories are Secrets with rows that were parsed before; any other is taken from Secrets.
	Inventories map[types.NamespacedName]*Source
	// Claimed tells whether another fleet of the platform holds what a device of the given fleet claims, and which one; nil where nothing
	// is contested.
	Claimed func(fleet types.NamespacedName, claim DeviceClaim) (holder types.NamespacedName, lost bool)
	// Turns counts the changes of what Claimed tells of the fleet at hand; see DeviceClaims.
	Turns uint64

	// Secrets by namespace and name; a nil value means that the Secret is not there.
	Secrets map[types.NamespacedName]map[string][]byte
	// Generated holds random values for Secrets that are made once, by namespace and name; see GeneratedSecrets.
	Generated map[types.NamespacedName]map[string][]byte
	// Standing is how much of the platform's stack stands in the cluster; for GridPlatforms only.
	Standing Standing
	// Edge is what the cluster and the nodes know of the EdgeNode at hand; for EdgeNodes only.
	Edge EdgeStanding
	// Clouds says that the platform has a fleet of access mode Platform; for GridPlatforms only.
	Clouds bool
	// CityGuardrails are the ConfigMaps with guardrails that the platform names, as they stand: file to text, by name. Those that
	// are not there are not in it. For GridPlatforms only.
	CityGuardrails map[string]map[string]string
	// Guardrails are the guardrails of the city's own that were accepted last, by ConfigMap, file and text; nil if none ever were.
	Guardrails map[string]map[string]string
	// MissingAPIs are API groups that the cluster does not serve, such as "cert-manager.io".
	MissingAPIs []string
}

// Artifact is a file that was fetched, or what keeps it from being fetched; the zero Artifact is on its way.
type Artifact struct {
	// Data is the content, which has the digest that the spec names; it may be gzipped.
	Data []byte
	// Source is Data, parsed before; nil where it was not.
	Source *Source
	// Problem says why there is no content, and what to do. It never holds credentials.
	Problem string
	// Mismatch is set when what was fetched has another digest.
	Mismatch bool
	// RetryAt is when it is tried again; zero where there is no need to.
	RetryAt time.Time
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
