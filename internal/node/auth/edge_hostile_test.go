package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// hostileSubjects are subjects that an edge node named north has no business with: those of every role, of the server, of devices and of
// other nodes.
func hostileSubjects() []string {
	out := []string{
		"$SYS.REQ.USER.AUTH", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.x.KICK", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.DEV.CONNZ",
		"$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.USER.INFO",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO." + contract.IngestStream, "$JS.API.STREAM.DELETE." + contract.IngestStream,
		"$JS.API.STREAM.MSG.GET.KV_" + contract.LeaseBucket, "$JS.API.DIRECT.GET.OBJ_" + contract.BundleStore, "$JS.API.CONSUMER.CREATE.KV_" + contract.LeaseBucket + ".x",
		"$JS.API.CONSUMER.MSG.NEXT." + contract.IngestStream + "." + contract.IngestConsumer,
		"$JS.ACK." + contract.IngestStream + "." + contract.IngestConsumer + ".1.1.1.1.0",
		"$JS.ACK." + contract.IngestStream + "." + contract.IngestConsumer + ".1.2.2.1700000000000000000.5", "$JS.FC.x", "$JSC.R.x",
		"$KV." + contract.LeaseBucket + "." + contract.ScopeCenter, "$KV." + contract.LeaseBucket + ".edge.north", "$KV." + contract.ReportBucket + ".auth.x",
		"$KV." + contract.ReportBucket + ".edge.north", "$KV." + contract.ReportBucket + ".edge.south",
		"$O." + contract.BundleStore + ".M.x", "$O." + contract.BundleStore + ".C.x",
		"$MQTT.msgs.dizuo.v1.d.smoke.s1.signal", "$MQTT.sess.x", "$MQTT.sub.x", "$MQTT.JSA.x.SL.y", "$NRG.V.x", "$LDS.x", "$GR.x.y", "_GR_.x.y.z",
		"_R_.abcdef.ghijkl", contract.InboxPrefix(contract.UserGrid) + ".x.y", contract.InboxPrefix("south") + ".x.y", "_INBOX.x.y",
		contract.SubjectIngest, "dizuo.internal.edge-void", "dizuo.v1.c.community.smoke.s1.signal", "dizuo.v1.p.smoke.up",
		"dizuo.v1.e.north", "dizuo.v1.e.north.lease", "dizuo.v1.e.north.cmd", "dizuo.v1.e.north.up.x", "dizuo.v1.e..up", "dizuo.v1.e.*.up", "dizuo.v1.e.>",
		"dizuo.v1.e.*.report", ">", "*", "dizuo.>", "anything",
	}
	for _, c := range append(contract.UpChannels(), contract.DownChannels()...) {
		out = append(out, contract.DeviceSubject("smoke", "s1", c))
	}
	for _, v := range append(contract.EdgeRequests(), contract.EdgePushes()...) {
		out = append(out, contract.EdgeSubject("south", v))
	}
	return out
}

func hostile(m *nats.Msg) bool { return strings.Contains(string(m.Data), "hostile") }

// quiet fails if a message that fits arrived in an account.
func (w *edgeWorld) quiet(t *testing.T, what string, fits func(*nats.Msg) bool, accounts ...string) {
	t.Helper()
	for _, account := range accounts {
		if got := w.taps[account].heard(t, fits); len(got) > 0 {
			t.Errorf("%s: account %s heard %q", what, account, got)
		}
	}
}

func allAccounts() []string {
	return []string{contract.AccountDevices, contract.AccountEdge, contract.AccountAuth, contract.AccountSystem}
}

