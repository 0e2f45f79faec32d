package grid

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dizuo/dizuo/internal/contract"
)

// Sources of a case.
const (
	SourceDevice     = "Device"
	SourceResident   = "Resident"
	SourceGridWorker = "GridWorker"
	SourceSystem     = "System"
)

// Case is a case (事件/工单). It holds names of objects and pseudonyms, never personal data.
type Case struct {
	ID     uuid.UUID `json:"id" format:"uuid" db:"id"`
	Number string    `json:"number" db:"number" doc:"Number that people use."`
	// Community, Grid, Fleet, Device and Scenario are object names.
	Community string            `json:"community" db:"community"`
	Grid      string            `json:"grid,omitempty" db:"grid"`
	MicroGrid string            `json:"microGrid,omitempty" db:"micro_grid"`
	Compound  string            `json:"compound,omitempty" db:"compound" doc:"Compound (小区) of the community that all of the case is in, where it is known."`
	Fleet     string            `json:"fleet,omitempty" db:"fleet"`
	Device    string            `json:"device,omitempty" db:"device"`
	Scenario  string            `json:"scenario,omitempty" db:"scenario"`
	Class     string            `json:"class" db:"class"`
	Severity  contract.Severity `json:"severity" db:"severity" enum:"Critical,High,Medium,Low"`
	Title     string            `json:"title" db:"title"`
	TitleEN   string            `json:"titleEN,omitempty" db:"title_en" doc:"The title in English, where the scenario has one."`
	GBClass   *contract.GBClass `json:"gbClass,omitempty" db:"gb_class" doc:"Class in GB/T 30428, where the scenario has one."`
	DataClass string            `json:"dataClass,omitempty" db:"data_class"`
	State     State             `json:"state" db:"state"`
	Source    string            `json:"source" db:"source"`
	// SourceSystem and ExternalID name the case in the system that it came from.
	SourceSystem string `json:"sourceSystem,omitempty" db:"source_system"`
	ExternalID   string `json:"externalId,omitempty" db:"external_id"`
	Signals      int64  `json:"signals" db:"signals" doc:"Signals that joined the case."`

	StartedAt          time.Time  `json:"startedAt" db:"started_at"`
	LastSignalAt       time.Time  `json:"lastSignalAt" db:"last_signal_at"`
	ClearedAt          *time.Time `json:"clearedAt,omitempty" db:"cleared_at"`
	OpenedAt           time.Time  `json:"openedAt" db:"opened_at"`
	UpdatedAt          time.Time  `json:"updatedAt" db:"updated_at"`
	AcknowledgeDue     *time.Time `json:"acknowledgeDue,omitempty" db:"acknowledge_due"`
	OnSiteDue          *time.Time `json:"onSiteDue,omitempty" db:"onsite_due"`
	ResolveDue         *time.Time `json:"resolveDue,omitempty" db:"resolve_due" doc:"Not there while the case is suspended."`
	AcknowledgedAt     *time.Time `json:"acknowledgedAt,omitempty" db:"acknowledged_at"`
	OnSiteAt           *time.Time `json:"onSiteAt,omitempty" db:"onsite_at"`
	ClosedAt           *time.Time `json:"closedAt,omitempty" db:"closed_at"`
	AcknowledgeOverdue bool       `json:"acknowledgeOverdue,omitempty" db:"acknowledge_overdue"`
	OnSiteOverdue      bool       `json:"onSiteOverdue,omitempty" db:"onsite_overdue"`
	ResolveOverdue     bool       `json:"resolveOverdue,omitempty" db:"resolve_overdue"`
	Level              int        `json:"level" db:"level" doc:"Who holds the case: 0 micro-grid, 1 grid, 2 community, 3 township, 4 department."`
	Escalated          int        `json:"escalated,omitempty" db:"escalated" doc:"How often the case went up because a time was missed."`
	Reopened           int        `json:"reopened,omitempty" db:"reopened" doc:"How often the case was reopened."`
	// Who is to take the case: an organisation, and the person, by a pseudonym, who was on duty on a post of its grid when it was dispatched.
	AssigneeOrganization string `json:"assigneeOrganization,omitempty" db:"assignee_organization"`
	AssigneePerson       string `json:"assigneePerson,omitempty" db:"assignee_person"`
	AssigneePost         string `json:"assigneePost,omitempty" db:"assignee_post"`
	// Channel of a report, and how whoever reported it rated the case at last.
	Channel string `json:"channel,omitempty" db:"channel"`
	Score   *int   `json:"score,omitempty" db:"score" doc:"1 to 5, of the last rating."`
	Mode    string `json:"mode,omitempty" db:"mode" doc:"Mode (平战) whose times the case has."`
	// Round counts the times that were set for the case; 0 is a case of before there were timers.
	Round int `json:"-" db:"round"`
	// Closing are the steps to check before it may be closed.
	Closing []ClosingStep `json:"closing,omitempty" db:"closing"`
	// Version counts the entries of the history.
	Version int `json:"version" db:"version"`

	// What insert writes down besides: which signals are this case.
	mergeKey, scope, scopeID string
	// retainSeconds is how long it is kept when it is closed; 0 is as its class is.
	retainSeconds int64
	// cause of the changes that a transaction makes, for the feed; empty for people, devices and the service itself.
	cause string
}

