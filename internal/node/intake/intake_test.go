package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/test/pki"
)

const platform = "henan/henan"

// world is a broker, a control plane that publishes to it, and the folder of one node.
type world struct {
	t      *testing.T
	js     jetstream.JetStream
	leases jetstream.KeyValue
	store  jetstream.ObjectStore
	signer *seal.Signer
	cfg    contract.NodeConfig
	index  contract.Index
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, js: broker(t), signer: pki.Signer(t)}
	var err error
	if w.leases, err = w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: contract.LeaseBucket}); err != nil {
		t.Fatal(err)
	}
	if w.store, err = w.js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: contract.BundleStore}); err != nil {
		t.Fatal(err)
	}
	w.cfg = contract.NodeConfig{Platform: platform, Role: contract.RoleGrid, Scope: contract.ScopeCenter, StateDir: t.TempDir(), TrustFile: filepath.Join(t.TempDir(), "trust.pem")}
	w.trust(w.signer)
	return w
}

// broker runs a real nats-server with JetStream.
func broker(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker did not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func (w *world) trust(signers ...*seal.Signer) {
	w.t.Helper()
	var out bytes.Buffer
	for _, s := range signers {
		public, err := s.Public()
		if err != nil {
			w.t.Fatal(err)
		}
		out.Write(public)
	}
	if err := os.WriteFile(w.cfg.TrustFile, out.Bytes(), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// shards gives a bundle whose every part names the version.
func shards(version string) []contract.Shard {
	under := func(key string, v any) map[string]any { return map[string]any{"dizuo": map[string]any{key: v}} }
	return []contract.Shard{
		{Name: contract.ShardDirectory, Roots: []string{"dizuo/platform"}, Data: under("platform", contract.Platform{Name: "henan", DisplayName: version})},
		{Name: contract.ShardAccess, Roots: []string{"dizuo/grants", "dizuo/access"}, Data: under("grants", map[string]any{}),
			Modules: map[string]string{"policies/access.rego": "package dizuo.access\n\nversion := \"" + version + "\"\n"}},
		{Name: contract.ShardRules, Roots: []string{"dizuo/scenarios"}, Data: under("scenarios", map[string]any{})},
		{Name: contract.ShardFleet + "smoke", Roots: []string{"dizuo/fleets/smoke"},
			Data: under("fleets", map[string]any{"smoke": contract.Fleet{Profile: version, Devices: map[string]contract.Device{"d": {Community: "c"}}}})},
		{Name: contract.ShardCredentials + "smoke", Roots: []string{"dizuo/credentials/smoke"},
			Data: under("credentials", map[string]any{"smoke": contract.Credentials{Method: version}})},
		{Name: "of-a-later-version", Roots: []string{"dizuo/later"}, Data: under("later", version)},
	}
}

// upload puts a bundle into the store, except what skip names, and gives its revision.
func (w *world) upload(version string, skip ...string) string {
	w.t.Helper()
	w.index = contract.Index{}
	for _, sh := range shards(version) {
		sh, err := seal.Normalize(sh)
		if err != nil {
			w.t.Fatal(err)
		}
		digest, err := sh.ContentDigest()
		if err != nil {
			w.t.Fatal(err)
		}
		w.index.Shards = append(w.index.Shards, contract.ShardRef{Name: sh.Name, Digest: digest})
		if slices.Contains(skip, sh.Name) {
			continue
		}
		raw, err := w.signer.Shard(sh)
		if err != nil {
			w.t.Fatal(err)
		}
		w.put(contract.ObjectName("shard", digest), raw)
	}
	raw, err := json.Marshal(w.index)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(contract.ObjectName("index", w.index.Revision()), raw)
	return w.index.Revision()
}

func (w *world) put(name string, raw []byte) {
	w.t.Helper()
	if _, err := w.store.PutBytes(w.t.Context(), name, raw); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) lease(revision string, sequence int64) contract.Lease {
	now := time.Now().UTC()
	return contract.Lease{Platform: platform, Scope: contract.ScopeCenter, Revision: revision, Sequence: sequence, IssuedAt: now, ExpiresAt: now.Add(time.Hour)}
}

func (w *world) sign(l contract.Lease) string {
	w.t.Helper()
	jws, err := w.signer.Lease(l)
	if err != nil {
		w.t.Fatal(err)
	}
	return jws
}

func (w *world) post(jws string) {
	w.t.Helper()
	if _, err := w.leases.Put(w.t.Context(), contract.ScopeCenter, []byte(jws)); err != nil {
		w.t.Fatal(err)
	}
}

// publish uploads a version and puts out its lease.
func (w *world) publish(version string, sequence int64) {
	w.t.Helper()
	w.post(w.sign(w.lease(w.upload(version), sequence)))
}

func all(string) bool { return true }

// open starts as a node does at its start.
func (w *world) open(want func(string) bool) *Intake {
	w.t.Helper()
	i, err := Open(w.cfg, want, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// run runs an intake until the test calls stop, or ends.
func (w *world) run(i *Intake) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx, w.js) }()
	var stopped bool
	stop = func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("Run ended with %v", err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// await reads bundles until one has the sequence.
func (w *world) await(ch <-chan *Bundle, sequence int64) *Bundle {
	w.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case b := <-ch:
			if b.Lease.Sequence == sequence {
				return b
			}
			if b.Lease.Sequence > sequence {
				w.t.Fatalf("sequence %d came, waited for %d", b.Lease.Sequence, sequence)
			}
		case <-limit:
			w.t.Fatalf("no bundle of sequence %d", sequence)
		}
	}
}

// take offers a lease directly, so that what is refused needs no waiting.
func (w *world) take(i *Intake, jws string) error { return i.take(w.t.Context(), w.store, jws) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func version(b *Bundle) string {
	if b == nil {
		return ""
	}
	return b.Directory.Platform.DisplayName
}

func TestPublishReplaceRenew(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	if _, err := i.Live(time.Now()); !errors.Is(err, ErrNone) || i.Current() != nil {
		t.Errorf("before the first bundle: %v", err)
	}
	ch := i.Subscribe()
	w.publish("v1", 1)
	w.run(i)
	b := w.await(ch, 1)
	if version(b) != "v1" || b.Fleets["smoke"].Profile != "v1" || b.Credentials["smoke"].Method != "v1" || b.Fleets["smoke"].Devices["d"].Community != "c" ||
		!strings.Contains(b.Modules["policies/access.rego"], `"v1"`) {
		t.Errorf("got %+v", b)
	}
	w.publish("v2", 2)
	two := w.await(ch, 2)
	if version(two) != "v2" || version(b) != "v1" {
		t.Errorf("after v2 came: %s, and what was handed out before reads %s", version(two), version(b))
	}
	w.post(w.sign(w.lease(two.Lease.Revision, 3))) // renewed, nothing changed
	if three := w.await(ch, 3); version(three) != "v2" || three.Lease.Revision != two.Lease.Revision {
		t.Errorf("renewed: %+v", three.Lease)
	}
	if err := i.Problem(); err != nil {
		t.Error(err)
	}
	late := i.Subscribe()
	if got := w.await(late, 3); got != i.Current() {
		t.Error("who subscribes late does not get the bundle in force")
	}
}

// A broker without buckets, and an upload that is not done, are waited for; the last good bundle stays meanwhile.
func TestAFailedFetchLeavesTheLastGood(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	w.must(w.take(i, w.sign(w.lease(w.upload("v1"), 1))))
	for name, spoil := range map[string]func() string{
		"no index":       func() string { return contract.Digest([]byte("nothing")) },
		"no shard":       func() string { return w.upload("v2-a", contract.ShardAccess) },
		"a wanted shard": func() string { return w.upload("v2-b", contract.ShardFleet+"smoke") },
		"another index under its name": func() string {
			revision := w.upload("v2-c")
			w.put(contract.ObjectName("index", revision), []byte(`{"shards":[]}`))
			return revision
		},
		"another shard under its name": func() string {
			revision := w.upload("v2-d")
			first, err := w.signer.Shard(shards("other")[0])
			w.must(err)
			w.put(contract.ObjectName("shard", w.index.Shards[0].Digest), first)
			return revision
		},
		"a torn shard": func() string {
			revision := w.upload("v2-e")
			w.put(contract.ObjectName("shard", w.index.Shards[0].Digest), []byte("torn"))
			return revision
		},
	} {
		jws := w.sign(w.lease(spoil(), 2))
		if err := w.take(i, jws); err == nil {
			t.Errorf("%s: taken", name)
		}
		if b, err := i.Live(time.Now()); err != nil || version(b) != "v1" || b.Lease.Sequence != 1 {
			t.Errorf("%s: in force is %s: %v", name, version(b), err)
		}
		if again := w.open(all); version(again.Current()) != "v1" {
			t.Errorf("%s: after a restart %q is in force", name, version(again.Current()))
		}
	}
	// The same over the watch: it says what is wrong, and heals when the upload is done.
	ch := i.Subscribe()
	w.await(ch, 1)
	revision := w.upload("v3", contract.ShardAccess)
	w.post(w.sign(w.lease(revision, 3)))
	w.run(i)
	for i.Problem() == nil {
		time.Sleep(time.Millisecond) // there is no channel for problems
	}
	if version(i.Current()) != "v1" {
		t.Errorf("in force is %s", version(i.Current()))
	}
	w.upload("v3")
	if b := w.await(ch, 3); version(b) != "v3" || i.Problem() != nil {
		t.Errorf("after the upload: %s, %v", version(b), i.Problem())
	}
}

func TestBucketsThatComeLater(t *testing.T) {
	w := newWorld(t)
	w.must(w.js.DeleteKeyValue(t.Context(), contract.LeaseBucket))
	i := w.open(all)
	ch := i.Subscribe()
	w.run(i)
	for i.Problem() == nil {
		time.Sleep(time.Millisecond) // there is no channel for problems
	}
	leases, err := w.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: contract.LeaseBucket})
	w.must(err)
	w.leases = leases
	w.publish("v1", 1)
	w.await(ch, 1)
}

func TestLeasesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	forger := pki.Signer(t)
	i := w.open(all)
	w.must(w.take(i, w.sign(w.lease(w.upload("v5"), 5))))
	next := w.upload("v6")
	change := func(f func(*contract.Lease)) string {
		l := w.lease(next, 6)
		f(&l)
		return w.sign(l)
	}
	good := w.sign(w.lease(next, 6))
	parts := strings.Split(good, ".")
	forged, err := forger.Lease(w.lease(next, 6))
	w.must(err)
	other := strings.Split(w.sign(w.lease(next, 7)), ".")
	for name, jws := range map[string]string{
		"forged":              forged,
		"older":               change(func(l *contract.Lease) { l.Sequence = 4 }),
		"expired":             change(func(l *contract.Lease) { l.ExpiresAt = time.Now().Add(-time.Second) }),
		"another platform":    change(func(l *contract.Lease) { l.Platform = "other/other" }),
		"another scope":       change(func(l *contract.Lease) { l.Scope = "edge.a" }),
		"payload exchanged":   parts[0] + "." + other[1] + "." + parts[2],
		"signature cut":       good[:len(good)-4],
		"nothing":             "",
		"no algorithm":        "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"a renewal by forger": mustLease(t, forger, w.lease(i.Current().Lease.Revision, 6)),
	} {
		if err := w.take(i, jws); err == nil {
			t.Errorf("%s: taken", name)
		}
		if b := i.Current(); version(b) != "v5" || b.Lease.Sequence != 5 {
			t.Errorf("%s: in force is %s, lease %d", name, version(b), b.Lease.Sequence)
		}
	}
	w.must(w.take(i, good))
	if version(i.Current()) != "v6" {
		t.Error("the good lease was not taken")
	}
}

