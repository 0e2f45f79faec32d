package compile

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// FleetPlan is what a DeviceFleet becomes.
type FleetPlan struct {
	Document    contract.Fleet
	Credentials contract.Credentials
	// CA is nil for fleets whose devices do not hold certificates of ours.
	CA *FleetCA
	// Connection is what the vendor needs to reach the broker.
	Connection Connection
	// Rejected rows, the first of them; Refused counts them all, ByCode by what is wrong, Total all rows that were read.
	Rejected       []v1alpha1.RejectedRow
	ByCode         []v1alpha1.RejectedCount `json:",omitempty"`
	Refused, Total int
	// CAPending is set while cert-manager has not issued the fleet's CA.
	CAPending bool

	claims []DeviceClaim
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
	if o.Spec.Vendor != nil {
		plan.Document.Vendor = o.Spec.Vendor.Name
	}
	if o.Spec.Identity.Type != v1alpha1.FleetIdentityPassword {
		issuers(&c, s, o, &plan)
	}
	rows := newChecker(s, o)
	inv := newInventory(registrar(rows, &plan))
	inv.read(&c, s, o)
	plan.claims = rows.claims
	plan.Total, plan.Refused, plan.Rejected, plan.ByCode = inv.total, inv.refused, inv.rejected, inv.byCode()
	if plan.Refused > 0 {
		c.partial(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonInvalidRows, "spec.inventory", summary(plan))
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
	if o.Spec.AccessMode != v1alpha1.AccessDevice {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.accessMode", string(o.Spec.AccessMode)+" is not served by this version; use Device")
	}
	if o.Spec.Placement == v1alpha1.PlacementEdge {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.placement", "Edge is not served by this version; use Center")
	}
	if o.Spec.Mapping != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.mapping", "is not served by this version; send the profile's fields")
	}
	if x := o.Spec.Identity.X509; x != nil && x.Mode == v1alpha1.X509VendorCA {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.identity.x509.mode", "VendorCA is not served by this version; use Issued")
	}
}

func connection(s *Snapshot, o *v1alpha1.DeviceFleet) Connection {
	p := s.Platform
	host, port := MQTTEndpoint(p)
	return Connection{
		Secret: types.NamespacedName{Namespace: o.Namespace, Name: o.Name + "-connection"},
		Fleet:  o.Name, Host: host, Port: port, Method: string(o.Spec.Identity.Type),
		URIPrefix: contract.DeviceURI(p.Name, o.Name, ""),
		BrokerCA:  s.Secrets[types.NamespacedName{Namespace: p.Namespace, Name: SecretBrokerTLS}]["ca.crt"],
	}
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