// place is where the case is.
func (c *Case) place() contract.Place {
	return contract.Place{Community: c.Community, Grid: c.Grid, Compound: c.Compound}
}

// caseColumns are the columns of Case, in no special order: rows are read by name.
const caseColumns = `c.id, c.number, c.community, c.grid, c.fleet, c.device, c.scenario, c.class, c.severity, c.title, c.title_en, c.data_class,
	c.state, c.source, c.source_system, c.external_id, c.signals, c.started_at, c.last_signal_at, c.cleared_at, c.opened_at,
	c.updated_at, c.acknowledge_due, c.onsite_due, c.resolve_due, c.acknowledged_at, c.onsite_at, c.closed_at, c.acknowledge_overdue, c.onsite_overdue, c.resolve_overdue,
	c.level, c.escalated, c.reopened, c.round, c.micro_grid, c.compound, c.closing, c.version, c.assignee_organization, c.assignee_person, c.assignee_post, c.channel, c.score, c.mode,
	CASE WHEN c.gb_code IS NOT NULL THEN jsonb_build_object('part', c.gb_part, 'year', c.gb_year, 'code', c.gb_code) END AS gb_class`

// Actor is who did something to a case.
type Actor struct {
	// Kind is "System", "Device", "Person", or "Organization" for a system of it.
	Kind string `json:"kind"`
	// Organization, Person (a pseudonym) and Role of a person.
	Organization string `json:"organization,omitempty"`
	Person       string `json:"person,omitempty"`
	Role         Role   `json:"role,omitempty"`
	// cause names the system over whose exchange it came, so that it is not sent back there.
	cause string
}

var system, deviceActor = Actor{Kind: "System"}, Actor{Kind: "Device"}

// detail of a history entry: references only.
type detail map[string]any

// forChange ends the condition by which a case is read that is to be changed: it is locked, and what only refers to it is written meanwhile.
const forChange = " FOR NO KEY UPDATE"

// oneCase reads one case; nil if there is none.
func oneCase(ctx context.Context, tx pgx.Tx, where string, args ...any) (*Case, error) {
	rows, err := tx.Query(ctx, "SELECT "+caseColumns+" FROM grid.cases c WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read case: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Case])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read case: %w", err)
	}
	return c, nil
}

// lockSeen locks a case that a scope sees; any other is the answer that there is none.
func lockSeen(ctx context.Context, tx pgx.Tx, s scope, id uuid.UUID) (*Case, error) {
	where, args := s.cases(2)
	c, err := oneCase(ctx, tx, "c.id = $1 AND "+where+forChange, append([]any{id}, args...)...)
	if err == nil && c == nil {
		err = errNoCase()
	}
	return c, err
}

