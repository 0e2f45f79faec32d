// Package stack runs the centre of a platform as processes of this machine, so that a test may kill any of them and measure from outside:
// PostgreSQL, the role broker, and replicas of the role grid, each as in production. Two things are stand-ins: the control plane's publication, for
// which the test signs and writes as the operator does, and devices, whose messages come through the door of the role ingest.
package stack

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/dataplane"
	"github.com/dizuo/dizuo/test/pki"
	"github.com/dizuo/dizuo/test/postgres"
)

// Platform is the name of the GridPlatform, of which city is the namespace.
const Platform = "henan"

// WebhookSecret is that of every organisation.
const WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLBQ3" // synthetic

// Names of the parts; replicas of the role grid are called grid-0, grid-1 and so on.
const (
	Database = "postgres"
	Broker   = "broker"
)

// Options say what runs.
type Options struct {
	// Replicas of the role grid.
	Replicas int
	// Directory, Rules and Fleets of the bundle, which is in force for a day.
	Directory contract.Directory
	Rules     contract.Rules
	Fleets    map[string]contract.Fleet
	// Database are settings of PostgreSQL, such as "fsync=on".
	Database []string
}

// Stack is a running centre.
type Stack struct {
	// Pool reads the database as its owner.
	Pool *pgxpool.Pool

	t     testing.TB
	ca    pki.CA
	dir   string
	trust string
	url   string
	db    *postgres.Server
	parts map[string]*part
}

// Start runs a centre until the test ends. It returns when a replica of the role grid works.
func Start(t testing.TB, o Options) *Stack {
	t.Helper()
	s := &Stack{t: t, ca: pki.New(t, "platform"), dir: t.TempDir(), db: postgres.Start(t, o.Database...), parts: map[string]*part{}}
	owner := s.db.Owner("postgres")
	ctx := context.Background()
	if err := grid.Migrate(ctx, owner, postgres.Passwords(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.Pool, err = pgxpool.New(ctx, postgres.DSN(owner)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Pool.Close)
	signer := pki.Signer(t)
	public, err := signer.Public()
	if err != nil {
		t.Fatal(err)
	}
	s.trust = s.write("trust.pem", public)
	s.broker()
	s.publish(signer, o)
	secrets := filepath.Join(s.dir, "secrets")
	for name := range o.Directory.Organizations {
		s.write(filepath.Join("secrets", contract.WebhookSecretFile(name)), []byte(WebhookSecret+"\n"))
	}
	service := owner
	service.User = contract.DatabaseUserGrid
	for n := range o.Replicas {
		cfg := s.role(fmt.Sprintf("grid-%d", n), contract.RoleGrid)
		cfg.NATS = &contract.NATSConfig{URL: s.url, TLS: s.user(contract.UserGrid)}
		cfg.Grid = &contract.GridConfig{Address: "127.0.0.1:0", TLS: s.ca.Files(t, s.ca.Server(t)), Database: service, WebhookSecretDir: secrets, PlainWebhooks: true}
		s.run(fmt.Sprintf("grid-%d", n), cfg)
	}
	s.ready()
	return s
}

// role gives what the configurations of all roles have.
func (s *Stack) role(name string, r contract.Role) contract.NodeConfig {
	state := filepath.Join(s.dir, name)
	if err := os.MkdirAll(state, 0o700); err != nil {
		s.t.Fatal(err)
	}
	return contract.NodeConfig{Platform: "city/" + Platform, Role: r, Scope: contract.ScopeCenter, StateDir: state, TrustFile: s.trust, HealthAddress: freeAddress(s.t)}
}

// user gives the certificate of a user of the broker.
func (s *Stack) user(name string) contract.TLSFiles {
	return s.ca.Files(s.t, s.ca.Client(s.t, contract.RoleURI(Platform, name)))
}

func (s *Stack) broker() {
	s.t.Helper()
	key, err := nkeys.CreateAccount()
	if err != nil {
		s.t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := s.role(Broker, contract.RoleBroker)
	at := freeAddress(s.t)
	s.url = "tls://" + at
	cfg.Broker = &contract.BrokerConfig{ServerName: "broker-0", StoreDir: filepath.Join(s.dir, "store"), Host: "127.0.0.1", ClientPort: port(s.t, at), MQTTPort: port(s.t, freeAddress(s.t)),
		PeerPort: port(s.t, freeAddress(s.t)), TLS: s.ca.Files(s.t, s.ca.Server(s.t)), CalloutKeyFile: s.write("callout.pub", []byte(public+"\n")), SyncInterval: "10s",
		Ingest: contract.IngestLog{MaxAgeSeconds: 24 * 3600, MaxBytes: 1 << 30}, Replicas: 1,
		Peers: []contract.PeerConfig{{Name: "broker-0", Route: "127.0.0.1:1"}}, PeerTLS: s.ca.Files(s.t, s.ca.Peer(s.t, contract.RoleURI(Platform, contract.UserBroker)))}
	s.run(Broker, cfg)
}

// Connect opens a connection of a user to the broker, which outlives the broker's death.
func (s *Stack) Connect(user string, more ...nats.Option) jetstream.JetStream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	nc, err := process.Connect(ctx, contract.NATSConfig{URL: s.url, TLS: s.user(user)}, user, slog.New(slog.DiscardHandler), more...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// publish puts the bundle where the roles look.
func (s *Stack) publish(signer *seal.Signer, o Options) {
	s.t.Helper()
	shards := []contract.Shard{dataplane.Shard(s.t, contract.ShardDirectory, o.Directory), dataplane.Shard(s.t, contract.ShardRules, o.Rules)}
	for name, f := range o.Fleets {
		shards = append(shards, dataplane.Shard(s.t, contract.ShardFleet+name, f, "fleets", name))
	}
	dataplane.Put(s.t, s.Connect(contract.UserOperator), signer, contract.Lease{Platform: "city/" + Platform, Scope: contract.ScopeCenter, Sequence: 1, ExpiresAt: time.Now().Add(24 * time.Hour)}, shards...)
}

// write writes a file of the stack.
func (s *Stack) write(name string, content []byte) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, content, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return file
}

// freeAddress asks the kernel for a port of this machine.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func port(t testing.TB, address string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}
