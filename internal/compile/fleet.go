package compile

import (
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
)

// FleetPlan is what a DeviceFleet becomes.
type FleetPlan struct {
	Document    contract.Fleet
	Credentials contract.Credentials
	// CA is nil for fleets whose devices do not hold certificates of ours.
	CA *FleetCA
	// Connection is what the vendor needs to reach the broker.
	Connection Connection
	// Rejected rows, the first of them; Refused counts them all, Total all rows that were read.
	Rejected       []v1alpha1.RejectedRow
	Refused, Total int
	// CAPending is set while cert-manager has not issued the fleet's CA.
	CAPending bool
}

// FleetCA is the CA under which a fleet's devices get certificates. The vendor signs with it in its own factory; name
// constraints keep it to the fleet's own names.
type FleetCA struct {
	// Name of the Certificate and its Secret in the platform's namespace.
	Name string
	// Domain that the CA is constrained to.
	Domain string
	Spec   v1alpha1.FleetX509
	// CopyTo is the Secret in the vendor's namespace.
	CopyTo types.NamespacedName
	// Issued is what cert-manager put into the Secret; empty until it did.
	Issued map[string][]byte
}

// Connection is written to a Secret in the vendor's namespace.
type Connection struct {
	Secret types.NamespacedName
	Fleet  string
	// Host and Port of the MQTT listener.
	Host string
	Port int32
	// Method is "X509" or "Password".
	Method string
	// URIPrefix precedes the device's name in its certificate's URI.
	URIPrefix string
	// Messages is the URL to which a cloud posts; empty but for access mode Platform.
	Messages string
	// BrokerCA is the PEM certificate by which a device knows the broker; empty until it is issued.
	BrokerCA []byte
}

// FleetCAName names the Certificate of a fleet's CA, and its Secret, in the platform's namespace.
func FleetCAName(fleet string) string { return "fleet-" + fleet + "-ca" }

// Fleet compiles a DeviceFleet of s.Platform.
func Fleet(s *Snapshot, o *v1alpha1.DeviceFleet) (FleetPlan, Problems) {
	var c problems
	claimName(&c, o, s.Fleets)
	checkProfile(&c, s, o)
	checkAccess(&c, o)
	if o.Spec.Vendor != nil {
		if _, ok := s.Organizations.Get(o.Spec.Vendor.Name); !ok {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonOrganizationNotFound, "spec.vendor.name", "Organization "+o.Spec.Vendor.Name+" is not there; create it")
		}
	}
	plan := FleetPlan{
		Document:    contract.Fleet{Namespace: o.Namespace, Profile: o.Spec.ProfileRef.Name, AccessMode: string(o.Spec.AccessMode), Devices: map[string]contract.Device{}},
		Credentials: contract.Credentials{Namespace: o.Namespace, Method: string(o.Spec.Identity.Type), Devices: map[string]contract.Credential{}},
		Connection:  connection(s, o),
	}
	plan.Document.Mapping = mapping(&c, s, o)
	if o.Spec.Vendor != nil {
		plan.Document.Vendor = o.Spec.Vendor.Name
	}
	if o.Spec.Identity.Type != v1alpha1.FleetIdentityPassword {
		issuers(&c, s, o, &plan)
	}
	inv := newInventory(registrar(s, o, &plan))
	inv.read(&c, s, o)
	plan.Total, plan.Refused, plan.Rejected = inv.total, inv.refused, inv.rejected
	if o.Spec.AccessMode == v1alpha1.AccessPlatform {
		plan.Credentials.Limits.MessagesPerMinute = cloudLimit(o, len(plan.Document.Devices))
	}
	if plan.Refused > 0 {
		first := plan.Rejected[0]
		c.partial(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonInvalidRows, "spec.inventory",
			fmt.Sprintf("%d of %d rows rejected; first: %s line %d: %s", plan.Refused, plan.Total, first.Source, first.Line, first.Reason))
	}
	if o.Spec.Suspended {
		plan.Credentials.Devices = map[string]contract.Credential{}
	}
	return plan, c.list
}

func checkProfile(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) {
	p, ok := s.Profiles.Get(o.Spec.ProfileRef.Name)
	if !ok {
		p = s.Catalog.Profiles[o.Spec.ProfileRef.Name]
	}
	switch want := o.Spec.ProfileRef.SchemaVersion; {
	case p == nil:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonProfileNotFound, "spec.profileRef.name",
			"DeviceProfile "+o.Spec.ProfileRef.Name+" is neither on the platform nor in the catalogue; create it")
	case want != nil && *want != p.Spec.SchemaVersion:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSchemaVersionMismatch, "spec.profileRef.schemaVersion",
			fmt.Sprintf("is %d, DeviceProfile %s has %d", *want, o.Spec.ProfileRef.Name, p.Spec.SchemaVersion))
	}
}

// checkAccess refuses what this version does not serve: better no fleet than one that silently lacks half of it.
func checkAccess(c *problems, o *v1alpha1.DeviceFleet) {
	if o.Spec.AccessMode == v1alpha1.AccessGateway {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.accessMode", string(o.Spec.AccessMode)+" is not served by this version; use Device")
	}
	if o.Spec.Placement == v1alpha1.PlacementEdge {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.placement", "Edge is not served by this version; use Center")
	}
	if x := o.Spec.Identity.X509; x != nil && x.Mode == v1alpha1.X509VendorCA {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.identity.x509.mode", "VendorCA is not served by this version; use Issued")
	}
}