func mustLease(t *testing.T, s *seal.Signer, l contract.Lease) string {
	t.Helper()
	jws, err := s.Lease(l)
	if err != nil {
		t.Fatal(err)
	}
	return jws
}

// A forged lease in the bucket hides the good one only until that is there again.
func TestAForgedLeaseInTheBucket(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	ch := i.Subscribe()
	w.publish("v1", 1)
	w.run(i)
	w.await(ch, 1)
	w.post(mustLease(t, pki.Signer(t), w.lease(w.upload("v2"), 2)))
	w.publish("v3", 3)
	if b := w.await(ch, 3); version(b) != "v3" {
		t.Errorf("got %s", version(b))
	}
}

func TestLiveFailsClosed(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	l := w.lease(w.upload("v1"), 1)
	w.must(w.take(i, w.sign(l)))
	for at, ok := range map[time.Time]bool{l.IssuedAt: true, l.ExpiresAt.Add(-time.Nanosecond): true, l.ExpiresAt: false, l.ExpiresAt.Add(time.Hour): false} {
		if _, err := i.Live(at); (err == nil) != ok {
			t.Errorf("at %s: %v", at, err)
		}
	}
	if version(i.Current()) != "v1" {
		t.Error("Current must give it whatever its age")
	}
}

// A restart goes on with what was in force, though the broker is away and though its lease ran out: Live tells that.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.must(w.take(w.open(all), w.sign(w.lease(w.upload("v1"), 4))))
	again := w.open(all)
	if b, err := again.Live(time.Now()); err != nil || version(b) != "v1" || b.Lease.Sequence != 4 || b.Fleets["smoke"].Profile != "v1" {
		t.Errorf("after a restart: %+v, %v", b, err)
	}
	if _, err := again.Live(time.Now().Add(2 * time.Hour)); err == nil {
		t.Error("live after its lease ran out")
	}
	if err := w.take(again, w.sign(w.lease(w.upload("v0"), 3))); err == nil {
		t.Error("an older lease is taken after a restart")
	}
	// Another platform's node on the same folder takes nothing from it.
	w.cfg.Platform = "other/other"
	if i := w.open(all); i.Current() != nil {
		t.Error("the bundle of another platform is in force")
	}
	// A key that is no longer trusted signs nothing, also not what is on disk.
	w.cfg.Platform = platform
	w.trust(pki.Signer(t))
	if i := w.open(all); i.Current() != nil {
		t.Error("a bundle signed by a key that is not trusted any more is in force")
	}
}

