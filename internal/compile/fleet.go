package compile

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// FleetPlan is what a DeviceFleet becomes.
type FleetPlan struct {
	// Document and Credentials are without the devices, which are in Rows; see Decoded.
	Document    contract.Fleet
	Credentials contract.Credentials
	Rows        contract.DeviceRows `json:"-"`
	// CA is nil for fleets whose devices do not hold certificates of ours.
	CA *FleetCA
	// PreviousCAs are taken beside it, each until its end in Previous.
	PreviousCAs []FleetCA
	Previous    []v1alpha1.PreviousCA
	// WakeAt is the first of these ends, or of Document.EdgeUntil; zero if there is none.
	WakeAt time.Time
	// Fingerprints of the CA certificates that are taken, as "sha256:" and hexadecimal.
	Fingerprints []string
	// Connection is what the vendor needs to reach the broker.
	Connection Connection
	// Rejected rows, the first of them; Refused counts them all, ByCode by what is wrong, Total all rows that were read.
	Rejected       []v1alpha1.RejectedRow
	ByCode         []v1alpha1.RejectedCount `json:",omitempty"`
	Refused, Total int
	// CAPending is set while cert-manager has not issued the fleet's CA.
	CAPending bool

	rows *fleetRows
}

// RowsDigest names the content of Rows; empty for the zero plan.
func (p FleetPlan) RowsDigest() string {
	if p.rows == nil {
		return ""
	}
	return p.rows.digest
}

// Decoded gives a plan whose documents hold the devices, for people and tests to read.
func (p FleetPlan) Decoded() FleetPlan {
	var err error
	if p.Document.Devices, p.Credentials.Devices, err = p.Rows.Decode(); err != nil {
		panic(err) // compile encoded them
	}
	return p
}

// Connection is written to a Secret in the vendor's namespace.
type Connection struct {
	Secret types.NamespacedName
	Fleet  string
	// Host and Port of the MQTT listener; empty where devices connect to the edge node of their community.
	Host string
	Port int32
	// Method is "X509" or "Password", AccessMode "Device", "Gateway" or "Platform".
	Method, AccessMode string
	// URIPrefix precedes the device's name in its certificate's URI.
	URIPrefix string
	// Messages is the URL to which a cloud posts; empty but for access mode Platform.
	Messages string
	// BrokerCA is the PEM certificate by which a device knows the broker, or its edge node; empty until it is issued.
	BrokerCA []byte
}

// Fleet compiles a DeviceFleet of s.Platform.
func Fleet(s *Snapshot, o *v1alpha1.DeviceFleet) (FleetPlan, Problems) {
	return FleetAgain(s, o, FleetPlan{})
}

// FleetAgain gives what Fleet gives. It takes the rows from an earlier plan of the fleet where nothing that decides on them has changed
// since: then Rows are the same slice. The claims of that plan stand in the index whose Turns s has: of others it would not be told.
func FleetAgain(s *Snapshot, o *v1alpha1.DeviceFleet, before FleetPlan) (FleetPlan, Problems) {
	var c problems
	claimName(&c, o, s.Fleets)
	checkProfile(&c, s, o)
	if o.Spec.Vendor != nil {
		if _, ok := s.Organizations.Get(o.Spec.Vendor.Name); !ok {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonOrganizationNotFound, "spec.vendor.name", "Organization "+o.Spec.Vendor.Name+" is not there; create it")
		}
	}
	plan := FleetPlan{
		Document:    contract.Fleet{Namespace: o.Namespace, Profile: o.Spec.ProfileRef.Name, AccessMode: string(o.Spec.AccessMode)},
		Credentials: contract.Credentials{Namespace: o.Namespace, Method: string(o.Spec.Identity.Type)},
		Connection:  connection(s, o),
	}
	plan.Document.Mapping = mapping(&c, s, o)
	if o.Spec.Vendor != nil {
		plan.Document.Vendor = o.Spec.Vendor.Name
	}
	plan.Document.Limits = contract.Limits{MessagesPerMinute: o.Spec.Limits.MessagesPerMinute, PayloadBytes: o.Spec.Limits.PayloadBytes, Subscriptions: o.Spec.Limits.Subscriptions}
	plan.Credentials.Limits = contract.Limits{PayloadBytes: o.Spec.Limits.PayloadBytes, Subscriptions: o.Spec.Limits.Subscriptions}
	identity(&c, s, o, &plan)
	if o.Spec.Placement == v1alpha1.PlacementEdge {
		plan.Document.Placement = string(v1alpha1.PlacementEdge)
	}
	plan.Document.EdgeUntil = edgeUntil(s, o)
	plan.wake(plan.Document.EdgeUntil)
	if inv := o.Spec.Inventory; inv != nil && inv.Open != nil {
		checkOpen(&c, o)
		plan.Document.Open, plan.Credentials.Open = true, inv.Open.Max
	}
	rows := rowsOf(s, o, sources(&c, s, o), before.rows)
	waits(&c, rows.unread)
	plan.rows, plan.Rows = rows, rows.rows
	plan.Total, plan.Refused, plan.Rejected, plan.ByCode = rows.total, rows.refused, rows.rejected, rows.byCode
	if o.Spec.AccessMode == v1alpha1.AccessPlatform {
		plan.Credentials.Limits.MessagesPerMinute = cloudLimit(o, plan.Rows.Registered())
	}
	if plan.Refused > 0 {
		c.partial(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonInvalidRows, "spec.inventory", summary(plan))
	}
	if o.Spec.Suspended {
		plan.Credentials.AccessMode, plan.Credentials.PlatformHash, plan.Credentials.Open = "", "", 0
	}
	return plan, c.list
}

