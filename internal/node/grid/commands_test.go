package grid

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// clock stands still until it is told to go on.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// orders is a world with devices that take commands, a clock for all that concerns commands, and a sniffer that hears whatever leaves for
// devices.
type orders struct {
	*world
	clock
	wire *nats.Subscription
}

// order is a message as the sniffer heard it.
type order struct {
	Subject string
	command.Message
	Desired map[string]map[string]any `json:"desired"`
	raw     string
}

func newOrders(t *testing.T, change func(*intake.Bundle)) *orders {
	t.Helper()
	o := &orders{clock: clock{at: time.Now()}}
	o.world = newWorldWith(t, func(b *intake.Bundle) { testCommands(b); change(b) }, func(s *service) { s.api.commander.now, s.api.now = o.now, o.now })
	nc, _ := connect(t, o.broker.ClientURL())
	t.Cleanup(nc.Close)
	sub, err := nc.SubscribeSync("dizuo.v1.>")
	if err != nil {
		t.Fatal(err)
	}
	o.wire = sub
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return o
}

func testCommands(b *intake.Bundle) {
	pump := contract.Profile{HeartbeatSeconds: 60, Fields: map[string]contract.Field{"level": {Type: "Number"}}, Commands: map[string]contract.Command{
		"run": {Senders: []string{"Scenario", "Operator"}, ExpiresSeconds: 300, SafeState: map[string]any{"minutes": 0.0},
			Arguments: map[string]contract.Field{"minutes": {Type: "Integer", Min: ptr(0), Max: ptr(30)}}},
		"lamp":  {Senders: []string{"Operator", "Vendor"}, ExpiresSeconds: 300, Desired: true, Arguments: map[string]contract.Field{"on": {Type: "Boolean"}}},
		"reset": {Senders: []string{"Vendor"}, ExpiresSeconds: 60},
		"mark":  {Senders: []string{"Operator"}, ExpiresSeconds: 3600},
	}}
	b.Rules.Profiles["pump"] = pump
	devices := map[string]contract.Device{}
	for i := range 6 {
		devices[fmt.Sprintf("p%d", i)] = contract.Device{Community: "jinghu", Grid: "g1", Compound: "east", Building: fmt.Sprint(i / 2)}
	}
	devices["p9"] = contract.Device{Community: "other", Grid: "g1"}
	b.Fleets["pumps"] = contract.Fleet{Vendor: "vendor", Profile: "pump", AccessMode: "Device", Devices: devices}
	b.Directory.Organizations["rival"] = contract.Organization{Type: "Company", Jurisdiction: []string{"41"}}
	b.Fleets["others"] = contract.Fleet{Vendor: "rival", Profile: "pump", AccessMode: "Device", Devices: map[string]contract.Device{"q1": {Community: "jinghu", Grid: "g1"}}}
	b.Directory.Organizations["committee-other"] = contract.Organization{Type: "Committee", Jurisdiction: []string{"410302001001"}}
}

// as signs a token that fits the standing clock.
func (o *orders) as(org, subject string, role Role) string {
	o.t.Helper()
	p := o.bundle.Directory.Platform
	token, err := person.Sign(o.keys[org], nil, org, subject, string(role), contract.PersonAudience(p.Namespace, p.Name, contract.RoleGrid), o.now(), 10*time.Minute)
	if err != nil {
		o.t.Fatal(err)
	}
	return token
}

func (o *orders) boss() string { return o.as("committee", "p-9", RoleDispatcher) }

// give sends a command over the API.
func (o *orders) give(token, device, name string, args map[string]any) (CommandDetail, int) {
	o.t.Helper()
	var d CommandDetail
	status := o.call("POST", "/v1/devices/"+device+"/commands", token, NewCommand{Command: name, Arguments: args}, &d, "Idempotency-Key", uuid.NewString())
	return d, status
}

func (o *orders) given(token, device, name string, args map[string]any) CommandDetail {
	o.t.Helper()
	d, status := o.give(token, device, name, args)
	if status != 201 {
		o.t.Fatalf("%s to %s: %d", name, device, status)
	}
	return d
}

// next waits for what leaves next.
func (o *orders) next(what string) order {
	o.t.Helper()
	for {
		m, err := o.wire.NextMsg(20 * time.Second)
		if err != nil {
			o.t.Fatalf("%s does not leave: %v", what, err)
		}
		if _, _, c, err := contract.ParseDeviceSubject(m.Subject); err != nil || !slices.Contains(contract.DownChannels(), c) {
			continue
		}
		out := order{Subject: m.Subject, raw: string(m.Data)}
		if err := json.Unmarshal(m.Data, &out); err != nil {
			o.t.Fatalf("%s: %v", m.Data, err)
		}
		return out
	}
}