// TestHostileEdgeNode has a certificate that is in order and tries everything else. A tap in every account counts what arrives.
func TestHostileEdgeNode(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).openTapped()
	nc, refused := w.mustNode("north")

	t.Run("the taps hear", func(t *testing.T) {
		for account, p := range w.taps {
			if err := p.nc.Publish("probe", []byte("hostile probe")); err != nil {
				t.Fatal(err)
			}
			if got := p.heard(t, hostile); len(got) != 1 {
				t.Errorf("tap in %s heard %d of its own, want 1", account, len(got))
			}
		}
	})
	t.Run("publish", func(t *testing.T) {
		for _, subject := range hostileSubjects() {
			before := refused.count()
			if err := nc.Publish(subject, []byte("hostile "+subject)); err != nil {
				if !errors.Is(err, nats.ErrBadSubject) {
					t.Fatalf("%s: %v", subject, err)
				}
				continue // the library refuses it; TestHostileFrames sends such
			}
			if err := nc.Flush(); err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
			if !soon(func() bool { return refused.count() > before }) {
				t.Errorf("may publish to %s", subject)
			}
		}
		w.quiet(t, "publish", hostile, allAccounts()...)
	})
	t.Run("subscribe", func(t *testing.T) {
		for _, subject := range append(hostileSubjects(), "_R_.>", "_INBOX_south.>", "_INBOX_*.>", "_INBOX.>", "$SYS.>", "$JS.API.>", "$JS.ACK.>", "$MQTT.>",
			"dizuo.v1.d.>", "dizuo.v1.*.>", "dizuo.v1.e.north.>", "dizuo.v1.e.north.*", "dizuo.v1.e.*.lease", "*.>", "dizuo.v1.e.north.up") {
			if subject == "dizuo.v1.e.north.lease" || subject == "dizuo.v1.e.north.cmd" {
				continue // its own
			}
			before := refused.count()
			sub, err := nc.SubscribeSync(subject)
			if err != nil {
				if !errors.Is(err, nats.ErrBadSubject) {
					t.Fatalf("%s: %v", subject, err)
				}
				continue
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			if !soon(func() bool { return refused.count() > before }) {
				t.Errorf("may subscribe to %s", subject)
			}
			if _, err := nc.QueueSubscribeSync(subject, "grid"); err == nil && !soon(func() bool { return refused.count() > before+1 }) {
				t.Errorf("may subscribe to %s in a queue", subject)
			}
			_ = sub.Unsubscribe()
		}
	})
	t.Run("trace", func(t *testing.T) {
		for _, dest := range []string{contract.EdgeSubject("south", contract.EdgeCommand), contract.DeviceSubject("smoke", "s1", contract.ChannelSignal), "_R_.x.y"} {
			m := nats.NewMsg(contract.EdgeSubject("north", contract.EdgeAsk))
			m.Header.Set("Nats-Trace-Dest", dest)
			m.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			before := refused.count()
			if err := errors.Join(nc.PublishMsg(m), nc.Flush()); err != nil {
				t.Fatal(err)
			}
			if !soon(func() bool { return refused.count() > before }) {
				t.Errorf("may have a trace of its message sent to %s", dest)
			}
			w.quiet(t, "trace", func(m *nats.Msg) bool { return m.Subject == dest }, allAccounts()...)
		}
	})
	if !nc.IsConnected() {
		t.Error("what is refused cost the connection")
	}
	if got, no := ask(t, nc, "north", contract.EdgeAsk, nil); got != "" || no != string(edgeNoLease) {
		t.Errorf("its own request: %q %q", got, no)
	}
}

