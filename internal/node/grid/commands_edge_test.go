package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/edge/local"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// behindEdge is orders with an edge node that serves pumps of its own, and a scenario on them.
type behindEdge struct {
	*orders
	nc       *nats.Conn
	sequence uint64
}

func newBehindEdge(t *testing.T) *behindEdge {
	t.Helper()
	o := newOrders(t, func(b *intake.Bundle) {
		b.Edges = map[string]contract.Edge{"e1": {Communities: []string{"jinghu"}}}
		f := b.Fleets["pumps"]
		f.Devices = map[string]contract.Device{"e0": {Community: "jinghu", Grid: "g1", Household: "h1"}, "e1": {Community: "jinghu", Grid: "g1", Household: "h1"}}
		f.Placement = contract.PlacementEdge
		b.Fleets["cellars"] = f
		b.Rules.Scenarios["flood"] = contract.Scenario{Profile: "pump", DataClass: "C0", CaseClass: "flood", Severity: contract.SeverityHigh, Title: "积水",
			Trigger:  contract.Trigger{When: "msg.level > 80.0", Clear: "msg.level < 50.0", DedupSeconds: 5},
			Commands: []contract.ScenarioCommand{{Command: "run", At: "Raised", Target: "Household", Profile: "pump", Arguments: minutes(12.0)}}}
		// Each scenario has a command of its own: of two of one name the newer one alone leaves.
		for _, name := range []string{"drain", "air"} {
			b.Rules.Profiles["pump"].Commands[name] = contract.Command{Senders: []string{"Scenario"}, ExpiresSeconds: 300}
		}
		b.Rules.Scenarios["ebb"] = contract.Scenario{Profile: "pump", DataClass: "C0", Trigger: contract.Trigger{When: "msg.level < 50.0", Clear: "msg.level > 80.0", DedupSeconds: 5},
			Commands: []contract.ScenarioCommand{{Command: "drain", At: "Cleared", Target: "Device", Profile: "pump"}}}
		b.Rules.Scenarios["damp"] = contract.Scenario{Profile: "pump", DataClass: "C0", Trigger: contract.Trigger{When: "msg.level > 60.0 && msg.level < 70.0", ForSeconds: 60},
			Commands: []contract.ScenarioCommand{{Command: "air", At: "Raised", Target: "Device", Profile: "pump"}}}
		b.Rules.Scenarios["warm"] = contract.Scenario{Profile: "pump", DataClass: "C0", Trigger: contract.Trigger{When: "msg.level > 70.0 && msg.level < 75.0", ForSeconds: 60},
			Commands: []contract.ScenarioCommand{{Command: "run", At: "Raised", Target: "Device", Profile: "pump", Arguments: minutes(3.0)}}}
	})
	o.listens()
	nc, _ := connect(t, o.broker.ClientURL())
	t.Cleanup(nc.Close)
	ask[contract.HelloReply](t, nc, "e1", contract.EdgeHello, contract.Hello{Incarnation: "a"})
	return &behindEdge{orders: o, nc: nc}
}

// up brings messages of the outbox, in one batch.
func (o *behindEdge) up(list ...contract.EdgeMessage) {
	o.t.Helper()
	b := contract.EdgeBatch{Incarnation: "a"}
	for _, m := range list {
		o.sequence++
		m.Sequence = o.sequence
		b.Messages = append(b.Messages, m)
	}
	if r := ask[contract.EdgeBatchReply](o.t, o.nc, "e1", contract.EdgeUp, b); r.Mark != o.sequence {
		o.t.Fatalf("%+v", r)
	}
}

func from(at time.Time, device string, c contract.Channel, payload string) contract.EdgeMessage {
	return contract.EdgeMessage{At: at.UnixMilli(), Fleet: "cellars", Device: device, Channel: c, Payload: []byte(payload)}
}

