package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// senderSafe is the sender of a safe state, which the platform sends by itself. No profile and no caller can name it.
const senderSafe = "SafeState"

// Command is a command to a device (指令). It holds names of objects and pseudonyms, never personal data.
type Command struct {
	ID        uuid.UUID      `json:"id" format:"uuid" db:"id"`
	Fleet     string         `json:"fleet" db:"fleet"`
	Device    string         `json:"device" db:"device"`
	Community string         `json:"community" db:"community"`
	Grid      string         `json:"grid,omitempty" db:"grid"`
	Name      string         `json:"command" db:"command"`
	Arguments map[string]any `json:"arguments" db:"arguments"`
	// Sender is Scenario, Operator, Vendor or SafeState.
	Sender string `json:"sender" db:"sender" enum:"Scenario,Operator,Vendor,SafeState"`
	// Organization, Person (a pseudonym) and Role of who gave it.
	Organization string     `json:"organization,omitempty" db:"organization"`
	Person       string     `json:"person,omitempty" db:"person"`
	Role         Role       `json:"role,omitempty" db:"role"`
	Scenario     string     `json:"scenario,omitempty" db:"scenario"`
	CaseID       *uuid.UUID `json:"caseId,omitempty" format:"uuid" db:"case_id" doc:"Case of the alarm that gave it."`
	Cause        *uuid.UUID `json:"cause,omitempty" format:"uuid" db:"cause" doc:"Command whose safe state this is."`

	State          command.State `json:"state" db:"state" enum:"Pending,Received,Done,Failed,Expired,Withdrawn,Superseded,Void"`
	Reason         string        `json:"reason,omitempty" db:"reason" doc:"Why it is Void, Withdrawn or Superseded: a stable code."`
	Detail         string        `json:"detail,omitempty" db:"detail" doc:"The device's own words."`
	CreatedAt      time.Time     `json:"createdAt" db:"created_at"`
	ExpiresAt      time.Time     `json:"expiresAt" db:"expires_at"`
	LastSentAt     *time.Time    `json:"lastSentAt,omitempty" db:"last_sent_at"`
	Sent           int           `json:"sent" db:"sent" doc:"How often it was sent."`
	AcknowledgedAt *time.Time    `json:"acknowledgedAt,omitempty" db:"acknowledged_at"`
	FinishedAt     *time.Time    `json:"finishedAt,omitempty" db:"finished_at"`
	// Version counts the entries of the history.
	Version int `json:"version" db:"version"`

	Alarm      string    `json:"-" db:"alarm"`
	DataClass  string    `json:"-" db:"data_class"`
	Once       *string   `json:"-" db:"once"`
	Digest     string    `json:"-" db:"digest"`
	NextSendAt time.Time `json:"-" db:"next_send_at"`
}

// commandColumns are the columns of Command, in no special order: rows are read by name.
const commandColumns = `c.id, c.fleet, c.device, c.community, c.grid, c.command, c.arguments, c.sender, c.organization, c.person, c.role,
	c.scenario, c.case_id, c.cause, c.state, c.reason, c.detail, c.created_at, c.expires_at, c.last_sent_at, c.sent, c.acknowledged_at,
	c.finished_at, c.version, c.alarm, c.data_class, c.once, c.digest, c.next_send_at`

// Reasons of commands that were ended, beside the codes of package command. They are stable.
const (
	reasonDeviceGone   = string(command.DeviceGone)
	reasonDeviceMoved  = "DeviceMoved"
	reasonScenarioGone = "ScenarioGone"
	reasonUnreachable  = string(command.NotReachable)
	reasonNewer        = "NewerCommand"
	reasonRetracted    = "AlarmRetracted"
	reasonByRequest    = "Request"
	reasonTooLate      = string(command.AlarmTooOld)
	reasonAcknowledged = "Acknowledged"
)

// commander gives, sends and ends commands. One is shared by the API and the worker of a process; what it knows is in the database.
type commander struct {
	in      *intake.Intake
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time
	// publish hands a message to the broker, at QoS 0.
	publish func(*nats.Msg) error
}