// Damage of the copy on disk is found; nothing is in force then, the broker heals it, and an older lease stays refused.
func TestADamagedCopy(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"a shard is cut": func(t *testing.T, dir string) {
			each(t, dir, "shard-", func(raw []byte) []byte { return raw[:len(raw)/2] })
		},
		"a shard is empty": func(t *testing.T, dir string) { each(t, dir, "shard-", func([]byte) []byte { return nil }) },
		"a shard is gone":  func(t *testing.T, dir string) { gone(t, dir, "shard-") },
		"a bit of a shard": func(t *testing.T, dir string) {
			each(t, dir, "shard-", func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw })
		},
		"shards exchanged": exchange,
		"the index changed": func(t *testing.T, dir string) {
			each(t, dir, keptFile, func(raw []byte) []byte {
				return bytes.Replace(raw, []byte(`"shards":[`), []byte(`"shards":[{"name":"x","digest":"y"},`), 1)
			})
		},
		"an index of none": func(t *testing.T, dir string) {
			each(t, dir, keptFile, func(raw []byte) []byte {
				at := bytes.Index(raw, []byte(`"index"`))
				return append(raw[:at:at], []byte(`"index":{"shards":[]}}`)...)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(w.take(w.open(all), w.sign(w.lease(w.upload("v4"), 4))))
			damage(t, filepath.Join(w.cfg.StateDir, "bundle"))
			i := w.open(all)
			if b := i.Current(); b != nil {
				t.Fatalf("a damaged bundle is in force: %+v", b)
			}
			if err := w.take(i, w.sign(w.lease(w.upload("v3"), 3))); err == nil {
				t.Error("an older lease is taken after the damage")
			}
			w.must(w.take(i, w.sign(w.lease(w.upload("v4"), 4))))
			if version(i.Current()) != "v4" || version(w.open(all).Current()) != "v4" {
				t.Error("the broker did not heal it")
			}
		})
	}
}