// id is the id that the edge node derives for the command of an alarm that e0 raised at a time.
func (o *behindEdge) id(at time.Time, device string) uuid.UUID {
	o.t.Helper()
	at = at.UTC().Truncate(time.Millisecond)
	order, code := command.Alarm{Scenario: "flood", Fleet: "cellars", Device: "e0", Start: at, At: at, Kind: "Raised"}.
		Order(o.bundle.Rules, o.bundle.Fleets, 0, command.Target{Fleet: "cellars", Device: device}, at)
	if code != "" {
		o.t.Fatal(code)
	}
	return order.ID
}

func answered(id uuid.UUID, result string) string {
	return fmt.Sprintf(`{"id":%q,"result":%q}`, id, result)
}

func (o *behindEdge) history(id uuid.UUID) string {
	o.t.Helper()
	var d CommandDetail
	if got := o.call("GET", "/v1/commands/"+id.String(), o.boss(), nil, &d); got != 200 {
		o.t.Fatalf("command %s: %d", id, got)
	}
	var out []string
	for _, h := range d.History {
		out = append(out, h.Action)
	}
	return strings.Join(out, " ")
}

// TestCommandOfAnEdgeNodeIsNotSentAgain: the alarm and the ack of what the node gave come in one batch; and the hub's own sending is the
// answer where no ack comes.
func TestCommandOfAnEdgeNodeIsNotSentAgain(t *testing.T) {
	o := newBehindEdge(t)
	at := o.now()
	done, open := o.id(at, "e0"), o.id(at, "e1")
	o.up(from(at, "e0", contract.ChannelSignal, `{"level":90}`), from(at.Add(time.Second), "e0", contract.ChannelAck, answered(done, "Done")))
	if c := o.state(done); c.State != command.StateDone || c.Sent != 0 {
		t.Errorf("%s, sent %d times", c.State, c.Sent)
	}
	if got := o.history(done); got != "Give Acknowledge" {
		t.Errorf("history %s", got)
	}
	o.nothing("what the node has time for")
	o.advance(atNodeFirst)
	m, err := o.wire.NextMsg(20 * time.Second)
	for err == nil && m.Header.Get(contract.EdgeSubjectHeader) == "" {
		m, err = o.wire.NextMsg(20 * time.Second)
	}
	if err != nil || m.Header.Get(contract.EdgeSubjectHeader) != "dizuo.v1.d.cellars.e1.cmd" || !strings.Contains(string(m.Data), open.String()) {
		t.Errorf("%v, want the command that nobody acknowledged: %v", m, err)
	}
	o.up(from(at.Add(2*time.Second), "e1", contract.ChannelAck, answered(open, "Received")), from(at.Add(2*time.Second), "e1", contract.ChannelAck, answered(open, "Done")))
	if c := o.state(open); c.State != command.StateDone || c.Sent != 1 {
		t.Errorf("%s, sent %d times", c.State, c.Sent)
	}
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE scenario = 'flood'"); n != 2 {
		t.Errorf("%d commands, want one for each device", n)
	}
}

