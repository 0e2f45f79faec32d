package grid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// CommandHistoryEntry is one line of a command's history. It never changes.
type CommandHistoryEntry struct {
	N      int            `json:"n"`
	At     time.Time      `json:"at"`
	Action string         `json:"action"`
	From   command.State  `json:"from,omitempty"`
	To     command.State  `json:"to"`
	Actor  Actor          `json:"actor"`
	Detail map[string]any `json:"detail,omitempty"`
}

// CommandDetail is a command with its history.
type CommandDetail struct {
	Command
	History []CommandHistoryEntry `json:"history"`
}

// CommandList is a page of commands, newest first.
type CommandList struct {
	Commands []Command `json:"commands"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// NewCommand is what a device is to be told.
type NewCommand struct {
	Command   string         `json:"command" minLength:"1" maxLength:"63" doc:"Name of a command of the device's profile."`
	Arguments map[string]any `json:"arguments,omitempty" doc:"All arguments of the command, by name."`
}

type giveInput struct {
	ID   string `path:"id" doc:"<fleet>.<device>" maxLength:"128"`
	Key  string `header:"Idempotency-Key" required:"true" minLength:"8" maxLength:"128" doc:"A random key; the same key gives the same command."`
	Body NewCommand
}

type listCommandsInput struct {
	ID     string        `path:"id" doc:"<fleet>.<device>" maxLength:"128"`
	State  command.State `query:"state" enum:"Pending,Received,Done,Failed,Expired,Withdrawn,Superseded,Void"`
	Limit  int           `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string        `query:"cursor" doc:"The field next of the page before." maxLength:"36"`
}

func (a *api) registerCommands() {
	huma.Register(a.huma, huma.Operation{OperationID: "send-command", Method: http.MethodPost, Path: "/v1/devices/{id}/commands",
		Summary: "Tell a device something that its profile declares (下发指令)", DefaultStatus: http.StatusCreated}, a.give)
	huma.Register(a.huma, huma.Operation{OperationID: "list-commands", Method: http.MethodGet, Path: "/v1/devices/{id}/commands",
		Summary: "Commands to a device, newest first"}, a.listCommands)
	huma.Register(a.huma, huma.Operation{OperationID: "get-command", Method: http.MethodGet, Path: "/v1/commands/{id}",
		Summary: "One command with its history"}, a.getCommand)
	huma.Register(a.huma, huma.Operation{OperationID: "withdraw-command", Method: http.MethodPost, Path: "/v1/commands/{id}/withdraw",
		Summary: "Take a command back; the safe state is sent, if the profile has one", DefaultStatus: http.StatusOK}, a.withdraw)
}

// refuse answers with a stable code, as the last part of the problem's type (RFC 9457).
func refuse(status int, code, location, message string) error {
	e := &huma.ErrorModel{Type: "urn:dizuo:reason:" + code, Title: http.StatusText(status), Status: status, Detail: message}
	if location != "" {
		e.Errors = []*huma.ErrorDetail{{Message: message, Location: location}}
	}
	return e
}

// refuseProblem tells what is wrong with a command: 403 for the sender, else 422.
func (a *api) refuseProblem(err error) error {
	var p *command.Problem
	if !errors.As(err, &p) {
		return err
	}
	a.commander.metrics.commands.WithLabelValues("Refused", string(p.Code)).Inc()
	switch {
	case p.Code == command.SenderNotAllowed:
		return refuse(http.StatusForbidden, string(p.Code), "", p.Error())
	case p.Argument != "":
		return refuse(http.StatusUnprocessableEntity, string(p.Code), "body.arguments", p.Error())
	}
	return refuse(http.StatusUnprocessableEntity, string(p.Code), "body.command", p.Error())
}

// addressee is a device that the caller may see, and as which sender they may command it; sender is empty for who only reads.
type addressee struct {
	device
	fleet  contract.Fleet
	row    contract.Device
	sender string
}

// mayCommand says as which sender a role commands devices that its scope covers.
func (s scope) sender() string {
	switch {
	case Role(s.Role) == RoleTechnician:
		return command.SenderVendor
	case slices.Contains(everyone, Role(s.Role)):
		return command.SenderOperator
	}
	return ""
}

// addressee finds a device for the caller. For a technician, only devices of the fleets of their own organisation are there; for others,
// those that their scope covers.
func (a *api) addressee(ctx context.Context, id string) (*addressee, error) {
	who := callerOf(ctx)
	fleet, name, err := contract.ParseDeviceID(id)
	if err != nil {
		return nil, errNoDevice()
	}
	f := who.bundle.Fleets[fleet]
	row, ok := f.Devices[name]
	if !ok {
		return nil, errNoDevice()
	}
	visible := f.Vendor != "" && f.Vendor == who.scope.Organization
	if who.scope.sender() != command.SenderVendor {
		if visible, err = a.covers(ctx, who.scope, row); err != nil {
			return nil, err
		}
	}
	if !visible {
		return nil, errNoDevice()
	}
	return &addressee{device{fleet, name}, f, row, who.scope.sender()}, nil
}

