package grid

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// Facts that are not like others: registers are kept by the office, consents by the vault alone.
const (
	registersFact = "registers"
	consentsFact  = "consents"
)

// maxFactDays bounds how far ahead a fact may end.
const maxFactDays = 366

// FactView is what is said of a place (情况), `context.<name>` in scenarios.
type FactView struct {
	Scope   string       `json:"scope" readOnly:"true"`
	ID      string       `json:"id" readOnly:"true"`
	Name    string       `json:"name" readOnly:"true"`
	Value   any          `json:"value,omitempty" doc:"true, false, a number or a text; absent where the fact is a set."`
	Members []FactMember `json:"members,omitempty" readOnly:"true" doc:"Of a set: who or what is in it."`
	FactSaid
}

// FactMember is a member of a set.
type FactMember struct {
	Member string `json:"member"`
	FactSaid
}

// FactSaid is since when something is said, and by whom.
type FactSaid struct {
	Since        time.Time  `json:"since,omitzero" readOnly:"true"`
	Until        *time.Time `json:"until,omitempty" doc:"When it ends by itself; absent: when somebody takes it back."`
	Organization string     `json:"organization,omitempty" readOnly:"true"`
	Person       string     `json:"person,omitempty" readOnly:"true" doc:"A pseudonym."`
}

// FactBody is what is said.
type FactBody struct {
	Value any        `json:"value,omitempty" doc:"true, false, a number, or a text of at most 256 bytes. Of a member: left out."`
	Until *time.Time `json:"until,omitempty" doc:"When it ends by itself, within 366 days."`
}

// FactPlace is the place of a fact, and its name.
type FactPlace struct {
	Scope string `path:"scope" enum:"Community,Compound,Grid,MicroGrid,Building,Household,Device" doc:"What the place is."`
	ID    string `path:"id" minLength:"1" maxLength:"512" doc:"The place: a household's pseudonym, <fleet>/<device>, or the names from the community down, joined by %2F, such as jinghu%2Fgarden%2F7."`
	Name  string `path:"name" minLength:"1" maxLength:"63" pattern:"^[A-Za-z_][A-Za-z0-9_]*$" doc:"Such as away, hospital, livesAlone, outage or registers."`
}

// FactMemberPlace is a member of a set that is said of a place.
type FactMemberPlace struct {
	FactPlace
	Member string `path:"member" minLength:"1" maxLength:"256" doc:"Who or what is in the set."`
}

type putFactInput struct {
	FactPlace
	Body FactBody
}

type putMemberInput struct {
	FactMemberPlace
	Body FactBody
}

func (a *api) registerFacts() {
	const path = "/v1/facts/{scope}/{id}/{name}"
	op := func(id, method, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary}
	}
	huma.Register(a.huma, op("get-fact", http.MethodGet, path, "What is said of a place"), a.getFact)
	huma.Register(a.huma, op("put-fact", http.MethodPut, path, "Say something of a place"), func(ctx context.Context, in *putFactInput) (*output[FactView], error) {
		if in.Body.Value == nil {
			return nil, huma.Error422UnprocessableEntity("body.value: write true, false, a number or a text; to take a fact back, DELETE it")
		}
		return a.say(ctx, in.FactPlace, "", in.Body)
	})
	huma.Register(a.huma, op("delete-fact", http.MethodDelete, path, "Take back what was said of a place"), func(ctx context.Context, in *FactPlace) (*output[FactView], error) {
		return a.say(ctx, *in, "", FactBody{})
	})
	huma.Register(a.huma, op("put-fact-member", http.MethodPut, path+"/{member}", "Put somebody or something into a set that is said of a place"),
		func(ctx context.Context, in *putMemberInput) (*output[FactView], error) {
			if in.Body.Value != nil && in.Body.Value != true {
				return nil, huma.Error422UnprocessableEntity("body.value: a member is in the set or not; leave it out, or DELETE the member")
			}
			in.Body.Value = true
			return a.say(ctx, in.FactPlace, in.Member, in.Body)
		})
	huma.Register(a.huma, op("delete-fact-member", http.MethodDelete, path+"/{member}", "Take somebody or something out of a set"),
		func(ctx context.Context, in *FactMemberPlace) (*output[FactView], error) {
			return a.say(ctx, in.FactPlace, in.Member, FactBody{})
		})
}

