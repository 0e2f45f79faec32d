// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GridPlatform is the stack of a county or city (智慧社区综合信息平台): broker, database, services, certificates, policy.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=gridplatforms,shortName=gp,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.status.mode`
// +kubebuilder:printcolumn:name="Communities",type=integer,JSONPath=`.status.communities.ready`
// +kubebuilder:printcolumn:name="Fleets",type=integer,JSONPath=`.status.fleets.ready`
// +kubebuilder:printcolumn:name="Cases",type=integer,JSONPath=`.status.cases.open`
// +kubebuilder:printcolumn:name="Seq",type=integer,JSONPath=`.status.bundle.sequence`,priority=1
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 30 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="the platform's name becomes a host label and a prefix of names: write at most 30 lower-case letters, digits and hyphens, a letter first and no dot, and put the full name into spec.displayName"
type GridPlatform struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. No dot in the name, at most 30 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec GridPlatformSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status GridPlatformStatus `json:"status,omitzero"`
}

// GridPlatformList is a list of GridPlatforms.
// +kubebuilder:object:root=true
type GridPlatformList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GridPlatform `json:"items"`
}

// PlatformProfile is the size and redundancy of a platform.
// +kubebuilder:validation:Enum=Standalone;HighAvailability
type PlatformProfile string

// Platform profiles.
const (
	// ProfileStandalone runs one of each service. A pod that restarts loses nothing acknowledged; a node that is lost may.
	ProfileStandalone PlatformProfile = "Standalone"
	// ProfileHighAvailability runs three brokers with replicated streams and at least two of each other service.
	ProfileHighAvailability PlatformProfile = "HighAvailability"
)

