package auth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	prose "github.com/dizuo/dizuo/test/oracle"
)

const (
	// triples are decided by the code. A sample of them is decided by the running broker, too: so many of each verb that are right,
	// and so many of each verb and each thing wrong: about 300.
	triples             = 10_000
	liveRight, liveEach = 50, 4
	seedEnv             = "DIZUO_ORACLE_SEED"
)

// oracleSeed gives the seed to replay, or a new one.
func oracleSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedEnv, err)
		}
	}
	t.Logf("seed: %s=%d", seedEnv, seed)
	return seed
}

// crowd is a world whose devices have names that are easily mistaken for each other, or for a level of a topic.
type crowd struct {
	*world
	rows []prose.Row
	// shown is what each device shows, by its name.
	shown map[string]device
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	w := newWorld(t)
	hash := w.creds["door"].Devices["d1"].PasswordHash
	w.creds["smoke"].Devices["S1"] = contract.Credential{}
	w.creds["a"] = contract.Credentials{Method: "Password", Devices: map[string]contract.Credential{"a": {PasswordHash: hash}, "A": {PasswordHash: hash},
		"a_1": {PasswordHash: hash}, "1": {PasswordHash: hash, ClientID: "IMEI-2"}, "signal": {PasswordHash: hash}}}
	w.creds["a-b"] = contract.Credentials{Method: "Password", Devices: map[string]contract.Credential{"a": {PasswordHash: hash}, "-": {PasswordHash: hash},
		"_": {PasswordHash: hash}}}
	w.creds["d"] = contract.Credentials{Method: "Password", Devices: map[string]contract.Credential{"d": {PasswordHash: hash}, "cmd": {PasswordHash: hash}}}
	// Sensors behind two gateways of two fleets, and the cloud of a carrier.
	w.creds["sensor"] = contract.Credentials{Method: "Password", AccessMode: "Gateway", Devices: map[string]contract.Credential{
		"a": {Via: "a.a"}, "s1": {Via: "smoke.s1"}, "A": {Via: "a.A", ClientID: "stolen"}, "lost": {Via: "a.nobody"}}}
	w.creds["meter"] = contract.Credentials{Method: "Password", AccessMode: "Platform", PlatformHash: hash, Devices: map[string]contract.Credential{
		"m1": {}, "a": {PasswordHash: hash}}}
	c := &crowd{world: w, shown: map[string]device{}}
	for fleet, credentials := range w.creds {
		for name, row := range credentials.Devices {
			c.rows = append(c.rows, prose.Row{Fleet: fleet, Device: name, ClientID: row.ClientID, Via: row.Via, Silent: credentials.AccessMode == contract.AccessPlatform})
		}
		if credentials.AccessMode == contract.AccessPlatform {
			c.rows = append(c.rows, prose.Row{Fleet: fleet, Device: contract.PlatformDevice, Cloud: true})
		}
	}
	// A map has no order, and a seed must give the same triples each time.
	slices.SortFunc(c.rows, func(a, b prose.Row) int { return strings.Compare(a.Fleet+"."+a.Device, b.Fleet+"."+b.Device) })
	return c
}

// show gives what a device shows at a connection: what it would if it had a row, where it has none.
func (c *crowd) show(id prose.Identity) device {
	name := id.Fleet + "." + id.Device
	d, ok := c.shown[name]
	if !ok {
		_, certified := c.cas[id.Fleet]
		switch {
		case certified:
			d = c.x509(id.Fleet, id.Device)
		case name == "door.d2":
			d = withPassword(id.Fleet, id.Device, door2)
		default:
			d = withPassword(id.Fleet, id.Device, door1)
		}
		c.shown[name] = d
	}
	d.clientID = id.ClientID
	return d
}

// allowed is the oracle's answer.
func (c *crowd) allowed(triple prose.Triple) bool {
	return prose.Allowed(c.rows, triple.Identity, triple.Topic, triple.Action)
}

func describe(n int, triple prose.Triple) string {
	return fmt.Sprintf("triple %d (%s): %s.%s as client %q: %s at QoS %d of %.120q", n, triple.Kind, triple.Identity.Fleet, triple.Identity.Device,
		triple.Identity.ClientID, triple.Action.Verb, triple.Action.QoS, triple.Topic)
}

// rights are what the code under test gives to a connection on either engine.
type rights struct {
	admitted bool
	nats     jwt.Permissions
	emqx     []emqxRule
}