// insert writes a new case in state Reported, with its timers, and tells of it who asked for that.
func insert(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, by Actor, now time.Time, more detail) error {
	var n int64
	if err := tx.QueryRow(ctx, "SELECT nextval('grid.case_number')").Scan(&n); err != nil {
		return fmt.Errorf("case number: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("case id: %w", err)
	}
	c.ID, c.Number = id, fmt.Sprintf("%s-%06d", now.In(location(d.Platform)).Format("20060102"), n)
	c.State, c.Signals, c.OpenedAt, c.UpdatedAt = Reported, 1, now, now
	if c.Mode, err = modeNow(ctx, tx, d.Platform, now); err != nil {
		return err
	}
	k := clocks{}
	k.begin(d.Platform, c, now, timerKinds...)
	var gb struct {
		part, year *int32
		code       *string
	}
	if g := c.GBClass; g != nil {
		gb.part, gb.year, gb.code = &g.Part, &g.Year, &g.Code
	}
	_, err = tx.Exec(ctx, `INSERT INTO grid.cases (id, number, community, grid, fleet, device, scenario, class, severity, title, data_class,
		state, source, source_system, external_id, signals, started_at, last_signal_at, opened_at, updated_at, acknowledge_due, resolve_due, merge_key, scope, scope_id,
		onsite_due, micro_grid, level, round, closing, mode, retain_seconds, title_en, gb_part, gb_year, gb_code, compound)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37)`,
		c.ID, c.Number, c.Community, c.Grid, c.Fleet, c.Device, c.Scenario, c.Class, c.Severity, c.Title, c.DataClass,
		c.State, c.Source, c.SourceSystem, c.ExternalID, c.Signals, c.StartedAt, c.LastSignalAt, c.OpenedAt, c.UpdatedAt, c.AcknowledgeDue, c.ResolveDue,
		c.mergeKey, c.scope, c.scopeID, c.OnSiteDue, c.MicroGrid, c.Level, c.Round, orNone(c.Closing), c.Mode, c.retainSeconds, c.TitleEN, gb.part, gb.year, gb.code, c.Compound)
	if err != nil {
		return fmt.Errorf("insert case: %w", err)
	}
	if err := writeClocks(ctx, tx, c, k); err != nil {
		return err
	}
	if err := record(ctx, tx, c, "Report", "", by, now, more); err != nil {
		return err
	}
	return tellOpened(ctx, tx, d, c, now)
}

// record appends to the history. from is the state before; the state after is the case's.
func record(ctx context.Context, tx pgx.Tx, c *Case, action string, from State, by Actor, now time.Time, more detail) error {
	_, err := recordOnce(ctx, tx, c, "", action, from, by, now, more)
	return err
}

// recordOnce is record, unless the case's history has an entry of that name already; entries without a name are always new.
func recordOnce(ctx context.Context, tx pgx.Tx, c *Case, once, action string, from State, by Actor, now time.Time, more detail) (written bool, err error) {
	if more == nil {
		more = detail{}
	}
	raw, err := json.Marshal(more)
	if err != nil {
		return false, fmt.Errorf("history: %w", err)
	}
	done, err := tx.Exec(ctx, `WITH h AS (INSERT INTO grid.case_history (case_id, n, at, action, from_state, to_state, actor, organization, person, role, detail, once)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (case_id, once) WHERE once <> '' DO NOTHING RETURNING n),
			f AS (INSERT INTO grid.changes (case_id, version, kind, community, at, cause) SELECT $1, n, $4, $13, $3, $14 FROM h)
		UPDATE grid.cases SET version = h.n FROM h WHERE id = $1`,
		c.ID, c.Version+1, now, action, from, c.State, by.Kind, by.Organization, by.Person, by.Role, raw, once, c.Community, cmp.Or(c.cause, by.cause))
	if err != nil {
		return false, fmt.Errorf("history of case %s: %w", c.Number, err)
	}
	if done.RowsAffected() == 0 {
		return false, nil
	}
	c.Version++
	return true, nil
}

// move takes an action on a case that is locked in tx, with what it does to the case's timers. until is of Extend.
func move(ctx context.Context, tx pgx.Tx, p contract.Platform, c *Case, a Action, by Actor, now time.Time, until *time.Time, more detail) error {
	next, err := Next(c.State, a, by.Role)
	if err != nil {
		return err
	}
	var k clocks
	if touches(a, next) {
		if k, err = clocksOf(ctx, tx, p, c); err != nil {
			return err
		}
	}
	from := c.State
	c.State, c.UpdatedAt = next, now
	switch {
	case next == Closed:
		c.ClosedAt = &now
	case next.Open():
		c.ClosedAt = nil
	}
	if from == Dispatched { // whoever is called next, is from the beginning
		if err := dropOthers(ctx, tx, c, timerStep); err != nil {
			return err
		}
	}
	if a == Reopen {
		if err := reopen(ctx, tx, c, now); err != nil {
			return err
		}
		if c.Mode, err = modeNow(ctx, tx, p, now); err != nil {
			return err
		}
	}
	if k != nil {
		k.after(p, c, a, until, now)
		if err := writeClocks(ctx, tx, c, k); err != nil {
			return err
		}
	}
	if err := saveCase(ctx, tx, c); err != nil {
		return err
	}
	return record(ctx, tx, c, string(a), from, by, now, more)
}

// reopen gives up the merge key if meanwhile another case was opened for the same: that one takes what comes. Who was called because a time
// was missed is called anew when one is.
func reopen(ctx context.Context, tx pgx.Tx, c *Case, now time.Time) error {
	if err := giveUpPlace(ctx, tx, c); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "UPDATE grid.case_parties SET released_at = $2, release = 'reopened' WHERE case_id = $1 AND kind = $3 AND released_at IS NULL", c.ID, now, partyEscalation); err != nil {
		return fmt.Errorf("parties of case %s: %w", c.Number, err)
	}
	return nil
}

