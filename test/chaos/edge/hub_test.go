package edge

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/test/dataplane"
	"github.com/dizuo/dizuo/test/pki"
	"github.com/dizuo/dizuo/test/postgres"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	platform  = "henan"
	edgeName  = "jinghu-1"
	fleet     = "smokes"
	profile   = "smoke"
	community = "jinghu"
	// secret of every device, of the form of a generated one.
	secret = "AAAAAAAAAAAAAAAAAAAAAA"
	// detector and valve are devices of one household, beside those that publish at full rate.
	detector, valve = "detector", "valve"
)

// hub is the platform: the roles broker, auth and grid over PostgreSQL.
type hub struct {
	*dataplane.World
	t      *testing.T
	edges  pki.CA
	key    files
	health string
	pool   *pgxpool.Pool
	ledger *ledger
}

// files are the certificate and the key of the edge node, under the CA of edge nodes.
type files = contract.TLSFiles

// newHub starts one that serves a fleet of so many devices behind an edge node.
func newHub(t *testing.T, devices int) *hub {
	t.Helper()
	owner := postgres.Start(t).Owner("postgres")
	if err := grid.Migrate(t.Context(), owner, postgres.Passwords(), dataplane.Logger()); err != nil {
		t.Fatal(err)
	}
	service := owner
	service.User = contract.DatabaseUserGrid
	h := &hub{t: t, edges: pki.New(t, "edges"), ledger: newLedger(devices)}
	cert := h.edges.Client(t, contract.EdgeURI(platform, edgeName))
	h.key = h.edges.Files(t, cert)
	rows, credentials := map[string]contract.Device{}, contract.Credentials{Method: "Password", Devices: map[string]contract.Credential{}}
	hash, err := password.HashGenerated(secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for n := range devices {
		rows[deviceName(n)] = contract.Device{Community: community}
		credentials.Devices[deviceName(n)] = contract.Credential{PasswordHash: hash}
	}
	for _, name := range []string{detector, valve} {
		rows[name] = contract.Device{Community: community, Household: "h1"}
		credentials.Devices[name] = contract.Credential{PasswordHash: hash}
	}
	rules := dataplane.Shard(t, contract.ShardRules, contract.Rules{
		Profiles: map[string]contract.Profile{profile: {HeartbeatSeconds: 60, Fields: map[string]contract.Field{"n": {Type: "Integer"}, "leak": {Type: "Boolean"}},
			Commands: map[string]contract.Command{"closeValve": {Senders: []string{"Scenario"}, ExpiresSeconds: 3600}}}},
		Scenarios: map[string]contract.Scenario{"leak": {Profile: profile, Trigger: contract.Trigger{When: "msg.leak == true"}, DataClass: "C0",
			Commands: []contract.ScenarioCommand{{Command: "closeValve", At: "Raised", Target: "Household", Profile: profile}}}}})
	here := dataplane.Shard(t, contract.ShardFleet+fleet, contract.Fleet{Profile: profile, AccessMode: "Device", Placement: "Edge", Devices: rows}, "fleets", fleet)
	h.World = dataplane.Start(t, dataplane.Options{Platform: platform, Host: hubAddress,
		Edges: map[string]contract.EdgeCredential{edgeName: {Issuers: []string{h.edges.PEM}, KeyDigests: []string{contract.Digest(cert.Leaf.RawSubjectPublicKeyInfo)}}},
		Shards: []contract.Shard{
			dataplane.Shard(t, contract.ShardDirectory, contract.Directory{Platform: contract.Platform{Name: platform, TimeZone: "Asia/Shanghai"},
				Communities: map[string]contract.Community{community: {Division: "410103001001"}}}),
			rules, here,
			dataplane.Shard(t, contract.ShardEdges, map[string]contract.Edge{edgeName: {Communities: []string{community}, AutonomySeconds: 86400}}, "edges"),
		}})
	h.Publish(contract.ScopeEdge(edgeName), 24*time.Hour, dataplane.Shard(t, contract.ShardCredentials+fleet, credentials, "credentials", fleet), here, rules)
	h.listen()
	h.grid(service)
	if h.pool, err = pgxpool.New(t.Context(), postgres.DSN(owner)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.pool.Close)
	return h
}

// grid runs the role grid until the test ends.
func (h *hub) grid(database contract.DatabaseConfig) {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.health = l.Addr().String()
	_ = l.Close()
	cfg := h.Role(contract.RoleGrid, contract.UserGrid)
	cfg.HealthAddress = h.health
	cfg.Grid = &contract.GridConfig{Address: "127.0.0.1:0", TLS: h.Server(), Database: database, WebhookSecretDir: h.t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- grid.Run(ctx, cfg, dataplane.Logger()) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			h.t.Errorf("grid: %v", err)
		}
	})
}

// listen notes what the grid service publishes of each message that it has committed.
func (h *hub) listen() {
	h.t.Helper()
	nc := h.JetStream().Conn()
	sub, err := nc.Subscribe("dizuo.v1.c.>", func(m *nats.Msg) {
		var x struct {
			Device  string `json:"device"`
			Payload struct {
				N int `json:"n"`
			} `json:"payload"`
		}
		if err := json.Unmarshal(m.Data, &x); err != nil {
			h.t.Errorf("%s: %v", m.Subject, err)
			return
		}
		h.ledger.arrive(x.Device, x.Payload.N)
	})
	if err == nil {
		err = errors.Join(sub.SetPendingLimits(-1, -1), nc.Flush())
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// position is how far the hub has worked off the node's outbox.
type position struct {
	sequence, lost int64
	drainedTo      time.Time
}

func (h *hub) position() (p position) {
	h.t.Helper()
	var drained *time.Time
	var former []string
	err := h.pool.QueryRow(h.t.Context(), "SELECT sequence, lost, drained_to, former FROM grid.edge_position WHERE edge = $1", edgeName).Scan(&p.sequence, &p.lost, &drained, &former)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(former) > 0 {
		h.t.Fatalf("the outbox began anew: %v", former)
	}
	if drained != nil {
		p.drainedTo = *drained
	}
	return p
}
