package grid

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// Shift is when a person works on a post, week by week (排班). Who has no shift for a post is on duty at every hour.
type Shift struct {
	Person    string   `json:"person" minLength:"1" maxLength:"128" doc:"A pseudonym, as in the roster."`
	Post      string   `json:"post" minLength:"1" maxLength:"63" doc:"Post of the community."`
	Grid      string   `json:"grid,omitempty" maxLength:"63" doc:"Grid of the community; empty for all of them."`
	MicroGrid string   `json:"microGrid,omitempty" maxLength:"63" doc:"Micro-grid of the grid; empty for all of them."`
	Weekdays  []string `json:"weekdays" minItems:"1" maxItems:"7" uniqueItems:"true" enum:"Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday" doc:"Days on which it opens."`
	From      string   `json:"from" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"When it opens, as HH:MM in the platform's time zone."`
	To        string   `json:"to" pattern:"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" doc:"When it closes; not later than from is the next day."`
	ValidFrom string   `json:"validFrom" format:"date" doc:"The first day on which it opens."`
	ValidTo   string   `json:"validTo,omitempty" format:"date" doc:"The last day on which it opens; no end without."`
}

// Shifts are what one organisation has entered for one community.
type Shifts struct {
	Community    string  `json:"community" minLength:"1" maxLength:"253"`
	Organization string  `json:"organization,omitempty" readOnly:"true"`
	Shifts       []Shift `json:"shifts" maxItems:"2000"`
}

// Substitute says that a person is away, and who of the same organisation stands in.
type Substitute struct {
	Person     string    `json:"person" minLength:"1" maxLength:"128" doc:"A pseudonym: who is away."`
	Substitute string    `json:"substitute" minLength:"1" maxLength:"128" doc:"A pseudonym: who stands in. Who is assigned to a case sees it."`
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
}

// Substitutes are all of one organisation.
type Substitutes struct {
	Organization string       `json:"organization,omitempty" readOnly:"true"`
	Substitutes  []Substitute `json:"substitutes" maxItems:"1000"`
}

// DutyList says who is on duty in a place, post by post.
type DutyList struct {
	Community string    `json:"community"`
	Grid      string    `json:"grid,omitempty"`
	MicroGrid string    `json:"microGrid,omitempty"`
	At        time.Time `json:"at"`
	Posts     []Duty    `json:"posts" doc:"One of each post of the micro-grid, the grid and the community."`
}

type putShiftsInput struct{ Body Shifts }

type putSubstitutesInput struct{ Body Substitutes }

type dutyInput struct {
	Community string    `query:"community" required:"true" minLength:"1" maxLength:"253"`
	Grid      string    `query:"grid" maxLength:"63"`
	MicroGrid string    `query:"microGrid" maxLength:"63"`
	At        time.Time `query:"at" doc:"When; now if not given."`
}

func (a *api) registerDuty() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-shifts", Method: http.MethodGet, Path: "/v1/shifts", Summary: "The shifts of your organization for a community"}, a.getShifts)
	huma.Register(a.huma, huma.Operation{OperationID: "put-shifts", Method: http.MethodPut, Path: "/v1/shifts", Summary: "Replace the shifts of your organization for a community"}, a.putShifts)
	huma.Register(a.huma, huma.Operation{OperationID: "get-substitutes", Method: http.MethodGet, Path: "/v1/substitutes", Summary: "Who of your organization is away, and who stands in"}, a.getSubstitutes)
	huma.Register(a.huma, huma.Operation{OperationID: "put-substitutes", Method: http.MethodPut, Path: "/v1/substitutes", Summary: "Replace who of your organization is away, and who stands in"}, a.putSubstitutes)
	huma.Register(a.huma, huma.Operation{OperationID: "get-duty", Method: http.MethodGet, Path: "/v1/duty", Summary: "Who is on duty in a place, and why"}, a.duty)
}