// GridPlatformSpec is what is wanted of a platform.
// +kubebuilder:validation:XValidation:rule="self.profile != 'HighAvailability' || !has(self.database) || !has(self.database.engine) || self.database.engine != 'Managed'",message="database.engine Managed is a single PostgreSQL pod: with profile HighAvailability write database.engine CloudNativePG or External"
type GridPlatformSpec struct {
	// displayName is the name people read, e.g. `河南省智慧社区综合信息平台`. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// divisions are the prefixes of the administrative division codes that the platform covers, 2 to 12 digits each after
	// GB/T 2260 (province 2, city 4, county 6), GB/T 10114 (street or town 9) and the statistical codes (community 12).
	// A community belongs to the platform with the longest matching prefix.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=12
	// +kubebuilder:validation:items:Pattern=`^[1-9][0-9]([0-9]{2}){0,2}([0-9]{3}){0,2}$`
	Divisions []string `json:"divisions"`
	// profile is the size and redundancy. Default: `Standalone`. Changing it, either way, keeps the data.
	// +optional
	// +kubebuilder:default=Standalone
	Profile PlatformProfile `json:"profile,omitempty"`
	// broker is what devices and edge nodes connect to.
	// +optional
	// +kubebuilder:default={}
	Broker BrokerSpec `json:"broker,omitzero"`
	// grid is how the grid service (cases, rosters) is reached.
	// +optional
	// +kubebuilder:default={}
	Grid ServiceEndpoint `json:"grid,omitzero"`
	// gateway is how the data gateway is reached.
	// +optional
	// +kubebuilder:default={}
	Gateway GatewaySpec `json:"gateway,omitzero"`
	// database is where cases, rosters, consents and the decision log are kept. With profile `HighAvailability` say which.
	// +optional
	// +kubebuilder:default={engine: Managed}
	Database DatabaseSpec `json:"database,omitzero"`
	// pki says under which issuer the platform's certificates are made. Unset: a root of the platform's own, made by cert-manager.
	// +optional
	PKI *PKISpec `json:"pki,omitempty"`
	// sla is the time allowed per severity. A severity left out keeps the default, which is ours, for no policy text gives
	// one: Critical 2m to acknowledge, 10m to be on site and 4h to resolve; High 10m, 30m and 24h; Medium 30m, 4h and 72h;
	// Low 4h, 72h and 168h.
	// +optional
	// +listType=map
	// +listMapKey=severity
	// +kubebuilder:validation:MaxItems=4
	SLA []SLA `json:"sla,omitempty"`
	// modes is the plan for each mode (平战). Only the plan is here: the switch is made through the grid API by an
	// authorised person, with reason and expiry, and shows in status.mode.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=2
	Modes []ModePlan `json:"modes,omitempty"`
	// scenarios switches scenarios on or off and sets their parameters. A scenario not named here runs if it says so itself;
	// of the shipped catalogue only those without personal data do.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Scenarios []ScenarioSelection `json:"scenarios,omitempty"`
	// integrations are existing systems that cases are exchanged with, e.g. a 12345 hotline or an urban management (城管) system.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Integrations []Integration `json:"integrations,omitempty"`
	// identity says who vouches for people: OpenID Connect issuers for grid workers, departments and operators.
	// +optional
	Identity *IdentitySpec `json:"identity,omitempty"`
	// auditWitnesses receive signed checkpoints of the decision log, outside the cluster. Without one, verification can only
	// say "internally consistent only".
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	AuditWitnesses []AuditWitness `json:"auditWitnesses,omitempty"`
	// retention says how long each class of record is kept. The raw messages of devices are under broker.ingest.
	// +optional
	// +kubebuilder:default={}
	Retention RetentionSpec `json:"retention,omitzero"`
	// timeZone is the IANA name of the time zone of schedules, quotas and reports. Default: `Asia/Shanghai`.
	// +optional
	// +kubebuilder:default="Asia/Shanghai"
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$`
	TimeZone string `json:"timeZone,omitempty"`
	// calendar is the working time that SLA clocks of kind `Working` count.
	// +optional
	// +kubebuilder:default={}
	Calendar Calendar `json:"calendar,omitzero"`
	// ratings says what ratings (好差评) of cases do.
	// +optional
	Ratings RatingsSpec `json:"ratings,omitzero"`
	// gridCodeScheme is how the codes of grids (网格) are made. Cities differ.
	// +optional
	// +kubebuilder:default={type: Division12PlusSequence}
	GridCodeScheme GridCodeScheme `json:"gridCodeScheme,omitzero"`
	// images overrides the images of the release.
	// +optional
	// +kubebuilder:default={}
	Images ImageSpec `json:"images,omitzero"`
	// members are other namespaces whose objects belong to this platform. The namespace must have the label
	// `dizuo.io/platform` with the name of the platform's namespace.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +kubebuilder:validation:MaxItems=1024
	Members []Member `json:"members,omitempty"`
	// dataOffice is the Organization (type DataOffice) whose approval every agreement needs besides the parties'. Unset: the parties' suffice.
	// +optional
	DataOffice *LocalRef `json:"dataOffice,omitempty"`
	// edge says how edge nodes are taken in.
	// +optional
	// +kubebuilder:default={}
	Edge EdgePolicy `json:"edge,omitzero"`
	// lease says how long the data plane acts on a bundle without hearing of a newer one.
	// +optional
	// +kubebuilder:default={}
	Lease LeaseSpec `json:"lease,omitzero"`
	// guardrails names ConfigMaps in the platform's namespace with further guardrails (Rego) of the city's own.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Guardrails []LocalRef `json:"guardrails,omitempty"`
	// monitoring says what is made for prometheus-operator.
	// +optional
	// +kubebuilder:default={}
	Monitoring MonitoringSpec `json:"monitoring,omitzero"`
	// resources overrides replicas, requests and limits per component. A component left out keeps the release's values.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=7
	Resources []ComponentResources `json:"resources,omitempty"`
	// deletionProtection refuses deletion while true, so that a prune in Git cannot fell a county by accident. To delete,
	// set it to false in an earlier change. Default: true.
	// +optional
	// +kubebuilder:default=true
	DeletionProtection *bool `json:"deletionProtection,omitempty"`
	// deletionPolicy says what becomes of cases, logs and the database when the platform is deleted. Default: `Retain`.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// BrokerEngine is the software that devices connect to.
// +kubebuilder:validation:Enum=NATS;EMQX
type BrokerEngine string

// Broker engines.
const (
	// BrokerNATS: MQTT 3.1.1, one process to a cluster.
	BrokerNATS BrokerEngine = "NATS"
	// BrokerEMQX: MQTT 5, up to a million connections; NATS stays the backbone behind it.
	BrokerEMQX BrokerEngine = "EMQX"
)

// BrokerSpec is what devices and edge nodes connect to.
// +kubebuilder:validation:XValidation:rule="!has(self.emqx) || self.engine == 'EMQX'",message="emqx has settings of engine EMQX only: write engine EMQX, or leave emqx out"
type BrokerSpec struct {
	// engine is the broker. Default: `NATS`. `EMQX` needs emqx-operator in the cluster; its licence from 5.9 on allows one node free.
	// +optional
	// +kubebuilder:default=NATS
	Engine BrokerEngine `json:"engine,omitempty"`
	// hostnames are DNS names and IP addresses by which devices reach the broker, put into its certificate beside the cluster's own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9*]([-A-Za-z0-9.:]*[A-Za-z0-9])?$`
	Hostnames []string `json:"hostnames,omitempty"`
	// listener is the MQTT over TLS listener for devices.
	// +optional
	// +kubebuilder:default={}
	Listener MQTTListener `json:"listener,omitzero"`
	// leafListener is the listener for edge nodes: WebSocket over TLS, by which a node keeps its one connection. It is open only
	// while the platform has an EdgeNode.
	// +optional
	// +kubebuilder:default={}
	LeafListener LeafListener `json:"leafListener,omitzero"`
	// ingest bounds the ingest log: every message that a device got a PUBACK for is in it. Full, the broker stops
	// acknowledging; nothing is dropped in silence.
	// +optional
	// +kubebuilder:default={}
	Ingest IngestSpec `json:"ingest,omitzero"`
	// syncInterval is how often the broker flushes to disk; `0s` flushes before every acknowledgement. What a power cut can
	// cost is at most this much on every replica at once. Unset: the release's value for the profile.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	SyncInterval *metav1.Duration `json:"syncInterval,omitempty"`
	// storage is the volume of each broker pod; it must hold ingest.maxBytes and the other streams.
	// +optional
	// +kubebuilder:default={}
	Storage StorageSpec `json:"storage,omitzero"`
	// emqx has the settings of engine EMQX.
	// +optional
	EMQX *EMQXSpec `json:"emqx,omitempty"`
}

// ServiceType is how a listener is exposed, as in a Service.
// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
type ServiceType string

// Service types.
const (
	ServiceClusterIP    ServiceType = "ClusterIP"
	ServiceNodePort     ServiceType = "NodePort"
	ServiceLoadBalancer ServiceType = "LoadBalancer"
)

