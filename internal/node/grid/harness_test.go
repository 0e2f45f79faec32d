package grid

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/postgres"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	if os.Getenv(edgeChildEnv) != "" {
		edgeChild()
		return
	}
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// migrated is the database that those of the tests are copies of.
var (
	migrated  sync.Once
	databases atomic.Int64
)

// database gives a migrated database of the test's own and how the grid service and the owner reach it.
func database(t *testing.T) (grid, owner contract.DatabaseConfig) {
	t.Helper()
	server := postgres.Shared(t)
	migrated.Do(func() {
		server.Exec(t, "postgres", "CREATE DATABASE migrated")
		if err := Migrate(t.Context(), server.Owner("migrated"), postgres.Passwords(), quiet()); err != nil {
			t.Fatal(err)
		}
	})
	name := fmt.Sprint("dizuo", databases.Add(1))
	server.Exec(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE migrated")
	owner = server.Owner(name)
	grid = owner
	grid.User = contract.DatabaseUserGrid
	return grid, owner
}

// try runs one statement as the user of cfg and gives its error.
func try(t *testing.T, cfg contract.DatabaseConfig, statement string, args ...any) error {
	t.Helper()
	c, err := connConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := refresh(cfg)(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), statement, args...)
	return err
}

func exec1(t *testing.T, cfg contract.DatabaseConfig, statement string, args ...any) {
	t.Helper()
	if err := try(t, cfg, statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// broker is a real nats-server with MQTT and the ingest log.
func broker(t *testing.T) *server.Server {
	t.Helper()
	opts := &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: freePort(t)}, // the server does not tell a port that it chose itself
	}
	s, err := server.NewServer(opts)
	mqttAddress.Store(s, net.JoinHostPort("127.0.0.1", strconv.Itoa(opts.MQTT.Port)))
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("broker does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, js := connect(t, s.ClientURL())
	defer nc.Close()
	// As the role broker makes it.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: contract.IngestStream, Subjects: []string{contract.IngestPrefix + ">"}, Retention: jetstream.LimitsPolicy}); err != nil {
		t.Fatal(err)
	}
	return s
}

// mqttAddress is where a broker takes devices.
var mqttAddress sync.Map

// freePort asks the kernel for a port.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func connect(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// mqttClient is a device.
func mqttClient(t *testing.T, s *server.Server, id string) mqtt.Client {
	t.Helper()
	addr, _ := mqttAddress.Load(s)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr.(string)).SetClientID(id).SetCleanSession(true).SetAutoReconnect(false))
	wait(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func wait(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(20 * time.Second) {
		t.Fatal("MQTT: no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func poolOf(t *testing.T, cfg contract.DatabaseConfig) *pgxpool.Pool {
	t.Helper()
	pool, err := openPool(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// number reads one number.
func number(t *testing.T, pool *pgxpool.Pool, query string, args ...any) (n int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}
