package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/broker"
)

// TestSignedBundleEndToEnd runs both roles as a process would, and the operator publishes signed bundles: a device is
// admitted, revoked, and cut, and both roles report the sequence that they enforce.
func TestSignedBundleEndToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	signer, err3 := seal.NewSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	w.cfg.TrustFile = write(t, w.dir, "trust.pem", string(must(signer.Public())(t)))
	w.cfg.Broker.ClientPort, w.cfg.Broker.MQTTPort = freePort(t), freePort(t)
	url := fmt.Sprintf("tls://127.0.0.1:%d", w.cfg.Broker.ClientPort)
	for _, c := range []*contract.NATSConfig{w.cfg.NATS, &w.cfg.Auth.Callout, &w.cfg.Auth.System} {
		c.URL = url
	}
	brokerConfig, authConfig := w.cfg, w.cfg
	brokerConfig.StateDir, authConfig.StateDir = filepath.Join(w.dir, "b"), filepath.Join(w.dir, "a")

	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return broker.Run(ctx, brokerConfig, logger()) })
	g.Go(func() error { return Run(ctx, authConfig, logger()) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("roles ended: %v", err)
		}
	})
	js := must(jetstream.New(w.user(contract.UserOperator)))(t)
	address := fmt.Sprintf("127.0.0.1:%d", w.cfg.Broker.MQTTPort)

	w.sign(t, signer, js)
	var s *session
	await(t, "the device to be admitted", func() (err error) { s, err = w.dial(address, w.x509("smoke", "s1")); return err })
	if err := s.publish(contract.DeviceTopic("smoke", "s2", contract.ChannelSignal), "forged", 1); err != nil {
		t.Fatal(err)
	}
	delete(w.creds["smoke"].Devices, "s1")
	began := time.Now()
	w.sign(t, signer, js)
	await(t, "both roles to report the new sequence", func() error {
		for _, role := range []contract.Role{contract.RoleBroker, contract.RoleAuth} {
			r, err := reportOf(js, role)
			if err != nil {
				return err
			}
			if r.Sequence != w.seq {
				return fmt.Errorf("%s: sequence %d, want %d", role, r.Sequence, w.seq)
			}
		}
		return nil
	})
	t.Logf("published to acknowledged by both roles: %s", time.Since(began))
	if s.alive() == nil {
		t.Error("the revoked device is connected after the acknowledgement")
	}
	if r, _ := reportOf(js, contract.RoleBroker); r.Fleets["smoke"].Violations != 1 || r.Fleets["smoke"].LastViolationAt.IsZero() {
		t.Errorf("broker reports %+v, want one violation of smoke", r.Fleets)
	}
}

// sign publishes the credentials as they stand, as the operator does: shards, index, then the lease.
func (w *world) sign(t *testing.T, signer *seal.Signer, js jetstream.JetStream) {
	t.Helper()
	ctx := context.Background()
	store := must(js.ObjectStore(ctx, contract.BundleStore))(t)
	var index contract.Index
	for name, c := range w.creds {
		var doc map[string]any
		if err := json.Unmarshal(must(json.Marshal(c))(t), &doc); err != nil {
			t.Fatal(err)
		}
		shard := must(seal.Normalize(contract.Shard{Name: contract.ShardCredentials + name, Roots: []string{"dizuo/credentials/" + name},
			Data: map[string]any{"dizuo": map[string]any{"credentials": map[string]any{name: doc}}}}))(t)
		raw, digest := must(signer.Shard(shard))(t), must(shard.ContentDigest())(t)
		index.Shards = append(index.Shards, contract.ShardRef{Name: shard.Name, Digest: digest})
		must(store.PutBytes(ctx, contract.ObjectName("shard", digest), raw))(t)
	}
	raw := must(json.Marshal(index))(t)
	must(store.PutBytes(ctx, contract.ObjectName("index", index.Revision()), bytes.TrimSpace(raw)))(t)
	w.seq++
	lease := must(signer.Lease(contract.Lease{Platform: w.cfg.Platform, Scope: contract.ScopeCenter, Revision: index.Revision(), Sequence: w.seq,
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}))(t)
	leases := must(js.KeyValue(ctx, contract.LeaseBucket))(t)
	must(leases.PutString(ctx, contract.ScopeCenter, lease))(t)
}

func reportOf(js jetstream.JetStream, role contract.Role) (r contract.Report, err error) {
	kv, err := js.KeyValue(context.Background(), contract.ReportBucket)
	if err != nil {
		return r, err
	}
	watch, err := kv.WatchAll(context.Background())
	if err != nil {
		return r, err
	}
	defer watch.Stop() //nolint:errcheck // a test
	for entry := range watch.Updates() {
		if entry == nil {
			return r, fmt.Errorf("no report of %s", role)
		}
		if strings.HasPrefix(entry.Key(), string(role)+".") {
			return r, json.Unmarshal(entry.Value(), &r)
		}
	}
	return r, errors.New("watch ended")
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number is wanted
	return l.Addr().(*net.TCPAddr).Port
}

// TestFullIngestLogLosesNothingSilently fills the log: what does not fit is not acknowledged.
func TestFullIngestLogLosesNothingSilently(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Broker.Ingest.MaxBytes = 1 << 20
	w.start()
	s := w.connect(w.x509("smoke", "s1"))
	payload, acked := strings.Repeat("x", 64<<10), 0
	for ; acked < 100; acked++ {
		if err := s.publish(contract.DeviceTopic("smoke", "s1", contract.ChannelSignal), payload, uint16(acked+1)); err != nil {
			break
		}
	}
	stream := must(w.broker.JetStream().Stream(context.Background(), contract.IngestStream))(t)
	if n := stream.CachedInfo().State.Msgs; acked == 0 || acked == 100 || n != uint64(acked) {
		t.Errorf("%d acknowledged, %d stored", acked, n)
	}
}

// TestAMessageAboveTheFleetsLimitIsAcknowledged: it is dropped and counted where it is read. A closed connection would have the device send it for ever.
func TestAMessageAboveTheFleetsLimitIsAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.creds["smoke"]
	f.Limits.PayloadBytes = 16
	w.creds["smoke"] = f
	w.start()
	s := w.connect(w.x509("smoke", "s1"))
	for i, payload := range []string{strings.Repeat("x", 17), strings.Repeat("x", 256<<10), "x"} {
		if err := s.publish(contract.DeviceTopic("smoke", "s1", contract.ChannelSignal), payload, uint16(i+1)); err != nil {
			t.Errorf("%d bytes: %v", len(payload), err)
		}
	}
}

// TestQoS2IsRefused: the server would store such a message before it looks at the permission to publish it.
func TestQoS2IsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	s := w.connect(w.x509("smoke", "s1"))
	if err := s.send(0x34, append(append(field(contract.DeviceTopic("smoke", "s2", contract.ChannelSignal)), 0, 1), "forged"...)); err != nil {
		t.Fatal(err)
	}
	if kind, _, err := s.read(); err == nil {
		t.Errorf("packet %x came back, want the connection closed", kind)
	}
}
