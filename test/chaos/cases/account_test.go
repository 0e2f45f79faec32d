package cases

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/node/grid"
)

// held is a case as the database has it.
type held struct {
	ID      string
	Kind    string // scenario
	Device  string
	Scope   string
	Signals int64
}

// alarm is one of a case.
type alarm struct {
	CaseID         string
	Device         string
	Start          time.Time
	Cleared, Taken *time.Time
}

// balance holds what the database and the receiver have against the account, and gives everything that differs.
func (a *account) balance(ctx context.Context, pool *pgxpool.Pool, p plan, r *receiver) (wrong []string, err error) {
	cases, alarms, err := readCases(ctx, pool)
	if err != nil {
		return nil, err
	}
	b := &sheet{alarms: alarms, cases: map[string][]held{}, acked: a.copy()}
	for _, c := range cases {
		key := c.Kind + "/" + c.Device
		if c.Kind == button {
			key = button + "/" + c.Scope
		}
		b.cases[key] = append(b.cases[key], c)
	}
	b.devices(p)
	b.buttons(p)
	for key, more := range b.cases {
		b.differ("%s: %d cases of nobody's signals: %v", key, len(more), more)
	}
	for key, more := range b.alarms {
		b.differ("%s: %d alarms of nobody's signals", key, len(more))
	}
	if err := b.timers(ctx, pool, cases); err != nil {
		return nil, err
	}
	b.messages(cases, r)
	return b.wrong, nil
}

func (a *account) copy() map[string][]saying {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.acked)
}

// readCases reads all cases, and their alarms by kind and device.
func readCases(ctx context.Context, pool *pgxpool.Pool) ([]held, map[string][]alarm, error) {
	rows, err := pool.Query(ctx, "SELECT id::text, scenario, device, coalesce(scope_id, ''), signals FROM grid.cases ORDER BY id")
	if err != nil {
		return nil, nil, err
	}
	cases, err := pgx.CollectRows(rows, pgx.RowToStructByPos[held])
	if err != nil {
		return nil, nil, err
	}
	if rows, err = pool.Query(ctx, "SELECT case_id::text, scope_id, start, cleared_at, retracted_at FROM grid.case_alarms ORDER BY scenario, scope_id, start"); err != nil {
		return nil, nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[alarm])
	alarms := map[string][]alarm{}
	for _, x := range all {
		alarms[x.Device] = append(alarms[x.Device], x) // a device's name begins with its fleet, which is its kind
	}
	return cases, alarms, err
}

// sheet is a balance that is being drawn up. What was accounted for is taken out of cases and alarms.
type sheet struct {
	acked  map[string][]saying
	cases  map[string][]held
	alarms map[string][]alarm
	wrong  []string
}

func (b *sheet) differ(format string, args ...any) {
	b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
}

// one gives the one case of a key, and takes it out.
func (b *sheet) one(key string) (held, bool) {
	c := b.cases[key]
	delete(b.cases, key)
	if len(c) != 1 {
		b.differ("%s: %d cases, want 1", key, len(c))
		return held{}, false
	}
	return c[0], true
}

// devices checks those with cases of their own: an alarm for each coming, of its very time, cleared by the going that followed.
func (b *sheet) devices(p plan) {
	for _, d := range p {
		key := d.kind + "/" + d.name
		if d.kind == button || len(b.acked[key]) == 0 {
			continue
		}
		alarms := b.alarms[key]
		delete(b.alarms, key)
		c, ok := b.one(key)
		if !ok {
			continue
		}
		var comings int64
		for i, s := range b.acked[key] {
			if !s.on {
				continue
			}
			comings++
			want := s.at
			if d.kind == gas {
				want = want.Add(gasHolds * time.Second)
			}
			at := slices.IndexFunc(alarms, func(x alarm) bool { return x.Start.Equal(want) })
			if at < 0 {
				b.differ("%s: the signal of %s is in no alarm", key, s.at)
				continue
			}
			x := alarms[at]
			alarms = slices.Delete(alarms, at, at+1)
			gone := i+1 < len(b.acked[key])
			if x.CaseID != c.ID || x.Taken != nil || (x.Cleared != nil) != gone || gone && !x.Cleared.Equal(b.acked[key][i+1].at) {
				b.differ("%s: alarm of %s is %+v in case %s", key, s.at, x, c.ID)
			}
		}
		if len(alarms) > 0 {
			b.differ("%s: %d alarms of no signal: %v", key, len(alarms), alarms)
		}
		if c.Signals != comings {
			b.differ("%s: the case counts %d signals, want %d", key, c.Signals, comings)
		}
	}
}

