// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeviceFleet is a vendor's devices of one profile. A device has no object of its own.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=devicefleets,shortName=fleet,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.profileRef.name`
// +kubebuilder:printcolumn:name="Devices",type=integer,JSONPath=`.status.devices.total`
// +kubebuilder:printcolumn:name="Online",type=integer,JSONPath=`.status.devices.online`
// +kubebuilder:printcolumn:name="Rejected",type=integer,JSONPath=`.status.devices.rejected`
// +kubebuilder:printcolumn:name="Violations",type=integer,JSONPath=`.status.violations`
// +kubebuilder:printcolumn:name="Vendor",type=string,JSONPath=`.spec.vendor.name`,priority=1
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40 && !self.metadata.name.contains('.')",message="the fleet's name becomes part of device identities and topics: write at most 40 lower-case letters, digits and hyphens, no dot, and put the full name into spec.displayName"
type DeviceFleet struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. The name is part of every device's identity `<fleet>.<device>`. No dot, at most 40 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec DeviceFleetSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status DeviceFleetStatus `json:"status,omitzero"`
}

// DeviceFleetList is a list of DeviceFleets.
// +kubebuilder:object:root=true
type DeviceFleetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DeviceFleet `json:"items"`
}

// AccessMode is who speaks for the devices.
// +kubebuilder:validation:Enum=Device;Gateway;Platform
type AccessMode string

// Access modes.
const (
	// AccessDevice: each device speaks for itself.
	AccessDevice AccessMode = "Device"
	// AccessGateway: a device of a fleet speaks for the rows that name it as `via`.
	AccessGateway AccessMode = "Gateway"
	// AccessPlatform: a vendor's or carrier's cloud speaks for all rows, over MQTT or HTTPS with mutual TLS.
	AccessPlatform AccessMode = "Platform"
)

// Placement is where the devices connect.
// +kubebuilder:validation:Enum=Center;Edge
type Placement string

// Placements.
const (
	PlacementCenter Placement = "Center"
	PlacementEdge   Placement = "Edge"
)

// DeviceFleetSpec is what is wanted of a fleet.
// +kubebuilder:validation:XValidation:rule="self.accessMode != 'Gateway' || !has(self.inventory) || !has(self.inventory.rows) || self.inventory.rows.all(r, has(r.via))",message="with accessMode Gateway every row names the gateway device that speaks for it: write via, as <fleet>.<device>"
// +kubebuilder:validation:XValidation:rule="self.accessMode == 'Gateway' || !has(self.inventory) || !has(self.inventory.rows) || self.inventory.rows.all(r, !has(r.via))",message="via is for accessMode Gateway: write that, or leave via out of the rows"
// +kubebuilder:validation:XValidation:rule="self.identity.type == 'Password' || !has(self.inventory) || !has(self.inventory.rows) || self.inventory.rows.all(r, !has(r.passwordHash))",message="passwordHash is for identity.type Password: write that, or leave passwordHash out of the rows"
// +kubebuilder:validation:XValidation:rule="self.accessMode != 'Device' || self.identity.type != 'Password' || !has(self.inventory) || !has(self.inventory.rows) || self.inventory.rows.all(r, has(r.passwordHash))",message="with identity.type Password every row needs passwordHash: make them with dizuo fleet passwords"
// +kubebuilder:validation:XValidation:rule="!has(self.inventory) || !has(self.inventory.open) || (self.identity.type == 'X509' && self.accessMode == 'Device')",message="open enrolment trusts the fleet's CA: write identity.type X509 and accessMode Device, or list the devices"
// +kubebuilder:validation:XValidation:rule="!has(self.mapping) || !has(self.mapping.device) || self.accessMode == 'Platform'",message="mapping.device is for accessMode Platform, where one connection speaks for many: leave it out, the topic names the device"
// +kubebuilder:validation:XValidation:rule="(self.accessMode == 'Platform' && self.identity.type == 'Password') == has(self.identity.platformPasswordHash)",message="with accessMode Platform and identity.type Password the cloud needs identity.platformPasswordHash (make it with dizuo fleet passwords), and only then: write it, or leave it out"
type DeviceFleetSpec struct {
	// displayName is the name people read. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// vendor is the Organization that supplies and maintains the devices.
	// +optional
	Vendor *LocalRef `json:"vendor,omitempty"`
	// profileRef is the DeviceProfile of all devices of the fleet.
	// +required
	ProfileRef ProfileRef `json:"profileRef"`
	// accessMode is who speaks for the devices: `Device`, `Gateway` or `Platform`. Default: `Device`.
	// +optional
	// +kubebuilder:default=Device
	AccessMode AccessMode `json:"accessMode,omitempty"`
	// identity is how a device proves who it is. Default: a certificate of the fleet's own CA.
	// +optional
	// +kubebuilder:default={}
	Identity FleetIdentity `json:"identity,omitzero"`
	// inventory is the list of devices. Addresses of homes come from a Secret or an artefact, never inline.
	// +optional
	Inventory *FleetInventory `json:"inventory,omitempty"`
	// placement is where the devices connect: `Center`, the platform's broker, or `Edge`, the edge node of their community. Default: `Center`.
	// +optional
	// +kubebuilder:default=Center
	Placement Placement `json:"placement,omitempty"`
	// mapping turns a payload of the vendor's own form into the profile's fields. Unset: payloads have the profile's fields.
	// +optional
	Mapping *PayloadMapping `json:"mapping,omitempty"`
	// limits bounds what each device may do. The outbox of an edge node is sized by it.
	// +optional
	// +kubebuilder:default={}
	Limits FleetLimits `json:"limits,omitzero"`
	// suspended refuses all devices of the fleet and cuts their sessions, while rows and credentials stay. Default: false.
	// +optional
	Suspended bool `json:"suspended,omitempty"`
}