// getFact gives what holds now.
func (a *api) getFact(ctx context.Context, in *FactPlace) (*output[FactView], error) {
	if err := a.seesPlace(ctx, callerOf(ctx), *in); err != nil {
		return nil, err
	}
	rows, err := a.pool.Query(ctx, "SELECT DISTINCT ON (member) "+factColumns+" FROM grid.facts WHERE scope = $1 AND id = $2 AND name = $3 ORDER BY member, since DESC, n DESC", in.Scope, in.ID, in.Name)
	if err != nil {
		return nil, a.fail(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[said])
	if err != nil {
		return nil, a.fail(err)
	}
	v, found := FactView{Scope: in.Scope, ID: in.ID, Name: in.Name}, false
	for _, x := range list {
		if x.Value == nil || x.Until != nil && !x.Until.After(a.now()) {
			continue
		}
		found = true
		by := FactSaid{x.Since, x.Until, x.Organization, x.Person}
		if x.Member != "" {
			v.Members = append(v.Members, FactMember{x.Member, by})
			continue
		}
		v.FactSaid = by
		if err := json.Unmarshal(x.Value, &v.Value); err != nil {
			return nil, a.fail(err)
		}
	}
	if !found {
		return nil, huma.Error404NotFound("nothing of that name is said of the place")
	}
	return &output[FactView]{v}, nil
}

// say writes down what a person says, or takes back. The answer is what was said.
func (a *api) say(ctx context.Context, in FactPlace, member string, body FactBody) (*output[FactView], error) {
	who, now := callerOf(ctx), a.now().UTC()
	if err := a.seesPlace(ctx, who, in); err != nil {
		return nil, err
	}
	if err := maySay(who.scope, in.Name); err != nil {
		return nil, err
	}
	f := rules.Fact{Scope: rules.Scope(in.Scope), ID: in.ID, Name: in.Name, Member: member, Value: body.Value, Since: now}
	if err := checkFact(body, now); err != nil {
		return nil, err
	}
	if body.Until != nil {
		f.Until = body.Until.UTC()
	}
	by := who.scope.actor()
	write := sayFact
	if f.Value == nil && member == "" {
		write = takeBackFact
	}
	if err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error { return write(ctx, tx, f, by, now) }); err != nil {
		return nil, a.fail(err)
	}
	v := FactView{Scope: in.Scope, ID: in.ID, Name: in.Name}
	switch said := (FactSaid{now, body.Until, by.Organization, by.Person}); {
	case member != "" && body.Value != nil:
		v.Members = []FactMember{{member, said}}
	case member == "":
		v.Value, v.FactSaid = body.Value, said
	}
	return &output[FactView]{v}, nil
}

// maySay says whether a role may say something of a name.
func maySay(s scope, name string) error {
	writers := []Role{RoleGridWorker, RoleCommunityWorker, RoleDispatcher}
	switch name {
	case consentsFact:
		return huma.Error403Forbidden("consents are kept by the vault; record the consent there")
	case registersFact:
		writers = writers[1:]
	}
	if !slices.Contains(writers, Role(s.Role)) {
		return huma.Error403Forbidden(fmt.Sprintf("role %q may not say %s of a place; %v may", s.Role, name, writers))
	}
	return nil
}

func checkFact(b FactBody, now time.Time) error {
	switch v := b.Value.(type) {
	case nil, bool, float64:
	case string:
		if len(v) > 256 {
			return huma.Error422UnprocessableEntity("body.value: is longer than 256 bytes")
		}
	default:
		return huma.Error422UnprocessableEntity("body.value: write true, false, a number or a text")
	}
	if b.Until != nil && (!b.Until.After(now) || b.Until.After(now.AddDate(0, 0, maxFactDays))) {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.until: write a time to come, within %d days", maxFactDays))
	}
	return nil
}

// seesPlace refuses a place that is not in the caller's jurisdiction, or that is no place at all: both are not there. What is said of households is
// for committees and townships alone.
func (a *api) seesPlace(ctx context.Context, who caller, in FactPlace) error {
	missing := huma.Error404NotFound("no such place in your organization's jurisdiction")
	if !who.scope.grassroots {
		return missing
	}
	for _, at := range placesOf(who.bundle, rules.Scope(in.Scope), in.ID) {
		sees, err := a.covers(ctx, who.scope, contract.Device{Community: at.community, Grid: at.grid})
		if err != nil {
			return a.fail(err)
		}
		if sees {
			return nil
		}
	}
	return missing
}

// whereabouts are a community and, where the place lies in one, a grid.
type whereabouts struct{ community, grid string }

// placesOf gives where a place lies, by the directory and the registry; none if there is no such place. It is pure.
func placesOf(b *intake.Bundle, scope rules.Scope, id string) []whereabouts {
	parts := strings.Split(id, "/")
	community, known := b.Directory.Communities[parts[0]]
	switch scope {
	case rules.ScopeCommunity:
		if known && len(parts) == 1 {
			return []whereabouts{{id, ""}}
		}
		return nil
	case rules.ScopeGrid, rules.ScopeMicroGrid:
		return gridOf(community, scope, parts)
	case rules.ScopeDevice:
		if len(parts) != 2 {
			return nil
		}
		if row, ok := b.Fleets[parts[0]].Devices[parts[1]]; ok {
			return []whereabouts{{row.Community, row.Grid}}
		}
		return nil
	}
	found := map[whereabouts]bool{}
	for fleet, f := range b.Fleets {
		for name, row := range f.Devices {
			if at, ok := rules.Place(scope, fleet, name, &row); ok && at == id {
				found[whereabouts{row.Community, row.Grid}] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b whereabouts) int { return strings.Compare(a.community+"/"+a.grid, b.community+"/"+b.grid) })
}

func gridOf(c contract.Community, scope rules.Scope, parts []string) []whereabouts {
	for _, g := range c.Grids {
		if len(parts) < 2 || g.Name != parts[1] {
			continue
		}
		if scope == rules.ScopeGrid && len(parts) == 2 {
			return []whereabouts{{parts[0], g.Name}}
		}
		for _, m := range g.MicroGrids {
			if scope == rules.ScopeMicroGrid && len(parts) == 3 && m.Name == parts[2] {
				return []whereabouts{{parts[0], g.Name}}
			}
		}
	}
	return nil
}
