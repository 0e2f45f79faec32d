package grid

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// RosterEntry says that a person stands on a post.
type RosterEntry struct {
	Person string `json:"person" minLength:"1" maxLength:"128" doc:"A pseudonym: the sub of the person's tokens."`
	Role   string `json:"role" minLength:"1" maxLength:"63" doc:"Role on the grid, such as GridWorker."`
	Grid   string `json:"grid,omitempty" maxLength:"63" doc:"Grid of the community; empty for all of them."`
	// MicroGrid, Post and Rank say for what, and in which order, the person is on duty.
	MicroGrid string `json:"microGrid,omitempty" maxLength:"63" doc:"Micro-grid of the grid; empty for all of them."`
	Post      string `json:"post,omitempty" maxLength:"63" doc:"Post of the community that the person stands on; empty for the one that is called as the role."`
	Rank      int    `json:"rank,omitempty" minimum:"1" maximum:"99" doc:"Who is asked first on the post: 1, which it is without, before 2."`
}

// Roster is what one organisation has entered for one community (值班表).
type Roster struct {
	Community    string        `json:"community"`
	Organization string        `json:"organization,omitempty" readOnly:"true"`
	Entries      []RosterEntry `json:"entries" maxItems:"2000"`
}

type rosterInput struct {
	Community string `query:"community" required:"true" minLength:"1" maxLength:"253"`
}

type putRosterInput struct{ Body Roster }

func (a *api) registerRoster() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-roster", Method: http.MethodGet, Path: "/v1/roster",
		Summary: "The roster of your organization for a community"}, a.getRoster)
	huma.Register(a.huma, huma.Operation{OperationID: "put-roster", Method: http.MethodPut, Path: "/v1/roster",
		Summary: "Replace the roster of your organization for a community"}, a.putRoster)
}

func (a *api) getRoster(ctx context.Context, in *rosterInput) (*output[Roster], error) {
	who := callerOf(ctx)
	if !who.scope.covers(in.Community) {
		return nil, huma.Error404NotFound("no such community in your organization's jurisdiction")
	}
	where, args := "organization = $1 AND community = $2", []any{who.scope.Organization, in.Community}
	if who.scope.rostered { // a grid worker sees where they stand, not where everybody does
		where, args = where+" AND person = $3", append(args, who.scope.Subject)
	}
	rows, err := a.pool.Query(ctx, "SELECT person, role, grid, micro_grid, post, rank FROM grid.roster WHERE "+where+" ORDER BY grid, micro_grid, role, post, rank, person", args...)
	if err != nil {
		return nil, a.fail(err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RosterEntry])
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[Roster]{Roster{in.Community, who.scope.Organization, entries}}, nil
}

func (a *api) putRoster(ctx context.Context, in *putRosterInput) (*output[Roster], error) {
	who := callerOf(ctx)
	if r := Role(who.scope.Role); r != RoleDispatcher && r != RoleCommunityWorker {
		return nil, huma.Error403Forbidden(fmt.Sprintf("role %q may not change a roster; Dispatcher and CommunityWorker may", r))
	}
	if !who.scope.covers(in.Body.Community) {
		return nil, huma.Error404NotFound("no such community in your organization's jurisdiction")
	}
	if err := checkGrids(who.bundle.Directory.Communities[in.Body.Community], in.Body); err != nil {
		return nil, err
	}
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM grid.roster WHERE organization = $1 AND community = $2", who.scope.Organization, in.Body.Community); err != nil {
			return fmt.Errorf("roster: %w", err)
		}
		for _, e := range in.Body.Entries {
			if _, err := tx.Exec(ctx, "INSERT INTO grid.roster (organization, person, role, community, grid, micro_grid, post, rank) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
				who.scope.Organization, e.Person, e.Role, in.Body.Community, e.Grid, e.MicroGrid, e.Post, max(e.Rank, 1)); err != nil {
				return fmt.Errorf("roster: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return a.getRoster(ctx, &rosterInput{in.Body.Community})
}

// checkGrids refuses grids, micro-grids and posts that the community has not.
func checkGrids(c contract.Community, r Roster) error {
	for i, e := range r.Entries {
		if err := checkPlace(c, fmt.Sprintf("body.entries[%d]", i), r.Community, e.Grid, e.MicroGrid, e.Post); err != nil {
			return err
		}
	}
	return nil
}

// DeviceView is what the API tells of a device.
type DeviceView struct {
	ID        string     `json:"id" doc:"<fleet>.<device>"`
	Profile   string     `json:"profile"`
	Community string     `json:"community"`
	Grid      string     `json:"grid,omitempty"`
	Compound  string     `json:"compound,omitempty"`
	Building  string     `json:"building,omitempty"`
	Unit      string     `json:"unit,omitempty"`
	Presence  string     `json:"presence" enum:"Online,Offline,NeverSeen"`
	FirstSeen *time.Time `json:"firstSeen,omitempty"`
	LastSeen  *time.Time `json:"lastSeen,omitempty"`
}

type deviceInput struct {
	ID string `path:"id" doc:"<fleet>.<device>" maxLength:"128"`
}

func (a *api) registerDevices() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-device", Method: http.MethodGet, Path: "/v1/devices/{id}", Summary: "A device and when it was last heard"}, a.device)
}

func (a *api) device(ctx context.Context, in *deviceInput) (*output[DeviceView], error) {
	who := callerOf(ctx)
	fleet, name, err := contract.ParseDeviceID(in.ID)
	if err != nil {
		return nil, errNoDevice()
	}
	f := who.bundle.Fleets[fleet]
	row, ok := f.Devices[name]
	if !ok {
		return nil, errNoDevice()
	}
	visible, err := a.covers(ctx, who.scope, row)
	if err != nil {
		return nil, a.fail(err)
	}
	if !visible {
		return nil, errNoDevice()
	}
	v := DeviceView{ID: in.ID, Profile: f.Profile, Community: row.Community, Grid: row.Grid, Compound: row.Compound, Building: row.Building, Unit: row.Unit, Presence: "NeverSeen"}
	rows, err := a.pool.Query(ctx, "SELECT first_seen, last_seen FROM grid.devices_seen WHERE fleet = $1 AND device = $2", fleet, name)
	if err != nil {
		return nil, a.fail(err)
	}
	var first, last time.Time
	if _, err := pgx.ForEachRow(rows, []any{&first, &last}, func() error {
		v.FirstSeen, v.LastSeen, v.Presence = &first, &last, "Online"
		return nil
	}); err != nil {
		return nil, a.fail(err)
	}
	// Of a device that goes on sending, the database knows the minute.
	since := onlineSince(who.bundle.Rules.Profiles[f.Profile], a.now())
	if v.LastSeen != nil && endOfMinute(seconds(last)) < since {
		v.Presence = "Offline"
	}
	return &output[DeviceView]{v}, nil
}
