package broker

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// maxStore of JetStream is no bound: every stream has one of its own, and an account may make no others. A sum of them here
	// would keep the ingest log from shrinking, for at a start the streams stand with the bounds that they had. The volume must
	// hold IngestLog.MaxBytes and the bounds in streams.go: on a full disk JetStream shuts itself down.
	maxStore = 1 << 50
	// maxPayload of a message in bytes. Bundles travel in chunks of 128 KiB, reports whole.
	maxPayload = 1 << 20
	// maxSubscriptions of one connection. Limits in a user JWT do not count here (see auth), and an edge node may subscribe to as many
	// subjects below its inbox as it likes; a gateway subscribes to two for each of its rows.
	maxSubscriptions = 4096
	// memoryStore is unused by any stream here; it bounds what the API would let one take.
	memoryStore = 16 << 20

	authTimeout  = 5.0  // seconds; argon2id may queue when many come at once
	tlsTimeout   = 10.0 // seconds; small devices are slow
	pingInterval = 30 * time.Second
)

// options gives the server's options. The parts that have no other door go through its configuration language, of which
// JSON is a subset.
func options(platform string, c contract.BrokerConfig, calloutKey string, own ownKeys, devices, clients, peers, edges *tls.Config) (*server.Options, error) {
	var routes []string
	for _, p := range c.Peers {
		routes = append(routes, "nats-route://"+p.Route)
	}
	raw, err := json.Marshal(map[string]any{
		"server_name":    c.ServerName,
		"host":           hostOr(c.Host),
		"port":           portOr(c.ClientPort),
		"max_payload":    maxPayload,
		"max_subs":       maxSubscriptions,
		"system_account": contract.AccountSystem,
		"accounts": map[string]any{
			contract.AccountSystem:  map[string]any{},
			contract.AccountAuth:    map[string]any{},
			contract.AccountDevices: map[string]any{"jetstream": "enabled", "exports": edgeExports()},
			// Edge nodes live here: no JetStream, nothing imported but named subjects.
			contract.AccountEdge: map[string]any{"imports": edgeImports(), "mappings": edgeMappings()},
		},
		"jetstream": map[string]any{
			"store_dir":        c.StoreDir,
			"max_file_store":   maxStore,
			"max_memory_store": memoryStore,
			"sync_interval":    syncInterval(c.SyncInterval),
			"limits":           map[string]any{"default_max_consumers": -1},
		},
		"mqtt": map[string]any{
			"host":                        hostOr(c.Host),
			"port":                        portOr(c.MQTTPort),
			"stream_replicas":             1, // the streams are there before, and replicate keeps their number
			"consumer_inactive_threshold": "1h",
			"reject_qos2_publish":         true,
			"downgrade_qos2_subscribe":    true,
		},
		// Every broker names all of them, so none needs to hear of another.
		"cluster": map[string]any{"name": clusterName, "host": hostOr(c.Host), "port": portOr(c.PeerPort), "routes": routes, "no_advertise": true},
	})
	if err != nil {
		return nil, err
	}
	o := &server.Options{NoSigs: true, NoLog: true}
	if err := o.ProcessConfigString(string(raw)); err != nil {
		return nil, fmt.Errorf("server options: %w", err)
	}
	o.PingInterval, o.AuthTimeout = pingInterval, authTimeout
	o.MQTT.AuthTimeout = authTimeout
	o.TLSConfig, o.TLSMap, o.TLSVerify, o.TLS, o.TLSTimeout = clients, true, true, true, tlsTimeout
	o.MQTT.TLSConfig, o.MQTT.TLSTimeout = devices, tlsTimeout
	o.Cluster.TLSConfig, o.Cluster.TLSTimeout = peers, tlsTimeout
	if c.Edge != nil {
		o.Websocket = server.WebsocketOpts{Host: hostOr(c.Host), Port: portOr(c.Edge.Port), TLSConfig: edges,
			HandshakeTimeout: tlsTimeout * time.Second, AuthTimeout: authTimeout}
	}
	authorize(o, platform, calloutKey, own)
	return o, nil
}

// authorize adds the users and the auth callout, which the users by-pass.
func authorize(o *server.Options, platform, calloutKey string, own ownKeys) {
	accounts := map[string]*server.Account{}
	for _, a := range o.Accounts {
		accounts[a.Name] = a
	}
	bypass := []string{own.devices, own.system}
	for _, u := range users() {
		uri := contract.RoleURI(platform, u.name)
		o.Users = append(o.Users, &server.User{Username: uri, Account: accounts[u.account], Permissions: u.permissions(),
			AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeStandard: {}}})
		bypass = append(bypass, uri)
	}
	inProcess := map[string]struct{}{jwt.ConnectionTypeInProcess: {}}
	o.Nkeys = []*server.NkeyUser{{Nkey: own.devices, Account: accounts[contract.AccountDevices], AllowedConnectionTypes: inProcess},
		{Nkey: own.system, Account: accounts[contract.AccountSystem], AllowedConnectionTypes: inProcess}}
	o.AuthCallout = &server.AuthCallout{Issuer: calloutKey, Account: contract.AccountAuth, AuthUsers: bypass}
}

// check refuses a configuration that the server would misread.
func check(cfg contract.NodeConfig) error {
	c := cfg.Broker
	switch {
	case c == nil:
		return fmt.Errorf("role broker: field broker of the configuration is required")
	case path.Base(cfg.Platform) == "." || !strings.Contains(cfg.Platform, "/"):
		return fmt.Errorf("platform %q: write <namespace>/<name>", cfg.Platform)
	case c.ServerName == "" || c.StoreDir == "":
		return fmt.Errorf("broker.serverName and broker.storeDir are required")
	case c.Ingest.MaxBytes <= 0 || c.Ingest.MaxAgeSeconds <= 0:
		return fmt.Errorf("broker.ingest: maxBytes %d and maxAgeSeconds %d; both must be positive, the log must end somewhere", c.Ingest.MaxBytes, c.Ingest.MaxAgeSeconds)
	case c.Replicas != 1 && c.Replicas != 3:
		return fmt.Errorf("broker.replicas: %d; write 1 or 3", c.Replicas)
	}
	if s := c.SyncInterval; s != "" && s != "always" {
		if d, err := time.ParseDuration(s); err != nil || d <= 0 {
			return fmt.Errorf(`broker.syncInterval: %q; write a positive duration such as "10s", or "always"`, s)
		}
	}
	return checkPeers(c)
}

func readCalloutKey(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("broker.calloutKeyFile: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if !nkeys.IsValidPublicAccountKey(key) {
		return "", fmt.Errorf("broker.calloutKeyFile %s: not the public key of an account nkey; write one (it begins with A)", file)
	}
	return key, nil
}

// syncInterval gives the server's default where none is configured.
func syncInterval(s string) string {
	if s == "" {
		return "2m"
	}
	return s
}

func hostOr(h string) string {
	if h == "" {
		return "0.0.0.0"
	}
	return h
}

// portOr lets the kernel choose a port where 0 is configured.
func portOr(p int) int {
	if p == 0 {
		return server.RANDOM_PORT
	}
	return p
}