func connection(s *Snapshot, o *v1alpha1.DeviceFleet) Connection {
	p := s.Platform
	host, port := MQTTEndpoint(p)
	out := Connection{
		Secret: types.NamespacedName{Namespace: o.Namespace, Name: o.Name + "-connection"},
		Fleet:  o.Name, Host: host, Port: port, Method: string(o.Spec.Identity.Type),
		URIPrefix: contract.DeviceURI(p.Name, o.Name, ""),
		BrokerCA:  s.Secrets[types.NamespacedName{Namespace: p.Namespace, Name: SecretBrokerTLS}]["ca.crt"],
	}
	if o.Spec.AccessMode == v1alpha1.AccessPlatform {
		out.Messages = CloudEndpoint(p, o.Name)
	}
	return out
}

// issuers takes the fleet's CA certificate from its Secret into the bundle.
func issuers(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet, plan *FleetPlan) {
	c.requires(s, GroupCertManager, "spec.identity.type", "which issues the fleet's CA")
	plan.CA = &FleetCA{
		Name: FleetCAName(o.Name), Domain: contract.FleetDomain(o.Name, s.Platform.Name),
		CopyTo: types.NamespacedName{Namespace: o.Namespace, Name: o.Name + "-ca"},
	}
	if o.Spec.Identity.X509 != nil {
		plan.CA.Spec = *o.Spec.Identity.X509
	}
	for _, ns := range slices.Compact([]string{s.Platform.Namespace, o.Namespace}) {
		if s.Namespaces[ns].SecretsRefused {
			c.waiting(v1alpha1.ConditionSecretsAdmitted, v1alpha1.ReasonSecretNotAdmitted, "metadata.namespace",
				fmt.Sprintf("Dizuo may not write the fleet's credentials to namespace %s: its owner admits it with `dizuo admit %s`", ns, ns))
		}
	}
	plan.CA.Issued = issued(s, plan.CA.Name)
	pem := plan.CA.Issued["tls.crt"]
	if len(pem) == 0 {
		plan.CAPending = true
		return
	}
	plan.Credentials.Issuers = []string{string(pem)}
}

// registrar gives what takes good rows into the plan, one at a time, and says what is wrong with the others.
func registrar(s *Snapshot, o *v1alpha1.DeviceFleet, plan *FleetPlan) func(row) string {
	clients := map[string]bool{}
	return func(r row) string {
		client := r.ClientID
		if client == "" {
			client = contract.ClientID(o.Name, r.Device)
		}
		_, twice := plan.Document.Devices[r.Device]
		switch reason := checkRow(s, o, r); {
		case reason != "":
			return reason
		case twice:
			return "device stands in the inventory twice; remove one of the rows"
		case clients[client]:
			return "clientID is bound to another device of the fleet; give each its own"
		}
		clients[client] = true
		plan.Document.Devices[r.Device] = r.document()
		if r.Community != "" { // else in store: known, and not admitted before it hangs somewhere
			plan.Credentials.Devices[r.Device] = contract.Credential{ClientID: r.ClientID, PasswordHash: r.PasswordHash}
		}
		return ""
	}
}

var (
	objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	clientID   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// quoted repeats a value only if it can be the name of an object: another may be a name of a person or an address.
func quoted(v string) string {
	if objectName.MatchString(v) {
		return v
	}
	return "of that name"
}

// checkRow says what is wrong with a row, or nothing.
func checkRow(s *Snapshot, o *v1alpha1.DeviceFleet, r row) string {
	if !contract.ValidDevice(r.Device) {
		return "device: want 1 to 64 letters, digits, _ or -"
	}
	community, ok := s.Communities.Get(r.Community)
	switch {
	case r.Community == "" && (r.Grid != "" || r.Compound != ""):
		return "community: empty; write the name of the Community that the grid or compound is in"
	case r.Community != "" && !ok:
		return "community: no Community " + quoted(r.Community) + " on this platform"
	case r.Grid != "" && !slices.ContainsFunc(community.Spec.Grids, func(g v1alpha1.Grid) bool { return g.Name == r.Grid }):
		return "grid: Community " + r.Community + " has no grid " + quoted(r.Grid)
	case r.Compound != "" && !slices.ContainsFunc(community.Spec.Compounds, func(k v1alpha1.Compound) bool { return k.Name == r.Compound }):
		return "compound: Community " + r.Community + " has no compound " + quoted(r.Compound)
	case r.ClientID != "" && !clientID.MatchString(r.ClientID):
		return "clientID: want 1 to 64 letters, digits, _ or -"
	}
	// Whether such a device is there or not: it may come, and would find its client id taken, or take it from this one.
	if fleet, device, ok := contract.ParseClientID(r.ClientID); ok && (fleet != o.Name || device != r.Device) {
		return "clientID: " + fleet + "_ at its beginning stands for the devices of fleet " + fleet + " (`<fleet>_<device>`); bind one without _, or with a capital letter before it"
	}
	if o.Spec.Identity.Type == v1alpha1.FleetIdentityPassword {
		if _, err := password.Parse(r.PasswordHash); err != nil {
			return "passwordHash: want a hash as `dizuo fleet passwords` makes it: " + err.Error()
		}
		return ""
	}
	if r.PasswordHash != "" {
		return "passwordHash: the fleet's identity type is X509; leave it out"
	}
	return ""
}