// nothing makes sure that nothing left: a marker to another device, which is given afterwards, is the next that leaves. The worker sends
// what is due in one turn, so what was due is out when the marker is.
func (o *orders) nothing(what string) {
	o.t.Helper()
	marker := o.given(o.boss(), "pumps.p5", "mark", nil)
	if got := o.next("marker after " + what); got.ID != marker.ID {
		o.t.Errorf("%s: %s %s left", what, got.Subject, got.raw)
		o.next("marker")
	}
	// Without an ack, which would take a turn: a marker is not sent again.
	if _, err := o.pool.Exec(o.t.Context(), "UPDATE grid.commands SET state = 'Done' WHERE id = $1", marker.ID); err != nil {
		o.t.Fatal(err)
	}
}

// ack is what a device says of a command; it waits until that is taken.
func (o *orders) ack(device string, id uuid.UUID, result string, want command.State) {
	o.t.Helper()
	o.say(device, contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":%q}`, id, result))
	eventually(o.t, "ack of "+device, func() bool { return o.state(id).State == want })
}

// say publishes as a device, at QoS 1.
func (o *orders) say(device string, c contract.Channel, payload string) {
	o.t.Helper()
	client := mqttClient(o.t, o.broker, contract.ClientID("pumps", device))
	wait(o.t, client.Publish(contract.DeviceTopic("pumps", device, c), 1, false, payload))
	client.Disconnect(100)
}

// worked waits until everything that was said is worked off and committed.
func (o *orders) worked() {
	o.t.Helper()
	nc, js := connect(o.t, o.broker.ClientURL())
	defer nc.Close()
	stream, err := js.Stream(o.t.Context(), contract.IngestStream)
	if err != nil {
		o.t.Fatal(err)
	}
	last := int64(stream.CachedInfo().State.LastSeq)
	eventually(o.t, "messages worked off", func() bool {
		return number(o.t, o.pool, "SELECT coalesce(max(sequence), 0) FROM grid.ingest_position") >= last
	})
}

func (o *orders) state(id uuid.UUID) *Command {
	o.t.Helper()
	var c *Command
	if err := pgx.BeginFunc(o.t.Context(), o.pool, func(tx pgx.Tx) (err error) {
		c, err = oneCommand(o.t.Context(), tx, "c.id = $1", id)
		return err
	}); err != nil || c == nil {
		o.t.Fatalf("command %s: %v", id, err)
	}
	return c
}

func (o *orders) ended(id uuid.UUID, want command.State, reason string) {
	o.t.Helper()
	eventually(o.t, string(want), func() bool { return o.state(id).State.Final() })
	if c := o.state(id); c.State != want || c.Reason != reason {
		o.t.Errorf("command is %s %q, want %s %q", c.State, c.Reason, want, reason)
	}
}

func minutes(n any) map[string]any { return map[string]any{"minutes": n} }

func TestOnlyWhatTheProfileDeclaresLeaves(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(b *intake.Bundle) {
		b.Fleets["cloud"] = contract.Fleet{Profile: "pump", AccessMode: "Platform", Mapping: &contract.Mapping{Device: "payload.id"}, Devices: map[string]contract.Device{"c1": {Community: "jinghu"}}}
	})
	technician := o.as("vendor", "t-1", RoleTechnician)
	for _, c := range []struct {
		token, device, command string
		args                   map[string]any
		status                 int
	}{
		{o.boss(), "pumps.p1", "explode", nil, 422},
		{o.boss(), "pumps.p1", "run", nil, 422},
		{o.boss(), "pumps.p1", "run", minutes(31), 422},
		{o.boss(), "pumps.p1", "run", minutes(-1), 422},
		{o.boss(), "pumps.p1", "run", minutes(0.5), 422},
		{o.boss(), "pumps.p1", "run", minutes("3"), 422},
		{o.boss(), "pumps.p1", "run", map[string]any{"minutes": 3, "force": true}, 422},
		{o.boss(), "smokes.s1", "run", minutes(3), 422},
		{o.boss(), "pumps.p1", "reset", nil, 403},
		{technician, "pumps.p1", "run", minutes(3), 403},
		{o.boss(), "pumps.nobody", "mark", nil, 404},
		{o.boss(), "nothing", "mark", nil, 404},
		{o.boss(), "cloud.c1", "mark", nil, 409},
	} {
		if _, got := o.give(c.token, c.device, c.command, c.args); got != c.status {
			t.Errorf("%s %v to %s: %d, want %d", c.command, c.args, c.device, got, c.status)
		}
		if got := o.call("PUT", "/v1/devices/"+c.device+"/desired/"+c.command, c.token, map[string]any{"arguments": c.args}, nil); got != c.status {
			t.Errorf("desired %s %v of %s: %d, want %d", c.command, c.args, c.device, got, c.status)
		}
	}
	if got := o.call("PUT", "/v1/devices/pumps.p1/desired/run", o.boss(), map[string]any{"arguments": minutes(3)}, nil); got != 422 {
		t.Errorf("what is done once as a desired state: %d", got)
	}
	if got := o.call("POST", "/v1/devices/pumps.p1/commands", o.boss(), NewCommand{Command: "mark"}, nil); got != 422 {
		t.Errorf("without a key: %d", got)
	}
	o.nothing("all that is refused")
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands") + number(t, o.pool, "SELECT count(*) FROM grid.desired"); n != 1 {
		t.Errorf("%d commands and desired states are kept, want the marker alone", n)
	}
	if n := testutil.ToFloat64(o.svc.api.commander.metrics.commands.WithLabelValues("Refused", "OutOfRange")); n != 4 {
		t.Errorf("%v counted as out of range, want 4", n)
	}
}

