package grid

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/node/command"
)

// DesiredView is what a device is to keep, and whether it says that it does.
type DesiredView struct {
	// Device is <fleet>.<device>.
	Device string `json:"device"`
	// ID is what the device writes into its ack; it changes with the desired state. None while nothing was ever desired.
	ID *uuid.UUID `json:"id,omitempty" format:"uuid"`
	// Desired by command.
	Desired map[string]DesiredEntry `json:"desired"`
	State   string                  `json:"state,omitempty" enum:"Pending,Received,Done,Failed,Void" doc:"What the device said of it; Void is sent no more, because the device is gone or moved."`
	Detail  string                  `json:"detail,omitempty" doc:"The device's own words."`
	Sent    int                     `json:"sent" doc:"How often it was sent since it changed or the device came back."`

	ChangedAt      *time.Time `json:"changedAt,omitempty"`
	LastSentAt     *time.Time `json:"lastSentAt,omitempty"`
	AcknowledgedAt *time.Time `json:"acknowledgedAt,omitempty"`
}

type desiredInput struct {
	ID      string `path:"id" doc:"<fleet>.<device>" maxLength:"128"`
	Command string `path:"command" doc:"Name of a command that the profile marks as desired." maxLength:"63"`
}

type putDesiredInput struct {
	ID      string `path:"id" doc:"<fleet>.<device>" maxLength:"128"`
	Command string `path:"command" doc:"Name of a command that the profile marks as desired." maxLength:"63"`
	Body    struct {
		Arguments map[string]any `json:"arguments,omitempty" doc:"All arguments of the command, by name."`
	}
}

func (a *api) registerDesired() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-desired", Method: http.MethodGet, Path: "/v1/devices/{id}/desired",
		Summary: "What a device is to keep (期望状态)"}, a.getDesired)
	huma.Register(a.huma, huma.Operation{OperationID: "put-desired", Method: http.MethodPut, Path: "/v1/devices/{id}/desired/{command}",
		Summary: "Set what a device is to keep for one command; it is sent now and whenever the device comes back"}, a.putDesired)
	huma.Register(a.huma, huma.Operation{OperationID: "delete-desired", Method: http.MethodDelete, Path: "/v1/devices/{id}/desired/{command}",
		Summary: "Want nothing of a device any more for one command", DefaultStatus: http.StatusOK}, a.deleteDesired)
}

func (a *api) getDesired(ctx context.Context, in *deviceInput) (*output[DesiredView], error) {
	to, err := a.addressee(ctx, in.ID)
	if err != nil {
		return nil, a.fail(err)
	}
	var s *desiredState
	err = pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		s, err = readDesired(ctx, tx, to.device, "")
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	out := DesiredView{Device: in.ID, Desired: map[string]DesiredEntry{}}
	// What was wanted where the device hung before is not for who looks after it now.
	if s == nil || s.Version == 0 || s.Community != to.row.Community || s.Grid != to.row.Grid {
		return &output[DesiredView]{out}, nil
	}
	who := callerOf(ctx)
	s.inForce(who.bundle)
	for name, e := range s.Entries {
		senders := who.bundle.Rules.Profiles[to.fleet.Profile].Commands[name].Senders
		if to.sender == command.SenderVendor && !slices.Contains(senders, command.SenderVendor) {
			continue
		}
		out.Desired[name] = e
	}
	out.ID, out.State, out.Detail, out.Sent = &s.ID, s.State, s.Detail, s.Sent
	out.ChangedAt, out.LastSentAt, out.AcknowledgedAt = &s.ChangedAt, s.LastSentAt, s.AcknowledgedAt
	return &output[DesiredView]{out}, nil
}

func (a *api) putDesired(ctx context.Context, in *putDesiredInput) (*output[DesiredView], error) {
	to, err := a.toCommand(ctx, in.ID)
	if err != nil {
		return nil, a.fail(err)
	}
	who, now := callerOf(ctx), a.now().UTC()
	_, args, err := command.CheckDesired(who.bundle.Rules.Profiles[to.fleet.Profile], in.Command, in.Body.Arguments, to.sender)
	if err != nil {
		return nil, a.refuseProblem(err)
	}
	entry := &DesiredEntry{Arguments: args, Sender: to.sender, Organization: who.scope.Organization, At: now}
	return a.changeDesired(ctx, to, &desiredInput{in.ID, in.Command}, entry, now)
}

func (a *api) deleteDesired(ctx context.Context, in *desiredInput) (*output[DesiredView], error) {
	to, err := a.toCommand(ctx, in.ID)
	if err != nil {
		return nil, a.fail(err)
	}
	declared, ok := callerOf(ctx).bundle.Rules.Profiles[to.fleet.Profile].Commands[in.Command]
	if ok && !slices.Contains(declared.Senders, to.sender) {
		return nil, refuse(http.StatusForbidden, string(command.SenderNotAllowed), "", "who may not send the command may not drop it either")
	}
	return a.changeDesired(ctx, to, in, nil, a.now().UTC())
}

func (a *api) changeDesired(ctx context.Context, to *addressee, in *desiredInput, entry *DesiredEntry, now time.Time) (*output[DesiredView], error) {
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		if err := a.pace(ctx, tx, callerOf(ctx).scope, now); err != nil {
			return err
		}
		return a.commander.setDesired(ctx, tx, to.row, to.device, in.Command, entry, callerOf(ctx).scope.actor(), now)
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return a.getDesired(ctx, &deviceInput{ID: in.ID})
}
