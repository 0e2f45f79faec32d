package auth

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestRolesCanDoTheirWork walks through what each role really does over the broker, with real clients of the libraries.
func TestRolesCanDoTheirWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)

	operator, violations := w.watched(contract.UserOperator)
	js := must(jetstream.New(operator))(t)
	store := must(js.ObjectStore(ctx, contract.BundleStore))(t)
	leases := must(js.KeyValue(ctx, contract.LeaseBucket))(t)
	large := make([]byte, 700<<10)
	must(store.PutBytes(ctx, "shard/sha256-1", large))(t)
	must(store.PutBytes(ctx, "shard/sha256-2", large))(t)
	if err := store.Delete(ctx, "shard/sha256-2"); err != nil {
		t.Errorf("operator deletes an old object: %v", err)
	}
	must(leases.Put(ctx, contract.ScopeCenter, []byte("signed")))(t)
	none(t, contract.UserOperator, violations)

	for user, role := range map[string]contract.Role{contract.UserGrid: contract.RoleGrid, contract.UserGateway: contract.RoleGateway, contract.UserAuthBundle: contract.RoleAuth} {
		nc, violations := w.watched(user)
		js := must(jetstream.New(nc))(t)
		leases := must(js.KeyValue(ctx, contract.LeaseBucket))(t)
		watch := must(leases.Watch(ctx, contract.ScopeCenter))(t)
		if entry := <-watch.Updates(); entry == nil || string(entry.Value()) != "signed" {
			t.Errorf("%s: lease %v", user, entry)
		}
		store := must(js.ObjectStore(ctx, contract.BundleStore))(t)
		if got := must(store.GetBytes(ctx, "shard/sha256-1"))(t); len(got) != len(large) {
			t.Errorf("%s: %d bytes of a bundle", user, len(got))
		}
		if err := watch.Stop(); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		reports := must(js.KeyValue(ctx, contract.ReportBucket))(t)
		must(reports.Put(ctx, contract.ReportKey(role, "pod-0"), []byte("{}")))(t)
		none(t, user, violations)
	}

	reports := must(js.KeyValue(ctx, contract.ReportBucket))(t)
	all := must(reports.WatchAll(ctx))(t)
	seen := 0
	for entry := range all.Updates() {
		if entry == nil {
			break
		}
		seen++
	}
	if seen < 3 {
		t.Errorf("operator sees %d reports, want at least 3", seen)
	}
	none(t, contract.UserOperator, violations)

	s := w.connect(w.x509("smoke", "s1"))
	if err := s.publish(contract.DeviceTopic("smoke", "s1", contract.ChannelSignal), "hello", 1); err != nil {
		t.Fatal(err)
	}
	grid, violations := w.watched(contract.UserGrid)
	gjs := must(jetstream.New(grid))(t)
	consumer := must(gjs.CreateOrUpdateConsumer(ctx, contract.IngestStream, jetstream.ConsumerConfig{Durable: contract.IngestConsumer,
		FilterSubject: contract.IngestFilter, AckPolicy: jetstream.AckExplicitPolicy}))(t)
	m := must(consumer.Next())(t)
	if string(m.Data()) != "hello" {
		t.Errorf("grid reads %q", m.Data())
	}
	if err := m.DoubleAck(ctx); err != nil {
		t.Errorf("grid acks: %v", err)
	}
	must(gjs.Consumer(ctx, contract.IngestStream, contract.IngestConsumer))(t)
	if _, err := grid.SubscribeSync("dizuo.v1.d.>"); err != nil {
		t.Error(err)
	}
	for _, subject := range []string{contract.DeviceSubject("smoke", "s1", contract.ChannelCommand), contract.CommunitySubject("jinghu", "smoke", "s1", contract.ChannelSignal)} {
		if err := grid.Publish(subject, []byte("x")); err != nil {
			t.Error(err)
		}
	}
	none(t, contract.UserGrid, violations)
}