// edgeGrace is how long edge nodes are heard for a fleet that is placed at the centre now: the longest autonomy of a node, for which it
// lets the fleet's devices in behind a cut line. A time within the message would not do: the node itself writes it.
const edgeGrace = 720 * time.Hour

// edgeUntil gives until when edge nodes are heard for a fleet that left them; zero where it did not, or that time is over.
func edgeUntil(s *Snapshot, o *v1alpha1.DeviceFleet) time.Time {
	switch was := o.Status.EdgeUntil; {
	case o.Spec.Placement == v1alpha1.PlacementEdge:
	case o.Status.Placement == v1alpha1.PlacementEdge:
		return s.Now.Add(edgeGrace).UTC().Truncate(time.Second)
	case was != nil && s.Now.Before(was.Time):
		return was.UTC()
	}
	return time.Time{}
}

// wake brings WakeAt forward to a time, if it is one.
func (p *FleetPlan) wake(at time.Time) {
	if !at.IsZero() && (p.WakeAt.IsZero() || at.Before(p.WakeAt)) {
		p.WakeAt = at
	}
}

// checkOpen refuses open enrolment where nobody would be let in by it.
func checkOpen(c *problems, o *v1alpha1.DeviceFleet) {
	const at = "spec.inventory.open"
	switch {
	case vendorCA(o) != nil:
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at, "trusts the fleet's own CA, and mode VendorCA has none; write mode Issued, or list the devices")
	case o.Spec.Placement == v1alpha1.PlacementEdge:
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at, "with placement Edge nothing says at which edge node a device comes in; write placement Center, or list the devices")
	}
}

// profileOf gives the profile of a fleet: the platform's own, else the catalogue's; nil if neither has it.
func profileOf(s *Snapshot, o *v1alpha1.DeviceFleet) *v1alpha1.DeviceProfile {
	if p, ok := s.Profiles.Get(o.Spec.ProfileRef.Name); ok {
		return p
	}
	return s.Catalog.Profiles[o.Spec.ProfileRef.Name]
}

// ProfileResolved names the profile of a fleet and its version, as <name>@<version>; empty if there is none.
func ProfileResolved(s *Snapshot, o *v1alpha1.DeviceFleet) string {
	if p := profileOf(s, o); p != nil {
		return fmt.Sprintf("%s@%d", p.Name, p.Spec.SchemaVersion)
	}
	return ""
}

func checkProfile(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) {
	p := profileOf(s, o)
	switch want := o.Spec.ProfileRef.SchemaVersion; {
	case p == nil:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonProfileNotFound, "spec.profileRef.name",
			"DeviceProfile "+o.Spec.ProfileRef.Name+" is neither on the platform nor in the catalogue; create it")
	case want != nil && *want != p.Spec.SchemaVersion:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSchemaVersionMismatch, "spec.profileRef.schemaVersion",
			fmt.Sprintf("is %d, DeviceProfile %s has %d", *want, o.Spec.ProfileRef.Name, p.Spec.SchemaVersion))
	}
}

func connection(s *Snapshot, o *v1alpha1.DeviceFleet) Connection {
	p := s.Platform
	host, port := MQTTEndpoint(p)
	out := Connection{
		Secret: types.NamespacedName{Namespace: o.Namespace, Name: o.Name + "-connection"},
		Fleet:  o.Name, Host: host, Port: port, Method: string(o.Spec.Identity.Type), AccessMode: string(o.Spec.AccessMode),
		URIPrefix: contract.DeviceURI(p.Name, o.Name, ""),
		BrokerCA:  s.Secrets[types.NamespacedName{Namespace: p.Namespace, Name: SecretBrokerTLS}]["ca.crt"],
	}
	if o.Spec.AccessMode == v1alpha1.AccessPlatform {
		out.Messages = CloudEndpoint(p, o.Name)
	}
	if o.Spec.Placement == v1alpha1.PlacementEdge {
		out.Host, out.Port, out.BrokerCA = "", 0, issuedCA(s, p.Namespace, SecretEdges)
	}
	return out
}