// checkPlace refuses a grid, a micro-grid or a post that a community has not; field names what holds them. Empty ones are any.
func checkPlace(c contract.Community, field, community, grid, microGrid, post string) error {
	posts := slices.Clone(c.Posts)
	for _, g := range c.Grids {
		posts = append(posts, g.Posts...)
		for _, m := range g.MicroGrids {
			posts = append(posts, m.Posts...)
		}
	}
	slices.Sort(posts)
	switch {
	case grid != "" && !slices.ContainsFunc(c.Grids, func(g contract.Grid) bool { return g.Name == grid }):
		return huma.Error422UnprocessableEntity(fmt.Sprintf("%s.grid: community %s has no grid %q", field, community, grid))
	case microGrid != "" && !hasMicroGrid(c, grid, microGrid):
		return huma.Error422UnprocessableEntity(fmt.Sprintf("%s.microGrid: grid %q of community %s has no micro-grid %q", field, grid, community, microGrid))
	case post != "" && !slices.Contains(posts, post):
		return huma.Error422UnprocessableEntity(fmt.Sprintf("%s.post: community %s has no post %q; write one of %s", field, community, post, strings.Join(slices.Compact(posts), ", ")))
	}
	return nil
}

// keepsRoster refuses roles that may not change who is on duty.
func keepsRoster(who caller, what string) error {
	if r := Role(who.scope.Role); r != RoleDispatcher && r != RoleCommunityWorker {
		return huma.Error403Forbidden(fmt.Sprintf("role %q may not change %s; Dispatcher and CommunityWorker may", r, what))
	}
	if len(who.scope.communities) == 0 {
		return huma.Error403Forbidden("your organization covers no community")
	}
	return nil
}

var weekdayNames = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

// minuteOf gives the minute of the day of HH:MM, whose form was checked.
func minuteOf(clock string) int {
	return 600*int(clock[0]-'0') + 60*int(clock[1]-'0') + 10*int(clock[3]-'0') + int(clock[4]-'0')
}

func (a *api) getShifts(ctx context.Context, in *rosterInput) (*output[Shifts], error) {
	who := callerOf(ctx)
	if !who.scope.covers(in.Community) {
		return nil, huma.Error404NotFound("no such community in your organization's jurisdiction")
	}
	where, args := "organization = $1 AND community = $2", []any{who.scope.Organization, in.Community}
	if who.scope.rostered {
		where, args = where+" AND person = $3", append(args, who.scope.Subject)
	}
	rows, err := a.pool.Query(ctx, `SELECT person, post, grid, micro_grid, weekdays, from_min, to_min, valid_from::text, coalesce(valid_to::text, '') FROM grid.shifts WHERE `+where+
		" ORDER BY grid, micro_grid, post, person, valid_from, from_min", args...)
	if err != nil {
		return nil, a.fail(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Shift, err error) {
		var days, from, to int
		err = row.Scan(&s.Person, &s.Post, &s.Grid, &s.MicroGrid, &days, &from, &to, &s.ValidFrom, &s.ValidTo)
		for i, name := range weekdayNames {
			if days&(1<<i) != 0 {
				s.Weekdays = append(s.Weekdays, name)
			}
		}
		s.From, s.To = fmt.Sprintf("%02d:%02d", from/60, from%60), fmt.Sprintf("%02d:%02d", to/60, to%60)
		return s, err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[Shifts]{Shifts{in.Community, who.scope.Organization, list}}, nil
}

func (a *api) putShifts(ctx context.Context, in *putShiftsInput) (*output[Shifts], error) {
	who := callerOf(ctx)
	if err := keepsRoster(who, "shifts"); err != nil {
		return nil, err
	}
	if !who.scope.covers(in.Body.Community) {
		return nil, huma.Error404NotFound("no such community in your organization's jurisdiction")
	}
	batch := &pgx.Batch{}
	batch.Queue("DELETE FROM grid.shifts WHERE organization = $1 AND community = $2", who.scope.Organization, in.Body.Community)
	for i, s := range in.Body.Shifts {
		field := fmt.Sprintf("body.shifts[%d]", i)
		if err := checkPlace(who.bundle.Directory.Communities[in.Body.Community], field, in.Body.Community, s.Grid, s.MicroGrid, s.Post); err != nil {
			return nil, err
		}
		if len(s.Weekdays) == 0 {
			return nil, huma.Error422UnprocessableEntity(field + ".weekdays: the shift never opens; write the days on which it does")
		}
		if s.ValidTo != "" && s.ValidTo < s.ValidFrom {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("%s.validTo: %s is before validFrom, %s", field, s.ValidTo, s.ValidFrom))
		}
		days := 0
		for _, d := range s.Weekdays {
			days |= 1 << slices.Index(weekdayNames, d)
		}
		batch.Queue(`INSERT INTO grid.shifts (organization, community, post, grid, micro_grid, weekdays, from_min, to_min, person, valid_from, valid_to)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::date, nullif($11::text, '')::date)`,
			who.scope.Organization, in.Body.Community, s.Post, s.Grid, s.MicroGrid, days, minuteOf(s.From), minuteOf(s.To), s.Person, s.ValidFrom, s.ValidTo)
	}
	if err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }); err != nil {
		return nil, a.fail(fmt.Errorf("shifts: %w", err))
	}
	return a.getShifts(ctx, &rosterInput{in.Body.Community})
}