// covers says whether a device hangs in the scope of a person, by the roster where that counts.
func (a *api) covers(ctx context.Context, s scope, row contract.Device) (visible bool, err error) {
	if !s.covers(row.Community) {
		return false, nil
	}
	where, args := s.place(4)
	err = a.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM (VALUES ($1::text, $2::text, $3::text)) c (community, grid, compound) WHERE "+where+")",
		append([]any{row.Community, row.Grid, row.Compound}, args...)...).Scan(&visible)
	return visible, err
}

// toCommand is addressee for who is about to change something.
func (a *api) toCommand(ctx context.Context, id string) (*addressee, error) {
	to, err := a.addressee(ctx, id)
	if err != nil {
		return nil, err
	}
	if to.sender == "" {
		return nil, refuse(http.StatusForbidden, "RoleNotAllowed", "", fmt.Sprintf("role %q may not command devices", callerOf(ctx).scope.Role))
	}
	if !command.Reachable(to.fleet) {
		return nil, refuse(http.StatusConflict, reasonUnreachable, "", "commands to devices that a cloud tells apart by its payload are not carried by this version")
	}
	return to, nil
}

func (a *api) give(ctx context.Context, in *giveInput) (*output[CommandDetail], error) {
	to, err := a.toCommand(ctx, in.ID)
	if err != nil {
		return nil, a.fail(err)
	}
	who := callerOf(ctx)
	declared, args, err := command.Check(who.bundle.Rules.Profiles[to.fleet.Profile], in.Body.Command, in.Body.Arguments, to.sender)
	if err != nil {
		return nil, a.refuseProblem(err)
	}
	raw, err := json.Marshal([]any{in.ID, in.Body.Command, args})
	if err != nil {
		return nil, a.fail(err)
	}
	now, once := a.now().UTC(), "key\x1f"+who.scope.Organization+"\x1f"+in.Key
	c := &Command{
		Fleet: to.device.fleet, Device: to.name, Community: to.row.Community, Grid: to.row.Grid, Name: in.Body.Command, Arguments: args, Sender: to.sender,
		Once: &once, Digest: contract.Digest(raw), ExpiresAt: now.Add(command.Expiry(declared)),
	}
	var given *Command
	err = pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		was, err := oneCommand(ctx, tx, "c.once = $1", once)
		if err != nil {
			return err
		}
		if was == nil { // who asks again for what was given is not refused
			if err := a.pace(ctx, tx, who.scope, now); err != nil {
				return err
			}
		}
		given, _, err = a.commander.give(ctx, tx, c, who.scope.actor(), now, nil)
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	if given.Digest != c.Digest {
		return nil, refuse(http.StatusUnprocessableEntity, "KeyUsed", "header.Idempotency-Key", "the key was used for another command; make a new one")
	}
	return a.getCommand(ctx, &idInput{given.ID})
}

// commands gives the SQL condition on grid.commands under the alias c, and its arguments from number first on. A technician sees what their
// organisation sent to fleets that are still its own, and the safe states of that; others what went to devices in their scope. Commands of
// alarms that say much about people are shown to fewer, as their cases are.
func (s scope) commands(b *intake.Bundle, first int) (string, []any) {
	if s.sender() == command.SenderVendor {
		fleets := []string{}
		for name, f := range b.Fleets {
			if f.Vendor != "" && f.Vendor == s.Organization {
				fleets = append(fleets, name)
			}
		}
		return fmt.Sprintf(`c.fleet = ANY($%d) AND EXISTS (SELECT FROM grid.commands v WHERE v.id IN (c.id, c.cause) AND v.sender = 'Vendor'
			AND v.organization = $%d)`, first, first+1), []any{fleets, s.Organization}
	}
	where, args := s.where(first)
	if s.grassroots {
		return where, args
	}
	return where + " AND c.data_class NOT IN ('C2', 'C3')", args
}

// holds says whether a device hangs where the compounds of the scope let its commands be seen: a command names none, its device does. Technicians are
// bounded by fleets.
func (s scope) holds(b *intake.Bundle, fleet, device string) bool {
	if s.compounds == nil || s.sender() == command.SenderVendor {
		return true
	}
	row, there := b.Fleets[fleet].Devices[device]
	return there && slices.Contains(s.compounds, row.Community+"/"+row.Compound)
}

