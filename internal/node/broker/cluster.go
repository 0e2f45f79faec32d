package broker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// clusterName is the same in every broker of a platform. Platforms do not share a network of brokers.
	clusterName = "dizuo"
	loopback    = "127.0.0.1"
	// foundTimeout bounds the making of a cluster of one, which takes half a second.
	foundTimeout = time.Minute
	// metaFolder, under the store, holds the state of JetStream's meta group: who is a peer, which stream is where.
	metaFolder = server.JetStreamStoreDir + "/" + contract.AccountSystem
	peerState  = metaFolder + "/_js_/_meta_/peers.idx"
)

// founded reports whether a store belongs to a cluster already.
func founded(storeDir string) bool {
	_, err := os.Stat(filepath.Join(storeDir, peerState))
	return err == nil
}

// found makes a store the state of a cluster of one. A broker is always a cluster, so that others can join it and leave it
// while it serves. The server elects its first leader among two or more only; so a second one stands in, in this process, and
// is removed again. All that happens beside the store, and one rename ends it: whoever is killed before begins anew. Streams
// that a server without a cluster left in the store are taken over by ensureStreams.
func found(ctx context.Context, name, storeDir string) error {
	ctx, cancel := context.WithTimeout(ctx, foundTimeout)
	defer cancel()
	draft := storeDir + ".founding"
	if err := errors.Join(os.RemoveAll(draft), os.MkdirAll(filepath.Join(storeDir, server.JetStreamStoreDir), 0o700)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { _ = os.RemoveAll(draft) }()
	if err := foundIn(ctx, name, draft); err != nil {
		return fmt.Errorf("make a cluster of one: %w", err)
	}
	if err := os.Rename(filepath.Join(draft, name, metaFolder), filepath.Join(storeDir, metaFolder)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func foundIn(ctx context.Context, name, dir string) error {
	const standIn = "stand-in"
	secret := rand.Text()
	first, err := founder(name, dir, "nats-route://"+loopback+":1", secret) // one route must be named; nobody is there
	if err != nil {
		return err
	}
	defer stopServer(first)
	second, err := founder(standIn, dir, fmt.Sprintf("nats-route://%s", first.ClusterAddr()), secret)
	if err != nil {
		return err
	}
	defer stopServer(second)
	system, err := nats.Connect("", nats.InProcessServer(first), nats.UserInfo(name, secret))
	if err != nil {
		return err
	}
	defer system.Close()
	return until(ctx, 20*time.Millisecond, func() (bool, error) {
		if info, err := first.Jsz(nil); err == nil && info.Meta != nil && info.Meta.Size == 1 && info.Meta.Leader == name {
			return true, nil
		}
		return false, removePeer(ctx, system, standIn)
	})
}

// founder starts one of the two servers.
func founder(name, dir, route, secret string) (*server.Server, error) {
	raw, err := json.Marshal(map[string]any{
		"server_name": name, "host": loopback, "port": server.RANDOM_PORT, "system_account": contract.AccountSystem,
		"accounts":  map[string]any{contract.AccountSystem: map[string]any{"users": []any{map[string]any{"user": name, "password": secret}}}},
		"jetstream": map[string]any{"store_dir": filepath.Join(dir, name), "max_file_store": maxStore, "max_memory_store": memoryStore, "sync_interval": "always"},
		"cluster": map[string]any{"name": clusterName, "host": loopback, "port": server.RANDOM_PORT, "routes": []string{route},
			"authorization": map[string]any{"user": clusterName, "password": secret}},
	})
	if err != nil {
		return nil, err
	}
	o := &server.Options{NoSigs: true, NoLog: true}
	if err := o.ProcessConfigString(string(raw)); err != nil {
		return nil, err
	}
	o.Routes[0].User = url.UserPassword(clusterName, secret)
	return startServer(o)
}

// companion is a server without JetStream that a lone broker has a route to: the meta group of a server that has no route at
// all does not begin. It takes no clients and leaves when there is a leader or another broker.
func companion(clusterPort int, peers *tls.Config) (*server.Server, error) {
	o := &server.Options{NoSigs: true, NoLog: true}
	system := fmt.Sprintf("system_account: %s, accounts: {%s: {}, NONE: {users: [{user: nobody, password: %q}]}}", contract.AccountSystem, contract.AccountSystem, rand.Text())
	if err := o.ProcessConfigString(system); err != nil {
		return nil, err
	}
	o.ServerName, o.Host, o.Port = "companion", loopback, server.RANDOM_PORT
	o.Cluster = server.ClusterOpts{Name: clusterName, Host: loopback, Port: server.RANDOM_PORT, TLSConfig: peers, TLSTimeout: tlsTimeout}
	o.Routes = server.RoutesFromStr(fmt.Sprintf("nats-route://localhost:%d", clusterPort))
	return startServer(o)
}

func startServer(o *server.Options) (*server.Server, error) {
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		stopServer(s)
		return nil, errors.New("a server on the loopback interface did not start within 10 s")
	}
	return s, nil
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// removePeer takes a server out of the meta group. That it is out already is no error, and neither is that nobody leads now:
// the caller asks again until it sees the group as it wants it.
func removePeer(ctx context.Context, system *nats.Conn, name string) error {
	request, err := json.Marshal(map[string]string{"peer": name})
	if err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, 300*time.Millisecond) // the answer is often lost: the leader changes by it
	defer cancel()
	_, err = system.RequestWithContext(asked, "$JS.API.SERVER.REMOVE", request)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) {
		return ctx.Err()
	}
	return err
}

// until asks again and again until the answer is yes, an error, or the end of ctx.
func until(ctx context.Context, every time.Duration, f func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// accompany gives a founded broker a companion until it needs none.
func (b *Broker) accompany(ctx context.Context, peers *tls.Config, log *slog.Logger) error {
	c, err := companion(b.server.ClusterAddr().Port, peers)
	if err != nil {
		return fmt.Errorf("companion: %w", err)
	}
	go func() {
		defer stopServer(c)
		_ = until(ctx, 50*time.Millisecond, func() (bool, error) {
			return b.server.NumRemotes() > 1 || b.server.JetStreamIsLeader() || !b.server.Running(), nil
		})
		log.Debug("the companion leaves")
	}()
	return nil
}