// TestWhatAnEdgeNodeDidBehindACutLine: the alarm comes hours later. What the device acknowledged in time is Done; what it did not is Expired;
// neither is sent, and no safe state follows.
func TestWhatAnEdgeNodeDidBehindACutLine(t *testing.T) {
	o := newBehindEdge(t)
	at := o.now().Add(-3 * time.Hour)
	done, late := o.id(at, "e0"), o.id(at, "e1")
	o.up(from(at, "e0", contract.ChannelSignal, `{"level":90}`))
	if c := o.state(done); c.State != command.Expired || c.Reason != "AlarmTooOld" || c.Sent != 0 || !c.CreatedAt.Equal(at.UTC().Truncate(time.Millisecond)) {
		t.Errorf("%+v", c)
	}
	o.up(from(at.Add(time.Second), "e0", contract.ChannelAck, answered(done, "Received")))
	if c := o.state(done); c.State != command.StateReceived || c.FinishedAt != nil {
		t.Errorf("%+v", c)
	}
	o.up(from(at.Add(time.Minute), "e0", contract.ChannelAck, answered(done, "Done")), from(at.Add(301*time.Second), "e1", contract.ChannelAck, answered(late, "Done")))
	if c := o.state(done); c.State != command.StateDone || c.Reason != "" || c.AcknowledgedAt == nil || !c.AcknowledgedAt.Equal(at.Add(time.Second).UTC().Truncate(time.Millisecond)) {
		t.Errorf("%+v", c)
	}
	if got := o.history(done); got != "LeaveToEdgeNode Acknowledge Acknowledge" {
		t.Errorf("history %s", got)
	}
	if c := o.state(late); c.State != command.Expired || o.history(late) != "LeaveToEdgeNode LateAcknowledge" {
		t.Errorf("%+v: %s", c, o.history(late))
	}
	if n := number(t, o.pool, "SELECT count(*) FROM grid.cases c JOIN grid.case_history h ON h.case_id = c.id WHERE h.action = 'Command' AND h.detail->'devices'->>'LeftToEdgeNode' = '2'"); n != 1 {
		t.Errorf("%d entries in the case say so", n)
	}
	o.advance(time.Hour)
	o.nothing("what is over")
	// The same once more, for an engine that knows nothing.
	o.stop()
	if _, err := o.pool.Exec(t.Context(), "DELETE FROM grid.engine_keys"); err != nil {
		t.Fatal(err)
	}
	o.begin()
	o.listens()
	o.up(from(at, "e0", contract.ChannelSignal, `{"level":90}`))
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE scenario = 'flood'"); n != 2 || o.state(done).State != command.StateDone {
		t.Errorf("%d commands, %s", n, o.state(done).State)
	}
}

// replayed is an outbox that gives one message after the other, each as if it were the last. No time passes but that of messages.
type replayed struct {
	list []contract.EdgeMessage
	end  context.CancelFunc
}

func (r *replayed) Hold(uint64) {}

func (r *replayed) Behind(_ context.Context, from uint64) (contract.EdgeBatch, uint64, bool, error) {
	if from >= uint64(len(r.list)) {
		r.end()
		return contract.EdgeBatch{Incarnation: "a"}, from, true, nil
	}
	m := r.list[from]
	return contract.EdgeBatch{Incarnation: "a", Messages: []contract.EdgeMessage{m}}, from + 1, true, nil
}

