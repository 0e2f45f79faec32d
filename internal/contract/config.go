package contract

import "strings"

// NodeConfig is the file that a node reads at start, rendered by internal/render into a ConfigMap. It holds paths and
// names, never a secret.
type NodeConfig struct {
	// Platform is namespace and name of the GridPlatform, joined by a slash.
	Platform string `json:"platform"`
	Role     Role   `json:"role"`
	// Scope of the bundle; see Lease.Scope.
	Scope string `json:"scope"`
	// StateDir is where the last good bundle is kept.
	StateDir string `json:"stateDir"`
	// TrustFile holds the public keys (PEM, SPKI) whose signatures on bundles and leases are taken.
	TrustFile string `json:"trustFile"`
	// HealthAddress serves /healthz, /readyz and /metrics, such as ":8080".
	HealthAddress string `json:"healthAddress"`
	// NATS is how the node reaches the broker; unused by the role broker.
	NATS *NATSConfig `json:"nats,omitempty"`

	Broker  *BrokerConfig  `json:"broker,omitempty"`
	Auth    *AuthConfig    `json:"auth,omitempty"`
	Ingest  *IngestConfig  `json:"ingest,omitempty"`
	Grid    *GridConfig    `json:"grid,omitempty"`
	Gateway *GatewayConfig `json:"gateway,omitempty"`
	Vault   *VaultConfig   `json:"vault,omitempty"`
}

// TLSFiles are paths of a certificate that cert-manager issued. They are read again when they change.
type TLSFiles struct {
	CertFile string `json:"certFile"`
	KeyFile  string `json:"keyFile"`
	CAFile   string `json:"caFile"`
}

// NATSConfig is a client connection to the broker.
type NATSConfig struct {
	URL string `json:"url"`
	// TLS with the certificate whose URI names the user; see RoleURI.
	TLS TLSFiles `json:"tls"`
}

// BrokerConfig is the role broker.
type BrokerConfig struct {
	// ServerName is the pod's name, by which JetStream keys its state. Empty takes the name of the machine, which in a pod is
	// the pod's.
	ServerName string `json:"serverName,omitempty"`
	// StoreDir holds JetStream.
	StoreDir string `json:"storeDir"`
	// Host to listen on; empty listens on every address.
	Host string `json:"host,omitempty"`
	// MQTTPort takes devices, ClientPort takes the platform's own roles; 0 lets the kernel choose, for tests.
	MQTTPort   int `json:"mqttPort"`
	ClientPort int `json:"clientPort"`
	// TLS is the server certificate; its CA signs the certificates of the platform's roles.
	TLS TLSFiles `json:"tls"`
	// CalloutKeyFile holds the public nkey (account) that signs the auth callout's answers.
	CalloutKeyFile string `json:"calloutKeyFile"`
	// SyncInterval is how long a stored message may wait for fsync: a duration, or "always".
	SyncInterval string `json:"syncInterval"`
	// Ingest bounds the ingest log.
	Ingest IngestLog `json:"ingest"`
	// Replicas of every stream: 1 or 3. Fewer than there are Peers makes the first of them gather all streams and take the others
	// out of the cluster.
	Replicas int `json:"replicas"`
	// Peers are the brokers of the platform, this one among them, in the order of their pods. One broker is a cluster of one.
	Peers []PeerConfig `json:"peers"`
	// PeerPort takes the other brokers; 0 lets the kernel choose, for tests.
	PeerPort int `json:"peerPort"`
	// PeerTLS is the certificate of the role broker, for both sides of a route: its URI is RoleURI of UserBroker.
	PeerTLS TLSFiles `json:"peerTLS"`
	// Edge takes edge nodes; nil opens no door for them.
	Edge *EdgeListener `json:"edge,omitempty"`
}

// EdgeListener is where edge nodes connect to the broker, over WebSocket with TLS.
type EdgeListener struct {
	// Port to listen on, on BrokerConfig.Host; 0 lets the kernel choose, for tests.
	Port int `json:"port"`
	// TLS is the server certificate, for the host that edge nodes are told. Its CAFile is not read: what an edge node shows must stand
	// under the Issuers of an EdgeCredential.
	TLS TLSFiles `json:"tls"`
}

