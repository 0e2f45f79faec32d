package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// broker is a real nats-server with mutual TLS, and the buckets that the platform makes.
func (w *world) broker(dir string) (url string, js jetstream.JetStream, files contract.TLSFiles) {
	w.t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(dir, "js"), NoLog: true, NoSigs: true, TLS: true, TLSTimeout: 5,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{w.ca.Server(w.t)}, ClientCAs: w.ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.Start()
	w.t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		w.t.Fatal("nats-server did not start")
	}
	files = w.ca.Files(w.t, w.ca.Client(w.t, contract.RoleURI("henan", contract.UserGateway)))
	nc, err := nats.Connect(s.ClientURL(), nats.ClientCert(files.CertFile, files.KeyFile), nats.RootCAs(files.CAFile))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc); err != nil {
		w.t.Fatal(err)
	}
	for _, bucket := range []string{contract.LeaseBucket, contract.ReportBucket} {
		if _, err := js.CreateKeyValue(w.t.Context(), jetstream.KeyValueConfig{Bucket: bucket}); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := js.CreateObjectStore(w.t.Context(), jetstream.ObjectStoreConfig{Bucket: contract.BundleStore}); err != nil {
		w.t.Fatal(err)
	}
	return s.ClientURL(), js, files
}

// publish seals w.bundle as the operator does, and gives its revision.
func (w *world) publish(js jetstream.JetStream, signer *seal.Signer, sequence int64) string {
	w.t.Helper()
	store, err := js.ObjectStore(w.t.Context(), contract.BundleStore)
	if err != nil {
		w.t.Fatal(err)
	}
	var index contract.Index
	shards := []contract.Shard{
		{Name: contract.ShardDirectory, Roots: []string{"dizuo/platform", "dizuo/communities", "dizuo/organizations"}, Data: below(w.t, w.bundle.Directory)},
		{Name: contract.ShardAccess, Roots: []string{"dizuo/access", "dizuo/datasets"}, Data: below(w.t, map[string]any{"datasets": w.bundle.Access.Datasets}), Modules: w.bundle.Modules},
	}
	for name, g := range sealed(w.t, w.bundle).Grants {
		shards = append(shards, contract.Shard{Name: name, Roots: []string{"dizuo/grants"}, Data: below(w.t, map[string]any{"grants": json.RawMessage(g.JSON)})})
	}
	for _, sh := range shards {
		if sh, err = seal.Normalize(sh); err != nil {
			w.t.Fatal(err)
		}
		raw, err := signer.Shard(sh)
		if err != nil {
			w.t.Fatal(err)
		}
		digest, err := sh.ContentDigest()
		if err != nil {
			w.t.Fatal(err)
		}
		index.Shards = append(index.Shards, contract.ShardRef{Name: sh.Name, Digest: digest})
		if _, err := store.PutBytes(w.t.Context(), contract.ObjectName("shard", digest), raw); err != nil {
			w.t.Fatal(err)
		}
	}
	raw, err := json.Marshal(index)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := store.PutBytes(w.t.Context(), contract.ObjectName("index", index.Revision()), raw); err != nil {
		w.t.Fatal(err)
	}
	lease, err := signer.Lease(contract.Lease{
		Platform: "dizuo-henan/henan", Scope: contract.ScopeCenter, Revision: index.Revision(), Sequence: sequence, IssuedAt: time.Now().UTC(), ExpiresAt: time.Now().Add(time.Hour).UTC(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	kv, err := js.KeyValue(w.t.Context(), contract.LeaseBucket)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := kv.PutString(w.t.Context(), contract.ScopeCenter, lease); err != nil {
		w.t.Fatal(err)
	}
	return index.Revision()
}

func below(t testing.TB, document any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var data map[string]any
	if err := json.Unmarshal(raw, &data); err != nil {
		t.Fatal(err)
	}
	return map[string]any{"dizuo": data}
}

// TestRun plays the whole role: a signed bundle over a real broker, a read, a revocation by a new bundle, and the report.
func TestRun(t *testing.T) {
	w := newWorld(t)
	w.close()
	dir := t.TempDir()
	natsURL, js, natsFiles := w.broker(dir)
	der, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := seal.NewSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := signer.Public()
	if err != nil {
		t.Fatal(err)
	}
	cfg := contract.NodeConfig{
		Platform: "dizuo-henan/henan", Role: contract.RoleGateway, Scope: contract.ScopeCenter, StateDir: filepath.Join(dir, "state"),
		TrustFile: filepath.Join(dir, "trust.pem"), HealthAddress: fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		NATS: &contract.NATSConfig{URL: natsURL, TLS: natsFiles}, Gateway: &w.config,
	}
	if err := os.WriteFile(cfg.TrustFile, trust, 0o600); err != nil {
		t.Fatal(err)
	}
	w.config.Address = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, slog.New(slog.NewTextHandler(io.Discard, nil))) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	w.publish(js, signer, 1)
	client, base, token := w.client("town"), "https://"+w.config.Address, w.token("town", "GridWorker")
	until(t, "a read is allowed", ended, func() bool {
		r, err := fetchReply(client, base, token, "elders", "purpose=HomeVisits")
		return err == nil && r.status == 200 && len(r.Records) == 3
	})
	until(t, "the gateway is ready", ended, func() bool {
		resp, err := http.Get("http://" + cfg.HealthAddress + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	w.bundle.Access.Grants = map[string]map[string]map[string]contract.Grant{}
	revision, revoked := w.publish(js, signer, 2), time.Now()
	until(t, "the agreement is gone", ended, func() bool {
		r, err := fetchReply(client, base, token, "elders", "purpose=HomeVisits")
		return err == nil && r.status == 403
	})
	t.Logf("publish to deny: %v", time.Since(revoked).Round(time.Millisecond))
	until(t, "the report names the new bundle", ended, func() bool {
		kv, err := js.KeyValue(t.Context(), contract.ReportBucket)
		if err != nil {
			return false
		}
		host, _ := os.Hostname()
		entry, err := kv.Get(t.Context(), contract.ReportKey(contract.RoleGateway, host))
		if err != nil {
			return false
		}
		var r contract.Report
		return json.Unmarshal(entry.Value(), &r) == nil && r.Sequence == 2 && r.Revision == revision && r.Decisions["a6"].Allowed >= 1 && r.Problem == ""
	})
}

// until awaits a condition, or the end of the role.
func until(t *testing.T, what string, ended <-chan error, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !holds() {
		select {
		case err := <-ended:
			t.Fatalf("waiting until %s: the role ended: %v", what, err)
		case <-deadline:
			t.Fatalf("waited too long until %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
