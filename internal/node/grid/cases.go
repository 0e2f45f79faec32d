package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

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
	ID     uuid.UUID `json:"id" db:"id"`
	Number string    `json:"number" db:"number" doc:"Number that people use."`
	// Community, Grid, Fleet, Device and Scenario are object names.
	Community string            `json:"community" db:"community"`
	Grid      string            `json:"grid,omitempty" db:"grid"`
	Fleet     string            `json:"fleet,omitempty" db:"fleet"`
	Device    string            `json:"device,omitempty" db:"device"`
	Scenario  string            `json:"scenario,omitempty" db:"scenario"`
	Class     string            `json:"class" db:"class"`
	Severity  contract.Severity `json:"severity" db:"severity" enum:"Critical,High,Medium,Low"`
	Title     string            `json:"title" db:"title"`
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
	ResolveDue         *time.Time `json:"resolveDue,omitempty" db:"resolve_due"`
	AcknowledgedAt     *time.Time `json:"acknowledgedAt,omitempty" db:"acknowledged_at"`
	ClosedAt           *time.Time `json:"closedAt,omitempty" db:"closed_at"`
	AcknowledgeOverdue bool       `json:"acknowledgeOverdue,omitempty" db:"acknowledge_overdue"`
	ResolveOverdue     bool       `json:"resolveOverdue,omitempty" db:"resolve_overdue"`
	Level              int        `json:"level" db:"level" doc:"Who holds the case: 0 micro-grid, 1 grid, 2 community, 3 township, 4 department."`
	// Version counts the entries of the history.
	Version int `json:"version" db:"version"`

	// What insert writes down besides: which signals are this case.
	mergeKey, scope, scopeID string
}

// caseColumns are the columns of Case, in no special order: rows are read by name.
const caseColumns = `c.id, c.number, c.community, c.grid, c.fleet, c.device, c.scenario, c.class, c.severity, c.title, c.data_class,
	c.state, c.source, c.source_system, c.external_id, c.signals, c.started_at, c.last_signal_at, c.cleared_at, c.opened_at,
	c.updated_at, c.acknowledge_due, c.resolve_due, c.acknowledged_at, c.closed_at, c.acknowledge_overdue, c.resolve_overdue, c.level, c.version`

// Actor is who did something to a case.
type Actor struct {
	// Kind is "System", "Device" or "Person".
	Kind string `json:"kind"`
	// Organization, Person (a pseudonym) and Role of a person.
	Organization string `json:"organization,omitempty"`
	Person       string `json:"person,omitempty"`
	Role         Role   `json:"role,omitempty"`
}

var system, deviceActor = Actor{Kind: "System"}, Actor{Kind: "Device"}

// detail of a history entry: references only.
type detail map[string]any

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

// insert writes a new case in state Reported.
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
	c.AcknowledgeDue, c.ResolveDue = deadlines(d.Platform, c.Severity, now)
	_, err = tx.Exec(ctx, `INSERT INTO grid.cases (id, number, community, grid, fleet, device, scenario, class, severity, title, data_class,
		state, source, source_system, external_id, signals, started_at, last_signal_at, opened_at, updated_at, acknowledge_due, resolve_due, merge_key, scope, scope_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)`,
		c.ID, c.Number, c.Community, c.Grid, c.Fleet, c.Device, c.Scenario, c.Class, c.Severity, c.Title, c.DataClass,
		c.State, c.Source, c.SourceSystem, c.ExternalID, c.Signals, c.StartedAt, c.LastSignalAt, c.OpenedAt, c.UpdatedAt, c.AcknowledgeDue, c.ResolveDue,
		c.mergeKey, c.scope, c.scopeID)
	if err != nil {
		return fmt.Errorf("insert case: %w", err)
	}
	return record(ctx, tx, c, "Report", "", by, now, more)
}

// record appends to the history. from is the state before; the state after is the case's.
func record(ctx context.Context, tx pgx.Tx, c *Case, action string, from State, by Actor, now time.Time, more detail) error {
	if more == nil {
		more = detail{}
	}
	raw, err := json.Marshal(more)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	c.Version++
	_, err = tx.Exec(ctx, `WITH v AS (UPDATE grid.cases SET version = $2 WHERE id = $1)
		INSERT INTO grid.case_history (case_id, n, at, action, from_state, to_state, actor, organization, person, role, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		c.ID, c.Version, now, action, from, c.State, by.Kind, by.Organization, by.Person, by.Role, raw)
	if err != nil {
		return fmt.Errorf("history of case %s: %w", c.Number, err)
	}
	return nil
}

// move takes an action on a case that is locked in tx.
func move(ctx context.Context, tx pgx.Tx, c *Case, a Action, by Actor, now time.Time, more detail) error {
	next, err := Next(c.State, a, by.Role)
	if err != nil {
		return err
	}
	from := c.State
	c.State, c.UpdatedAt = next, now
	if a == Acknowledge && c.AcknowledgedAt == nil {
		c.AcknowledgedAt = &now
	}
	switch {
	case next == Closed:
		c.ClosedAt = &now
	case next.Open():
		c.ClosedAt = nil
	}
	if a == Reopen { // meanwhile another may have been opened for the same: that one takes what comes
		if _, err := tx.Exec(ctx, `UPDATE grid.cases c SET merge_key = '' WHERE c.id = $1 AND c.merge_key <> ''
			AND EXISTS (SELECT FROM grid.cases o WHERE o.open AND o.merge_key = c.merge_key AND o.id <> c.id)`, c.ID); err != nil {
			return fmt.Errorf("case %s: %w", c.Number, err)
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE grid.cases SET state = $2, updated_at = $3, acknowledged_at = $4, closed_at = $5 WHERE id = $1`,
		c.ID, c.State, now, c.AcknowledgedAt, c.ClosedAt); err != nil {
		return fmt.Errorf("case %s: %w", c.Number, err)
	}
	return record(ctx, tx, c, string(a), from, by, now, more)
}