// PeerConfig is a broker of a platform.
type PeerConfig struct {
	// Name is the ServerName.
	Name string `json:"name"`
	// Route is host and port of the PeerPort.
	Route string `json:"route"`
	// Health is the URL of the HealthAddress, such as "http://host:8080"; a lone broker needs none.
	Health string `json:"health,omitempty"`
}

// IngestLog bounds the ingest log.
type IngestLog struct {
	MaxAgeSeconds int64 `json:"maxAgeSeconds"`
	MaxBytes      int64 `json:"maxBytes"`
}

// AuthConfig is the role auth. NodeConfig.NATS is its connection as UserAuthBundle.
type AuthConfig struct {
	// Callout is the connection as UserAuth, System the one as UserAuthSystem.
	Callout NATSConfig `json:"callout"`
	System  NATSConfig `json:"system"`
	// CalloutSeedFile holds the nkey seed (account) that signs answers.
	CalloutSeedFile string `json:"calloutSeedFile"`
	// EMQX is asked by EMQX, where that is the broker that devices connect to.
	EMQX *EMQXConfig `json:"emqx,omitempty"`
}

// EMQXConfig is how the role auth and EMQX reach each other.
type EMQXConfig struct {
	// Address to listen on, such as ":8443".
	Address string `json:"address"`
	// TLS is the server certificate; EMQX comes with the certificate of UserEMQX, under the same CA.
	TLS TLSFiles `json:"tls"`
	// API is where EMQX lists and cuts connections.
	API EMQXAPI `json:"api"`
}

// EMQXAPI is EMQX's management API.
type EMQXAPI struct {
	// URL such as "https://host:18084".
	URL string `json:"url"`
	// CAFile verifies the server.
	CAFile string `json:"caFile"`
	// Nodes is how many nodes of EMQX there are.
	Nodes int `json:"nodes"`
	// KeyFile and SecretFile hold the two parts of an API key.
	KeyFile    string `json:"keyFile"`
	SecretFile string `json:"secretFile"`
}

// IngestConfig is the role ingest. It has one way in or both. NodeConfig.NATS is its connection as UserIngest.
type IngestConfig struct {
	// Hook is for EMQX; nil where devices connect to NATS.
	Hook *IngestHook `json:"hook,omitempty"`
	// HTTP is for the clouds of vendors and carriers; nil where there are none.
	HTTP *IngestHTTP `json:"http,omitempty"`
}

// IngestHook is how EMQX and the role ingest reach each other.
type IngestHook struct {
	// Address takes EMQX's ExHook calls, such as ":8444"; EMQX comes with the certificate of UserEMQX.
	Address string `json:"address"`
	// TLS is the server certificate of Address.
	TLS TLSFiles `json:"tls"`
	// MQTT is EMQX's listener for roles, such as "ssl://host:8884", with the certificate of UserIngest.
	MQTT NATSConfig `json:"mqtt"`
}

// IngestHTTP takes what clouds send over HTTPS.
type IngestHTTP struct {
	// Address to listen on, such as ":8445".
	Address string `json:"address"`
	// TLS is the server certificate of Address.
	TLS TLSFiles `json:"tls"`
}

// GridConfig is the role grid.
type GridConfig struct {
	// Address of the REST API, such as ":8443", served with TLS.
	Address string   `json:"address"`
	TLS     TLSFiles `json:"tls"`
	// Database of the grid service.
	Database DatabaseConfig `json:"database"`
	// DatabaseOwner is the user who migrates; empty means the constant of that name.
	DatabaseOwner string `json:"databaseOwner,omitempty"`
	// WebhookSecretDir holds one file per organisation; see WebhookSecretFile.
	WebhookSecretDir string `json:"webhookSecretDir"`
	// PlainWebhooks also allows http to services of the cluster (hosts under .svc) and to loopback. Everything else is https.
	PlainWebhooks bool `json:"plainWebhooks,omitempty"`
}