// ProfileRef names a DeviceProfile.
type ProfileRef struct {
	// name is the DeviceProfile's name: a shipped one, e.g. `smoke-detector`, or the platform's own.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// schemaVersion is the version of its fields that the devices speak. Unset: the profile's present one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	SchemaVersion *int32 `json:"schemaVersion,omitempty"`
}

// FleetIdentityType is how a device proves who it is.
// +kubebuilder:validation:Enum=X509;Password
type FleetIdentityType string

// Fleet identity types.
const (
	// FleetIdentityX509: a client certificate with the URI `spiffe://<fleet>.<platform>.dizuo.internal/<device>`.
	FleetIdentityX509 FleetIdentityType = "X509"
	// FleetIdentityPassword: username `<fleet>.<device>` and a password over TLS, of which the row has a salted hash.
	FleetIdentityPassword FleetIdentityType = "Password"
)

// FleetIdentity is how a device proves who it is.
// +kubebuilder:validation:XValidation:rule="!has(self.x509) || self.type == 'X509'",message="x509 has settings of type X509: write that type, or leave x509 out"
type FleetIdentity struct {
	// type is `X509` or `Password`. Default: `X509`.
	// +optional
	// +kubebuilder:default=X509
	Type FleetIdentityType `json:"type,omitempty"`
	// x509 has the settings of type X509.
	// +optional
	X509 *FleetX509 `json:"x509,omitempty"`
	// caGeneration starts a rotation when raised: a new CA (type X509) is made, and the old one is taken beside it for
	// rotationOverlap. Default: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +kubebuilder:validation:XValidation:rule="self >= oldSelf",message="caGeneration only grows: write the present number or the next"
	CAGeneration int32 `json:"caGeneration,omitempty"`
	// platformPasswordHash is the salted hash of the password of the cloud that speaks for the fleet, whose user name is
	// `<fleet>._platform`. Only with access mode Platform and type Password. Never the password.
	// +optional
	// +kubebuilder:validation:MinLength=16
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(sha256:[A-Za-z0-9_-]{22,}:[A-Za-z0-9_-]{43}|\$argon2id\$[A-Za-z0-9+/=,.$-]+)$`
	PlatformPasswordHash string `json:"platformPasswordHash,omitempty"`
	// rotationOverlap is how long the CA of the generation before is taken beside the new one, in hours. Passwords have an end of
	// their own, previousUntil of the row. Default: 720h.
	// +optional
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	RotationOverlap metav1.Duration `json:"rotationOverlap,omitzero"`
}

// X509Mode is whose CA signs the devices' certificates.
// +kubebuilder:validation:Enum=Issued;VendorCA
type X509Mode string

// X.509 modes.
const (
	// X509Issued: a CA for this fleet alone, issued by cert-manager, its key in a Secret that only the vendor's role can read.
	X509Issued X509Mode = "Issued"
	// X509VendorCA: a CA of the vendor's own.
	X509VendorCA X509Mode = "VendorCA"
)

// FleetX509 has the settings of identity type X509.
// +kubebuilder:validation:XValidation:rule="(self.mode == 'VendorCA') == has(self.vendorCA)",message="mode VendorCA needs vendorCA.caBundle and vendorCA.rule, and only that mode has vendorCA: write both, or neither"
// +kubebuilder:validation:XValidation:rule="duration(self.certificateDuration) <= duration(self.caDuration)",message="a certificate cannot outlive its CA: write certificateDuration at most as long as caDuration"
type FleetX509 struct {
	// mode is whose CA signs: the fleet's own (`Issued`) or the vendor's (`VendorCA`). Default: `Issued`.
	// +optional
	// +kubebuilder:default=Issued
	Mode X509Mode `json:"mode,omitempty"`
	// caDuration is the life of the fleet's CA, in hours. Default: 87600h, ten years.
	// +optional
	// +kubebuilder:default="87600h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	CADuration metav1.Duration `json:"caDuration,omitzero"`
	// certificateDuration is the life of a device's certificate, in hours. Default: 43800h, five years.
	// +optional
	// +kubebuilder:default="43800h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	CertificateDuration metav1.Duration `json:"certificateDuration,omitzero"`
	// vendorCA says which certificates of a vendor's own CA are which device. Only with mode VendorCA.
	// +optional
	VendorCA *VendorCA `json:"vendorCA,omitempty"`
}

// VendorCA says which certificates of a vendor's own CA are which device.
type VendorCA struct {
	// caBundle is the PEM bundle of the CA certificates that sign devices. During a rotation it holds the old and the new.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:Pattern=`^\s*-----BEGIN CERTIFICATE-----`
	CABundle string `json:"caBundle"`
	// rule is a CEL expression over `cert` (`cert.uris`, `cert.dnsNames`, `cert.subject.serialNumber`, `cert.serial`) that gives
	// the device id of a row, e.g. `cert.subject.serialNumber`. The common name is never read.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Rule string `json:"rule"`
}

// FleetInventory is where the list of devices comes from. The sources add up.
// +kubebuilder:validation:XValidation:rule="has(self.rows) || has(self.secrets) || has(self.artifact) || has(self.open)",message="an inventory has at least one source: write rows, secrets, artifact or open, or leave inventory out"
type FleetInventory struct {
	// rows are devices written here, at most 256, without a home's address.
	// +optional
	// +listType=map
	// +listMapKey=device
	// +kubebuilder:validation:MaxItems=256
	Rows []InventoryRow `json:"rows,omitempty"`
	// secrets are Secrets in the fleet's namespace with CSV, gzip allowed, at most 900 KiB each. Every key of the data whose name
	// ends in `.csv` or `.csv.gz` is read; the first line has the column names of a row.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Secrets []SecretRef `json:"secrets,omitempty"`
	// artifact is a CSV file, gzip allowed, or an OCI artefact with one, fetched by address and checked by digest.
	// +optional
	Artifact *InventoryArtifact `json:"artifact,omitempty"`
	// open takes in any device with a certificate of the fleet's CA that no row names, up to a maximum.
	// +optional
	Open *OpenEnrolment `json:"open,omitempty"`
}

// InventoryRow is a device. No field holds personal data: a home is a random pseudonym, and inline rows have no door number.
// +kubebuilder:validation:XValidation:rule="has(self.longitude) == has(self.latitude)",message="longitude and latitude belong together: write both, or neither"
// +kubebuilder:validation:XValidation:rule="has(self.previousPasswordHash) == has(self.previousUntil)",message="previousPasswordHash and previousUntil belong together: write both, or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.grid) || has(self.community)",message="a grid is a community's: write community too"
// +kubebuilder:validation:XValidation:rule="!has(self.compound) || has(self.community)",message="a compound is a community's: write community too"
type InventoryRow struct {
	// device is the device's id within the fleet: letters, digits, hyphens and underscores, at most 64.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]{1,64}$`
	Device string `json:"device"`
	// community is the name of the Community where the device hangs. Unset: in store, its signals open no case.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Community string `json:"community,omitempty"`
	// grid is the name of the grid in that community.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Grid string `json:"grid,omitempty"`
	// microGrid is the name of the micro-grid in that grid. Unset: found by the building.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	MicroGrid string `json:"microGrid,omitempty"`
	// compound is the name of the compound (小区) in that community.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Compound string `json:"compound,omitempty"`
	// building is the building (楼栋), e.g. `3号楼`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Building string `json:"building,omitempty"`
	// unit is the stairwell (单元), e.g. `2单元`. Never a home's door number: that makes the row personal data.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Unit string `json:"unit,omitempty"`
	// household is the random platform id of the home, from the vault. Never an address, a name or a number that others use.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+$`
	Household string `json:"household,omitempty"`
	// via is the gateway device that speaks for this one, as `<fleet>.<device>`. Only with access mode Gateway.
	// +optional
	// +kubebuilder:validation:MaxLength=105
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?\.[A-Za-z0-9_-]{1,64}$`
	Via string `json:"via,omitempty"`
	// serial is the manufacturer's serial number. Two devices of a platform cannot have the same one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Serial string `json:"serial,omitempty"`
	// imei is the 15-digit IMEI of the device's radio module.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[0-9]{15}$`
	IMEI string `json:"imei,omitempty"`
	// installedAt is the date of installation, as YYYY-MM-DD.
	// +optional
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`
	InstalledAt string `json:"installedAt,omitempty"`
	// maintainer is the name of the Organization that maintains the device. Unset: the fleet's vendor. Never a person.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Maintainer string `json:"maintainer,omitempty"`
	// longitude is in degrees east, a decimal number as text.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,3}(\.[0-9]{1,9})?$`
	Longitude string `json:"longitude,omitempty"`
	// latitude is in degrees north, a decimal number as text.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,2}(\.[0-9]{1,9})?$`
	Latitude string `json:"latitude,omitempty"`
	// crs is the coordinate reference system. Default: `CGCS2000`, China's geodetic system of 2000.
	// +optional
	// +kubebuilder:default=CGCS2000
	CRS CoordinateSystem `json:"crs,omitempty"`
	// clientID is the MQTT client id bound to the device, at most 64 characters with engine NATS. Unset: `<fleet>_<device>`. Any other
	// is refused.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_:@-]+$`
	ClientID string `json:"clientID,omitempty"`
	// passwordHash is the salted hash of the password, as `dizuo fleet passwords` writes it: `sha256:...` for generated ones,
	// `$argon2id$...` for those a person chose. Never the password.
	// +optional
	// +kubebuilder:validation:MinLength=16
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(sha256:[A-Za-z0-9_-]{22,}:[A-Za-z0-9_-]{43}|\$argon2id\$[A-Za-z0-9+/=,.$-]+)$`
	PasswordHash string `json:"passwordHash,omitempty"`
	// previousPasswordHash is the hash of the password before the present one: it is taken beside it until previousUntil.
	// +optional
	// +kubebuilder:validation:MinLength=16
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^(sha256:[A-Za-z0-9_-]{22,}:[A-Za-z0-9_-]{43}|\$argon2id\$[A-Za-z0-9+/=,.$-]+)$`
	PreviousPasswordHash string `json:"previousPasswordHash,omitempty"`
	// previousUntil is when previousPasswordHash ends, in RFC 3339, e.g. `2026-12-31T00:00:00Z`.
	// +optional
	// +kubebuilder:validation:MaxLength=35
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$`
	PreviousUntil string `json:"previousUntil,omitempty"`
	// attributes are further facts that scenarios may read as `device.attributes`, e.g. `zone: garage`. No personal data.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Attributes map[string]AttributeValue `json:"attributes,omitempty"`
}

// AttributeValue is the value of an attribute of a device.
// +kubebuilder:validation:MaxLength=128
type AttributeValue string

// CoordinateSystem is a coordinate reference system.
// +kubebuilder:validation:Enum=CGCS2000;WGS84;GCJ02;BD09
type CoordinateSystem string

// Coordinate systems.
const (
	CRSCGCS2000 CoordinateSystem = "CGCS2000"
	CRSWGS84    CoordinateSystem = "WGS84"
	CRSGCJ02    CoordinateSystem = "GCJ02"
	CRSBD09     CoordinateSystem = "BD09"
)

// InventoryArtifact is an inventory by address and digest.
type InventoryArtifact struct {
	// url is where it is: `https://` for a file, `oci://` for an OCI artefact.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^(https|oci)://[^\s]+$`
	URL string `json:"url"`
	// sha256 is the digest, in hexadecimal: of the file, or of the OCI artefact's layer.
	// +required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256"`
	// secretRef names a Secret in the fleet's namespace with the credentials: `token`, or `username` and `password`.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
}