func (a *api) getSubstitutes(ctx context.Context, _ *struct{}) (*output[Substitutes], error) {
	who := callerOf(ctx)
	if len(who.scope.communities) == 0 {
		return nil, huma.Error403Forbidden("your organization covers no community, or your role reads nothing here")
	}
	where, args := "organization = $1", []any{who.scope.Organization}
	if who.scope.rostered {
		where, args = where+" AND $2 IN (person, substitute)", append(args, who.scope.Subject)
	}
	rows, err := a.pool.Query(ctx, "SELECT person, substitute, from_at, to_at FROM grid.substitutes WHERE "+where+" ORDER BY from_at, person", args...)
	if err != nil {
		return nil, a.fail(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Substitute])
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[Substitutes]{Substitutes{who.scope.Organization, list}}, nil
}

func (a *api) putSubstitutes(ctx context.Context, in *putSubstitutesInput) (*output[Substitutes], error) {
	who := callerOf(ctx)
	if err := keepsRoster(who, "substitutes"); err != nil {
		return nil, err
	}
	batch := &pgx.Batch{}
	batch.Queue("DELETE FROM grid.substitutes WHERE organization = $1", who.scope.Organization)
	for i, s := range in.Body.Substitutes {
		switch {
		case s.Person == s.Substitute:
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.substitutes[%d].substitute: nobody stands in for themselves; write another person", i))
		case !s.From.Before(s.To):
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.substitutes[%d].to: it must be later than from", i))
		}
		if slices.ContainsFunc(in.Body.Substitutes[:i], func(o Substitute) bool { return o.Person == s.Person && o.From.Before(s.To) && s.From.Before(o.To) }) {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.substitutes[%d]: another entry has the same person away at the same time; leave one out", i))
		}
		batch.Queue("INSERT INTO grid.substitutes (organization, person, substitute, from_at, to_at) VALUES ($1, $2, $3, $4, $5)", who.scope.Organization, s.Person, s.Substitute, s.From, s.To)
	}
	if err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }); err != nil {
		return nil, a.fail(fmt.Errorf("substitutes: %w", err))
	}
	return a.getSubstitutes(ctx, nil)
}

// duty tells who is on duty. Why somebody is not is the business of committees and townships: others hear who is.
func (a *api) duty(ctx context.Context, in *dutyInput) (*output[DutyList], error) {
	who := callerOf(ctx)
	if !who.scope.covers(in.Community) {
		return nil, huma.Error404NotFound("no such community in your organization's jurisdiction")
	}
	d := who.bundle.Directory
	if err := checkPlace(d.Communities[in.Community], "query", in.Community, in.Grid, in.MicroGrid, ""); err != nil {
		return nil, err
	}
	if who.scope.compounds != nil && d.Reach(d.Organizations[who.scope.Organization], contract.Place{Community: in.Community, Grid: in.Grid}) == 0 {
		return nil, huma.Error404NotFound("query.grid: your organization has no compound there; write a grid with one")
	}
	if in.At.IsZero() {
		in.At = a.now()
	}
	plan, err := dutyPlanOf(ctx, a.pool, d, in.Community, in.Grid, in.MicroGrid, in.At)
	if err != nil {
		return nil, a.fail(err)
	}
	out := DutyList{in.Community, in.Grid, in.MicroGrid, in.At.UTC(), []Duty{}}
	levels := postLevels(d, &Case{Community: in.Community, Grid: in.Grid, MicroGrid: in.MicroGrid})
	var posts []string
	for _, level := range levels {
		for _, post := range level {
			if slices.Contains(posts, post) {
				continue
			}
			posts = append(posts, post)
			duty := whoIsOnDuty(plan, levels, []string{post}, in.Grid, in.MicroGrid, in.At.In(location(d.Platform)))
			if !who.scope.grassroots {
				duty.Chain = nil
			}
			out.Posts = append(out.Posts, duty)
		}
	}
	return &output[DutyList]{out}, nil
}
