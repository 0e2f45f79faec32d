package contract

import "time"

// Words of a fleet that roles act on.
const (
	// AccessPlatform is the access mode of a fleet for which a vendor's or carrier's cloud speaks.
	AccessPlatform = "Platform"
	// PlacementEdge is the placement of a fleet whose devices connect to the edge node of their community.
	PlacementEdge = "Edge"
	// MaxVia bounds the devices that one connection speaks for: their topics stand in its permissions one by one.
	MaxVia = 500
)

// Fleet is the document below dizuo/fleets/<name> of a ShardFleet: the registry rows of one vendor's devices.
type Fleet struct {
	// Namespace of the DeviceFleet object.
	Namespace string `json:"namespace"`
	// Vendor is the organisation that answers for the fleet, if named.
	Vendor string `json:"vendor,omitempty"`
	// Profile is the name of the DeviceProfile.
	Profile string `json:"profile"`
	// AccessMode is "Device", "Gateway" or "Platform".
	AccessMode string `json:"accessMode"`
	// Placement is "Edge" where devices connect to the edge node of their community; empty is the centre.
	Placement string `json:"placement,omitempty"`
	// EdgeUntil is until when edge nodes are heard though Placement is the centre: the fleet was placed at them before, and what they
	// acknowledged then counts. Zero where it was not, or long ago.
	EdgeUntil time.Time `json:"edgeUntil,omitzero"`
	// Limits of each device; zero values do not bound.
	Limits Limits `json:"limits,omitzero"`
	// Mapping turns a foreign payload into the profile's fields; nil where devices send those.
	Mapping *Mapping `json:"mapping,omitempty"`
	// Open says that devices which no row names are taken in.
	Open bool `json:"open,omitempty"`
	// Devices by name.
	Devices map[string]Device `json:"devices"`
}

// AtEdge reports whether edge nodes may speak for devices of the fleet.
func (f Fleet) AtEdge(now time.Time) bool {
	return f.Placement == PlacementEdge || now.Before(f.EdgeUntil)
}

// Limits bounds what a device may do.
type Limits struct {
	// MessagesPerMinute on average.
	MessagesPerMinute int32 `json:"messagesPerMinute,omitempty"`
	// PayloadBytes of one message.
	PayloadBytes int32 `json:"payloadBytes,omitempty"`
	// Subscriptions of one device, among its own topics.
	Subscriptions int32 `json:"subscriptions,omitempty"`
}

// Mapping turns a payload of a vendor's own form into a profile's fields. Expressions are CEL over `payload` and `topic`.
type Mapping struct {
	// Device gives the device's name, in access mode Platform where one connection speaks for many; else empty.
	Device string `json:"device,omitempty"`
	// Time gives the message's time; empty takes the time of arrival.
	Time string `json:"time,omitempty"`
	// Fields by name of the profile's field.
	Fields map[string]string `json:"fields"`
}

// Device is a registry row. It is the only place that says where a device hangs: a move reissues nothing. Its fields stand in the order of
// their keys, see DeviceRow.
type Device struct {
	// Attributes are free facts that scenarios may read, such as "livesAlone": "true".
	Attributes map[string]string `json:"attributes,omitempty"`
	Building   string            `json:"building,omitempty"`
	// Community is the name of the Community object.
	Community string `json:"community"`
	Compound  string `json:"compound,omitempty"`
	// CRS is that of Longitude and Latitude: "CGCS2000", "WGS84", "GCJ02" or "BD09".
	CRS  string `json:"crs,omitempty"`
	Grid string `json:"grid,omitempty"`
	// Household is a platform pseudonym, never a name or an address.
	Household string `json:"household,omitempty"`
	// InstalledAt is a date, YYYY-MM-DD.
	InstalledAt string `json:"installedAt,omitempty"`
	// Latitude and Longitude in degrees, decimal numbers as text.
	Latitude  string `json:"latitude,omitempty"`
	Longitude string `json:"longitude,omitempty"`
	// Maintainer is the organisation that looks after the device; empty means the fleet's vendor.
	Maintainer string `json:"maintainer,omitempty"`
	MicroGrid  string `json:"microGrid,omitempty"`
	Unit       string `json:"unit,omitempty"`
	// Via is the device that speaks for this one in access mode Gateway, as <fleet>.<device>.
	Via string `json:"via,omitempty"`
}

// Credentials is the document below dizuo/credentials/<name> of a ShardCredentials: how the devices of a fleet prove who
// they are. Only the roles broker, auth and ingest read it.
type Credentials struct {
	// Namespace of the DeviceFleet object.
	Namespace string `json:"namespace"`
	// Method is "X509" or "Password".
	Method string `json:"method"`
	// AccessMode is that of the fleet; empty means "Device".
	AccessMode string `json:"accessMode,omitempty"`
	// Rule is CEL over `cert` that gives the device's name from a certificate of a vendor's own CA; empty where the certificate
	// has the URI of the device.
	Rule string `json:"rule,omitempty"`
	// PlatformHash is the password hash of the one identity that speaks for a fleet of access mode "Platform"; empty for X.509.
	PlatformHash string `json:"platformHash,omitempty"`
	// Open is how many devices that no row names are taken in under the fleet's CA; 0 takes in none.
	Open int32 `json:"open,omitempty"`
	// Limits of a connection; zero values take the platform's own. That of a cloud's messages is what all its devices may send together.
	Limits Limits `json:"limits,omitzero"`
	// Issuers are the CA certificates (PEM) under which the fleet's device certificates stand; two during a rotation.
	Issuers []string `json:"issuers,omitempty"`
	// IssuersUntil are the ends of Issuers by their place, in Unix seconds; 0, or none at that place, has no end.
	IssuersUntil []int64 `json:"issuersUntil,omitempty"`
	// Devices by name; a device that is not here is not admitted.
	Devices map[string]Credential `json:"devices"`
}

// Credential is what auth needs to know of one device. Its fields stand in the order of their keys, see DeviceRow.
type Credential struct {
	// ClientID is the MQTT client id bound to the device; empty means ClientID(fleet, device).
	ClientID string `json:"clientId,omitempty"`
	// PasswordHash is empty for X.509, else "sha256:<salt>:<hash>" (both base64url without padding; the salt is 16 random
	// bytes, the hash SHA-256 of salt and password, for generated passwords of 128 random bits) or an argon2id PHC string.
	PasswordHash string `json:"passwordHash,omitempty"`
	// PreviousHash is taken beside PasswordHash until PreviousUntil, in Unix seconds: the overlap of a rotation.
	PreviousHash  string `json:"previousHash,omitempty"`
	PreviousUntil int64  `json:"previousUntil,omitempty"`
	// Stored says that the device is in store, or refused: known, and not admitted. Only in fleets that take in devices that no row names.
	Stored bool `json:"stored,omitempty"`
	// Via is the device whose connection speaks for this one, which then has none of its own.
	Via string `json:"via,omitempty"`
}

// EndOfIssuer gives when the issuer at a place of Issuers is taken no more, beside its own end; ok is false for never.
func (c Credentials) EndOfIssuer(n int) (end time.Time, ok bool) {
	if n >= len(c.IssuersUntil) || c.IssuersUntil[n] == 0 {
		return time.Time{}, false
	}
	return time.Unix(c.IssuersUntil[n], 0), true
}