func TestWhoMayCommand(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	worker := o.as("committee", "p-1", RoleGridWorker)
	technician, rival := o.as("vendor", "t-1", RoleTechnician), o.as("rival", "t-1", RoleTechnician)
	for name, c := range map[string]struct {
		token, device, command string
		args                   map[string]any
		status                 int
	}{
		"a worker who is not on the roster":      {worker, "pumps.p1", "run", minutes(1), 404},
		"another community's dispatcher":         {o.as("committee-other", "p-1", RoleDispatcher), "pumps.p1", "run", minutes(1), 404},
		"our dispatcher in another community":    {o.boss(), "pumps.p9", "run", minutes(1), 404},
		"an auditor":                             {o.as("committee", "p-3", RoleAuditor), "pumps.p1", "run", minutes(1), 403},
		"a resident":                             {o.as("committee", "r-3", RoleResident), "pumps.p1", "run", minutes(1), 404},
		"another vendor":                         {rival, "pumps.p1", "reset", nil, 404},
		"a vendor's dispatcher":                  {o.as("vendor", "p-1", RoleDispatcher), "pumps.p1", "lamp", map[string]any{"on": true}, 404},
		"a committee's technician":               {o.as("committee", "t-1", RoleTechnician), "pumps.p1", "reset", nil, 404},
		"nobody":                                 {"", "pumps.p1", "reset", nil, 401},
		"a technician, another vendor's devices": {technician, "others.q1", "reset", nil, 404},
	} {
		if _, got := o.give(c.token, c.device, c.command, c.args); got != c.status {
			t.Errorf("%s: %d, want %d", name, got, c.status)
		}
	}
	o.nothing("who may not")
	ours := o.given(technician, "pumps.p1", "reset", nil)
	if got := o.next("reset"); got.ID != ours.ID {
		t.Errorf("%s left", got.raw)
	}
	theirs := o.given(o.boss(), "pumps.p1", "run", minutes(1))
	o.next("run")
	if got := o.call("PUT", "/v1/roster", o.boss(), Roster{Community: "jinghu", Entries: []RosterEntry{{Person: "p-1", Role: "GridWorker", Grid: "g1"}}}, nil); got != 200 {
		t.Fatalf("roster: %d", got)
	}
	for name, c := range map[string]struct {
		token          string
		ours, theirs   int
		list, withdraw int
	}{
		"technician":     {technician, 200, 404, 1, 404},
		"another vendor": {rival, 404, 404, -1, 404},
		"other":          {o.as("committee-other", "p-1", RoleDispatcher), 404, 404, -1, 404},
		"auditor":        {o.as("committee", "p-3", RoleAuditor), 200, 200, 2, 403},
	} {
		if a, b := o.call("GET", "/v1/commands/"+ours.ID.String(), c.token, nil, nil), o.call("GET", "/v1/commands/"+theirs.ID.String(), c.token, nil, nil); a != c.ours || b != c.theirs {
			t.Errorf("%s reads: %d and %d, want %d and %d", name, a, b, c.ours, c.theirs)
		}
		var page CommandList
		if got := o.call("GET", "/v1/devices/pumps.p1/commands", c.token, nil, &page); c.list < 0 && got != 404 || c.list >= 0 && (got != 200 || len(page.Commands) != c.list) {
			t.Errorf("%s lists: %d, %d commands", name, got, len(page.Commands))
		}
		if got := o.call("POST", "/v1/commands/"+theirs.ID.String()+"/withdraw", c.token, nil, nil); got != c.withdraw {
			t.Errorf("%s withdraws: %d, want %d", name, got, c.withdraw)
		}
	}
	if got := o.call("POST", "/v1/commands/"+ours.ID.String()+"/withdraw", o.boss(), nil, nil); got != 403 {
		t.Errorf("an operator withdraws what only a vendor may send: %d", got)
	}
	d := o.given(worker, "pumps.p2", "run", minutes(1))
	if h := d.History; len(h) != 1 || h[0].Action != "Give" || h[0].Actor != (Actor{Kind: "Person", Organization: "committee", Person: "p-1", Role: RoleGridWorker}) {
		t.Errorf("history %+v", h)
	}
}