// MQTTListener is the listener for devices: MQTT over TLS 1.2 or later, with client certificate or password.
// +kubebuilder:validation:XValidation:rule="!has(self.nodePort) || self.serviceType != 'ClusterIP'",message="nodePort is for serviceType NodePort or LoadBalancer: write one of these, or leave nodePort out"
type MQTTListener struct {
	// port is the TCP port. Default: 8883, the registered port of MQTT over TLS.
	// +optional
	// +kubebuilder:default=8883
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// serviceType is how the port is exposed. Default: `ClusterIP`.
	// +optional
	// +kubebuilder:default=ClusterIP
	ServiceType ServiceType `json:"serviceType,omitempty"`
	// nodePort fixes the port on the machines. Unset: the cluster picks one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort *int32 `json:"nodePort,omitempty"`
}

// LeafListener is the listener for edge nodes.
// +kubebuilder:validation:XValidation:rule="!has(self.nodePort) || self.serviceType != 'ClusterIP'",message="nodePort is for serviceType NodePort or LoadBalancer: write one of these, or leave nodePort out"
type LeafListener struct {
	// port is the TCP port. Default: 7422.
	// +optional
	// +kubebuilder:default=7422
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// serviceType is how the port is exposed. Default: `ClusterIP`.
	// +optional
	// +kubebuilder:default=ClusterIP
	ServiceType ServiceType `json:"serviceType,omitempty"`
	// nodePort fixes the port on the machines. Unset: the cluster picks one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort *int32 `json:"nodePort,omitempty"`
}

// ServiceEndpoint is how an HTTPS service of the platform is reached.
// +kubebuilder:validation:XValidation:rule="!has(self.nodePort) || self.serviceType != 'ClusterIP'",message="nodePort is for serviceType NodePort or LoadBalancer: write one of these, or leave nodePort out"
type ServiceEndpoint struct {
	// hostnames are DNS names and IP addresses by which callers reach the service, put into its certificate beside the cluster's own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9*]([-A-Za-z0-9.:]*[A-Za-z0-9])?$`
	Hostnames []string `json:"hostnames,omitempty"`
	// port is the TCP port. Default: 8443.
	// +optional
	// +kubebuilder:default=8443
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// serviceType is how the port is exposed. Default: `ClusterIP`.
	// +optional
	// +kubebuilder:default=ClusterIP
	ServiceType ServiceType `json:"serviceType,omitempty"`
	// nodePort fixes the port on the machines. Unset: the cluster picks one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort *int32 `json:"nodePort,omitempty"`
}

// GatewaySpec is how the data gateway is reached, and where it writes first what it gave out.
type GatewaySpec struct {
	ServiceEndpoint `json:",inline"`
	// storage is the volume of each gateway pod: its decision log until that is in the database, and the bundle. When the part of the log that is
	// not in the database takes 60 % of it, the gateway gives nothing out. Default: 1Gi.
	// +optional
	// +kubebuilder:default={size: "1Gi"}
	// +kubebuilder:validation:XValidation:rule="!has(self.size) || quantity(string(self.size)).compareTo(quantity('256Mi')) >= 0",message="the decision log needs 256Mi or more"
	Storage StorageSpec `json:"storage,omitzero"`
}

// IngestSpec bounds the ingest log.
type IngestSpec struct {
	// maxAge is how long a message is kept, in hours and minutes. Default: 72h.
	// +optional
	// +kubebuilder:default="72h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1h')",message="that is too short to outlast a restart of the readers: write 1h or more"
	MaxAge metav1.Duration `json:"maxAge,omitzero"`
	// maxBytes is how much is kept, in bytes. At the limit the broker stops acknowledging. Default: 1Gi.
	// +optional
	// +kubebuilder:default="1Gi"
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	MaxBytes resource.Quantity `json:"maxBytes,omitzero"`
}