// TestHubAndNodeDeriveTheSame: whatever devices say, some of it late, twice, or in one millisecond, the node and the hub give the same commands
// under the same ids, and the same safe states. What was superseded when it came to light, neither sends.
func TestHubAndNodeDeriveTheSame(t *testing.T) {
	o := newBehindEdge(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	at := o.now().Add(-3 * time.Minute)
	var list []contract.EdgeMessage
	for n := range 40 {
		if r.IntN(3) > 0 {
			at = at.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
		}
		ts := ""
		if r.IntN(4) == 0 {
			ts = fmt.Sprintf(`,"ts":%q`, at.Add(-time.Duration(r.IntN(60))*time.Second).UTC().Format(time.RFC3339Nano))
		}
		m := from(at, "e0", contract.ChannelSignal, fmt.Sprintf(`{"level":%d%s}`, []int{10, 65, 90}[r.IntN(3)], ts))
		m.Sequence = uint64(n + 1)
		list = append(list, m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	given := map[string]bool{}
	node := local.New("e1", t.TempDir(), o.in, &replayed{list, cancel}, func(_ string, raw []byte) error {
		var m command.Message
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Error(err)
		}
		given[m.ID.String()] = true
		return nil
	}, func() bool { return false }, prometheus.NewRegistry(), quiet())
	if err := node.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	o.up(list...)
	rows, err := o.pool.Query(t.Context(), "SELECT c.id::text FROM grid.commands c JOIN grid.command_history h ON h.command_id = c.id WHERE h.n = 1 AND h.action = 'Give'")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if !given[id] {
			t.Errorf("the hub alone has %s", id)
		}
		delete(given, id)
	}
	if len(given) > 0 || len(ids) == 0 {
		t.Errorf("%d at the hub, the node alone has %v", len(ids), given)
	}
	t.Logf("%d commands", len(ids))
}

// TestAlarmsAndAcksInOrder: two alarms of one device in one batch, each with its acks behind it. The second supersedes nothing that is done.
func TestAlarmsAndAcksInOrder(t *testing.T) {
	o := newBehindEdge(t)
	first := o.now().Add(-2 * time.Minute)
	second := first.Add(90 * time.Second)
	var list []contract.EdgeMessage
	for _, at := range []time.Time{first, second} {
		list = append(list, from(at, "e0", contract.ChannelSignal, `{"level":90}`))
		for _, d := range []string{"e0", "e1"} {
			list = append(list, from(at.Add(time.Second), d, contract.ChannelAck, answered(o.id(at, d), "Done")))
		}
	}
	o.up(list...)
	for _, at := range []time.Time{first, second} {
		for _, d := range []string{"e0", "e1"} {
			if c := o.state(o.id(at, d)); c.State != command.StateDone || c.Sent != 0 {
				t.Errorf("%s of %s: %s %s, sent %d times", d, at, c.State, c.Reason, c.Sent)
			}
		}
	}
}

// TestAlarmBehindACutLineIsOlderThanAPersonsCommand: the node opened, then a person closed, and the line was cut meanwhile. When it is back, what
// the person said last is what the device gets, and no safe state of the alarm's command undoes it.
func TestAlarmBehindACutLineIsOlderThanAPersonsCommand(t *testing.T) {
	o := newBehindEdge(t)
	at := o.now().UTC().Truncate(time.Millisecond)
	o.advance(50 * time.Second)
	person := o.given(o.boss(), "cellars.e0", "run", minutes(1.0))
	o.advance(10 * time.Second)
	alarms, other := o.id(at, "e0"), o.id(at, "e1")
	o.up(from(at, "e0", contract.ChannelSignal, `{"level":90}`), from(at.Add(time.Second), "e0", contract.ChannelAck, answered(alarms, "Done")),
		from(at.Add(time.Second), "e1", contract.ChannelAck, answered(other, "Done")))
	if c := o.state(person.ID); c.State != command.Pending {
		t.Errorf("the person's is %s %s", c.State, c.Reason)
	}
	if c := o.state(alarms); c.State != command.Superseded || c.Reason != "NewerCommand" || !c.CreatedAt.Equal(at) || c.FinishedAt == nil || o.history(alarms) != "Superseded LateAcknowledge" {
		t.Errorf("the alarm's is %+v: %s", c, o.history(alarms))
	}
	if c := o.state(other); c.State != command.StateDone || !c.CreatedAt.Equal(at) {
		t.Errorf("that of the other device is %+v", c)
	}
	if n := number(t, o.pool, "SELECT count(*) FROM grid.case_history WHERE action = 'Command' AND detail->'devices' = '{\"Given\": 1, \"Superseded\": 1}'"); n != 1 {
		t.Errorf("%d entries in the case say so", n)
	}
	o.advance(command.MaxPause)
	eventually(t, "the person's after the alarm", func() bool {
		at := o.state(person.ID).LastSentAt
		return at != nil && at.Equal(o.now().UTC().Truncate(time.Microsecond))
	})
	o.up(from(o.now(), "e0", contract.ChannelAck, answered(person.ID, "Done")))
	if c := o.state(person.ID); c.State != command.StateDone {
		t.Errorf("the person's is %s %s", c.State, c.Reason)
	}
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE sender = 'SafeState'"); n != 0 {
		t.Errorf("%d safe states", n)
	}
	// The safe state of a command that is older than the alarm is older, too.
	first := o.given(o.boss(), "cellars.e0", "run", minutes(2.0))
	o.advance(100 * time.Second)
	second := o.now().UTC().Truncate(time.Millisecond)
	o.advance(200 * time.Second)
	o.ended(first.ID, command.Expired, "")
	o.up(from(second.Add(-time.Second), "e0", contract.ChannelSignal, `{"level":10}`), from(second, "e0", contract.ChannelSignal, `{"level":90}`))
	if c := o.state(o.id(second, "e0")); c.State != command.Pending {
		t.Errorf("the second alarm's is %s %s", c.State, c.Reason)
	}
}

