package compile

import (
	"fmt"
	"regexp"
	"slices"
	"time"

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
	// PreviousCAs are taken beside it, each until its end in Previous.
	PreviousCAs []FleetCA
	Previous    []v1alpha1.PreviousCA
	// WakeAt is the first of these ends; zero if there is none.
	WakeAt time.Time
	// Fingerprints of the CA certificates that are taken, as "sha256:" and hexadecimal.
	Fingerprints []string
	// Connection is what the vendor needs to reach the broker.
	Connection Connection
	// Rejected rows, the first of them; Refused counts them all, Total all rows that were read.
	Rejected       []v1alpha1.RejectedRow
	Refused, Total int
	// CAPending is set while cert-manager has not issued the fleet's CA.
	CAPending bool
}

// Connection is written to a Secret in the vendor's namespace.
type Connection struct {
	Secret types.NamespacedName
	Fleet  string
	// Host and Port of the MQTT listener.
	Host string
	Port int32
	// Method is "X509" or "Password", AccessMode "Device", "Gateway" or "Platform".
	Method, AccessMode string
	// URIPrefix precedes the device's name in its certificate's URI.
	URIPrefix string
	// BrokerCA is the PEM certificate by which a device knows the broker; empty until it is issued.
	BrokerCA []byte
}

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
	plan.Document.Limits = contract.Limits{MessagesPerMinute: o.Spec.Limits.MessagesPerMinute, PayloadBytes: o.Spec.Limits.PayloadBytes, Subscriptions: o.Spec.Limits.Subscriptions}
	plan.Credentials.Limits = contract.Limits{PayloadBytes: o.Spec.Limits.PayloadBytes, Subscriptions: o.Spec.Limits.Subscriptions}
	identity(&c, s, o, &plan)
	if o.Spec.Placement == v1alpha1.PlacementEdge {
		plan.Document.Placement = string(v1alpha1.PlacementEdge)
	}
	inv := newInventory(registrar(s, o, &plan))
	inv.read(&c, s, o)
	plan.Total, plan.Refused, plan.Rejected = inv.total, inv.refused, inv.rejected
	if plan.Refused > 0 {
		first := plan.Rejected[0]
		c.partial(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonInvalidRows, "spec.inventory",
			fmt.Sprintf("%d of %d rows rejected; first: %s line %d: %s", plan.Refused, plan.Total, first.Source, first.Line, first.Reason))
	}
	if o.Spec.Suspended {
		plan.Credentials.Devices = map[string]contract.Credential{}
		plan.Credentials.AccessMode, plan.Credentials.PlatformHash = "", ""
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
	if o.Spec.Mapping != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.mapping", "is not served by this version; send the profile's fields")
	}
}

func connection(s *Snapshot, o *v1alpha1.DeviceFleet) Connection {
	p := s.Platform
	host, port := MQTTEndpoint(p)
	return Connection{
		Secret: types.NamespacedName{Namespace: o.Namespace, Name: o.Name + "-connection"},
		Fleet:  o.Name, Host: host, Port: port, Method: string(o.Spec.Identity.Type), AccessMode: string(o.Spec.AccessMode),
		URIPrefix: contract.DeviceURI(p.Name, o.Name, ""),
		BrokerCA:  s.Secrets[types.NamespacedName{Namespace: p.Namespace, Name: SecretBrokerTLS}]["ca.crt"],
	}
}

// registrar gives what takes good rows into the plan, one at a time, and says what is wrong with the others.
func registrar(s *Snapshot, o *v1alpha1.DeviceFleet, plan *FleetPlan) func(row) string {
	clients := map[string]bool{}
	speakers := newSpeakers(s, o)
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
		via, reason := speakers.of(r)
		if reason != "" {
			return reason
		}
		clients[client] = true
		plan.Document.Devices[r.Device] = r.document()
		if r.Community == "" { // in store: known, and not admitted before it hangs somewhere
			return ""
		}
		if via != "" || o.Spec.AccessMode != v1alpha1.AccessPlatform { // else the payload of the cloud names it
			plan.Credentials.Devices[r.Device] = credential(s, r, via)
		}
		return ""
	}
}

// credential gives what a device proves itself by. A hash whose overlap is over is left out.
func credential(s *Snapshot, r row, via string) contract.Credential {
	c := contract.Credential{ClientID: r.ClientID, PasswordHash: r.PasswordHash, Via: via}
	if until, err := time.Parse(time.RFC3339, r.PreviousUntil); err == nil && r.PreviousPasswordHash != "" && s.Now.Before(until) {
		c.PreviousHash, c.PreviousUntil = r.PreviousPasswordHash, until.Unix()
	}
	return c
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
	return checkPasswords(o, r)
}

// checkPasswords says what is wrong with the hashes of a row, or nothing.
func checkPasswords(o *v1alpha1.DeviceFleet, r row) string {
	switch {
	case o.Spec.Identity.Type != v1alpha1.FleetIdentityPassword && (r.PasswordHash != "" || r.PreviousPasswordHash != ""):
		return "passwordHash: the fleet's identity type is X509; leave it out"
	case o.Spec.Identity.Type != v1alpha1.FleetIdentityPassword || o.Spec.AccessMode == v1alpha1.AccessGateway || o.Spec.AccessMode == v1alpha1.AccessPlatform:
		return ""
	case (r.PreviousPasswordHash == "") != (r.PreviousUntil == ""):
		return "previousPasswordHash and previousUntil belong together; write both, or neither"
	}
	if _, err := password.Parse(r.PasswordHash); err != nil {
		return "passwordHash: want a hash as `dizuo fleet passwords` makes it: " + err.Error()
	}
	if r.PreviousPasswordHash == "" {
		return ""
	}
	if _, err := password.Parse(r.PreviousPasswordHash); err != nil {
		return "previousPasswordHash: want a hash as `dizuo fleet passwords --rotate` moves it there: " + err.Error()
	}
	if _, err := time.Parse(time.RFC3339, r.PreviousUntil); err != nil {
		return "previousUntil: want a time such as 2026-12-31T00:00:00Z"
	}
	return ""
}