// StorageSpec is a volume.
type StorageSpec struct {
	// size is the volume's size, in bytes. It can grow where the storage class allows, never shrink. Default: 2Gi.
	// +optional
	// +kubebuilder:default="2Gi"
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",message="a volume cannot shrink: write the present size or a larger one"
	Size resource.Quantity `json:"size,omitzero"`
	// storageClassName is the storage class. Unset: the cluster's default. Volumes that exist keep theirs.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// EMQXSpec has the settings of engine EMQX.
type EMQXSpec struct {
	// image is EMQX's image. Default: a 5.8 image, the last line whose licence allows clusters free of charge.
	// +optional
	// +kubebuilder:default="emqx/emqx:5.8.9"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`
	// replicas is the number of core nodes. Default: 3.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=15
	Replicas int32 `json:"replicas,omitempty"`
	// replicants is the number of nodes that only take connections. They need EMQX Enterprise and licenseSecretRef. Default: 0.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Replicants int32 `json:"replicants,omitempty"`
	// licenseSecretRef names the Secret key with a licence, which images from 5.9 on need for more than one node.
	// +optional
	LicenseSecretRef *SecretKeyRef `json:"licenseSecretRef,omitempty"`
}

// DatabaseEngine is who runs PostgreSQL.
// +kubebuilder:validation:Enum=Managed;CloudNativePG;External
type DatabaseEngine string

// Database engines.
const (
	// DatabaseManaged: one PostgreSQL pod with a volume, run by Dizuo.
	DatabaseManaged DatabaseEngine = "Managed"
	// DatabaseCloudNativePG: a `Cluster` of the CloudNativePG operator.
	DatabaseCloudNativePG DatabaseEngine = "CloudNativePG"
	// DatabaseExternal: a database that exists already.
	DatabaseExternal DatabaseEngine = "External"
)

// DatabaseSpec is where records are kept.
// +kubebuilder:validation:XValidation:rule="self.engine != 'External' || has(self.external)",message="engine External needs external.dsnSecretRef: write it, or another engine"
// +kubebuilder:validation:XValidation:rule="!has(self.cloudNativePG) || self.engine == 'CloudNativePG'",message="cloudNativePG has settings of engine CloudNativePG only: write that engine, or leave cloudNativePG out"
// +kubebuilder:validation:XValidation:rule="!has(self.backups) || self.engine == 'CloudNativePG'",message="backups are made with engine CloudNativePG: write that engine, or back the database up by other means and leave backups out"
type DatabaseSpec struct {
	// engine is who runs PostgreSQL. Default: `Managed`.
	// +optional
	// +kubebuilder:default=Managed
	Engine DatabaseEngine `json:"engine,omitempty"`
	// storage is the volume of each instance. Not for engine External.
	// +optional
	// +kubebuilder:default={}
	Storage StorageSpec `json:"storage,omitzero"`
	// external says how a database that exists is reached: for engine External, and while the data moves away from it.
	// +optional
	External *ExternalDatabase `json:"external,omitempty"`
	// cloudNativePG has the settings of engine CloudNativePG.
	// +optional
	CloudNativePG *CloudNativePGSpec `json:"cloudNativePG,omitempty"`
	// backups says when and where backups go. Only with engine CloudNativePG.
	// +optional
	Backups *BackupSpec `json:"backups,omitempty"`
}

// ExternalDatabase is a PostgreSQL that exists.
type ExternalDatabase struct {
	// dsnSecretRef names the Secret key with the connection string, `postgres://user:password@host:5432/database?sslmode=verify-full`.
	// +required
	DSNSecretRef SecretKeyRef `json:"dsnSecretRef"`
	// caBundle is the PEM bundle that the server's certificate is checked against. Unset: the public roots of the image.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:Pattern=`^\s*-----BEGIN CERTIFICATE-----`
	CABundle string `json:"caBundle,omitempty"`
}

// CloudNativePGSpec has the settings of engine CloudNativePG.
type CloudNativePGSpec struct {
	// instances is the number of PostgreSQL instances, the primary included. Default: 3.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=9
	Instances int32 `json:"instances,omitempty"`
	// imageName is the PostgreSQL image. Unset: CloudNativePG's default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	ImageName string `json:"imageName,omitempty"`
}

// BackupSpec says when and where backups go.
type BackupSpec struct {
	// schedule is a cron expression of six fields, seconds first, as CloudNativePG reads it. Default: `0 0 2 * * *`, daily at two.
	// +optional
	// +kubebuilder:default="0 0 2 * * *"
	// +kubebuilder:validation:MinLength=11
	// +kubebuilder:validation:MaxLength=64
	Schedule string `json:"schedule,omitempty"`
	// retentionDays is how long backups are kept, in days. Default: 30.
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	RetentionDays int32 `json:"retentionDays,omitempty"`
	// destinationPath is the object store's path, e.g. `s3://backups/henan`.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^(s3|gs|https)://[^\s]+$`
	DestinationPath string `json:"destinationPath"`
	// endpointURL is the object store's address where it is not the cloud's default.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://[^\s]+$`
	EndpointURL string `json:"endpointURL,omitempty"`
	// credentialsSecretRef names the Secret with the keys `ACCESS_KEY_ID` and `ACCESS_SECRET_KEY`.
	// +optional
	CredentialsSecretRef *SecretRef `json:"credentialsSecretRef,omitempty"`
}

// PKISpec says under which issuer the platform's certificates are made.
type PKISpec struct {
	// issuerRef is a cert-manager issuer that may issue CA certificates. Unset: a self-signed root of the platform's own.
	// +optional
	IssuerRef *IssuerRef `json:"issuerRef,omitempty"`
}

// IssuerRef names a cert-manager issuer.
type IssuerRef struct {
	// name is the issuer's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// kind is `Issuer`, in the platform's namespace, or `ClusterIssuer`. Default: `Issuer`.
	// +optional
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// group is the issuer's API group. Default: `cert-manager.io`.
	// +optional
	// +kubebuilder:default="cert-manager.io"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// ClockKind is the time that an SLA clock counts.
// +kubebuilder:validation:Enum=Elapsed;Working
type ClockKind string

// Clock kinds.
const (
	// ClockElapsed counts every minute.
	ClockElapsed ClockKind = "Elapsed"
	// ClockWorking counts working time after the platform's calendar.
	ClockWorking ClockKind = "Working"
)

// SLA is the time allowed for cases of one severity, counted from dispatch. A time missed escalates the case one level
// (微网格, 网格, 社区, 街道, 部门).
// +kubebuilder:validation:XValidation:rule="!has(self.onSite) || duration(self.acknowledge) <= duration(self.onSite)",message="nobody is on site before they acknowledge: write onSite at least as long as acknowledge"
// +kubebuilder:validation:XValidation:rule="!has(self.resolve) || duration(self.acknowledge) <= duration(self.resolve)",message="nothing is resolved before it is acknowledged: write resolve at least as long as acknowledge"
type SLA struct {
	// severity is the severity that this is for.
	// +required
	Severity Severity `json:"severity"`
	// acknowledge is the time until somebody takes the case.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Acknowledge metav1.Duration `json:"acknowledge"`
	// onSite is the time until somebody is there. Unset beside resolve: not measured; without both, the default of the severity.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	OnSite *metav1.Duration `json:"onSite,omitempty"`
	// resolve is the time until the case is handled (处置) and closed. Unset beside onSite: not measured; without both, the
	// default of the severity.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Resolve *metav1.Duration `json:"resolve,omitempty"`
	// clock is the time counted: every minute, or working time. Default: `Elapsed`.
	// +optional
	// +kubebuilder:default=Elapsed
	Clock ClockKind `json:"clock,omitempty"`
}

// ModePlan says what is different in a mode.
type ModePlan struct {
	// name is the mode.
	// +required
	Name ModeName `json:"name"`
	// displayName is the name people read, e.g. `战时`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// sla replaces the platform's entries of the same severity while the mode lasts.
	// +optional
	// +listType=map
	// +listMapKey=severity
	// +kubebuilder:validation:MaxItems=4
	SLA []SLA `json:"sla,omitempty"`
	// scenarios replaces the platform's entries of the same name while the mode lasts.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Scenarios []ScenarioSelection `json:"scenarios,omitempty"`
	// maxDuration is the longest time for which a person may switch the mode on at once. Default: 72h.
	// +optional
	// +kubebuilder:default="72h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	MaxDuration metav1.Duration `json:"maxDuration,omitzero"`
}

// IntegrationMode says how long an existing system stays.
// +kubebuilder:validation:Enum=Connect;Migrate
type IntegrationMode string

// Integration modes.
const (
	// IntegrationConnect: the system stays, cases are exchanged both ways.
	IntegrationConnect IntegrationMode = "Connect"
	// IntegrationMigrate: its cases are taken over, then it is switched off.
	IntegrationMigrate IntegrationMode = "Migrate"
)

// IntegrationKind is the kind of an existing system.
// +kubebuilder:validation:Enum=Hotline12345;UrbanManagement;CommandCentre;GridPlatform;ExchangePlatform;FireControl;Other
type IntegrationKind string

// IntegrationMethod is how cases are exchanged.
// +kubebuilder:validation:Enum=Push;Poll
type IntegrationMethod string

// Integration methods.
const (
	// IntegrationPush: each side calls the other.
	IntegrationPush IntegrationMethod = "Push"
	// IntegrationPoll: Dizuo asks for what changed since its cursor, and writes back.
	IntegrationPoll IntegrationMethod = "Poll"
)

// ExchangeDirection is which way cases go.
// +kubebuilder:validation:Enum=Both;Inbound;Outbound
type ExchangeDirection string

// Exchange directions.
const (
	ExchangeBoth     ExchangeDirection = "Both"
	ExchangeInbound  ExchangeDirection = "Inbound"
	ExchangeOutbound ExchangeDirection = "Outbound"
)

// Integration is an existing system that cases are exchanged with. Each side's number of a case is kept beside the other, so
// that exchange both ways never loops.
type Integration struct {
	// name names the system; it becomes `source.system` of its cases.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// displayName is the name people read, e.g. `12345政务服务便民热线`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// mode says whether the system stays (`Connect`) or is taken over (`Migrate`). Default: `Connect`.
	// +optional
	// +kubebuilder:default=Connect
	Mode IntegrationMode `json:"mode,omitempty"`
	// kind is the kind of system. Default: `Other`.
	// +optional
	// +kubebuilder:default=Other
	Kind IntegrationKind `json:"kind,omitempty"`
	// url is the base address of the system's interface.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://[^\s]+$`
	URL string `json:"url"`
	// method is how cases are exchanged. Default: `Poll`.
	// +optional
	// +kubebuilder:default=Poll
	Method IntegrationMethod `json:"method,omitempty"`
	// interval is the time between two polls. Default: 1m.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5s')",message="that would flood the other system: write 5s or more"
	Interval metav1.Duration `json:"interval,omitzero"`
	// direction is which way cases go. Default: `Both`.
	// +optional
	// +kubebuilder:default=Both
	Direction ExchangeDirection `json:"direction,omitempty"`
	// organization is the Organization as which the system acts on cases.
	// +optional
	Organization *LocalRef `json:"organization,omitempty"`
	// secretRef names the Secret with the credentials: `token`, or `tls.crt` and `tls.key`.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// caBundle is the PEM bundle that the system's certificate is checked against. Unset: the public roots of the image.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:Pattern=`^\s*-----BEGIN CERTIFICATE-----`
	CABundle string `json:"caBundle,omitempty"`
	// caseClasses limits the exchange to these case classes. Unset: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	CaseClasses []string `json:"caseClasses,omitempty"`
}

// IdentitySpec says who vouches for people.
type IdentitySpec struct {
	// oidc are the OpenID Connect issuers whose tokens the grid service and the gateway take.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	OIDC []OIDCProvider `json:"oidc,omitempty"`
}

// OIDCProvider is an OpenID Connect issuer.
type OIDCProvider struct {
	// name names the issuer for Organization.spec.identities.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// issuerURL is the `iss` claim, and where discovery starts.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://[^\s]+$`
	IssuerURL string `json:"issuerURL"`
	// audiences are the `aud` values that are taken. One must match.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Audiences []string `json:"audiences"`
	// caBundle is the PEM bundle that the issuer's certificate is checked against. Unset: the public roots of the image.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:Pattern=`^\s*-----BEGIN CERTIFICATE-----`
	CABundle string `json:"caBundle,omitempty"`
	// claims says which claim means what.
	// +optional
	// +kubebuilder:default={}
	Claims ClaimMapping `json:"claims,omitzero"`
}

// ClaimMapping says which claim of a token means what.
type ClaimMapping struct {
	// subject is the claim that identifies the person in the decision log. An account id, never a name or a telephone number. Default: `sub`.
	// +optional
	// +kubebuilder:default=sub
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Subject string `json:"subject,omitempty"`
	// organization is the claim that holds the name of the person's Organization. Default: `org`.
	// +optional
	// +kubebuilder:default=org
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Organization string `json:"organization,omitempty"`
	// roles is the claim that holds the person's roles, a list. Default: `roles`.
	// +optional
	// +kubebuilder:default=roles
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Roles string `json:"roles,omitempty"`
}

// AuditWitness receives checkpoints of the decision log.
type AuditWitness struct {
	// name names the witness.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// url is where checkpoints are posted.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^https://[^\s]+$`
	URL string `json:"url"`
	// publicKey is the base64 of the DER (PKIX) public key by which the witness signs receipts: ECDSA P-256 or Ed25519.
	// +required
	// +kubebuilder:validation:MinLength=40
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9+/]+={0,2}$`
	PublicKey string `json:"publicKey"`
	// caBundle is the PEM bundle that the witness's certificate is checked against. Unset: the public roots of the image.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:Pattern=`^\s*-----BEGIN CERTIFICATE-----`
	CABundle string `json:"caBundle,omitempty"`
}

// RetentionSpec says how long each class of record is kept, in hours. The defaults are ours where no law is named.
type RetentionSpec struct {
	// signals is how long telemetry by the hour is kept. Default: 2160h, 90 days.
	// +optional
	// +kubebuilder:default="2160h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Signals metav1.Duration `json:"signals,omitzero"`
	// cases is how long closed cases are kept, with their history, and commands that are over, with theirs. Default: 26280h, three years.
	// +optional
	// +kubebuilder:default="26280h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Cases metav1.Duration `json:"cases,omitzero"`
	// attachments is how long photos and notes are kept after their case is closed. Default: 4320h, 180 days.
	// +optional
	// +kubebuilder:default="4320h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Attachments metav1.Duration `json:"attachments,omitzero"`
	// deliveries is how long delivered and dead letters to organisations are kept. Default: 720h, 30 days.
	// +optional
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Deliveries metav1.Duration `json:"deliveries,omitzero"`
	// decisionLog is how long the gateway's decision log is kept. At least 4320h: the Cybersecurity Law asks for network logs
	// of six months or more. Default: 26280h, three years.
	// +optional
	// +kubebuilder:default="26280h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('4320h')",message="network logs are kept for six months or more by law: write 4320h or more"
	DecisionLog metav1.Duration `json:"decisionLog,omitzero"`
	// classes shortens retention for records of a data class. What is left out keeps the values above, except that C3
	// attachments are kept 720h and C2 and C3 signals 720h at most.
	// +optional
	// +listType=map
	// +listMapKey=class
	// +kubebuilder:validation:MaxItems=4
	Classes []ClassRetention `json:"classes,omitempty"`
}

// ClassRetention is the retention of records of one data class.
type ClassRetention struct {
	// class is the data class.
	// +required
	Class DataClass `json:"class"`
	// signals is how long signals of this class are kept. A profile has the class of the gravest of its fields.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Signals *metav1.Duration `json:"signals,omitempty"`
	// cases is how long closed cases of this class are kept, and commands that an alarm of this class gave.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Cases *metav1.Duration `json:"cases,omitempty"`
	// attachments is how long attachments of this class are kept after their case is closed.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Attachments *metav1.Duration `json:"attachments,omitempty"`
}

// RatingsSpec says what ratings of cases do.
type RatingsSpec struct {
	// badScore is the best score, of 1 to 5, for which a closed case goes back to who handled it. Unset: 2, *ours*.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4
	BadScore *int32 `json:"badScore,omitempty"`
}

// Calendar is working time.
type Calendar struct {
	// workingDays are the days of the week worked. Default: Monday to Friday.
	// +optional
	// +kubebuilder:default={Monday,Tuesday,Wednesday,Thursday,Friday}
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=7
	WorkingDays []Weekday `json:"workingDays,omitempty"`
	// workingHours are the hours worked on a working day, local time. Default: 09:00 to 12:00 and 13:30 to 17:30.
	// +optional
	// +kubebuilder:default={{from: "09:00", to: "12:00"},{from: "13:30", to: "17:30"}}
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	WorkingHours []HourWindow `json:"workingHours,omitempty"`
	// holidays are dates not worked though their weekday is, as YYYY-MM-DD.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=10
	// +kubebuilder:validation:items:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`
	Holidays []string `json:"holidays,omitempty"`
	// workdays are dates worked though their weekday is not (调休), as YYYY-MM-DD.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=10
	// +kubebuilder:validation:items:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`
	Workdays []string `json:"workdays,omitempty"`
}

// GridCodeSchemeType is how grid codes are made.
// +kubebuilder:validation:Enum=CJT349;Division12PlusSequence;Pattern
type GridCodeSchemeType string

// Grid code schemes.
const (
	// GridCodeCJT349: 20 digits.
	GridCodeCJT349 GridCodeSchemeType = "CJT349"
	// GridCodeDivision12PlusSequence: the community's 12 digits, then a sequence of 2 to 4 digits.
	GridCodeDivision12PlusSequence GridCodeSchemeType = "Division12PlusSequence"
	// GridCodePattern: a regular expression.
	GridCodePattern GridCodeSchemeType = "Pattern"
)

// GridCodeScheme is how the codes of grids are made.
// +kubebuilder:validation:XValidation:rule="(self.type == 'Pattern') == has(self.pattern)",message="type Pattern needs pattern, and only that type has it: write both, or leave pattern out"
type GridCodeScheme struct {
	// type is the scheme: `CJT349` (20 digits), `Division12PlusSequence` (the community's 12 digits and 2 to 4 more) or
	// `Pattern`. Default: `Division12PlusSequence`.
	// +optional
	// +kubebuilder:default=Division12PlusSequence
	Type GridCodeSchemeType `json:"type,omitempty"`
	// pattern is an RE2 regular expression that a whole code must match. Only with type Pattern.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Pattern string `json:"pattern,omitempty"`
}

// MemberRole says what kinds a member namespace may hold.
// +kubebuilder:validation:Enum=County;Vendor;Provider
type MemberRole string

// Member roles.
const (
	// MemberCounty: every kind but GridPlatform.
	MemberCounty MemberRole = "County"
	// MemberVendor: device fleets with their inventories.
	MemberVendor MemberRole = "Vendor"
	// MemberProvider: datasets and agreements.
	MemberProvider MemberRole = "Provider"
)

// Member is a namespace whose objects belong to the platform.
type Member struct {
	// namespace is the member namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace"`
	// role says what kinds it may hold: `County` all but GridPlatform, `Vendor` fleets and their inventories, `Provider` datasets
	// and agreements.
	// +required
	Role MemberRole `json:"role"`
	// divisions are code prefixes, 2 to 12 digits, that objects of the namespace may speak for: divisions of communities and
	// jurisdictions of organisations must lie under one. Unset: all of the platform's. Give a county its own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=12
	// +kubebuilder:validation:items:Pattern=`^[1-9][0-9]([0-9]{2}){0,2}([0-9]{3}){0,2}$`
	Divisions []string `json:"divisions,omitempty"`
	// schemas are the schemas of the platform's database whose tables Datasets of this namespace may offer. Unset: none,
	// and they offer tables of a PostgreSQL of their own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z_][a-z0-9_]*$`
	Schemas []string `json:"schemas,omitempty"`
}

// EdgePolicy says how edge nodes are taken in.
type EdgePolicy struct {
	// autoApprove approves the first key that a node presents with its one-time token. Default: false, a person or a
	// fingerprint in Git approves.
	// +optional
	// +kubebuilder:default=false
	AutoApprove *bool `json:"autoApprove,omitempty"`
}

// LeaseSpec says how long the data plane acts on a bundle without hearing of a newer one.
type LeaseSpec struct {
	// center is the life of the lease for services in the cluster; it is renewed every third of it. After its end the gateway
	// refuses every read. An edge node's lease is its declared autonomy. Default: 4h.
	// +optional
	// +kubebuilder:default="4h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5m') && duration(self) <= duration('168h')",message="a lease is between 5m and 168h"
	Center metav1.Duration `json:"center,omitzero"`
}

// MonitoringSpec says what is made for prometheus-operator.
type MonitoringSpec struct {
	// serviceMonitors makes a ServiceMonitor per service. Unset: where prometheus-operator is installed. True where it is not
	// gives MissingDependency.
	// +optional
	ServiceMonitors *bool `json:"serviceMonitors,omitempty"`
	// prometheusRules makes the alerting rules. Unset: where prometheus-operator is installed.
	// +optional
	PrometheusRules *bool `json:"prometheusRules,omitempty"`
}

// ComponentName is a component of the platform.
// +kubebuilder:validation:Enum=Broker;Auth;Grid;Gateway;Ingest;Postgres;EMQX;Vault
type ComponentName string

// Components.
const (
	ComponentBroker   ComponentName = "Broker"
	ComponentAuth     ComponentName = "Auth"
	ComponentGrid     ComponentName = "Grid"
	ComponentGateway  ComponentName = "Gateway"
	ComponentIngest   ComponentName = "Ingest"
	ComponentPostgres ComponentName = "Postgres"
	ComponentEMQX     ComponentName = "EMQX"
	ComponentVault    ComponentName = "Vault"
)

// ComponentResources overrides replicas, requests and limits of a component.
type ComponentResources struct {
	// name is the component.
	// +required
	Name ComponentName `json:"name"`
	// replicas is the number of pods with profile HighAvailability. Unset: the release's number, or an autoscaler's. Broker,
	// Postgres and Vault have numbers of their own.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Replicas *int32 `json:"replicas,omitempty"`
	// requests is what is set aside for each pod.
	// +optional
	Requests *ResourceAmounts `json:"requests,omitempty"`
	// limits is what each pod may use at most.
	// +optional
	Limits *ResourceAmounts `json:"limits,omitempty"`
}

// DeletionPolicy says what becomes of data when an object is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// Deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// GridPlatformStatus is how a platform stands.
type GridPlatformStatus struct {
	CommonStatus `json:",inline"`

	// components says how many pods of each component are ready.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Components []ComponentStatus `json:"components,omitempty"`
	// database says where the data is.
	// +optional
	Database *DatabaseStatus `json:"database,omitempty"`
	// communities counts the communities.
	// +optional
	Communities *ObjectCounts `json:"communities,omitempty"`
	// organizations counts the organisations.
	// +optional
	Organizations *ObjectCounts `json:"organizations,omitempty"`
	// fleets counts the device fleets.
	// +optional
	Fleets *ObjectCounts `json:"fleets,omitempty"`
	// edgeNodes counts the edge nodes.
	// +optional
	EdgeNodes *ObjectCounts `json:"edgeNodes,omitempty"`
	// datasets counts the datasets.
	// +optional
	Datasets *ObjectCounts `json:"datasets,omitempty"`
	// agreements counts the agreements.
	// +optional
	Agreements *ObjectCounts `json:"agreements,omitempty"`
	// devices counts the devices of all fleets by presence.
	// +optional
	Devices *DeviceCounts `json:"devices,omitempty"`
	// bundle is the policy bundle last published.
	// +optional
	Bundle *BundleStatus `json:"bundle,omitempty"`
	// endpoints are the addresses to connect to.
	// +optional
	Endpoints *EndpointStatus `json:"endpoints,omitempty"`
	// mode is the mode (平战) that the grid service runs in.
	// +optional
	Mode ModeName `json:"mode,omitempty"`
	// modeExpiresAt is when the mode ends by itself.
	// +optional
	ModeExpiresAt *metav1.Time `json:"modeExpiresAt,omitempty"`
	// cases sums up the cases.
	// +optional
	Cases *CaseSummary `json:"cases,omitempty"`
	// integrations says how the exchange with existing systems stands.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Integrations []IntegrationStatus `json:"integrations,omitempty"`
	// lastReports is when a report of the data plane last changed this status.
	// +optional
	LastReports *metav1.Time `json:"lastReports,omitempty"`
	// decisionLogs says how the gateways' decision logs stand.
	// +optional
	// +listType=map
	// +listMapKey=instance
	// +kubebuilder:validation:MaxItems=16
	DecisionLogs []DecisionLogStatus `json:"decisionLogs,omitempty"`
	// guardrails says which guardrails of the city's own are in force.
	// +optional
	Guardrails *GuardrailsStatus `json:"guardrails,omitempty"`
}

// DecisionLogStatus says how the decision log of one gateway stands.
type DecisionLogStatus struct {
	// instance is the gateway's instance.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Instance string `json:"instance"`
	// sequence is the sequence of its last line.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Sequence int64 `json:"sequence"`
	// checkpointAt is when the last checkpoint was signed.
	// +optional
	CheckpointAt *metav1.Time `json:"checkpointAt,omitempty"`
	// witnessedAt is when a witness last gave a receipt for a checkpoint.
	// +optional
	WitnessedAt *metav1.Time `json:"witnessedAt,omitempty"`
	// unshippedBytes is how much of it is not in the platform's store yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UnshippedBytes int64 `json:"unshippedBytes"`
}

// GuardrailsStatus says which guardrails of the city's own are in force.
type GuardrailsStatus struct {
	// digest is the digest of the rules in force.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest,omitempty"`
	// refused are ConfigMaps whose rules were not taken, sorted: what was last good of them stays in force.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	Refused []string `json:"refused,omitempty"`
}

// ComponentStatus says how many pods of a component are ready.
type ComponentStatus struct {
	// name is the component.
	// +required
	Name ComponentName `json:"name"`
	// ready is how many pods are ready.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Ready int32 `json:"ready"`
	// desired is how many are wanted.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Desired int32 `json:"desired"`
	// message says what is missing.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// DatabaseStatus says where the data is.
type DatabaseStatus struct {
	// engine holds the data. It follows spec.database.engine when the data has moved.
	// +optional
	Engine DatabaseEngine `json:"engine,omitempty"`
	// movingTo is the engine that the data moves to.
	// +optional
	MovingTo DatabaseEngine `json:"movingTo,omitempty"`
	// phase of the move: `Stopping` (the services that write are stopped), `Preparing` (the other engine starts), `Copying`,
	// `Failed`.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Phase string `json:"phase,omitempty"`
	// move names the move that is under way: the generation of the spec that asked for it.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Move string `json:"move,omitempty"`
}

// BundleStatus is the policy bundle last published.
type BundleStatus struct {
	// revision is the bundle's content hash, with its algorithm before a colon.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Revision string `json:"revision,omitempty"`
	// sequence orders bundles and leases; it only grows.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Sequence int64 `json:"sequence,omitempty"`
	// issuedAt is when the current lease was signed.
	// +optional
	IssuedAt *metav1.Time `json:"issuedAt,omitempty"`
	// expiresAt is when the current lease ends if it is not renewed.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
	// signingKeyID identifies the key that signed it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	SigningKeyID string `json:"signingKeyID,omitempty"`
	// keys are the keys that nodes trust. Two while one takes over from another: a new key is trusted before it signs, and the
	// former for as long as a lease lives that it signed.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=8
	Keys []BundleKey `json:"keys,omitempty"`
	// successions say, each signed by the former key, which key followed which. By them an edge node that was away learns the key that
	// signs now. The oldest are dropped.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=2048
	Successions []string `json:"successions,omitempty"`
}

// BundleKey is a public key by which nodes verify bundles and leases.
type BundleKey struct {
	// id is the hexadecimal SHA-256 of the key (SPKI, DER).
	// +required
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// publicKey is the key as PEM.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	PublicKey string `json:"publicKey"`
	// since is when it was first trusted.
	// +required
	Since metav1.Time `json:"since"`
	// notAfter is when it is trusted no more; unset while it signs or is to sign.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}

// EndpointStatus has the addresses to connect to.
type EndpointStatus struct {
	// mqtt is where devices connect, e.g. `mqtts://broker.henan.svc:8883`.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	MQTT string `json:"mqtt,omitempty"`
	// leaf is where edge nodes connect.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Leaf string `json:"leaf,omitempty"`
	// gateway is where data is read.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Gateway string `json:"gateway,omitempty"`
	// grid is where cases are handled.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Grid string `json:"grid,omitempty"`
}

// CaseSummary sums up cases.
type CaseSummary struct {
	// open is how many cases are neither closed nor void.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Open int32 `json:"open"`
	// overdue is how many of them missed an SLA time.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Overdue int32 `json:"overdue"`
}

// IntegrationStatus says how the exchange with an existing system stands.
type IntegrationStatus struct {
	// name is the integration's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// inbound is how many cases came in.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Inbound int64 `json:"inbound"`
	// outbound is how many cases went out.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Outbound int64 `json:"outbound"`
	// unreconciled is how many cases the two sides do not agree on.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Unreconciled int64 `json:"unreconciled"`
	// lastError is the last error, without content of cases.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	LastError string `json:"lastError,omitempty"`
}