// TestRolesCannotDoOthersWork tries, for each role, what belongs to another.
func TestRolesCannotDoOthersWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	lease := "$KV." + contract.LeaseBucket + ".center"
	signal := contract.DeviceSubject("smoke", "s1", contract.ChannelSignal)
	command := contract.DeviceSubject("smoke", "s1", contract.ChannelCommand)
	report := func(r contract.Role) string {
		return "$KV." + contract.ReportBucket + "." + contract.ReportKey(r, "pod-0")
	}
	everybody := []string{"$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.SERVER.x.RELOAD", "$JS.API.STREAM.DELETE." + contract.IngestStream,
		"$JS.API.STREAM.PURGE." + contract.IngestStream, "$JS.API.STREAM.CREATE.evil", "$JS.API.STREAM.UPDATE." + contract.IngestStream,
		"$JS.API.STREAM.LIST", "$JS.API.CONSUMER.LIST." + contract.IngestStream, "$JS.API.CONSUMER.CREATE." + contract.IngestStream,
		"$JS.API.CONSUMER.CREATE." + contract.IngestStream + ".evil", "$JS.API.CONSUMER.DELETE." + contract.IngestStream + ".another",
		"$JS.API.CONSUMER.CREATE.$MQTT_sess.x", "$MQTT.msgs." + signal, signal, "$MQTT.sess.x", "_INBOX_grid.x"}
	for user, more := range map[string][]string{
		contract.UserAuth:       {lease, command, report(contract.RoleAuth), "$SYS.REQ.SERVER.x.KICK", "$SYS.REQ.SERVER.PING.CONNZ", "$JS.API.STREAM.INFO.KV_dizuo-leases"},
		contract.UserAuthSystem: {lease, command, "$SYS.REQ.SERVER.x.LDM", "$SYS.REQ.SERVER.x.VARZ", "$SYS.REQ.ACCOUNT.DEV.INFO", "$SYS.ACCOUNT.DEV.DISCONNECT"},
		contract.UserAuthBundle: {lease, command, report(contract.RoleGrid), "$O.dizuo-bundles.C.x", "$SYS.REQ.SERVER.x.KICK"},
		contract.UserGateway:    {lease, command, report(contract.RoleGrid), report(contract.RoleEdge), "$O.dizuo-bundles.M.x", "dizuo.v1.c.jinghu.x", "$JS.API.CONSUMER.MSG.NEXT.$MQTT_msgs.grid"},
		contract.UserGrid:       {lease, report(contract.RoleGateway), report(contract.RoleEdge), "$O.dizuo-bundles.C.x", "$JS.API.CONSUMER.CREATE.$MQTT_msgs.grid.$MQTT.msgs.>", "$JS.ACK.$MQTT_msgs.other.1.1.1.1.1"},
		contract.UserOperator:   {command, report(contract.RoleGateway), report(contract.RoleEdge), "$JS.API.CONSUMER.MSG.NEXT.$MQTT_msgs.grid", "$JS.API.STREAM.DELETE.OBJ_dizuo-bundles", "$JS.API.STREAM.PURGE.KV_dizuo-leases"},
	} {
		t.Run(user, func(t *testing.T) {
			nc, violations := w.watched(user)
			for _, subject := range append(more, everybody...) {
				before := violations.Load()
				if err := nc.Publish(subject, []byte("{}")); err != nil {
					t.Fatal(err)
				}
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
				if !soon(func() bool { return violations.Load() > before }) {
					t.Errorf("may publish to %s", subject)
				}
			}
			for _, subject := range []string{">", "_INBOX.>", "_INBOX_*.>", "$KV.>", "$SYS.>", "$MQTT.>", "$JS.>", "dizuo.>"} {
				before := violations.Load()
				if _, err := nc.SubscribeSync(subject); err != nil {
					t.Fatal(err)
				}
				if !soon(func() bool { return violations.Load() > before }) {
					t.Errorf("may subscribe to %s", subject)
				}
			}
		})
	}
}

// TestStrangersOnTheClientListener tries to come in beside the platform's roles.
func TestStrangersOnTheClientListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	foreign := w.cas["smoke"].client(t, contract.DeviceURI(platform, "smoke", "s1"))
	organization := w.ca.client(t, contract.OrganizationURI(platform, "county", "fire", "id"))
	elsewhere := w.ca.client(t, contract.RoleURI("shandong", contract.UserGrid))
	for name, opts := range map[string][]nats.Option{
		"no certificate":                  {nats.Secure(w.tls(device{}))},
		"a device's certificate":          {nats.Secure(w.tls(device{cert: &foreign}))},
		"an organisation's certificate":   {nats.Secure(w.tls(device{cert: &organization}))},
		"a role of another platform":      {nats.Secure(w.tls(device{cert: &elsewhere}))},
		"an organisation naming a role":   {nats.Secure(w.tls(device{cert: &organization})), nats.UserInfo(contract.RoleURI(platform, contract.UserGrid), "")},
		"an organisation with a password": {nats.Secure(w.tls(device{cert: &organization})), nats.UserInfo("door.d1", door1)},
	} {
		nc, err := nats.Connect(w.broker.ClientURL(), append(opts, nats.MaxReconnects(0))...)
		if err == nil {
			nc.Close()
			t.Errorf("%s: let in", name)
		}
	}
}

// watched connects as a user and counts the violations that the server tells it of.
func (w *world) watched(user string) (*nats.Conn, *atomic.Int64) {
	nc := w.user(user)
	var n atomic.Int64
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			n.Add(1)
		} else {
			w.t.Logf("%s: %v", user, err)
		}
	})
	return nc, &n
}

func none(t *testing.T, user string, n *atomic.Int64) {
	t.Helper()
	if v := n.Load(); v != 0 {
		t.Errorf("%s: %d permission violations in its own work", user, v)
	}
}

// soon waits a little for f: errors of the server reach the client's handler by a queue of their own.
func soon(f func() bool) bool {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if f() {
			return true
		}
	}
	return false
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(fmt.Errorf("must: %w", err))
		}
		return v
	}
}