// admit asks the registry, as the auth callout and EMQX's hook do.
func (c *crowd) admit(r *Registry, id prose.Identity) rights {
	d := c.show(id)
	req := Request{Type: "mqtt", ClientID: d.clientID, Username: d.username, Password: d.password}
	if d.cert != nil {
		req.Chain = append(req.Chain, d.cert.Leaf)
	}
	admitted, no := r.Identify(req, time.Now(), func(h password.Hash, plain string) (bool, bool) { return h.Verify(plain), true })
	if no != nil {
		return rights{}
	}
	return rights{true, Permissions(admitted), admitEMQX(admitted, time.Now(), 0).ACL}
}

func TestTriplesAgainstOracle(t *testing.T) {
	t.Parallel()
	c, seed := newCrowd(t), oracleSeed(t)
	registry, problems := NewRegistry(platform, c.creds)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	g, of := prose.NewGenerator(seed, c.rows), map[prose.Identity]rights{}
	allowed := 0
	for n := range triples {
		triple := g.Next()
		has, ok := of[triple.Identity]
		if !ok {
			has = c.admit(registry, triple.Identity)
			of[triple.Identity] = has
		}
		want := c.allowed(triple)
		if want {
			allowed++
		}
		if got := has.admitted && natsAllows(has.nats, triple.Topic, triple.Action); got != want {
			t.Errorf("%s: NATS %v, the oracle says %v; replay with %s=%d", describe(n, triple), got, want, seedEnv, seed)
		}
		if got := has.admitted && emqxAllows(has.emqx, triple.Topic, triple.Action); got != want {
			t.Errorf("%s: EMQX %v, the oracle says %v; replay with %s=%d", describe(n, triple), got, want, seedEnv, seed)
		}
	}
	if allowed < triples/4 {
		t.Errorf("only %d of %d are allowed: the test does not reach both sides", allowed, triples)
	}
	t.Logf("%d triples of %d identities, %d allowed", triples, len(of), allowed)
}

// natsAllows decides as nats-server 2.15 does (server/mqtt.go: mqttParsePub, processSubs; server/client.go: pubAllowedFullCheck,
// canSubscribeInternal), configured as the broker is: QoS 2 refused for a publish and made QoS 1 for a subscription.
func natsAllows(p jwt.Permissions, topic string, action prose.Action) bool {
	subject, ok := subjectOf(topic, action.Verb == prose.Subscribe)
	if !ok {
		return false
	}
	if action.Verb == prose.Publish {
		return action.QoS < 2 && permits(p.Pub, subject)
	}
	if strings.HasPrefix(subject, "$MQTT.") || !permits(p.Sub, subject) {
		return false
	}
	// "a/#" covers "a", too: the server makes a second subscription for it.
	if above, ok := strings.CutSuffix(subject, ".>"); ok && !permits(p.Sub, above) {
		return false
	}
	// Where messages of QoS 1 come in needs no allowance, but may be denied.
	return action.QoS == 0 || !matches(p.Sub.Deny, "$MQTT.sub.anything")
}

// permits holds a subject, its wildcards taken literally, against both lists. An empty list of what is allowed allows everything.
func permits(p jwt.Permission, subject string) bool {
	return (len(p.Allow) == 0 || matches(p.Allow, subject)) && !matches(p.Deny, subject)
}

// subjectOf is the server's conversion of a topic, or of the filter of a subscription, to a subject (mqttValidateTopic and
// mqttToNATSSubjectConversion in server/mqtt.go of nats-server 2.15.2). What it does not convert is refused, or ends the connection.
//   - '/' becomes '.'; next to an empty level it stays beside the '.', for a subject has no empty tokens;
//   - '.' becomes '//';
//   - '+' and '#' become '*' and '>' in a filter and are refused in a topic; '*' and '>' pass as they are;
//   - white space, DEL, U+0000 and what is no UTF-8 are refused.
func subjectOf(topic string, filter bool) (string, bool) {
	if topic == "" || !utf8.ValidString(topic) || strings.ContainsAny(topic, " \t\n\r\f\x7f\x00") || (!filter && strings.ContainsAny(topic, "+#")) {
		return "", false
	}
	out := make([]byte, 0, len(topic)+10)
	for i := range len(topic) {
		switch c := topic[i]; {
		case c == '/' && (i == 0 || out[len(out)-1] == '.'):
			out = append(out, "/."...)
		case c == '/' && (i == len(topic)-1 || topic[i+1] == '/'):
			out = append(out, "./"...)
		case c == '/':
			out = append(out, '.')
		case c == '.':
			out = append(out, "//"...)
		case c == '+':
			out = append(out, '*')
		case c == '#':
			out = append(out, '>')
		default:
			out = append(out, c)
		}
	}
	if out[len(out)-1] == '.' {
		out = append(out, '/')
	}
	return string(out), true
}