// buttons checks those of a building together: one case, an alarm for each, and every signal counted once.
func (b *sheet) buttons(p plan) {
	signals, pressed := map[string]int64{}, map[string][]string{}
	for _, d := range p {
		if n := len(b.acked[d.kind+"/"+d.name]); d.kind == button && n > 0 {
			at := "jinghu//" + d.building
			signals[at] += int64(n)
			pressed[at] = append(pressed[at], d.kind+"/"+d.name)
		}
	}
	for at, keys := range pressed {
		c, ok := b.one(button + "/" + at)
		if ok && c.Signals != signals[at] {
			b.differ("%s: the case counts %d signals, and %d were acknowledged", at, c.Signals, signals[at])
		}
		for _, key := range keys {
			if x := b.alarms[key]; len(x) != 1 || x[0].CaseID != c.ID || !x[0].Start.Equal(b.acked[key][0].at) {
				b.differ("%s: alarms %v, want one of %s in case %s", key, x, b.acked[key][0].at, c.ID)
			}
			delete(b.alarms, key)
		}
	}
}

// timers checks that each time of a case was missed once on each level, after its time, and never again at the top.
func (b *sheet) timers(ctx context.Context, pool *pgxpool.Pool, cases []held) error {
	type line struct {
		CaseID, Action string
		At             time.Time
	}
	rows, err := pool.Query(ctx, `SELECT case_id::text, action, at FROM grid.case_history WHERE action LIKE '%Overdue' OR action IN ('Escalated', 'NobodyToEscalateTo', 'File', 'Dispatch') ORDER BY case_id, n`)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[line])
	if err != nil {
		return err
	}
	said, last := map[string][]string{}, map[string]time.Time{}
	for _, l := range lines {
		said[l.CaseID] = append(said[l.CaseID], l.Action)
		if before, ok := last[l.CaseID]; ok && strings.HasSuffix(l.Action, "Overdue") && l.At.Sub(before) < allowed*time.Second-time.Millisecond {
			b.differ("case %s: %s came %s after the time began", l.CaseID, l.Action, l.At.Sub(before))
		}
		last[l.CaseID] = l.At
	}
	for _, c := range cases {
		want := []string{"File", "Dispatch"}
		if kind := map[string]string{smoke: "AcknowledgeOverdue", gas: "ResolveOverdue"}[c.Kind]; kind != "" {
			for range levels {
				want = append(want, kind, "Escalated")
			}
			want = append(want, kind, "NobodyToEscalateTo")
		}
		if !slices.Equal(said[c.ID], want) {
			b.differ("%s/%s: the history says %v, want %v", c.Kind, c.Device, said[c.ID], want)
		}
	}
	for what, query := range map[string]string{"timers run on": "SELECT count(*) FROM grid.timers", "alarms wait for their case": "SELECT count(*) FROM grid.alarms_waiting"} {
		var n int
		if err := pool.QueryRow(ctx, query).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			b.differ("%d %s", n, what)
		}
	}
	return nil
}

// messages checks that each message came, under one id: one that calls, and one for each time that was missed.
func (b *sheet) messages(cases []held, r *receiver) {
	said, _ := r.said()
	for _, c := range cases {
		want := map[string]int{grid.EventDispatched: 1}
		if c.Kind == smoke || c.Kind == gas {
			want[grid.EventOverdue] = levels + 1
		}
		if !maps.Equal(said[c.ID], want) {
			b.differ("%s/%s: messages by their ids %v, want %v", c.Kind, c.Device, said[c.ID], want)
		}
		delete(said, c.ID)
	}
	for id, kinds := range said {
		b.differ("messages about case %s, which is not there: %v", id, kinds)
	}
	b.wrong = append(b.wrong, r.complaints()...)
}