// manyCommands and oneCommand read commands under the alias c.
func manyCommands(ctx context.Context, tx pgx.Tx, where string, args ...any) ([]*Command, error) {
	rows, err := tx.Query(ctx, "SELECT "+commandColumns+" FROM grid.commands c WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[Command])
	if err != nil {
		return nil, fmt.Errorf("read commands: %w", err)
	}
	return list, nil
}

func oneCommand(ctx context.Context, tx pgx.Tx, where string, args ...any) (*Command, error) {
	list, err := manyCommands(ctx, tx, where, args...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// give writes a command that was checked; it is sent after the transaction commits. One that c.Once says was given before is not given
// again: then the result is that one, and fresh is false. Of two of the same name that the device has not acknowledged the older one ends: two
// that are sent again and again would fight. That is c itself where its alarm came late; c.CreatedAt says so, and is now where it is not set.
func (m *commander) give(ctx context.Context, tx pgx.Tx, c *Command, by Actor, now time.Time, more detail) (given *Command, fresh bool, err error) {
	for range 8 { // another transaction may give one of the same name at the same time; the later one counts
		if c.Once != nil {
			was, err := oneCommand(ctx, tx, "c.once = $1 OR c.id = $2", *c.Once, c.ID)
			if err != nil {
				return nil, false, err
			}
			if was != nil {
				if was.Once == nil || *was.Once != *c.Once { // 62 bits of a digest: nobody has seen it, and it may not stop a batch
					m.log.Error("command not given: its id is another's", "id", c.ID, "fleet", c.Fleet)
				}
				return was, false, nil
			}
		}
		other, err := oneCommand(ctx, tx, "c.state = 'Pending' AND c.fleet = $1 AND c.device = $2 AND c.command = $3 FOR UPDATE", c.Fleet, c.Device, c.Name)
		if err != nil {
			return nil, false, err
		}
		late, err := newerThan(ctx, tx, other, c)
		if err != nil {
			return nil, false, err
		}
		action, label := "Give", c.Sender
		c.State, c.Reason, c.FinishedAt = command.Pending, "", nil
		switch {
		case late:
			action, label = string(command.Superseded), reasonNewer
			c.State, c.Reason, c.FinishedAt = command.Superseded, reasonNewer, &now
		case other != nil:
			if err := m.end(ctx, tx, other, command.Superseded, reasonNewer, by, now); err != nil {
				return nil, false, err
			}
		}
		inserted, err := insertCommand(ctx, tx, c, by, now)
		if err != nil {
			return nil, false, err
		}
		if inserted {
			m.metrics.commands.WithLabelValues(string(c.State), label).Inc()
			return c, true, recordCommand(ctx, tx, c, action, "", by, now, more)
		}
	}
	return nil, false, errors.New("command: others of the same name come too fast")
}

// newerThan says whether a command, which may be nil, is newer than one that is about to be given. A safe state counts from its cause: what
// came after the cause took its place.
func newerThan(ctx context.Context, tx pgx.Tx, other, c *Command) (bool, error) {
	if other == nil || c.CreatedAt.IsZero() {
		return false, nil
	}
	at := other.CreatedAt
	if other.Cause != nil {
		cause, err := oneCommand(ctx, tx, "c.id = $1", *other.Cause)
		if err != nil {
			return false, err
		}
		if cause != nil {
			at = cause.CreatedAt
		}
	}
	return at.After(c.CreatedAt), nil
}

// insertCommand gives false if a unique index is in the way. A command without an id gets one, and one without a time is of now.
func insertCommand(ctx context.Context, tx pgx.Tx, c *Command, by Actor, now time.Time) (bool, error) {
	if c.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return false, fmt.Errorf("command id: %w", err)
		}
		c.ID = id
	}
	c.NextSendAt = later(c.NextSendAt, now)
	if c.CreatedAt.IsZero() {
		c.CreatedAt = now
	}
	c.Organization, c.Person, c.Role = by.Organization, by.Person, by.Role
	if c.Arguments == nil {
		c.Arguments = map[string]any{}
	}
	tag, err := tx.Exec(ctx, `INSERT INTO grid.commands (id, fleet, device, community, grid, command, arguments, sender, organization, person, role,
		scenario, alarm, case_id, data_class, cause, once, digest, state, created_at, expires_at, next_send_at, reason, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) ON CONFLICT DO NOTHING`,
		c.ID, c.Fleet, c.Device, c.Community, c.Grid, c.Name, c.Arguments, c.Sender, c.Organization, c.Person, c.Role,
		c.Scenario, c.Alarm, c.CaseID, c.DataClass, c.Cause, c.Once, c.Digest, c.State, c.CreatedAt, c.ExpiresAt, c.NextSendAt, c.Reason, c.FinishedAt)
	if err != nil {
		return false, fmt.Errorf("insert command: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// recordCommand appends to the history. from is the state before; the state after is the command's.
func recordCommand(ctx context.Context, tx pgx.Tx, c *Command, action string, from command.State, by Actor, now time.Time, more detail) error {
	if more == nil {
		more = detail{}
	}
	raw, err := json.Marshal(more)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	c.Version++
	if _, err := tx.Exec(ctx, `WITH v AS (UPDATE grid.commands SET version = $2 WHERE id = $1)
		INSERT INTO grid.command_history (command_id, n, at, action, from_state, to_state, actor, organization, person, role, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		c.ID, c.Version, now, action, from, c.State, by.Kind, by.Organization, by.Person, by.Role, raw); err != nil {
		return fmt.Errorf("history of command %s: %w", c.ID, err)
	}
	return toldAnswer(ctx, tx, c, from, now)
}

// end takes a command that is locked in tx out of work.
func (m *commander) end(ctx context.Context, tx pgx.Tx, c *Command, next command.State, reason string, by Actor, now time.Time) error {
	from := c.State
	c.State, c.Reason, c.FinishedAt = next, reason, &now
	if _, err := tx.Exec(ctx, "UPDATE grid.commands SET state = $2, reason = $3, finished_at = $4 WHERE id = $1", c.ID, next, reason, now); err != nil {
		return fmt.Errorf("command %s: %w", c.ID, err)
	}
	m.metrics.commands.WithLabelValues(string(next), reason).Inc()
	var more detail
	if reason != "" {
		more = detail{"reason": reason}
	}
	return recordCommand(ctx, tx, c, string(next), from, by, now, more)
}

// endSafely ends a command that the device may have, and sends the safe state that the profile has for it.
func (m *commander) endSafely(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Command, next command.State, reason string, by Actor, now time.Time) error {
	if err := m.end(ctx, tx, c, next, reason, by, now); err != nil {
		return err
	}
	safe := safeState(b, c, now)
	if safe == nil {
		return nil
	}
	_, _, err := m.give(ctx, tx, safe, system, now, detail{"cause": c.ID})
	return err
}

// safeState gives the command that puts the device of c into its safe state, or nil. It is pure.
func safeState(b *intake.Bundle, c *Command, now time.Time) *Command {
	if c.Sender == senderSafe || unsendable(b, &Command{Fleet: c.Fleet, Device: c.Device, Community: c.Community, Grid: c.Grid, Sender: senderSafe}) != "" {
		return nil
	}
	p := b.Rules.Profiles[b.Fleets[c.Fleet].Profile]
	args, expires, ok := command.SafeState(p, c.Name, now)
	if !ok {
		return nil
	}
	once := "safe\x1f" + c.ID.String()
	safe := &Command{
		Fleet: c.Fleet, Device: c.Device, Community: c.Community, Grid: c.Grid, Name: c.Name, Arguments: args, Sender: senderSafe,
		Scenario: c.Scenario, CaseID: c.CaseID, DataClass: c.DataClass, Cause: &c.ID, Once: &once, ExpiresAt: expires,
	}
	if c.Sender == command.SenderScenario { // an edge node may send it, too
		safe.ID = command.SafeID(c.ID, c.State)
	}
	return safe
}

// unsendable says why what was given may not be sent to its device by its sender as the bundle stands now; empty if it may. What is sent is
// not looked at: see recheck. It is pure.
func unsendable(b *intake.Bundle, c *Command) string {
	f := b.Fleets[c.Fleet]
	row, ok := f.Devices[c.Device]
	switch {
	case !ok:
		return reasonDeviceGone
	case row.Community != c.Community || row.Grid != c.Grid:
		return reasonDeviceMoved
	case !command.Reachable(f):
		return reasonUnreachable
	}
	switch c.Sender {
	case command.SenderScenario:
		if _, ok := b.Rules.Scenarios[c.Scenario]; !ok {
			return reasonScenarioGone
		}
	case command.SenderVendor:
		if f.Vendor == "" || f.Vendor != c.Organization {
			return string(command.SenderNotAllowed)
		}
	case command.SenderOperator:
		if b.Directory.Reach(b.Directory.Organizations[c.Organization], contract.Place{Community: row.Community, Grid: row.Grid, Compound: row.Compound}) == 0 {
			return string(command.SenderNotAllowed)
		}
	}
	return ""
}

// route gives the messages by which something reaches a device: one on its own subject, or one to each edge node of its community.
func route(b *intake.Bundle, o outgoing) []*nats.Msg {
	fleet, name, _, err := contract.ParseDeviceSubject(o.subject)
	if err != nil || b.Fleets[fleet].Placement != contract.PlacementEdge {
		return []*nats.Msg{{Subject: o.subject, Data: o.payload}}
	}
	var out []*nats.Msg
	community := b.Fleets[fleet].Devices[name].Community
	for edge, e := range b.Edges {
		if slices.Contains(e.Communities, community) {
			out = append(out, &nats.Msg{Subject: contract.EdgeSubject(edge, contract.EdgeCommand), Data: o.payload,
				Header: nats.Header{contract.EdgeSubjectHeader: {o.subject}}})
		}
	}
	return out
}

// recheck holds a command against the bundle once more before it leaves; it gives the reason why it may not, and puts the arguments into
// their types.
func recheck(b *intake.Bundle, c *Command) string {
	if reason := unsendable(b, c); reason != "" {
		return reason
	}
	p := b.Rules.Profiles[b.Fleets[c.Fleet].Profile]
	var args map[string]any
	var err error
	if c.Sender == senderSafe {
		_, args, err = command.CheckSafe(p, c.Name, c.Arguments)
	} else {
		_, args, err = command.Check(p, c.Name, c.Arguments, c.Sender)
	}
	if err != nil {
		return codeOf(err)
	}
	c.Arguments = args
	return ""
}

// codeOf gives the code of an error of package command.
func codeOf(err error) string { return string(command.CodeOf(err)) }

// withdraw takes back a command that is locked in tx, if it is withdrawable.
func (m *commander) withdraw(ctx context.Context, tx pgx.Tx, b *intake.Bundle, c *Command, reason string, by Actor, now time.Time) error {
	if err := withdrawable(ctx, tx, c); err != nil {
		return err
	}
	return m.endSafely(ctx, tx, b, c, command.Withdrawn, reason, by, now)
}

// withdrawable refuses a command that cannot be taken back, and one whose place a newer one took: its safe state would undo the newer one.
func withdrawable(ctx context.Context, tx pgx.Tx, c *Command) error {
	if !c.State.Withdrawable() || c.Sender == senderSafe {
		return errAction{fmt.Errorf("command is %s; only one that is Pending, Received or Done, and no safe state, can be withdrawn", c.State)}
	}
	newer, err := oneCommand(ctx, tx, "c.fleet = $1 AND c.device = $2 AND c.command = $3 AND (c.created_at, c.id) > ($4, $5) AND c.state IN ('Pending', 'Received', 'Done') ORDER BY c.created_at DESC, c.id DESC LIMIT 1",
		c.Fleet, c.Device, c.Name, c.CreatedAt, c.ID)
	if err != nil {
		return err
	}
	if newer != nil {
		return errAction{fmt.Errorf("command %s took its place; withdraw that one", newer.ID)}
	}
	return nil
}