// GatewayConfig is the role gateway.
type GatewayConfig struct {
	// Address of the API, such as ":8443", served with mutual TLS.
	Address  string         `json:"address"`
	TLS      TLSFiles       `json:"tls"`
	Database DatabaseConfig `json:"database"`
	// LogDir holds the decision log.
	LogDir string `json:"logDir"`
	// PseudonymKeyFile holds the key (at least 32 bytes) of subject pseudonyms and of the mask Pseudonym.
	PseudonymKeyFile string `json:"pseudonymKeyFile"`
	// AuditDatabase is Database as DatabaseUserAudit; nil ships no log.
	AuditDatabase *DatabaseConfig `json:"auditDatabase,omitempty"`
	// AuditKeyFile holds the key (PEM) that signs checkpoints; empty signs none.
	AuditKeyFile string `json:"auditKeyFile,omitempty"`
	// SourceDir holds one file per Source.DSN.
	SourceDir string `json:"sourceDir,omitempty"`
	// MaxUnshippedBytes is how far the log may run ahead of the platform's store before nothing is given out; 0 bounds nothing.
	MaxUnshippedBytes int64 `json:"maxUnshippedBytes,omitempty"`
	// Vault maps keys of persons in providers' own databases; nil where there are no such databases.
	Vault *VaultClient `json:"vault,omitempty"`
}

// VaultClient is how the role gateway asks the role vault.
type VaultClient struct {
	// URL without a path, such as "https://host:8446".
	URL string `json:"url"`
	// TLS with the certificate of UserGateway; its CA verifies the vault.
	TLS TLSFiles `json:"tls"`
}

// VaultConfig is the role vault.
type VaultConfig struct {
	// Address of the API, such as ":8443", served with TLS.
	Address string   `json:"address"`
	TLS     TLSFiles `json:"tls"`
	// Database as DatabaseUserVault.
	Database DatabaseConfig `json:"database"`
	// KeyFile holds the key (at least 32 bytes) under which the keys of subjects lie, and by which identities are looked up.
	KeyFile string `json:"keyFile"`
	// PseudonymKeyFile is the gateway's: by it a subject is found in the decision log.
	PseudonymKeyFile string `json:"pseudonymKeyFile"`
	// Receipts are signed with this certificate's key; the certificate goes along.
	Receipts TLSFiles `json:"receipts"`
	// MapAddress takes the role gateway with its certificate, and nobody else; see MapRequest. Empty opens no such door.
	MapAddress string `json:"mapAddress,omitempty"`
}

// DatabaseConfig is a connection to PostgreSQL.
type DatabaseConfig struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	Name string `json:"name"`
	User string `json:"user"`
	// PasswordFile holds the password.
	PasswordFile string `json:"passwordFile"`
	// CAFile verifies the server; empty takes the public roots. The connection always uses TLS with verify-full.
	CAFile string `json:"caFile,omitempty"`
}

// Database users. The owner runs migrations and nothing else. The gateway has two: DatabaseUserGateway reads datasets and writes
// nothing, DatabaseUserAudit writes the decision log and cannot change it. DatabaseUserVault is the role vault's: it maps residents and reads no dataset.
// DatabaseUserAuditor is for `dizuo audit fetch`: it reads the decision log and nothing else, and no service connects as it.
const (
	DatabaseName        = "dizuo"
	DatabaseOwner       = "dizuo"
	DatabaseUserGrid    = "dizuo_grid"
	DatabaseUserGateway = "dizuo_gateway"
	DatabaseUserAudit   = "dizuo_audit"
	DatabaseUserAuditor = "dizuo_auditor"
	DatabaseUserVault   = "dizuo_vault"
	// DatabaseSchemaGrid holds cases; DatabaseSchemaDatasets holds tables that datasets are read from; DatabaseSchemaAudit holds
	// decision logs; DatabaseSchemaVault says who a subject is; DatabaseSchemaPlatform has views of what the platform itself may share.
	DatabaseSchemaGrid     = "grid"
	DatabaseSchemaDatasets = "datasets"
	DatabaseSchemaAudit    = "audit"
	DatabaseSchemaVault    = "vault"
	DatabaseSchemaPlatform = "platform"
)

// DatabaseUsers lists the users beside the owner.
func DatabaseUsers() []string {
	return []string{DatabaseUserAudit, DatabaseUserAuditor, DatabaseUserGateway, DatabaseUserGrid, DatabaseUserVault}
}

// DatabaseSchemas lists the schemas that migrations make.
func DatabaseSchemas() []string {
	return []string{DatabaseSchemaGrid, DatabaseSchemaDatasets, DatabaseSchemaAudit, DatabaseSchemaVault, DatabaseSchemaPlatform}
}

// DatabasePasswordKey gives the key, and the name of the file, under which a user's password is kept.
func DatabasePasswordKey(user string) string { return strings.TrimPrefix(user, "dizuo_") }