// TestRetractionBehindACutLine: the node took back what an alarm had given when it heard the late evidence. The safe state lives from then on, and
// the node has it first; where it has expired since, it is not sent from here at all.
func TestRetractionBehindACutLine(t *testing.T) {
	for what, x := range map[string]struct {
		ago   time.Duration
		state command.State
	}{"hours ago": {3 * time.Hour, command.Expired}, "a moment ago": {4 * time.Minute, command.Pending}} {
		t.Run(what, func(t *testing.T) {
			o := newBehindEdge(t)
			at := o.now().Add(-x.ago).UTC().Truncate(time.Millisecond)
			due := at.Add(time.Minute)
			order, _ := command.Alarm{Scenario: "warm", Fleet: "cellars", Device: "e0", Start: due, At: due, Kind: "Raised"}.
				Order(o.bundle.Rules, o.bundle.Fleets, 0, command.Target{Fleet: "cellars", Device: "e0"}, due)
			safe, heard := command.SafeID(order.ID, command.Withdrawn), due.Add(150*time.Second)
			o.up(from(at, "e0", contract.ChannelTelemetry, `{"level":72}`), from(due.Add(time.Second), "e0", contract.ChannelAck, answered(order.ID, "Done")))
			o.up(from(due.Add(2*time.Minute), "e0", contract.ChannelTelemetry, `{"level":72}`))
			if c := o.state(order.ID); c.State != command.StateDone {
				t.Fatalf("%+v", c)
			}
			o.up(from(heard, "e0", contract.ChannelTelemetry, fmt.Sprintf(`{"level":10,"ts":%q}`, at.Add(30*time.Second).Format(time.RFC3339Nano))))
			o.ended(order.ID, command.Withdrawn, "AlarmRetracted")
			c := o.state(safe)
			if c.State != x.state || !c.ExpiresAt.Equal(heard.Add(300*time.Second)) || *c.Cause != order.ID {
				t.Errorf("%+v", c)
			}
			o.nothing("what the node has time for, or had")
			if x.state == command.Pending {
				o.advance(atNodeFirst)
				eventually(t, "sent from here as well", func() bool { return o.state(safe).Sent == 1 })
			} else if got := o.history(safe); c.Reason != "AlarmTooOld" || !c.CreatedAt.Equal(heard) || got != "LeaveToEdgeNode" {
				t.Errorf("%+v: %s", c, got)
			}
			o.up(from(heard.Add(time.Second), "e0", contract.ChannelAck, answered(safe, "Done")))
			if c := o.state(safe); c.State != command.StateDone {
				t.Errorf("%+v", c)
			}
		})
	}
}

// TestAckThatComesBeforeItsAlarm: the node raised an alarm because time passed; the hub does so when it knows that the node has said
// everything up to then, which is after the ack.
func TestAckThatComesBeforeItsAlarm(t *testing.T) {
	o := newBehindEdge(t)
	at := o.now().Add(-3 * time.Hour).Truncate(time.Millisecond)
	due := at.Add(time.Minute)
	order, _ := command.Alarm{Scenario: "damp", Fleet: "cellars", Device: "e0", Start: due, At: due, Kind: "Raised"}.
		Order(o.bundle.Rules, o.bundle.Fleets, 0, command.Target{Fleet: "cellars", Device: "e0"}, due)
	o.up(from(at, "e0", contract.ChannelTelemetry, `{"level":65}`), from(due.Add(time.Second), "e0", contract.ChannelAck, answered(order.ID, "Done")))
	o.up(from(due.Add(2*time.Minute), "e0", contract.ChannelTelemetry, `{"level":65}`))
	if c := o.state(order.ID); c.State != command.StateDone || c.Sent != 0 {
		t.Errorf("%+v", c)
	}
}