// emqxAllows decides as EMQX 5.8 does with the rules of a connection: the first that matches, and none denies (no_match = deny).
func emqxAllows(rules []emqxRule, topic string, action prose.Action) bool {
	for _, r := range rules {
		of := r.Action == "all" || r.Action == string(action.Verb)
		if of && (len(r.QoS) == 0 || slices.Contains(r.QoS, action.QoS)) && slices.ContainsFunc(r.Topics, func(f string) bool { return emqxMatches(f, topic) }) {
			return r.Permission == "allow"
		}
	}
	return false
}

// emqxMatches holds a topic against that of a rule: behind "eq " as it stands, else as a filter, whose wildcards at the beginning
// do not reach topics with $ (MQTT 3.1.1, 4.7.2).
func emqxMatches(rule, topic string) bool {
	if literal, ok := strings.CutPrefix(rule, "eq "); ok {
		return topic == literal
	}
	if strings.HasPrefix(topic, "$") && strings.ContainsAny(rule[:1], "+#") {
		return false
	}
	filter, levels := strings.Split(rule, "/"), strings.Split(topic, "/")
	for i, f := range filter {
		if f == "#" {
			return true
		}
		if i == len(levels) || (f != "+" && f != levels[i]) {
			return false
		}
	}
	return len(filter) == len(levels)
}

// stage is a running broker with everybody who is needed to judge it.
type stage struct {
	*crowd
	t *testing.T
	// open are the connections of devices that are let in and were not cut.
	open map[prose.Identity]*session
	// grid is the role grid. own is the broker's own connection, which may do everything in the account of devices.
	grid, own *nats.Conn
	// hears is what the role grid hears, witnesses what anybody could.
	hears, witnesses *hearing
	packet           uint16
}

func TestTriplesOnTheBrokerAgainstOracle(t *testing.T) {
	t.Parallel()
	c, seed := newCrowd(t), oracleSeed(t)
	c.start()
	s := &stage{crowd: c, t: t, open: map[prose.Identity]*session{}, grid: c.user(contract.UserGrid), own: c.broker.JetStream().Conn()}
	s.hears, s.witnesses = listen(t, s.grid, "dizuo.v1.d.>"), listen(t, s.own, ">")
	var published []attempt
	sampled := sample(prose.NewGenerator(seed, c.rows))
	for _, a := range sampled {
		if a.Action.Verb == prose.Subscribe {
			s.subscribes(a)
			continue
		}
		s.publishes(a)
		published = append(published, a)
	}
	s.settle()
	s.judge(published)
	if t.Failed() {
		t.Logf("replay with %s=%d", seedEnv, seed)
	}
	t.Logf("%d publishes and %d subscriptions", len(published), len(sampled)-len(published))
}

// sample takes the first of every sort among all the triples, in their order and with their numbers.
func sample(g *prose.Generator) (out []attempt) {
	type sort struct {
		kind string
		verb prose.Verb
		// channel tells the topics of the other direction apart: a mistake is likely to open one of them.
		channel string
	}
	taken := map[sort]int{}
	for n := range triples {
		a := attempt{n, g.Next()}
		if a.Identity.Device == contract.PlatformDevice {
			continue // it has one topic each way, and none to mark an end with: TestCloudOnTheBroker
		}
		of, bound := sort{kind: a.Kind, verb: a.Action.Verb}, liveEach
		switch a.Kind {
		case prose.Right:
			bound = liveRight
		case prose.OtherDirection:
			of.channel = a.Topic[strings.LastIndex(a.Topic, "/")+1:]
		}
		if taken[of] < bound {
			taken[of]++
			out = append(out, a)
		}
	}
	return out
}

// attempt is a triple with its number.
type attempt struct {
	n int
	prose.Triple
}

func (a attempt) String() string { return describe(a.n, a.Triple) }

// payload is unlike that of every other attempt.
func (a attempt) payload() string { return fmt.Sprintf("triple %d", a.n) }

// hearing holds on which subjects a subscriber heard each payload.
type hearing struct {
	mu       sync.Mutex
	subjects map[string][]string
}

func listen(t *testing.T, nc *nats.Conn, subject string) *hearing {
	t.Helper()
	h := &hearing{subjects: map[string][]string{}}
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.subjects[string(m.Data)] = append(h.subjects[string(m.Data)], m.Subject)
	})
	if err := errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return h
}

func (h *hearing) of(payload string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.subjects[payload])
}

