package grid

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Person is who a pseudonym of the roster is. Nothing else of the platform holds such names and phones.
type Person struct {
	Person string `json:"person" minLength:"1" maxLength:"128" doc:"A pseudonym, as in the roster."`
	Name   string `json:"name" minLength:"1" maxLength:"64"`
	Phone  string `json:"phone,omitempty" maxLength:"24" pattern:"^[+]?[0-9][0-9 -]*$"`
}

// People are all of one organisation.
type People struct {
	Organization string   `json:"organization,omitempty" readOnly:"true"`
	People       []Person `json:"people" maxItems:"2000"`
}

// PeopleKept says how many people are entered now.
type PeopleKept struct {
	Count int `json:"count"`
}

// CaseDuty is who is on duty for a critical case now, with the phone.
type CaseDuty struct {
	Duty
	Phone string `json:"phone,omitempty" doc:"Empty if their organization entered none."`
}

type putPeopleInput struct{ Body People }

func (a *api) registerPeople() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-people", Method: http.MethodGet, Path: "/v1/people",
		Summary: "Names and phones of your organization's people; that you read them is written down"}, a.getPeople)
	huma.Register(a.huma, huma.Operation{OperationID: "put-people", Method: http.MethodPut, Path: "/v1/people", Summary: "Replace names and phones of your organization's people"}, a.putPeople)
	huma.Register(a.huma, huma.Operation{OperationID: "get-case-duty", Method: http.MethodGet, Path: "/v1/cases/{id}/duty",
		Summary: "Who is on duty for a critical case that your organization was called to, with the phone; that you read it is written down"}, a.caseDuty)
}

// readPeople gives people of an organisation, those named or all where names is nil, and writes down, in the same statement, who read whom. No error
// of it holds a name or a phone.
func readPeople(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, by scope, organization string, names []string, caseID *uuid.UUID, at any) ([]Person, error) {
	rows, err := q.Query(ctx, `WITH p AS (SELECT organization, person, name, phone FROM grid.people WHERE organization = $1 AND ($2::text[] IS NULL OR person = ANY($2))),
		r AS (INSERT INTO grid.people_reads (at, organization, person, role, subject, case_id) SELECT $3, $4, $5, $6, p.organization || '/' || p.person, $7 FROM p)
		SELECT person, name, phone FROM p ORDER BY person`, organization, names, at, by.Organization, by.Subject, by.Role, caseID)
	if err != nil {
		return nil, fmt.Errorf("people: %w", err)
	}
	people, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Person])
	if err != nil {
		return nil, fmt.Errorf("people: %w", err)
	}
	return people, nil
}

func (a *api) getPeople(ctx context.Context, _ *struct{}) (*output[People], error) {
	who := callerOf(ctx)
	var names []string
	switch r := Role(who.scope.Role); {
	case len(who.scope.communities) == 0 || r == RoleAuditor:
		return nil, huma.Error403Forbidden(fmt.Sprintf("role %q of your organization reads no names and phones", r))
	case r == RoleGridWorker:
		names = []string{who.scope.Subject} // their own: a list of colleagues is the office's
	}
	people, err := readPeople(ctx, a.pool, who.scope, who.scope.Organization, names, nil, a.now().UTC())
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[People]{People{who.scope.Organization, people}}, nil
}

func (a *api) putPeople(ctx context.Context, in *putPeopleInput) (*output[PeopleKept], error) {
	who := callerOf(ctx)
	if err := keepsRoster(who, "names and phones"); err != nil {
		return nil, err
	}
	people, names, phones := []string{}, []string{}, []string{}
	for i, p := range in.Body.People {
		if slices.Contains(people, p.Person) {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("body.people[%d].person: %q is entered twice; leave one out", i, p.Person))
		}
		people, names, phones = append(people, p.Person), append(names, p.Name), append(phones, p.Phone)
	}
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM grid.people WHERE organization = $1 AND person <> ALL($2)", who.scope.Organization, people); err != nil {
			return fmt.Errorf("people: %w", err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO grid.people AS p (organization, person, name, phone, updated_at) SELECT $1, *, $5 FROM unnest($2::text[], $3::text[], $4::text[])
			ON CONFLICT (organization, person) DO UPDATE SET name = excluded.name, phone = excluded.phone, updated_at = excluded.updated_at WHERE (p.name, p.phone) <> (excluded.name, excluded.phone)`,
			who.scope.Organization, people, names, phones, a.now().UTC()); err != nil {
			return fmt.Errorf("people: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[PeopleKept]{PeopleKept{len(people)}}, nil
}

// caseDuty tells a party of a critical case whom to phone. It is reckoned anew: the shift may have changed since the case was assigned.
func (a *api) caseDuty(ctx context.Context, in *idInput) (*output[CaseDuty], error) {
	who := callerOf(ctx)
	var out CaseDuty
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		where, args := who.scope.cases(2)
		c, err := oneCase(ctx, tx, "c.id = $1 AND "+where, append([]any{in.ID}, args...)...)
		if err != nil {
			return err
		}
		if c == nil {
			return errNoCase()
		}
		parties, err := partiesOf(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		switch d := who.bundle.Directory; {
		case Role(who.scope.Role) == RoleAuditor:
			return huma.Error403Forbidden(fmt.Sprintf("role %q reads no phones", who.scope.Role))
		case c.Severity != "Critical" || !c.State.Open():
			return huma.Error403Forbidden(fmt.Sprintf("case %s is %s and %s: phones of who is on duty are told while a case is Critical and open", c.Number, c.Severity, c.State))
		case !isParty(d, who.scope.Organization, parties):
			return huma.Error403Forbidden(fmt.Sprintf("organization %q was not called to case %s; phones of who is on duty are told to who was", who.scope.Organization, c.Number))
		}
		var posts []string
		for _, p := range parties {
			if p.ReleasedAt == nil && p.Post != "" {
				posts = append(posts, p.Post)
			}
		}
		now := a.now().UTC()
		if out.Duty, err = dutyOf(ctx, tx, who.bundle.Directory, c, posts, now); err != nil {
			return err
		}
		if !who.scope.grassroots {
			out.Chain = nil
		}
		people, err := readPeople(ctx, tx, who.scope, out.Organization, []string{out.Person}, &c.ID, now)
		if len(people) == 1 {
			out.Phone = people[0].Phone
		}
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[CaseDuty]{out}, nil
}