// TestAnswersCannotBeMisled asks with reply subjects that are not the asker's: an answer must neither reach another node as if it were
// pushed to it, nor become a request in its name, nor enter the devices' account.
func TestAnswersCannotBeMisled(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).openTapped()
	north, refused := w.mustNode("north")
	south, _ := w.mustNode("south")
	grid := w.user(contract.UserGrid)
	must(grid.Subscribe(contract.EdgeSubject("*", contract.EdgeHello), func(m *nats.Msg) { _ = m.Respond([]byte("answer of grid")) }))(t)
	pushed := make(chan *nats.Msg, 64)
	for _, v := range contract.EdgePushes() {
		must(south.ChanSubscribe(contract.EdgeSubject("south", v), pushed))(t)
	}
	if err := errors.Join(grid.Flush(), south.Flush()); err != nil {
		t.Fatal(err)
	}
	asked := contract.EdgeSubject("north", contract.EdgeAsk)
	hello := contract.EdgeSubject("north", contract.EdgeHello)
	for _, subject := range []string{asked, hello} {
		for _, reply := range hostileSubjects() {
			before := refused.count()
			if strings.ContainsAny(reply, "*>") || strings.Contains(reply, "..") || subject == reply {
				continue
			}
			if err := errors.Join(north.PublishRequest(subject, reply, []byte("asks")), north.Flush()); err != nil {
				t.Fatalf("%s: %v", reply, err)
			}
			for _, reserved := range []string{"_R_.", "$JS.ACK.", "_GR_."} {
				if strings.HasPrefix(reply, reserved) && !soon(func() bool { return refused.count() > before }) {
					t.Errorf("reply subject %s is not refused", reply)
				}
			}
		}
	}
	// The answers are given when a request of its own, sent after them on the same line, is answered.
	ask(t, north, "north", contract.EdgeHello, nil)
	await(t, "answers", func() error {
		if _, no := ask(t, north, "north", contract.EdgeAsk, nil); no != string(edgeNoLease) {
			return fmt.Errorf("%q", no)
		}
		return nil
	})
	named := map[string]bool{}
	for _, reply := range hostileSubjects() {
		named[reply] = true
	}
	w.quiet(t, "reply", func(m *nats.Msg) bool {
		return named[m.Subject] && (m.Header.Get(contract.EdgeErrorHeader) != "" || strings.Contains("asks answer of grid", string(m.Data)))
	}, contract.AccountDevices, contract.AccountAuth, contract.AccountSystem)
	w.quiet(t, "reply", func(m *nats.Msg) bool {
		for _, v := range contract.EdgePushes() {
			if m.Subject == contract.EdgeSubject("south", v) {
				return true
			}
		}
		return false
	}, contract.AccountEdge)
	if err := south.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(pushed) > 0 {
		t.Errorf("%d answers to north reached south as if pushed, the first on %s", len(pushed), (<-pushed).Subject)
	}
	// What is really pushed arrives.
	command := nats.NewMsg(contract.EdgeSubject("south", contract.EdgeCommand))
	command.Header.Set(contract.EdgeSubjectHeader, contract.DeviceSubject("smoke", "s1", contract.ChannelCommand))
	if err := grid.PublishMsg(command); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-pushed:
		if m.Header.Get(contract.EdgeSubjectHeader) == "" {
			t.Errorf("command without its device: %v", m.Header)
		}
	case <-time.After(10 * time.Second):
		t.Error("no command arrived")
	}
}