// OpenEnrolment takes in devices that no row names.
type OpenEnrolment struct {
	// max is the largest number of devices taken in this way.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Max int32 `json:"max"`
	// refused are device ids that are kept out, and cut off if they are in, whatever their certificate and whatever a row says of them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9_-]+$`
	Refused []string `json:"refused,omitempty"`
}

// PayloadMapping turns a payload of the vendor's own form into the profile's fields.
type PayloadMapping struct {
	// device is a CEL expression over `payload` and `topic` that gives the device id. Only with access mode Platform.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Device string `json:"device,omitempty"`
	// time is a CEL expression that gives the message's time. Unset: the time of arrival.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Time string `json:"time,omitempty"`
	// fields say how each field of the profile is made.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Fields []FieldMapping `json:"fields"`
}

// FieldMapping says how a field of the profile is made.
type FieldMapping struct {
	// name is the profile's field.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name string `json:"name"`
	// expression is a CEL expression over `payload` and `topic` that gives the value, e.g. `payload.alarmState == 1`. An error
	// leaves the field out.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Expression string `json:"expression"`
}

// FleetLimits bounds what each device may do.
type FleetLimits struct {
	// messagesPerMinute is how many messages a device may send in a minute on average. Default: 60.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60000
	MessagesPerMinute int32 `json:"messagesPerMinute,omitempty"`
	// payloadBytes is the largest payload. Default: 16384.
	// +optional
	// +kubebuilder:default=16384
	// +kubebuilder:validation:Minimum=16
	// +kubebuilder:validation:Maximum=1048576
	PayloadBytes int32 `json:"payloadBytes,omitempty"`
	// subscriptions is how many of its own topics a device may subscribe to. It has two, `cmd` and `desired`, and may subscribe to
	// nothing else: 1 leaves it `cmd`, and 2 or more, or 0, both. Default: 8.
	// +optional
	// +kubebuilder:default=8
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	Subscriptions int32 `json:"subscriptions,omitempty"`
}

