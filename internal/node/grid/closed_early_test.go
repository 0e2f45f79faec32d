package grid

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// sent is what a detector says, and when it says so and is heard, in seconds from the beginning.
type sent struct {
	at, heard int
	payload   string
}

// closedEarly plays what a detector says, and a person who closes whatever is open at a second. It gives the cases as "<state> <signals> from <second>
// <its end>: <the alarms in it>", and an alarm as "<scenario> <second> <its end>".
func closedEarly(t *testing.T, said []sent, closing int) (cases []string) {
	t.Helper()
	p := newReplay(t)
	for name, s := range p.b.Rules.Scenarios {
		if s.MergeBy = ""; name != "flame" && name != "haze" {
			delete(p.b.Rules.Scenarios, name)
			continue
		}
		p.b.Rules.Scenarios[name] = s
	}
	begin := p.at
	second := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }
	slices.SortFunc(said, func(a, b sent) int { return a.heard - b.heard })
	p.begin()
	for n := range closing + 30 {
		if n == closing {
			p.exec("UPDATE grid.cases SET state = 'Closed', closed_at = $1, updated_at = $1 WHERE open", second(n))
		}
		for len(said) > 0 && said[0].heard == n {
			p.batch(second(n), onItsWay{device: "s1", at: second(said[0].at), arrives: second(n), payload: said[0].payload})
			said = said[1:]
		}
		if n%5 == 0 {
			p.batch(second(n))
		}
	}
	p.s.conn.Release()
	rows, err := p.pool.Query(t.Context(), `WITH a AS (SELECT case_id, string_agg(concat(scenario, ' ', extract(epoch FROM began - $1::timestamptz)::int, coalesce(' to ' || extract(epoch FROM cleared_at - $1)::int, ' burns'),
			CASE WHEN retracted_at IS NOT NULL THEN ', taken back' END), '; ') AS list FROM grid.case_alarms GROUP BY case_id)
		SELECT concat(c.state, ' ', c.signals, ' from ', extract(epoch FROM c.started_at - $1)::int, coalesce(' to ' || extract(epoch FROM c.cleared_at - $1)::int, ' burns'), ': ', coalesce(a.list, 'none'))
		FROM grid.cases c LEFT JOIN a ON a.case_id = c.id ORDER BY c.id`, begin)
	if err != nil {
		t.Fatal(err)
	}
	if cases, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return cases
}

// TestACaseThatIsClosedWhileItsAlarmStands is what docs/decisions/0038 says of it: it is closed by what was known. What is sent after it was closed is another
// case, with the alarm from its beginning on, whatever is heard first; what was sent before, and is heard after, changes the alarm alone.
func TestACaseThatIsClosedWhileItsAlarmStands(t *testing.T) {
	t.Parallel()
	on, off := `"smoke":true`, `"smoke":false`
	raised := sent{0, 0, on}
	for name, c := range map[string]struct {
		said    []sent
		closing int
		want    []string
	}{
		"nothing comes":          {[]sent{raised}, 60, []string{"Closed 1 from 0 burns: flame 0 burns"}},
		"a signal, heard before": {[]sent{raised, {30, 30, on}}, 60, []string{"Closed 2 from 0 burns: flame 0 burns"}},
		"a signal, sent before":  {[]sent{raised, {30, 70, on}}, 60, []string{"Closed 1 from 0 burns: flame 0 burns"}},
		"a signal, sent after":   {[]sent{raised, {65, 70, on}}, 60, []string{"Closed 1 from 0 burns: none", "Dispatched 1 from 0 burns: flame 0 burns"}},
		"its end, heard before":  {[]sent{raised, {30, 30, off}}, 60, []string{"Closed 1 from 0 to 30: flame 0 to 30"}},
		"its end, sent before":   {[]sent{raised, {30, 70, off}}, 60, []string{"Closed 1 from 0 burns: flame 0 to 30"}},
		"its end, sent after":    {[]sent{raised, {65, 70, off}}, 60, []string{"Closed 1 from 0 burns: flame 0 to 65"}},
		"a signal and its end":   {[]sent{raised, {65, 65, on}, {75, 75, off}}, 60, []string{"Closed 1 from 0 burns: none", "Dispatched 1 from 0 to 75: flame 0 to 75"}},
		"its end and a signal":   {[]sent{raised, {75, 75, off}, {65, 80, on}}, 60, []string{"Closed 1 from 0 burns: none", "Dispatched 1 from 0 to 75: flame 0 to 75"}},
		"it began earlier":       {[]sent{raised, {-20, 70, on}}, 60, []string{"Closed 1 from 0 burns: flame -20 burns"}},
		"it was none":            {[]sent{{0, 0, `"smoke":false,"density":40`}, {50, 125, `"smoke":false,"density":10`}}, 115, []string{"Closed 1 from 100 burns: haze 100 burns, taken back"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, closedEarly(t, c.said, c.closing)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