// TestHostileFrames sends what no library would: protocols of servers, users of roles, subjects that are none.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).openTapped()
	cert := w.certs["north"]
	north := device{cert: &cert}
	const hello = `CONNECT {"verbose":false,"pedantic":false,"protocol":1,"headers":true,"no_responders":true%s}` + "\r\n"
	t.Run("other protocols", func(t *testing.T) {
		for _, frame := range []string{
			"LS+ dizuo.v1.d.>\r\n", "RS+ DEV dizuo.v1.d.>\r\n", "A+ DEV\r\n", "LMSG dizuo.v1.d.smoke.s1.signal 7\r\nhostile\r\n",
			"RMSG DEV dizuo.v1.d.smoke.s1.signal 7\r\nhostile\r\n", "HMSG dizuo.v1.d.smoke.s1.signal 12 19\r\nNATS/1.0\r\n\r\nhostile\r\n",
			"MSG dizuo.v1.d.smoke.s1.signal 1 7\r\nhostile\r\n", "PUB dizuo.v1.d.smoke.s1.signal 99999999\r\nhostile\r\n",
		} {
			s, err := w.upgrade("/", north)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.send(fmt.Sprintf(hello, "")+"PING\r\n"), second(s.until("PONG"))); err != nil {
				t.Fatal(err)
			}
			_ = s.send(frame + "PING\r\n")
			if all, err := s.until("PONG"); err == nil {
				t.Errorf("%q: goes on with %q", frame, all)
			}
		}
	})
	t.Run("subjects that are none", func(t *testing.T) {
		s, err := w.upgrade("/", north)
		if err != nil {
			t.Fatal(err)
		}
		frames := fmt.Sprintf(hello, "")
		for _, subject := range []string{"dizuo.v1.e.*.up", "dizuo.v1.e.>", ">", "dizuo.v1.e..up", ".dizuo", "dizuo.v1.e.north.up.", "DIZUO.v1.e.north.up", "dizuo.v1.e.NORTH.up",
			"dizuo.v1.e.north\x00.up", "dizuo.v1.e.no\u0301rth.up"} {
			frames += fmt.Sprintf("PUB %s 7\r\nhostile\r\n", subject)
		}
		if err := errors.Join(s.send(frames+"PING\r\n"), second(s.until("PONG"))); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("who it says it is", func(t *testing.T) {
		role := contract.RoleURI(platform, contract.UserGrid)
		for _, more := range []string{
			`,"user":"` + role + `","pass":""`, `,"user":"` + role + `"`, `,"user":"south"`, `,"user":"door.d1","pass":"` + door1 + `"`,
			`,"account":"DEV","new_account":true`,
		} {
			s, err := w.upgrade("/", north)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.send(fmt.Sprintf(hello, more) + "PING\r\n")
			if all, err := s.until("PONG"); err == nil {
				t.Errorf("%s: let in with %q", more, all)
			}
		}
		for _, more := range []string{"", `,"user":"` + role + `","pass":""`, `,"user":"` + role + `"`, `,"user":"door.d1","pass":"` + door1 + `"`, `,"user":"north","pass":""`, `,"user":"north"`,
			`,"auth_token":"x"`} {
			s, err := w.upgrade("/", device{})
			if err != nil {
				t.Fatal(err)
			}
			_ = s.send(fmt.Sprintf(hello, more) + "PING\r\n")
			if all, err := s.until("PONG"); err == nil {
				t.Errorf("no certificate, %s: let in with %q", more, all)
			}
		}
		// A key that nobody knows changes nothing: it is the node of its certificate.
		for _, more := range []string{`,"nkey":"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"`} {
			s, err := w.upgrade("/", north)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.send(fmt.Sprintf(hello, more) + "PUB dizuo.v1.d.smoke.s1.signal 7\r\nhostile\r\nPING\r\n")
			if all, err := s.until("PONG"); err != nil || !strings.Contains(all, "Permissions Violation") {
				t.Errorf("%s: %q, %v", more, all, err)
			}
		}
	})
	w.quiet(t, "frames", hostile, allAccounts()...)
}

func second[T any](_ T, err error) error { return err }

// TestOtherDoorsForEdgeNodes takes credentials to the listener that is not theirs, and other protocols to this one.
func TestOtherDoorsForEdgeNodes(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).open()
	north := w.certs["north"]
	t.Run("leaf node over WebSocket", func(t *testing.T) {
		for _, path := range []string{"/leafnode", "/x/leafnode"} {
			s, err := w.upgrade(path, device{cert: &north})
			if err != nil {
				continue // refused before
			}
			if text, err := s.read(); err == nil {
				t.Errorf("%s: the server says %q", path, text)
			}
		}
	})
	t.Run("MQTT over WebSocket", func(t *testing.T) {
		for name, d := range map[string]struct {
			on            device
			client, user  string
			password, uri string
		}{
			"an edge node":                         {on: device{cert: &north}, client: "north"},
			"an edge node as a device":             {on: device{cert: &north}, client: "door_d1", user: "door.d1", password: door1},
			"a device with its password":           {client: "door_d1", user: "door.d1", password: door1},
			"a node with its token":                {client: "west", user: "west", password: westToken},
			"a node with its token and its stamps": {client: "edge/west", user: "west", password: westToken},
		} {
			s, err := w.upgrade("/mqtt", d.on)
			if err != nil {
				t.Fatal(err)
			}
			flags, body := byte(0x02), field(d.client)
			if d.user != "" {
				flags |= 0xC0
				body = append(append(body, field(d.user)...), field(d.password)...)
			}
			packet := append(append(field("MQTT"), 4, flags, 0, 60), body...)
			if err := s.send(string(append([]byte{0x10, byte(len(packet))}, packet...))); err != nil {
				t.Fatal(err)
			}
			if answer, err := s.read(); err == nil && (len(answer) != 4 || answer[0] != 0x20 || answer[3] == 0) {
				t.Errorf("%s: answer %x", name, answer)
			}
		}
	})
	t.Run("an edge node at the other doors", func(t *testing.T) {
		if s, err := w.dial(w.broker.MQTTAddress(), device{clientID: "north", cert: &north}); err == nil {
			_ = s.conn.Close()
			t.Error("let in over MQTT")
		}
		if s, err := w.dial(w.broker.MQTTAddress(), device{clientID: "west", username: "west", password: westToken}); err == nil {
			_ = s.conn.Close()
			t.Error("let in over MQTT with its token")
		}
		if nc, err := nats.Connect(w.broker.ClientURL(), nats.Secure(w.tls(device{cert: &north})), nats.MaxReconnects(0)); err == nil {
			nc.Close()
			t.Error("let in at the roles' listener")
		}
		if err := w.leaf(north); !errors.Is(err, errShut) {
			t.Errorf("leaf protocol at the roles' listener: %v", err)
		}
	})
	t.Run("others at this door", func(t *testing.T) {
		smoke := w.cas["smoke"].client(t, contract.DeviceURI(platform, "smoke", "s1"))
		role := w.ca.client(t, contract.RoleURI(platform, contract.UserGrid))
		posing := w.cas["smoke"].client(t, contract.EdgeURI(platform, "north"))
		platformCA := w.ca.client(t, contract.EdgeURI(platform, "north"))
		otherKey := w.root.client(t, contract.EdgeURI(platform, "north"))
		unknown := w.root.client(t, contract.EdgeURI(platform, "east"))
		elsewhere := w.root.client(t, contract.EdgeURI("shandong", "north"))
		roleURI := w.root.client(t, contract.RoleURI(platform, contract.UserGrid))
		deviceURI := w.root.client(t, contract.DeviceURI(platform, "smoke", "s1"))
		for name, cert := range map[string]tls.Certificate{"a device": smoke, "a role": role, "a fleet's CA with the node's URI": posing,
			"the platform's CA with the node's URI": platformCA, "the node's URI over another key": otherKey, "a node that is not registered": unknown,
			"a node of another platform": elsewhere, "a role's URI under the nodes' CA": roleURI, "a device's URI under the nodes' CA": deviceURI} {
			if nc, _, err := w.node("north", cert); err == nil {
				nc.Close()
				t.Errorf("%s: let in", name)
			}
		}
		if nc, _, err := w.byToken("door.d1", door1); err == nil {
			nc.Close()
			t.Error("a device's password: let in")
		}
	})
	t.Run("no WebSocket", func(t *testing.T) {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.broker.EdgeURL(), "wss://"), w.tls(device{cert: &north}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // a test
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(conn, "CONNECT {\"verbose\":true}\r\nPING\r\n")
		if raw, _ := io.ReadAll(conn); strings.Contains(string(raw), "PONG") {
			t.Errorf("answers %q", raw)
		}
	})
}