// DeviceFleetStatus is how a fleet stands.
type DeviceFleetStatus struct {
	CommonStatus `json:",inline"`

	// placement is the one in force.
	// +optional
	Placement Placement `json:"placement,omitempty"`
	// edgeUntil is until when the centre takes what edge nodes bring of the fleet's devices, after spec.placement changed from Edge
	// to Center: 30 days after the change.
	// +optional
	EdgeUntil *metav1.Time `json:"edgeUntil,omitempty"`
	// profileResolved is the profile and schema version in use, as `<name>@<version>`.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ProfileResolved string `json:"profileResolved,omitempty"`
	// devices counts the devices.
	// +optional
	Devices *FleetDeviceCounts `json:"devices,omitempty"`
	// rejectedByCode counts the rows that were refused by what is wrong with them, every one of them.
	// +optional
	// +listType=map
	// +listMapKey=code
	// +kubebuilder:validation:MaxItems=32
	RejectedByCode []RejectedCount `json:"rejectedByCode,omitempty"`
	// rejectedRows are rows that were refused, the first 20 by source and line. The full list: `dizuo fleet check`.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	RejectedRows []RejectedRow `json:"rejectedRows,omitempty"`
	// violations is how many publishes outside their permissions the broker dropped. Their senders got a PUBACK all the same.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Violations int64 `json:"violations,omitempty"`
	// lastViolationAt is when that last happened, to the minute.
	// +optional
	LastViolationAt *metav1.Time `json:"lastViolationAt,omitempty"`
	// invalidMessages is how many messages did not fit the profile.
	// +optional
	// +kubebuilder:validation:Minimum=0
	InvalidMessages int64 `json:"invalidMessages,omitempty"`
	// caFingerprints are the SHA-256 fingerprints of the CA certificates taken for this fleet, old and new during a rotation,
	// as `sha256:` and hexadecimal.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=71
	CAFingerprints []string `json:"caFingerprints,omitempty"`
	// caGeneration is the generation of the newest of these.
	// +optional
	// +kubebuilder:validation:Minimum=0
	CAGeneration int32 `json:"caGeneration,omitempty"`
	// previousCAs are the generations that a rotation replaced and that are taken still.
	// +optional
	// +listType=map
	// +listMapKey=generation
	// +kubebuilder:validation:MaxItems=8
	PreviousCAs []PreviousCA `json:"previousCAs,omitempty"`
	// caSecret is the Secret, in the fleet's namespace, with the CA that `dizuo fleet enroll` signs with.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	CASecret string `json:"caSecret,omitempty"`
	// connectionSecret is the Secret, in the fleet's namespace, with what a device needs to connect: `host`, `port`, `ca.crt`.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ConnectionSecret string `json:"connectionSecret,omitempty"`
}

