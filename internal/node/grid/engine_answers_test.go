package grid

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestWhatBecomesOfCommandsIsSeen: a command that fails, or that nobody answers, opens a case of its device; one that is done clears it. Each answer is
// taken once, and none is left.
func TestWhatBecomesOfCommandsIsSeen(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(b *intake.Bundle) {
		b.Rules.Scenarios["stuck"] = contract.Scenario{Profile: contract.CommandProfile, CaseClass: "stuck", Severity: contract.SeverityLow, Title: "t", DataClass: "C0",
			Trigger: contract.Trigger{When: "msg.command == 'run' && msg.state in ['Failed', 'Expired'] && msg.sender == 'Operator'", Clear: "msg.command == 'run' && msg.state == 'Done'", DedupSeconds: 600}}
	})
	stuck := func(device, more string) int64 {
		return number(t, o.pool, "SELECT count(*) FROM grid.cases WHERE class = 'stuck' AND fleet = 'pumps' AND device = $1 AND "+more, device)
	}
	read := func() {
		t.Helper()
		eventually(t, "answers are read", func() bool { return number(t, o.pool, "SELECT count(*) FROM grid.command_answers") == 0 })
	}
	failed := o.given(o.boss(), "pumps.p1", "run", minutes(3))
	o.ack("p1", failed.ID, "Failed", command.StateFailed)
	eventually(t, "the failed one opens a case", func() bool { return stuck("p1", "derived AND cleared_at IS NULL AND source = 'Device'") == 1 })
	o.given(o.boss(), "pumps.p2", "run", minutes(3))
	o.advance(301 * time.Second)
	eventually(t, "the one that nobody answers, too", func() bool { return stuck("p2", "true") == 1 })
	done := o.given(o.boss(), "pumps.p1", "run", minutes(4))
	o.ack("p1", done.ID, "Done", command.StateDone)
	eventually(t, "done at last", func() bool { return stuck("p1", "cleared_at IS NOT NULL") == 1 })
	mark := o.given(o.boss(), "pumps.p3", "mark", nil)
	o.ack("p3", mark.ID, "Failed", command.StateFailed)
	read()
	if n := number(t, o.pool, "SELECT count(*) FROM grid.cases WHERE class = 'stuck'"); n != 2 {
		t.Errorf("%d cases, want 2", n)
	}
	// A device that is registered no more has no case, and holds nothing up.
	if err := pgx.BeginFunc(t.Context(), o.pool, func(tx pgx.Tx) error {
		return toldAnswer(t.Context(), tx, &Command{Fleet: "pumps", Device: "gone", Name: "run", State: command.StateFailed, Sender: "Operator"}, command.Pending, time.Now())
	}); err != nil {
		t.Fatal(err)
	}
	read()
	if n := stuck("gone", "true"); n != 0 {
		t.Errorf("%d cases of no device", n)
	}
}