// TestAckBehindACutLineCountsByItsOwnTime: the hub took a command to have expired whose ack lay in the outbox. The safe state that was to
// follow, and was never sent, does not.
func TestAckBehindACutLineCountsByItsOwnTime(t *testing.T) {
	o := newBehindEdge(t)
	at := o.now()
	id := o.id(at, "e0")
	o.up(from(at, "e0", contract.ChannelSignal, `{"level":90}`))
	o.advance(301 * time.Second)
	o.ended(id, command.Expired, "")
	safe := command.SafeID(id, command.Expired)
	eventually(t, "safe state", func() bool { return number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE id = $1", safe) == 1 })
	o.up(from(at.Add(time.Second), "e0", contract.ChannelAck, answered(id, "Done")))
	if c := o.state(id); c.State != command.StateDone {
		t.Errorf("%+v", c)
	}
	if c := o.state(safe); c.Sent == 0 && (c.State != command.Void || c.Reason != "Acknowledged") {
		t.Errorf("%+v", c)
	}
}

// TestAnotherCommandsIDStopsNothing: two names of one id, which nobody has seen, cost the second command and no more.
func TestAnotherCommandsIDStopsNothing(t *testing.T) {
	o := newOrders(t, func(*intake.Bundle) {})
	id := uuid.Must(uuid.NewV7())
	for n, once := range []string{"one", "another"} {
		c := &Command{ID: id, Fleet: "pumps", Device: fmt.Sprintf("p%d", n), Community: "jinghu", Grid: "g1", Name: "mark", Sender: command.SenderOperator, Once: &once, ExpiresAt: o.now().Add(time.Hour)}
		if err := pgx.BeginFunc(t.Context(), o.pool, func(tx pgx.Tx) error {
			_, fresh, err := o.svc.api.commander.give(t.Context(), tx, c, Actor{Kind: "Person", Organization: "committee"}, o.now(), nil)
			if fresh != (n == 0) {
				t.Errorf("%s: given %v", once, fresh)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := o.state(id).Device; got != "p0" {
		t.Errorf("it is of %s now", got)
	}
}

// household puts so many devices more into the home of e0.
func (o *behindEdge) household(more int) {
	f := o.bundle.Fleets["cellars"]
	for n := range more {
		f.Devices[fmt.Sprintf("x%03d", n)] = f.Devices["e0"]
	}
}

// TestAnAlarmOfABacklogIsFewStatements: however many devices its command is for, and none more where it comes again; what lies in the database
// is what one device after the other gave.
func TestAnAlarmOfABacklogIsFewStatements(t *testing.T) {
	o := newBehindEdge(t)
	o.stop() // the bundle is changed
	o.household(command.MaxTargets)
	at := o.now().Add(-3 * time.Hour).UTC().Truncate(time.Millisecond)
	now := o.now().UTC().Truncate(time.Microsecond)
	e := rules.Event{Kind: rules.Raised, Scenario: "flood", Scope: rules.ScopeDevice, ID: "cellars/e0", Fleet: "cellars", Device: "e0", Start: at, At: at}
	m := o.svc.api.commander
	for again, want := range []int64{command.MaxTargets, command.MaxTargets} {
		n := statementsOf(t, o.pool, func(tx pgx.Tx) error {
			if again == 0 {
				if err := settle(t.Context(), tx, o.bundle, e, now); err != nil {
					return err
				}
			}
			return m.alarm(t.Context(), tx, o.bundle, happened{Event: e}, now)
		})
		if n > 20 {
			t.Errorf("time %d: %d statements", again, n)
		}
		got := number(t, o.pool, `SELECT count(*) FROM grid.commands c JOIN grid.command_history h ON h.command_id = c.id
			WHERE c.fleet = 'cellars' AND c.community = 'jinghu' AND c.grid = 'g1' AND c.command = 'run' AND c.arguments = '{"minutes": 12}' AND c.sender = 'Scenario'
			AND c.organization = '' AND c.person = '' AND c.role = '' AND c.scenario = 'flood' AND c.alarm LIKE 'flood%e0%' AND c.data_class = 'C0' AND c.cause IS NULL
			AND c.once LIKE 'alarm%.' || c.device AND c.digest = '' AND c.state = 'Expired' AND c.reason = 'AlarmTooOld' AND c.detail = '' AND c.sent = 0
			AND c.case_id = (SELECT id FROM grid.cases) AND c.created_at = $1 AND c.expires_at = $1 + interval '300 s' AND c.finished_at = c.expires_at
			AND c.next_send_at = $2 AND c.last_sent_at IS NULL AND c.acknowledged_at IS NULL AND c.version = 1
			AND h.n = 1 AND h.at = $2 AND h.action = 'LeaveToEdgeNode' AND h.from_state = '' AND h.to_state = 'Expired' AND h.actor = 'System'
			AND h.organization = '' AND h.person = '' AND h.role = '' AND h.detail = '{"scenario": "flood", "reason": "AlarmTooOld"}'`, at, now)
		if all := number(t, o.pool, "SELECT count(*) FROM grid.commands"); got != want || all != want {
			t.Errorf("time %d: %d of %d are as they should be, want %d", again, got, all, want)
		}
	}
	for _, d := range []string{"e0", "x000", "x497"} {
		if c := o.state(o.id(at, d)); c.Device != d {
			t.Errorf("the command of %s is of %s", d, c.Device)
		}
	}
	if n := number(t, o.pool, `SELECT count(*) FROM grid.case_history WHERE action = 'Command' AND detail->'devices' = '{"LeftToEdgeNode": 500, "TooManyDevices": 2}'`); n != 1 {
		t.Errorf("%d entries in the case say so", n)
	}
}

// TestAnAlarmOfNobodyKnowsWhenIsNotSent: the node's clock is off by more than is believed, so its alarm looks like one of now. What it gives
// is left to the node, or to nobody where the node does not give it; one of a clock that is believed in the same batch leaves.
func TestAnAlarmOfNobodyKnowsWhenIsNotSent(t *testing.T) {
	for name, off := range map[string]time.Duration{"ahead": 6 * time.Minute, "behind": -31 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			o := newBehindEdge(t)
			o.stop()
			f := o.bundle.Fleets["pumps"]
			f.Devices["p0"] = contract.Device{Community: "jinghu", Grid: "g1", Household: "h1"} // no edge node gives it anything
			o.bundle.Fleets["cellars"].Devices["e2"] = contract.Device{Community: "jinghu", Grid: "g1", Household: "h2"}
			o.begin()
			o.listens()
			at := o.now()
			o.up(from(at.Add(off), "e0", contract.ChannelSignal, `{"level":90}`), from(at, "e2", contract.ChannelSignal, `{"level":90}`))
			if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE state = 'Expired' AND reason = 'AlarmTooOld' AND sent = 0 AND finished_at < now() + interval '1 min' AND device IN ('e0', 'e1')"); n != 2 {
				t.Errorf("%d are left to the node, want 2", n)
			}
			if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE state = 'Pending' AND device = 'e2'"); n != 1 {
				t.Errorf("%d of the clock that is believed, want 1", n)
			}
			if n := number(t, o.pool, "SELECT count(*) FROM grid.commands"); n != 3 {
				t.Errorf("%d commands, want 3", n)
			}
			if n := number(t, o.pool, `SELECT count(*) FROM grid.case_history WHERE action = 'Command' AND detail->'devices' = '{"LeftToEdgeNode": 2, "AlarmTooOld": 1}'`); n != 1 {
				t.Errorf("%d entries in the case say so", n)
			}
		})
	}
}
