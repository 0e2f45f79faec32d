package contract

// EdgeConfig is the file that an edge node reads at start. It holds paths and names, never a secret.
type EdgeConfig struct {
	// Platform is namespace and name of the GridPlatform, joined by a slash; Edge is the name of the EdgeNode.
	Platform string `json:"platform"`
	Edge     string `json:"edge"`
	// Hub is where the platform takes edge nodes, such as "wss://edge.example.org:8443".
	Hub string `json:"hub"`
	// HubCAFile verifies the hub's certificate; empty trusts the system's roots.
	HubCAFile string `json:"hubCAFile,omitempty"`
	// TokenFile holds the one-time enrolment token; read only while there is no certificate.
	TokenFile string `json:"tokenFile,omitempty"`
	// StateDir holds keys, certificates, the last good bundle and the outbox.
	StateDir string `json:"stateDir"`
	// StorageBytes bounds the outbox. The disk must have 256 MiB beyond it.
	StorageBytes int64 `json:"storageBytes"`
	// Host to listen on for devices; empty listens on every address. MQTTPort 0 lets the kernel choose, for tests.
	Host     string `json:"host,omitempty"`
	MQTTPort int    `json:"mqttPort"`
	// Hostnames of this machine that devices connect to, for the certificate of the listener.
	Hostnames []string `json:"hostnames"`
	// HealthAddress serves /healthz, /readyz and /metrics, such as "127.0.0.1:8080"; empty serves none.
	HealthAddress string `json:"healthAddress,omitempty"`
}