var errShut = errors.New("shut")

// leaf speaks the protocol of leaf nodes at the roles' listener; errShut means that TLS ended it.
func (w *edgeWorld) leaf(cert tls.Certificate) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.broker.ClientURL(), "tls://"))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // a test
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 4096)); err != nil { // INFO
		return err
	}
	c := tls.Client(conn, w.tls(device{cert: &cert}))
	fmt.Fprint(c, "CONNECT {\"name\":\"north\",\"cluster\":\"north\",\"headers\":true}\r\nLS+ dizuo.v1.d.>\r\nPING\r\n")
	if raw, _ := io.ReadAll(c); len(raw) > 0 {
		return fmt.Errorf("answers %q", raw)
	}
	return errShut
}

// TestHostileEdgeNodeIsBounded: what a node may do without end costs its own connection and nobody else's.
func TestHostileEdgeNodeIsBounded(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).open()
	north, _ := w.mustNode("north")
	south, _ := w.mustNode("south")
	for n := range 5000 {
		if _, err := north.SubscribeSync(fmt.Sprintf("%s.%d", contract.InboxPrefix("north"), n)); err != nil {
			break
		}
	}
	_ = north.FlushTimeout(10 * time.Second)
	if err := north.LastError(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "maximum subscriptions") {
		t.Errorf("5,000 subscriptions are granted: %v", err)
	}
	if _, no := ask(t, south, "south", contract.EdgeAsk, nil); no != string(edgeNoLease) {
		t.Errorf("the neighbour: %q", no)
	}
	if got := metric(t, w.world, "dizuo_broker_edge_violations_total", map[string]string{"kind": "publish"}); got != 0 {
		t.Errorf("%v violations before there was one", got)
	}
	if err := errors.Join(south.Publish(contract.EdgeSubject("north", contract.EdgeUp), nil), south.Flush()); err != nil {
		t.Fatal(err)
	}
	await(t, "the violation to be counted", func() error {
		if got := metric(t, w.world, "dizuo_broker_edge_violations_total", map[string]string{"kind": "publish"}); got != 1 {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
}

// TestEdgeNodeIsCut takes away what a node's admission rests on: it loses its connection before auth says that the bundle is in force,
// and stays out. Its neighbour notices nothing.
func TestEdgeNodeIsCut(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(w *edgeWorld){
		"the node is gone": func(w *edgeWorld) { delete(w.edges, "north") },
		"its key is gone":  func(w *edgeWorld) { w.edges["north"] = contract.EdgeCredential{Issuers: []string{w.root.pem}} },
		"its CA is gone": func(w *edgeWorld) {
			w.edges["north"] = contract.EdgeCredential{Issuers: []string{newCA(w.t, "new").pem}, KeyDigests: []string{keyOf(w.certs["north"])}}
		},
		"another key approved": func(w *edgeWorld) {
			w.edges["north"] = contract.EdgeCredential{Issuers: []string{w.root.pem}, KeyDigests: []string{"sha256:0"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEdgeWorld(t).open()
			north, _ := w.mustNode("north")
			south, _ := w.mustNode("south")
			revoke(w)
			took := w.publish()
			if err := north.FlushTimeout(5 * time.Second); err == nil {
				t.Error("connected after auth said that the bundle is in force")
			}
			if _, _, err := w.node("north", w.certs["north"]); err == nil {
				t.Error("let in again")
			}
			if err := south.FlushTimeout(5 * time.Second); err != nil {
				t.Errorf("the neighbour: %v", err)
			}
			t.Logf("enforced within %s", took)
		})
	}
}

// TestEdgeNodeStays: what changes nothing for a node does not cut it.
func TestEdgeNodeStays(t *testing.T) {
	t.Parallel()
	w := newEdgeWorld(t).open()
	north, _ := w.mustNode("north")
	c := w.edges["north"]
	c.Issuers, c.KeyDigests, c.Certificate = append(c.Issuers, newCA(t, "new").pem), append(c.KeyDigests, "sha256:1"), "new"
	w.edges["north"] = c
	delete(w.edges, "south")
	w.publish()
	if err := north.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("cut: %v", err)
	}
}