func (a *api) listCommands(ctx context.Context, in *listCommandsInput) (*output[CommandList], error) {
	to, err := a.addressee(ctx, in.ID)
	if err != nil {
		return nil, a.fail(err)
	}
	who := callerOf(ctx)
	where, args := who.scope.commands(who.bundle, 3)
	args = append([]any{to.device.fleet, to.name}, args...)
	where = "c.fleet = $1 AND c.device = $2 AND " + where
	if in.State != "" {
		args = append(args, in.State)
		where += fmt.Sprintf(" AND c.state = $%d", len(args))
	}
	if in.Cursor != "" {
		id, err := uuid.Parse(in.Cursor)
		if err != nil {
			return nil, huma.Error400BadRequest("cursor is not one that a page before gave")
		}
		args = append(args, id)
		where += fmt.Sprintf(" AND c.id < $%d", len(args))
	}
	args = append(args, in.Limit+1)
	rows, err := a.pool.Query(ctx, fmt.Sprintf("SELECT %s FROM grid.commands c WHERE %s ORDER BY c.id DESC LIMIT $%d", commandColumns, where, len(args)), args...)
	if err != nil {
		return nil, a.fail(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Command])
	if err != nil {
		return nil, a.fail(err)
	}
	page := CommandList{Commands: list}
	if len(list) > in.Limit {
		page.Commands, page.Next = list[:in.Limit], list[in.Limit-1].ID.String()
	}
	return &output[CommandList]{page}, nil
}

var errNoCommand = func() error { return huma.Error404NotFound("no such command") }

func (a *api) getCommand(ctx context.Context, in *idInput) (*output[CommandDetail], error) {
	var out CommandDetail
	err := pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		who := callerOf(ctx)
		where, args := who.scope.commands(who.bundle, 2)
		c, err := oneCommand(ctx, tx, "c.id = $1 AND "+where, append([]any{in.ID}, args...)...)
		if err != nil {
			return err
		}
		if c == nil || !who.scope.holds(who.bundle, c.Fleet, c.Device) {
			return errNoCommand()
		}
		out.Command = *c
		out.History, err = commandHistory(ctx, tx, in.ID)
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[CommandDetail]{out}, nil
}

func commandHistory(ctx context.Context, tx pgx.Tx, id uuid.UUID) ([]CommandHistoryEntry, error) {
	rows, err := tx.Query(ctx, "SELECT n, at, action, from_state, to_state, actor, organization, person, role, detail FROM grid.command_history WHERE command_id = $1 ORDER BY n", id)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e CommandHistoryEntry, err error) {
		err = row.Scan(&e.N, &e.At, &e.Action, &e.From, &e.To, &e.Actor.Kind, &e.Actor.Organization, &e.Actor.Person, &e.Actor.Role, &e.Detail)
		return e, err
	})
}

func (a *api) withdraw(ctx context.Context, in *idInput) (*output[CommandDetail], error) {
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		who := callerOf(ctx)
		where, args := who.scope.commands(who.bundle, 2)
		c, err := oneCommand(ctx, tx, "c.id = $1 AND "+where+" FOR UPDATE OF c", append([]any{in.ID}, args...)...)
		if err != nil {
			return err
		}
		if c == nil || !who.scope.holds(who.bundle, c.Fleet, c.Device) {
			return errNoCommand()
		}
		if err := mayWithdraw(who, c); err != nil {
			return err
		}
		err = a.commander.withdraw(ctx, tx, who.bundle, c, reasonByRequest, who.scope.actor(), a.now().UTC())
		if isRefusal(err) {
			return refuse(http.StatusConflict, "StateNotAllowed", "", err.Error())
		}
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return a.getCommand(ctx, in)
}

// mayWithdraw lets a command be taken back by who could give it; one that the profile does not declare any more, by whoever commands the
// device.
func mayWithdraw(who caller, c *Command) error {
	sender := who.scope.sender()
	if sender == "" {
		return refuse(http.StatusForbidden, "RoleNotAllowed", "", fmt.Sprintf("role %q may not command devices", who.scope.Role))
	}
	declared, ok := who.bundle.Rules.Profiles[who.bundle.Fleets[c.Fleet].Profile].Commands[c.Name]
	if ok && !slices.Contains(declared.Senders, sender) {
		return refuse(http.StatusForbidden, string(command.SenderNotAllowed), "", "who may not send the command may not withdraw it either")
	}
	return nil
}

// isRefusal says whether an error is a refusal that the caller may read.
func isRefusal(err error) bool {
	var refused errAction
	return errors.As(err, &refused)
}