func TestCommandIsSentAgainUntilTheDeviceAcknowledges(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	heard := make(chan string, 100)
	client := mqttClient(t, o.broker, "pumps_p1")
	wait(t, client.Subscribe(contract.DeviceTopic("pumps", "p1", contract.ChannelCommand), 0, func(_ mqtt.Client, m mqtt.Message) { heard <- string(m.Payload()) }))

	const key = "key-0000-0001"
	var d, again CommandDetail
	body := NewCommand{Command: "run", Arguments: minutes(3)}
	if got := o.call("POST", "/v1/devices/pumps.p1/commands", o.boss(), body, &d, "Idempotency-Key", key); got != 201 {
		t.Fatal(got)
	}
	first := o.next("run")
	want := fmt.Sprintf(`{"id":%q,"command":"run","arguments":{"minutes":3},"expiresAt":%q}`, d.ID, d.ExpiresAt.UTC().Format(time.RFC3339Nano))
	if first.raw != want || first.Subject != "dizuo.v1.d.pumps.p1.cmd" {
		t.Errorf("%s %s, want %s", first.Subject, first.raw, want)
	}
	select {
	case got := <-heard:
		if got != want {
			t.Errorf("the device heard %s", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("the device heard nothing")
	}
	if got := o.call("POST", "/v1/devices/pumps.p1/commands", o.boss(), body, &again, "Idempotency-Key", key); got != 201 || again.ID != d.ID {
		t.Errorf("the same key: %d, %s", got, again.ID)
	}
	body.Arguments = minutes(4)
	if got := o.call("POST", "/v1/devices/pumps.p1/commands", o.boss(), body, nil, "Idempotency-Key", key); got != 422 {
		t.Errorf("the same key for another command: %d", got)
	}
	for _, pause := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second} {
		o.advance(pause - time.Millisecond)
		o.nothing("before the pause is over")
		o.advance(time.Millisecond)
		if got := o.next("run again"); got.raw != want {
			t.Errorf("%s, want the same once more", got.raw)
		}
	}
	// What is no ack of this command stops nothing.
	for _, payload := range []string{"garbage", fmt.Sprintf(`{"id":%q,"result":"Maybe"}`, d.ID), fmt.Sprintf(`{"id":%q,"result":"Done"}`, uuid.New())} {
		o.say("p2", contract.ChannelAck, payload)
	}
	o.say("p2", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":"Done"}`, d.ID)) // of another device
	o.say("p2", contract.ChannelTelemetry, `{"level":1}`)
	o.worked()
	for result, n := range map[string]float64{"malformed": 1, "unknown": 1, "unmatched": 2} {
		eventually(t, "acks that are "+result, func() bool { return testutil.ToFloat64(o.svc.worker.metrics.acks.WithLabelValues(result)) == n })
	}
	if c := o.state(d.ID); c.State != command.Pending || c.Sent != 4 {
		t.Errorf("%s, sent %d times", c.State, c.Sent)
	}
	o.say("p1", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":"Received","detail":"ok\u0000"}`, d.ID))
	eventually(t, "received", func() bool { return o.state(d.ID).State == command.StateReceived })
	o.advance(10 * time.Minute) // also past the expiry
	o.nothing("after the ack")
	o.ack("p1", d.ID, "Done", command.StateDone)
	o.say("p1", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":"Failed"}`, d.ID)) // too late to change its mind
	eventually(t, "repeated ack", func() bool { return testutil.ToFloat64(o.svc.worker.metrics.acks.WithLabelValues("repeated")) == 1 })
	if got := o.call("GET", "/v1/commands/"+d.ID.String(), o.boss(), nil, &d); got != 200 || d.State != command.StateDone || d.FinishedAt == nil || d.AcknowledgedAt == nil {
		t.Errorf("%d %+v", got, d)
	}
	var actions []string
	for _, h := range d.History {
		actions = append(actions, h.Action)
	}
	if got := strings.Join(actions, " "); got != "Give Send Acknowledge Acknowledge" {
		t.Errorf("history %s", got)
	}
}

func TestExpiryAndWithdrawalSendTheSafeStateOnce(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	d := o.given(o.boss(), "pumps.p1", "run", minutes(3))
	o.next("run")
	o.advance(301 * time.Second)
	safe := o.next("safe state")
	if safe.ID == d.ID || safe.Command != "run" || !reflect.DeepEqual(safe.Arguments, minutes(0.0)) {
		t.Errorf("%s", safe.raw)
	}
	o.ended(d.ID, command.Expired, "")
	if c := o.state(safe.ID); c.Cause == nil || *c.Cause != d.ID || c.Sender != "SafeState" {
		t.Errorf("%+v", c)
	}
	o.say("p1", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":"Done"}`, d.ID)) // of what expired
	eventually(t, "late ack", func() bool { return testutil.ToFloat64(o.svc.worker.metrics.acks.WithLabelValues("late")) == 1 })
	if got := o.call("POST", "/v1/commands/"+safe.ID.String()+"/withdraw", o.boss(), nil, nil); got != 409 {
		t.Errorf("a safe state withdrawn: %d", got)
	}
	if got := o.call("POST", "/v1/commands/"+d.ID.String()+"/withdraw", o.boss(), nil, nil); got != 409 {
		t.Errorf("an expired command withdrawn: %d", got)
	}
	// The safe state, too, is sent again; when it expires, nothing follows.
	o.advance(2 * time.Second)
	if got := o.next("safe state again"); got.ID != safe.ID {
		t.Errorf("%s", got.raw)
	}
	o.advance(301 * time.Second)
	o.ended(safe.ID, command.Expired, "")
	o.nothing("after the safe state expired")
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE sender = 'SafeState'"); n != 1 {
		t.Errorf("%d safe states", n)
	}

	done := o.given(o.boss(), "pumps.p2", "run", minutes(3))
	o.next("run")
	o.ack("p2", done.ID, "Done", command.StateDone)
	if got := o.call("POST", "/v1/commands/"+done.ID.String()+"/withdraw", o.boss(), nil, &done); got != 200 || done.State != command.Withdrawn {
		t.Errorf("%d %s", got, done.State)
	}
	safe = o.next("safe state of what was withdrawn")
	if *o.state(safe.ID).Cause != done.ID || !reflect.DeepEqual(safe.Arguments, minutes(0.0)) {
		t.Errorf("%s", safe.raw)
	}
	// A newer command takes the place of one that is not acknowledged, also of a safe state, and nothing fights.
	newer := o.given(o.boss(), "pumps.p2", "run", minutes(5))
	if got := o.next("newer"); got.ID != newer.ID {
		t.Errorf("%s", got.raw)
	}
	o.ended(safe.ID, command.Superseded, "NewerCommand")
	o.advance(2 * time.Second)
	if got := o.next("newer again"); got.ID != newer.ID {
		t.Errorf("%s", got.raw)
	}
	o.nothing("the older one")
	// What has no safe state is followed by nothing.
	lamp := o.given(o.boss(), "pumps.p3", "lamp", map[string]any{"on": true})
	o.next("lamp")
	if got := o.call("POST", "/v1/commands/"+lamp.ID.String()+"/withdraw", o.boss(), nil, nil); got != 200 {
		t.Error(got)
	}
	o.nothing("withdrawal without a safe state")
}

func TestWithdrawingAnOlderCommandLeavesTheNewerOne(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	old := o.given(o.boss(), "pumps.p1", "run", minutes(3))
	o.next("run")
	o.ack("p1", old.ID, "Done", command.StateDone)
	newer := o.given(o.boss(), "pumps.p1", "run", minutes(5))
	o.next("newer")
	o.ack("p1", newer.ID, "Done", command.StateDone)
	if got := o.call("POST", "/v1/commands/"+old.ID.String()+"/withdraw", o.boss(), nil, nil); got != 409 {
		t.Errorf("%d, want 409", got)
	}
	o.nothing("a refused withdrawal")
}

func TestADeviceThatSpeaksGetsWhatWaits(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	d := o.given(o.boss(), "pumps.p1", "run", minutes(3))
	o.next("run")
	for _, pause := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second} { // the next pause is 16 s
		o.advance(pause)
		o.next("run again")
	}
	o.advance(time.Second)
	o.say("p1", contract.ChannelTelemetry, `{"level":1}`)
	o.worked()
	o.nothing("a device that has just been told")
	o.advance(time.Second)
	o.say("p1", contract.ChannelTelemetry, `{"level":1}`)
	if got := o.next("what waits for a device that speaks"); got.ID != d.ID {
		t.Errorf("%s", got.raw)
	}
}

// TestRestartNeitherLosesNorDoublesACommand stops the service at each step of a command's life.
func TestRestartNeitherLosesNorDoublesACommand(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	restart := func() { o.stop(); o.begin() }
	d := o.given(o.boss(), "pumps.p1", "run", minutes(3))
	o.next("run")
	restart()
	o.nothing("a restart within the pause")
	o.advance(2 * time.Second)
	if got := o.next("run after the restart"); got.ID != d.ID {
		t.Errorf("%s", got.raw)
	}
	o.stop()
	o.say("p1", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":"Done"}`, d.ID)) // while it is down
	o.begin()
	eventually(t, "ack from before", func() bool { return o.state(d.ID).State == command.StateDone })
	e := o.given(o.boss(), "pumps.p2", "run", minutes(3))
	o.next("run")
	o.stop()
	o.advance(301 * time.Second) // it expires while nobody works
	o.begin()
	safe := o.next("safe state after the restart")
	restart()
	o.nothing("a second safe state")
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE cause = $1", e.ID); n != 1 || *o.state(safe.ID).Cause != e.ID {
		t.Errorf("%d safe states", n)
	}
	if n := number(t, o.pool, "SELECT max(n) FROM (SELECT count(*) n FROM grid.command_history WHERE action <> 'Acknowledge' GROUP BY command_id, action) x"); n != 1 {
		t.Errorf("a step of a command stands %d times in its history", n)
	}
}

// TestCheckedAgainBeforeItLeaves gives commands that were right under a former bundle.
func TestCheckedAgainBeforeItLeaves(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(b *intake.Bundle) {
		p := b.Rules.Profiles["pump"]
		p.Commands = maps.Clone(p.Commands)
		p.Commands["narrow"] = contract.Command{Senders: []string{"Operator"}, ExpiresSeconds: 60, Arguments: map[string]contract.Field{"x": {Type: "Number", Min: ptr(0), Max: ptr(1)}}}
		b.Rules.Profiles["pump"] = p
	})
	committee := Actor{Kind: "Person", Organization: "committee", Person: "p-9", Role: RoleDispatcher}
	for name, c := range map[string]struct {
		c      Command
		by     Actor
		reason string
	}{
		"row gone":        {Command{Device: "gone", Name: "mark", Sender: "Operator"}, committee, "DeviceGone"},
		"moved":           {Command{Device: "p9", Name: "mark", Sender: "Operator"}, committee, "DeviceMoved"},
		"moved in it":     {Command{Device: "p1", Grid: "g2", Name: "mark", Sender: "Operator"}, committee, "DeviceMoved"},
		"range narrowed":  {Command{Device: "p1", Name: "narrow", Arguments: map[string]any{"x": 2.0}, Sender: "Operator"}, committee, "OutOfRange"},
		"not declared":    {Command{Device: "p1", Name: "former", Sender: "Operator"}, committee, "UndeclaredCommand"},
		"argument gone":   {Command{Device: "p2", Name: "mark", Arguments: map[string]any{"x": 2.0}, Sender: "Operator"}, committee, "UnknownArgument"},
		"sender dropped":  {Command{Device: "p1", Name: "reset", Sender: "Operator"}, committee, "SenderNotAllowed"},
		"not our place":   {Command{Device: "p3", Name: "mark", Sender: "Operator"}, Actor{Kind: "Person", Organization: "committee-other"}, "SenderNotAllowed"},
		"vendor changed":  {Command{Device: "p3", Name: "reset", Sender: "Vendor"}, Actor{Kind: "Person", Organization: "rival"}, "SenderNotAllowed"},
		"scenario is off": {Command{Device: "p4", Name: "run", Arguments: minutes(1.0), Sender: "Scenario", Scenario: "off"}, system, "ScenarioGone"},
	} {
		cmd := c.c
		cmd.Fleet, cmd.Community, cmd.ExpiresAt = "pumps", "jinghu", o.now().Add(time.Hour)
		if cmd.Grid == "" {
			cmd.Grid = "g1"
		}
		if err := pgx.BeginFunc(t.Context(), o.pool, func(tx pgx.Tx) error {
			_, _, err := o.svc.api.commander.give(t.Context(), tx, &cmd, c.by, o.now(), nil)
			return err
		}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o.ended(cmd.ID, command.Void, c.reason)
		if got := o.state(cmd.ID); got.Sent != 0 {
			t.Errorf("%s: sent %d times", name, got.Sent)
		}
	}
	o.nothing("what does not fit any more")

	// One that was sent, and fits no more: the device may have it, so the safe state follows.
	d := o.given(o.boss(), "pumps.p1", "run", minutes(30))
	o.next("run")
	narrow := *o.bundle
	narrow.Rules.Profiles = maps.Clone(narrow.Rules.Profiles)
	p := narrow.Rules.Profiles["pump"]
	p.Commands = maps.Clone(p.Commands)
	run := p.Commands["run"]
	run.Arguments = map[string]contract.Field{"minutes": {Type: "Integer", Min: ptr(0), Max: ptr(10)}}
	p.Commands["run"] = run
	narrow.Rules.Profiles["pump"] = p
	o.in.Set(&narrow)
	o.advance(2 * time.Second)
	if got := o.next("safe state"); !reflect.DeepEqual(got.Arguments, minutes(0.0)) {
		t.Errorf("%s", got.raw)
	}
	o.ended(d.ID, command.Void, "OutOfRange")

	// Whether a person still may is what the lease vouches for.
	m := o.given(o.boss(), "pumps.p2", "mark", nil)
	o.next("mark")
	over := narrow
	over.Lease.ExpiresAt = o.now()
	o.in.Set(&over)
	o.advance(4 * time.Second)
	eventually(t, "it waits for a lease", func() bool { return o.state(m.ID).NextSendAt.After(o.now()) })
	if n := o.state(m.ID).Sent; n != 1 {
		t.Errorf("sent %d times though the lease is over", n)
	}
	o.in.Set(&narrow)
	o.advance(withheldFor)
	for got := o.next("it goes on with a lease"); got.ID != m.ID; got = o.next("it goes on with a lease") {
		if got.Command != "run" { // the safe state of before is not acknowledged
			t.Errorf("%s", got.raw)
		}
	}
	if n := o.state(m.ID).Sent; n != 2 {
		t.Errorf("sent %d times, want one before the lease was over and one after", n)
	}
}

func TestDesiredStateComesBackWithTheDevice(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(*intake.Bundle) {})
	put := func(token string, on bool) (v DesiredView) {
		t.Helper()
		if got := o.call("PUT", "/v1/devices/pumps.p1/desired/lamp", token, map[string]any{"arguments": map[string]any{"on": on}}, &v); got != 200 {
			t.Fatalf("desired: %d", got)
		}
		return v
	}
	acked := func(id uuid.UUID, result string) {
		t.Helper()
		o.say("p1", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":%q}`, id, result))
		eventually(t, "ack", func() bool {
			return number(t, o.pool, "SELECT count(*) FROM grid.desired WHERE id = $1 AND state = $2", id, result) == 1
		})
	}
	v := put(o.boss(), true)
	first := o.next("desired")
	if want := fmt.Sprintf(`{"id":%q,"desired":{"lamp":{"on":true}}}`, v.ID); first.raw != want || first.Subject != "dizuo.v1.d.pumps.p1.desired" {
		t.Errorf("%s %s, want %s", first.Subject, first.raw, want)
	}
	if again := put(o.boss(), true); *again.ID != *v.ID {
		t.Error("the same state is a new one")
	}
	o.nothing("what is wanted already")
	o.advance(2 * time.Second)
	if got := o.next("desired again"); got.raw != first.raw {
		t.Errorf("%s", got.raw)
	}
	acked(*v.ID, "Done")
	o.advance(time.Hour / 2)
	o.nothing("after the ack")
	o.say("p1", contract.ChannelTelemetry, `{"level":1}`)
	o.worked()
	o.nothing("a device that was never away")

	// It was silent for as long as makes it offline, and speaks.
	o.svc.presence.mu.Lock()
	pumps := (*o.svc.presence.rolls.Load())["pumps"]
	pumps.last[pumps.places["p1"]].Add(^uint32(181 - 1)) // less 181
	o.svc.presence.mu.Unlock()
	o.say("p1", contract.ChannelTelemetry, `{"level":1}`)
	if got := o.next("desired after the silence"); got.raw != first.raw {
		t.Errorf("%s", got.raw)
	}
	acked(*v.ID, "Done")
	o.advance(59 * time.Second)
	o.say("p1", contract.ChannelState, `{"level":1}`) // as devices answer a desired state
	o.worked()
	o.nothing("a state within the minute")
	o.advance(time.Second)
	o.say("p1", contract.ChannelState, `{"level":1}`)
	if got := o.next("desired after a state"); got.raw != first.raw {
		t.Errorf("%s", got.raw)
	}
	o.stop() // it is not acknowledged; a restart does not lose it
	o.begin()
	o.advance(2 * time.Second)
	if got := o.next("desired after the restart"); got.raw != first.raw {
		t.Errorf("%s", got.raw)
	}

	w := put(o.as("vendor", "t-1", RoleTechnician), false)
	if got := o.next("changed"); *w.ID == *v.ID || got.ID != *w.ID || !reflect.DeepEqual(got.Desired, map[string]map[string]any{"lamp": {"on": false}}) {
		t.Errorf("%s", got.raw)
	}
	o.say("p1", contract.ChannelAck, fmt.Sprintf(`{"id":%q,"result":"Done"}`, v.ID)) // of the former one
	eventually(t, "ack of the former", func() bool { return testutil.ToFloat64(o.svc.worker.metrics.acks.WithLabelValues("unmatched")) == 1 })
	acked(*w.ID, "Failed")
	if got := o.call("GET", "/v1/devices/pumps.p1/desired", o.as("committee", "p-3", RoleAuditor), nil, &w); got != 200 || w.State != "Failed" || w.Desired["lamp"].Organization != "vendor" {
		t.Errorf("%d %+v", got, w)
	}
	if got := o.call("GET", "/v1/devices/pumps.p1/desired", o.as("rival", "t-1", RoleTechnician), nil, nil); got != 404 {
		t.Errorf("another vendor: %d", got)
	}
	w = DesiredView{} // maps of an answer are laid over what is there
	if got := o.call("DELETE", "/v1/devices/pumps.p1/desired/lamp", o.boss(), nil, &w); got != 200 || len(w.Desired) != 0 {
		t.Errorf("%d %+v", got, w)
	}
	if got := o.next("nothing is wanted"); !strings.HasSuffix(got.raw, `"desired":{}}`) || got.ID != *w.ID {
		t.Errorf("%s", got.raw)
	}
	var actions []string
	rows, err := o.pool.Query(t.Context(), "SELECT action FROM grid.desired_history ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	if actions, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || strings.Join(actions, " ") != "Set Acknowledge Set Acknowledge Drop" {
		t.Errorf("%v, %v", actions, err)
	}

	// A device that hangs elsewhere now is told nothing that was wanted where it hung before.
	put(o.boss(), true)
	o.next("desired")
	moved := *o.bundle
	moved.Fleets = maps.Clone(moved.Fleets)
	f := moved.Fleets["pumps"]
	f.Devices = maps.Clone(f.Devices)
	f.Devices["p1"] = contract.Device{Community: "other", Grid: "g1"}
	moved.Fleets["pumps"] = f
	o.in.Set(&moved)
	o.advance(2 * time.Second)
	o.nothing("a device that moved")
	if n := number(t, o.pool, "SELECT count(*) FROM grid.desired WHERE state = 'Void'"); n != 1 {
		t.Error("the desired state is not void")
	}
}

func TestAlarmSendsItsCommandsOnce(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(b *intake.Bundle) {
		b.Rules.Scenarios["flood"] = contract.Scenario{Profile: "pump", DataClass: "C0", CaseClass: "flood", Severity: contract.SeverityHigh, Title: "积水",
			Trigger: contract.Trigger{When: "msg.level > 80.0", Clear: "msg.level < 50.0", DedupSeconds: 600},
			Commands: []contract.ScenarioCommand{
				{Command: "run", At: "Raised", Target: "Building", Profile: "pump", Arguments: minutes(12.0)},
				{Command: "lamp", At: "Raised", Target: "Device", Profile: "pump", Arguments: map[string]any{"on": true}}, // the profile lets no scenario send it
				{Command: "run", At: "Cleared", Target: "Device", Profile: "pump", Arguments: minutes(0.0)},
			}}
		b.Rules.Scenarios["dry"] = contract.Scenario{Profile: "pump", DataClass: "C0", Trigger: contract.Trigger{When: "msg.level < 0.0"}, // without a case
			Commands: []contract.ScenarioCommand{{Command: "run", At: "Raised", Target: "Device", Profile: "pump", Arguments: minutes(1.0)}}}
	})
	o.say("p2", contract.ChannelSignal, `{"level":90}`)
	a, b := o.next("first of the building"), o.next("second of the building")
	if a.Subject > b.Subject { // commands of one millisecond leave in the order of their ids
		a, b = b, a
	}
	if subjects := []string{a.Subject, b.Subject}; !slices.Equal(subjects, []string{"dizuo.v1.d.pumps.p2.cmd", "dizuo.v1.d.pumps.p3.cmd"}) || !reflect.DeepEqual(a.Arguments, minutes(12.0)) {
		t.Errorf("%v, %s", subjects, a.raw)
	}
	if n := testutil.ToFloat64(o.svc.api.commander.metrics.commands.WithLabelValues("Refused", "SenderNotAllowed")); n != 1 {
		t.Errorf("%v refused, want the lamp", n)
	}
	o.say("p2", contract.ChannelSignal, `{"level":91}`)
	o.worked()
	o.nothing("a signal that joins")
	c := o.state(a.ID)
	var d CaseDetail
	if c.CaseID == nil || c.Scenario != "flood" || o.call("GET", "/v1/cases/"+c.CaseID.String(), o.boss(), nil, &d) != 200 {
		t.Fatalf("%+v", c)
	}
	if h := d.History; !slices.ContainsFunc(h, func(e HistoryEntry) bool {
		return e.Action == "Command" && strings.Contains(fmt.Sprint(e.Detail), "Given:2")
	}) {
		t.Errorf("history of the case %+v", h)
	}
	o.ack("p2", a.ID, "Done", command.StateDone)
	o.ack("p3", b.ID, "Done", command.StateDone)

	// The same messages once more, from the beginning, with an engine that knows nothing.
	o.stop()
	for _, statement := range []string{"DELETE FROM grid.engine_keys", "UPDATE grid.ingest_position SET sequence = 0"} {
		if _, err := o.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	o.begin()
	o.worked()
	o.nothing("a replay")
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE scenario = 'flood'"); n != 2 {
		t.Errorf("%d commands", n)
	}

	o.say("p2", contract.ChannelSignal, `{"level":10}`)
	if got := o.next("cleared"); got.Subject != "dizuo.v1.d.pumps.p2.cmd" || !reflect.DeepEqual(got.Arguments, minutes(0.0)) {
		t.Errorf("%s", got.raw)
	}
	// A message that was on its way for longer than the command lives opens a case and no valve.
	o.say("p4", contract.ChannelSignal, fmt.Sprintf(`{"level":90,"ts":%q}`, o.now().Add(-301*time.Second).UTC().Format(time.RFC3339)))
	eventually(t, "case", func() bool {
		return number(t, o.pool, "SELECT count(*) FROM grid.cases WHERE device = 'p4'") == 1
	})
	o.nothing("an old alarm")
	o.say("p0", contract.ChannelSignal, `{"level":-1}`)
	if got := o.next("a scenario without a case"); got.Subject != "dizuo.v1.d.pumps.p0.cmd" {
		t.Errorf("%s", got.raw)
	}
	if n := number(t, o.pool, "SELECT count(*) FROM grid.cases WHERE device = 'p0'"); n != 0 {
		t.Errorf("%d cases of a scenario that has none", n)
	}

	// Late evidence retracts an alarm: what it gave is taken back.
	start := o.now().UTC().Truncate(time.Millisecond)
	e := rules.Event{Kind: rules.Raised, Scenario: "dry", Fleet: "pumps", Device: "p1", Start: start, At: start}
	event := func() {
		t.Helper()
		if err := pgx.BeginFunc(t.Context(), o.pool, func(tx pgx.Tx) error {
			return o.svc.api.commander.alarm(t.Context(), tx, o.bundle, happened{Event: e}, o.now())
		}); err != nil {
			t.Fatal(err)
		}
	}
	event()
	given := o.next("raised")
	o.ack("p1", given.ID, "Done", command.StateDone)
	e.Kind = rules.Retracted
	event()
	event()
	if got := o.next("safe state"); *o.state(got.ID).Cause != given.ID {
		t.Errorf("%s", got.raw)
	}
	o.ended(given.ID, command.Withdrawn, "AlarmRetracted")
}