// PreviousCA is a generation of a fleet's CA that a rotation replaced.
type PreviousCA struct {
	// generation is its number.
	// +required
	// +kubebuilder:validation:Minimum=1
	Generation int32 `json:"generation"`
	// until is when it is taken no more.
	// +required
	Until metav1.Time `json:"until"`
}

// FleetDeviceCounts counts the devices of a fleet.
type FleetDeviceCounts struct {
	DeviceCounts `json:",inline"`

	// accepted is how many rows were taken, those of refused devices and of devices in store among them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Accepted int32 `json:"accepted"`
	// rejected is how many rows were refused.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Rejected int32 `json:"rejected"`
}

// RowCode classes what is wrong with a row.
// +kubebuilder:validation:Enum=Claimed;Credential;Duplicate;GridOfOtherCommunity;LimitExceeded;Malformed;Reserved;UnknownCommunity;UnknownCompound;UnknownGateway;UnknownGrid;UnknownMaintainer;UnknownMicroGrid;Unreadable
type RowCode string

// Codes of rejected rows.
const (
	// RowClaimed: another fleet of the platform holds the serial number, the IMEI or the client id.
	RowClaimed RowCode = "Claimed"
	// RowCredential: the password hash is missing, cannot be read, or is not for this fleet.
	RowCredential RowCode = "Credential"
	// RowDuplicate: another row of the fleet has the same device, serial number, IMEI or client id.
	RowDuplicate RowCode = "Duplicate"
	// RowGridOfOtherCommunity: the community has no such grid, another one has.
	RowGridOfOtherCommunity RowCode = "GridOfOtherCommunity"
	// RowLimitExceeded: a bound of the inventory was reached.
	RowLimitExceeded RowCode = "LimitExceeded"
	// RowMalformed: a value is not of its form.
	RowMalformed RowCode = "Malformed"
	// RowReserved: a name or client id that is kept for something else.
	RowReserved RowCode = "Reserved"
	// RowUnknownCommunity: the platform has no such community.
	RowUnknownCommunity RowCode = "UnknownCommunity"
	// RowUnknownCompound: the community has no such compound.
	RowUnknownCompound RowCode = "UnknownCompound"
	// RowUnknownGateway: no device of the namespace is the gateway that the row names.
	RowUnknownGateway RowCode = "UnknownGateway"
	// RowUnknownGrid: no community of the platform has such a grid.
	RowUnknownGrid RowCode = "UnknownGrid"
	// RowUnknownMaintainer: the platform has no such organisation.
	RowUnknownMaintainer RowCode = "UnknownMaintainer"
	// RowUnknownMicroGrid: the grid has no such micro-grid.
	RowUnknownMicroGrid RowCode = "UnknownMicroGrid"
	// RowUnreadable: it is no CSV, or has no header line.
	RowUnreadable RowCode = "Unreadable"
)

// RejectedCount counts rows that were refused for one kind of reason.
type RejectedCount struct {
	// code classes what is wrong with the rows.
	// +required
	Code RowCode `json:"code"`
	// rows is how many there are.
	// +required
	// +kubebuilder:validation:Minimum=1
	Rows int32 `json:"rows"`
}

// RejectedRow is a row that was refused.
type RejectedRow struct {
	// source is where the row is: `rows`, `secrets/<name>/<key>` or `artifact`.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Source string `json:"source"`
	// line is its line, or its index in rows, from 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Line int32 `json:"line,omitempty"`
	// device is its device id where that can be read.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Device string `json:"device,omitempty"`
	// code classes what is wrong.
	// +optional
	Code RowCode `json:"code,omitempty"`
	// reason is what is wrong and what to write. Never the row's content.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason"`
}