// giveUpPlace takes the merge key from a closed case if another of the same was opened since.
func giveUpPlace(ctx context.Context, tx pgx.Tx, c *Case) error {
	if _, err := tx.Exec(ctx, `UPDATE grid.cases c SET merge_key = '' WHERE c.id = $1 AND c.merge_key <> ''
		AND EXISTS (SELECT FROM grid.cases o WHERE o.open AND o.merge_key = c.merge_key AND o.id <> c.id)`, c.ID); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	return nil
}

// placeTaken reports whether a case could not be open because another of its merge key is.
func placeTaken(err error) bool { return notUnique(err, "cases_open_merge") }

// foreignTaken reports whether a case could not be made because one of its number in another system is here.
func foreignTaken(err error) bool { return notUnique(err, "cases_external") }

func notUnique(err error, index string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "23505" && refused.ConstraintName == index
}

// saveCase writes what actions and timers change of a case that is locked in tx.
func saveCase(ctx context.Context, tx pgx.Tx, c *Case) error {
	if _, err := tx.Exec(ctx, `UPDATE grid.cases SET state = $2, severity = $3, level = $4, escalated = $5, reopened = $6, round = $7, updated_at = $8, closed_at = $9,
		acknowledged_at = $10, onsite_at = $11, acknowledge_due = $12, onsite_due = $13, resolve_due = $14, acknowledge_overdue = $15, onsite_overdue = $16, resolve_overdue = $17,
		assignee_organization = $18, assignee_person = $19, assignee_post = $20, closing = $21, mode = $22 WHERE id = $1`,
		c.ID, c.State, c.Severity, c.Level, c.Escalated, c.Reopened, c.Round, c.UpdatedAt, c.ClosedAt, c.AcknowledgedAt, c.OnSiteAt,
		c.AcknowledgeDue, c.OnSiteDue, c.ResolveDue, c.AcknowledgeOverdue, c.OnSiteOverdue, c.ResolveOverdue,
		c.AssigneeOrganization, c.AssigneePerson, c.AssigneePost, orNone(c.Closing), c.Mode); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	return nil
}