// session gives the connection of an identity, or nil if it is refused. The server keeps a client id out for a second when it
// comes back too early, so it is tried again.
func (s *stage) session(id prose.Identity) *session {
	s.t.Helper()
	c := s.open[id]
	if c == nil {
		await(s.t, "an answer to "+id.ClientID, func() (err error) {
			c, err = s.dial(s.broker.MQTTAddress(), s.show(id))
			if errors.As(err, new(errRefused)) {
				return nil
			}
			return err
		})
		if c == nil {
			return nil
		}
		s.t.Cleanup(func() { _ = c.conn.Close() })
		s.open[id] = c
	}
	_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// cut reports whether the server has ended a connection, as it does for what MQTT forbids.
func (s *stage) cut(id prose.Identity, err error) bool {
	s.t.Helper()
	if err == nil {
		return false
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatalf("%s.%s: %v", id.Fleet, id.Device, err)
	}
	_ = s.open[id].conn.Close()
	delete(s.open, id)
	return true
}

// next gives a packet identifier.
func (s *stage) next() uint16 {
	s.packet++
	return s.packet
}

// publishes sends, and waits until the server has dealt with it. What became of it is judged later, and not by the PUBACK.
func (s *stage) publishes(a attempt) {
	s.t.Helper()
	c := s.session(a.Identity)
	if c == nil {
		return
	}
	var err error
	if a.Action.QoS == 1 {
		err = c.publish(a.Topic, a.payload(), s.next())
	} else {
		err = errors.Join(c.put(a.Topic, a.payload(), a.Action.QoS, s.next()), c.alive())
	}
	if s.cut(a.Identity, err) && s.allowed(a.Triple) {
		s.t.Errorf("%s: the connection was cut: %v", a, err)
	}
}

// put sends at any QoS and waits for nothing.
func (c *session) put(topic, payload string, qos int, id uint16) error {
	body := field(topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	return c.send(0x30|byte(qos)<<1, append(body, payload...))
}

// settle waits until all that was published before has reached whom it reaches: from one connection to another there is one
// order, so what is not there when a message sent afterwards is, will not come. A connection that was cut was cut after its last packet.
func (s *stage) settle() {
	s.t.Helper()
	var sent []string
	for id := range s.open {
		marker := "the last of " + id.Fleet + "." + id.Device
		err := s.session(id).publish(contract.DeviceTopic(id.Fleet, id.Device, contract.ChannelState), marker, s.next())
		if s.cut(id, err) {
			s.t.Errorf("%s.%s: its connection did not last: %v", id.Fleet, id.Device, err)
			continue
		}
		sent = append(sent, marker)
	}
	if len(sent) == 0 {
		s.t.Fatal("no device is connected")
	}
	await(s.t, "the last message of each device", func() error {
		for _, marker := range sent {
			if len(s.hears.of(marker)) == 0 || len(s.witnesses.of(marker)) == 0 {
				return fmt.Errorf("%s is not there", marker)
			}
		}
		return nil
	})
}

// judge holds each publish against what arrived: with the role grid, in the ingest log, and anywhere at all.
func (s *stage) judge(published []attempt) {
	s.t.Helper()
	log := s.ingestLog()
	for _, a := range published {
		var grid, kept []string // where it has to be
		if s.allowed(a.Triple) {
			subject := strings.ReplaceAll(a.Topic, "/", ".")
			grid = []string{subject}
			if a.Action.QoS == 1 {
				kept = []string{contract.IngestPrefix + subject}
			}
		}
		if got := s.hears.of(a.payload()); !slices.Equal(got, grid) {
			s.t.Errorf("%s: the role grid hears it on %q, the oracle says %q", a, got, grid)
		}
		if got := log[a.payload()]; !slices.Equal(got, kept) {
			s.t.Errorf("%s: the ingest log holds it under %q, the oracle says %q", a, got, kept)
		}
		if got := s.witnesses.of(a.payload()); (len(got) > 0) != (len(grid) > 0) {
			s.t.Errorf("%s: it can be heard on %q, the oracle says %q", a, got, grid)
		}
	}
}

// ingestLog gives under which subjects each payload is in the ingest log.
func (s *stage) ingestLog() map[string][]string {
	s.t.Helper()
	ctx := context.Background()
	stream, err := s.broker.JetStream().Stream(ctx, contract.IngestStream)
	if err != nil {
		s.t.Fatal(err)
	}
	log, state := map[string][]string{}, stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		log[string(m.Data)] = append(log[string(m.Data)], m.Subject)
	}
	return log
}

// subscribes asks for a topic and judges the SUBACK, and what then arrives of messages there and at other devices.
func (s *stage) subscribes(a attempt) {
	s.t.Helper()
	want := s.allowed(a.Triple)
	granted, heard := s.subscribe(a)
	if granted != want {
		s.t.Errorf("%s: granted %v, the oracle says %v", a, granted, want)
	}
	var topics []string
	if want {
		topics = []string{a.Topic}
	}
	if !slices.Equal(heard, topics) {
		s.t.Errorf("%s: it hears %q, the oracle says %q", a, heard, topics)
	}
}

// subscribe does that and gives the topics of what arrived. A connection that was refused or cut hears nothing.
func (s *stage) subscribe(a attempt) (granted bool, heard []string) {
	s.t.Helper()
	c := s.session(a.Identity)
	if c == nil {
		return false, nil
	}
	code, err := c.subscribe(a.Topic, byte(a.Action.QoS), s.next())
	if s.cut(a.Identity, err) {
		return false, nil
	}
	marker := contract.DeviceTopic(a.Identity.Fleet, a.Identity.Device, contract.ChannelDesired)
	if a.Topic == marker {
		marker = contract.DeviceTopic(a.Identity.Fleet, a.Identity.Device, contract.ChannelCommand)
	}
	if code, err := c.subscribe(marker, 0, s.next()); err != nil || code != 0 {
		s.t.Fatalf("subscription to %s: %x, %v", marker, code, err)
	}
	s.probe(a, marker)
	if heard, err = c.until(marker, a.payload()); err != nil {
		s.t.Fatalf("%s: the marker: %v", a, err)
	}
	if err := errors.Join(c.unsubscribe(a.Topic, s.next()), c.unsubscribe(marker, s.next()), c.alive()); err != nil {
		s.t.Fatalf("%s: unsubscribe: %v", a, err)
	}
	return code != 0x80, heard
}

// probe sends a message to where the attempt would listen and to where others do, and then one to the marker's topic. The role
// grid sends what it may, the broker itself what nobody else may, and that first.
func (s *stage) probe(a attempt, marker string) {
	s.t.Helper()
	commands, others := []string{}, []string{}
	for subject := range s.targets(a, marker) {
		if matches([]string{"dizuo.v1.d.*.*.cmd", "dizuo.v1.d.*.*.desired"}, subject) {
			commands = append(commands, subject)
		} else {
			others = append(others, subject)
		}
	}
	send := func(nc *nats.Conn, subjects []string) {
		for _, subject := range subjects {
			if err := nc.Publish(subject, []byte(a.payload())); err != nil {
				s.t.Fatalf("%s: %q: %v", a, subject, err)
			}
		}
		// The answer to a flush comes when the server has passed on all before it.
		if err := nc.Flush(); err != nil {
			s.t.Fatal(err)
		}
	}
	send(s.own, others)
	send(s.grid, append(commands, strings.ReplaceAll(marker, "/", ".")))
}

// targets gives the subjects of the probes: those of the device itself and of two others, and the attempt's own if it is one.
func (s *stage) targets(a attempt, marker string) map[string]bool {
	targets := map[string]bool{}
	for _, r := range []prose.Row{{Fleet: a.Identity.Fleet, Device: a.Identity.Device}, s.rows[0], s.rows[len(s.rows)-1]} {
		for _, c := range append(contract.DownChannels(), contract.ChannelSignal) {
			targets[contract.DeviceSubject(r.Fleet, r.Device, c)] = true
		}
	}
	// A client of the server may write lines of 4 KiB at most, so no probe goes to the longest topics.
	if subject, ok := subjectOf(a.Topic, false); ok && len(subject) < 4000 && !strings.ContainsAny(subject, "*>") {
		targets[subject] = true
	}
	delete(targets, strings.ReplaceAll(marker, "/", "."))
	return targets
}

// until reads to the first message on the marker's topic, and gives the topics of those before it with this payload.
func (c *session) until(marker, payload string) (topics []string, err error) {
	for {
		kind, body, err := c.read()
		if err != nil {
			return nil, err
		}
		if kind != 0x30 {
			continue
		}
		end := 2 + int(binary.BigEndian.Uint16(body))
		topic, got := string(body[2:end]), string(body[end:])
		if got != payload {
			continue // of an earlier attempt
		}
		if topic == marker {
			return topics, nil
		}
		topics = append(topics, topic)
	}
}

// unsubscribe waits for nothing.
func (c *session) unsubscribe(topic string, id uint16) error {
	return c.send(0xA2, append(binary.BigEndian.AppendUint16(nil, id), field(topic)...))
}
