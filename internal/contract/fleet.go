package contract

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
	// Devices by name.
	Devices map[string]Device `json:"devices"`
}

// Device is a registry row. It is the only place that says where a device hangs: a move reissues nothing.
type Device struct {
	// Community is the name of the Community object.
	Community string `json:"community"`
	Grid      string `json:"grid,omitempty"`
	Compound  string `json:"compound,omitempty"`
	Building  string `json:"building,omitempty"`
	Unit      string `json:"unit,omitempty"`
	// Household is a platform pseudonym, never a name or an address.
	Household string `json:"household,omitempty"`
	// Via is the device that speaks for this one in access mode Gateway.
	Via string `json:"via,omitempty"`
	// Attributes are free facts that scenarios may read, such as "livesAlone": "true".
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Credentials is the document below dizuo/credentials/<name> of a ShardCredentials: how the devices of a fleet prove who
// they are. Only the roles broker and auth read it.
type Credentials struct {
	// Namespace of the DeviceFleet object.
	Namespace string `json:"namespace"`
	// Method is "X509" or "Password".
	Method string `json:"method"`
	// Issuers are the CA certificates (PEM) under which the fleet's device certificates stand; two during a rotation.
	Issuers []string `json:"issuers,omitempty"`
	// Devices by name; a device that is not here is not admitted.
	Devices map[string]Credential `json:"devices"`
}

// Credential is what auth needs to know of one device.
type Credential struct {
	// ClientID is the MQTT client id bound to the device; empty means ClientID(fleet, device).
	ClientID string `json:"clientId,omitempty"`
	// PasswordHash is empty for X.509, else "sha256:<salt>:<hash>" (both base64url without padding; the salt is 16 random
	// bytes, the hash SHA-256 of salt and password, for generated passwords of 128 random bits) or an argon2id PHC string.
	PasswordHash string `json:"passwordHash,omitempty"`
}