// What a crash leaves between two writes: shards of the next version without its lease, and temporary files.
func TestATornWrite(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	w.must(w.take(i, w.sign(w.lease(w.upload("v1"), 1))))
	dir := filepath.Join(w.cfg.StateDir, "bundle")
	before := slices.Sorted(maps.Keys(files(t, dir)))
	raw, err := w.signer.Shard(normal(t, shards("v2")[0]))
	w.must(err)
	w.upload("v2")
	w.must(i.disk.writeShard(w.index.Shards[0], raw))
	w.must(os.WriteFile(filepath.Join(dir, "."+keptFile+"-123"), []byte(`{"lease":"ey`), 0o600))
	again := w.open(all)
	if version(again.Current()) != "v1" {
		t.Fatalf("in force is %q", version(again.Current()))
	}
	w.must(w.take(again, w.sign(w.lease(w.upload("v3"), 2))))
	after := slices.DeleteFunc(slices.Sorted(maps.Keys(files(t, dir))), func(n string) bool { return strings.HasPrefix(n, ".") })
	if len(after) != len(before) {
		t.Errorf("shards of older versions pile up: %v, then %v", before, after)
	}
}

func normal(t *testing.T, sh contract.Shard) contract.Shard {
	t.Helper()
	sh, err := seal.Normalize(sh)
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// each changes the files of a prefix.
func each(t *testing.T, dir, prefix string, change func([]byte) []byte) {
	t.Helper()
	n := 0
	for name, raw := range files(t, dir) {
		if strings.HasPrefix(name, prefix) {
			n++
			if err := os.WriteFile(filepath.Join(dir, name), change(raw), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n == 0 {
		t.Fatalf("no file %s*", prefix)
	}
}

func gone(t *testing.T, dir, prefix string) {
	t.Helper()
	for name := range files(t, dir) {
		if strings.HasPrefix(name, prefix) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// exchange puts every shard under the name of another.
func exchange(t *testing.T, dir string) {
	t.Helper()
	kept := files(t, dir)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(kept)), func(n string) bool { return !strings.HasPrefix(n, "shard-") })
	for i, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), kept[names[(i+1)%len(names)]], 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A role reads and keeps only what it asked for: secrets of devices reach broker and auth alone.
func TestOnlyWhatIsWanted(t *testing.T) {
	w := newWorld(t)
	without := func(name string) bool { return !strings.HasPrefix(name, contract.ShardCredentials) }
	i := w.open(without)
	w.must(w.take(i, w.sign(w.lease(w.upload("v1", contract.ShardCredentials+"smoke"), 1)))) // it is not even fetched
	if b := i.Current(); len(b.Credentials) != 0 || len(b.Fleets) != 1 {
		t.Errorf("got %+v", b)
	}
	if b := w.open(without).Current(); len(b.Credentials) != 0 || len(b.Fleets) != 1 {
		t.Errorf("after a restart: %+v", b)
	}
}

// A fleet that is gone from the index is gone from the bundle.
func TestAFleetThatIsGone(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	w.must(w.take(i, w.sign(w.lease(w.upload("v1"), 1))))
	w.index.Shards = slices.DeleteFunc(w.index.Shards, func(r contract.ShardRef) bool { return strings.HasSuffix(r.Name, "smoke") })
	raw, err := json.Marshal(w.index)
	w.must(err)
	w.put(contract.ObjectName("index", w.index.Revision()), raw)
	w.must(w.take(i, w.sign(w.lease(w.index.Revision(), 2))))
	if b := i.Current(); len(b.Fleets)+len(b.Credentials) != 0 || version(b) != "v1" {
		t.Errorf("got %+v", b)
	}
}

// Two keys are trusted during a rotation; the trust file is read anew for each lease.
func TestRotationOfTheSigningKey(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	w.must(w.take(i, w.sign(w.lease(w.upload("v1"), 1))))
	old := w.signer
	w.signer = pki.Signer(t)
	jws := w.sign(w.lease(w.upload("v2"), 2))
	if err := w.take(i, jws); err == nil {
		t.Error("a new key is taken before it is trusted")
	}
	w.trust(old, w.signer)
	w.must(w.take(i, jws))
}

// A key whose certificate ended is taken out of the trust file; keys there have no dates of their own. What it signs from then on is not taken:
// the last good bundle stays, the problem says which key, and a bundle of a key that is trusted ends the problem.
func TestABundleOfAKeyThatEnded(t *testing.T) {
	w := newWorld(t)
	i := w.open(all)
	ch := i.Subscribe()
	w.publish("v1", 1)
	w.run(i)
	w.await(ch, 1)
	ended := w.signer
	w.signer = pki.Signer(t)
	w.trust(w.signer)
	late := w.lease(w.upload("v2"), 2)
	w.post(mustLease(t, ended, late))
	deadline := time.After(20 * time.Second)
	for i.Problem() == nil {
		select {
		case <-deadline:
			t.Fatal("no problem is told")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if text := i.Problem().Error(); !strings.Contains(text, "not trusted here") {
		t.Errorf("problem %q does not say that the key is not trusted", text)
	}
	if b := i.Current(); version(b) != "v1" || b.Lease.Sequence != 1 {
		t.Errorf("the last good bundle did not stay: %+v", b.Lease)
	}
	w.post(w.sign(w.lease(w.upload("v3"), 3)))
	if b := w.await(ch, 3); version(b) != "v3" || i.Problem() != nil {
		t.Errorf("%s, %v", version(b), i.Problem())
	}
}

// Two nodes through a rotation in which nothing but the key changes, one of them late: the late one keeps its last good bundle, takes the
// new lease when it trusts the new key, and both stand up again from their disks when the former key is trusted no more.
func TestRotationWithALateNode(t *testing.T) {
	w := newWorld(t)
	prompt := w.open(all)
	promptDir, promptTrust := w.cfg.StateDir, w.cfg.TrustFile
	w.cfg.StateDir, w.cfg.TrustFile = t.TempDir(), filepath.Join(t.TempDir(), "trust.pem")
	w.trust(w.signer)
	late := w.open(all)
	lateTrust := w.cfg.TrustFile
	first := w.sign(w.lease(w.upload("v1"), 1))
	w.must(w.take(prompt, first))
	w.must(w.take(late, first))
	old := w.signer
	w.cfg.TrustFile = promptTrust
	w.signer = pki.Signer(t)
	w.trust(old, w.signer)
	second := w.sign(w.lease(w.upload("v1"), 2)) // the same content, sealed anew
	w.must(w.take(prompt, second))
	if err := w.take(late, second); err == nil {
		t.Error("the late node takes a key that it does not trust")
	}
	if b := late.Current(); b == nil || b.Lease.Sequence != 1 {
		t.Errorf("the late node lost its last good bundle: %+v", b)
	}
	w.cfg.TrustFile = lateTrust
	w.trust(old, w.signer)
	w.must(w.take(late, second))
	w.trust(w.signer)
	w.cfg.TrustFile = promptTrust
	w.trust(w.signer)
	lateDir := w.cfg.StateDir
	for _, dir := range []string{promptDir, lateDir} {
		w.cfg.StateDir = dir
		if b := w.open(all).Current(); b == nil || b.Lease.Sequence != 2 {
			t.Errorf("after a restart without the former key: %+v", b)
		}
	}
}

// Who does not read in time gets the latest, not a queue.
func TestSubscribersGetTheLatest(t *testing.T) {
	first := &Bundle{Lease: contract.Lease{Sequence: 1}}
	i := NewStatic(first)
	slow, fresh := i.Subscribe(), i.Subscribe()
	if <-fresh != first {
		t.Error("not the bundle in force at once")
	}
	for n := int64(2); n <= 5; n++ {
		i.Set(&Bundle{Lease: contract.Lease{Sequence: n}})
	}
	for _, ch := range []<-chan *Bundle{slow, fresh} {
		if b := <-ch; b.Lease.Sequence != 5 {
			t.Errorf("got %d, want 5", b.Lease.Sequence)
		}
		select {
		case b := <-ch:
			t.Errorf("a second one waits: %d", b.Lease.Sequence)
		default:
		}
	}
}

func TestFetch(t *testing.T) {
	w := newWorld(t)
	l := w.lease(w.upload("v1"), 1)
	raw, err := os.ReadFile(w.cfg.TrustFile)
	w.must(err)
	trust, err := seal.NewTrust(raw)
	w.must(err)
	b, err := Fetch(t.Context(), w.js, trust, l, w.index)
	w.must(err)
	if version(b) != "v1" || b.Credentials["smoke"].Method != "v1" {
		t.Errorf("got %+v", b)
	}
	w.index.Shards[0].Digest = contract.Digest([]byte("other"))
	if _, err := Fetch(t.Context(), w.js, trust, l, w.index); err == nil {
		t.Error("a shard that is not there was no error")
	}
}
