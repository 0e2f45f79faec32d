package grid

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// acksFor makes acks that name nothing, each of another device, through an edge node.
func acksFor(edge string, n int, now time.Time) (out []ackFrom) {
	for i := range n {
		out = append(out, ackFrom{device: device{"cellars", fmt.Sprint(edge, i)}, Ack: command.Ack{ID: uuid.New(), Result: command.Done}, edge: edge, at: now, heard: now})
	}
	return out
}

// TestAcksThatNameNothingCostLittle: looked for once, and then again only where an alarm may have given what they name, all of them at once.
func TestAcksThatNameNothingCostLittle(t *testing.T) {
	o := newBehindEdge(t)
	o.stop()
	now := o.now().UTC().Truncate(time.Millisecond)
	s := &session{w: o.svc.worker, bundle: o.bundle}
	run := func(b *batch) int64 {
		t.Helper()
		b.s, b.now = s, now
		return statementsOf(t, o.pool, func(tx pgx.Tx) error { return b.commands(t.Context(), tx) })
	}
	const acks = 40
	if n := run(&batch{acks: acksFor("e1", acks, now)}); n > 2*acks || len(s.early) != acks {
		t.Errorf("%d statements for %d acks, of which %d wait", n, acks, len(s.early))
	}
	if n := run(&batch{}); n != 0 || len(s.early) != acks {
		t.Errorf("%d statements where there is nothing new; %d wait", n, len(s.early))
	}
	// One of them was for what comes now; another device claims another's.
	mine, theirs := o.id(now, "e0"), o.id(now, "e1")
	early := func(d string, id uuid.UUID) ackFrom {
		return ackFrom{device: device{"cellars", d}, Ack: command.Ack{ID: id, Result: command.Done}, edge: "e1", at: now, heard: now}
	}
	s.early = append(s.early, early("e0", mine), early("e0", theirs))
	e := rules.Event{Kind: rules.Raised, Scenario: "flood", Fleet: "cellars", Device: "e0", Start: now, At: now}
	// The alarm: its case, and four for each of two devices. The acks: one that finds what is meant, and four for the one that is.
	if n := run(&batch{events: []happened{{Event: e}}}); n > 1+2*4+1+4 || len(s.early) != acks+1 {
		t.Errorf("%d statements; %d wait", n, len(s.early))
	}
	if c := o.state(mine); c.State != command.StateDone {
		t.Errorf("the command is %s", c.State)
	}
	if c := o.state(theirs); c.State != command.Pending {
		t.Errorf("another device's command is %s", c.State)
	}
}

// TestAnAckBeforeTheAlarmOfItsBatch: the last alarm of a batch may be that of an ack which stands before it.
func TestAnAckBeforeTheAlarmOfItsBatch(t *testing.T) {
	o := newBehindEdge(t)
	o.stop()
	now := o.now().UTC().Truncate(time.Millisecond)
	s := &session{w: o.svc.worker, bundle: o.bundle}
	e := rules.Event{Kind: rules.Raised, Scenario: "flood", Fleet: "cellars", Device: "e0", Start: now, At: now}
	b := &batch{s: s, now: now, events: []happened{{Event: e}},
		acks: []ackFrom{{device: device{"cellars", "e0"}, Ack: command.Ack{ID: o.id(now, "e0"), Result: command.Done}, edge: "e1", at: now, heard: now}}}
	if err := pgx.BeginFunc(t.Context(), o.pool, func(tx pgx.Tx) error { return b.commands(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
	if c := o.state(o.id(now, "e0")); c.State != command.StateDone || len(s.early) != 0 {
		t.Errorf("%s; %d wait", c.State, len(s.early))
	}
}

// TestOneEdgeNodeTakesNoOthersRoom: whatever one says, acks through another wait for their commands.
func TestOneEdgeNodeTakesNoOthersRoom(t *testing.T) {
	now := time.Now()
	loud, other := acksFor("loud", 5000, now), acksFor("other", 3, now)
	got := map[string]int{}
	for _, a := range early(append(loud, other...), now) {
		got[a.edge]++
	}
	if got["other"] != 3 || got["loud"] != 64 {
		t.Errorf("%v", got)
	}
}
