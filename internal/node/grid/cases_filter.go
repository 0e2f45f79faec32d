package grid

import (
	"fmt"

	"github.com/dizuo/dizuo/internal/contract"
)

// CaseFilter narrows a list of cases beyond its state and severity.
type CaseFilter struct {
	Community    string `query:"community" doc:"Name of a community." maxLength:"253"`
	Class        string `query:"class" doc:"Class of the cases." maxLength:"64"`
	Grid         string `query:"grid" doc:"Name of a grid." maxLength:"63"`
	Organization string `query:"organization" doc:"Only cases to which this organization is called." maxLength:"253"`
	Number       string `query:"number" doc:"Number of one case, as people use it." maxLength:"64"`
	Overdue      bool   `query:"overdue" doc:"Only cases that missed a time: to be taken, on site, or closed."`
	Mine         bool   `query:"mine" doc:"Only cases that are yours: assigned to you, or called to you or to a post on which the roster has you."`
}

// missedTime says that a case missed one of its times.
const missedTime = "(c.acknowledge_overdue OR c.onsite_overdue OR c.resolve_overdue)"

// inState adds to a condition on grid.cases under the alias c that they are in a state, or Open, and of a severity; empty ones are any.
func inState(where string, args []any, state string, severity contract.Severity) (string, []any) {
	add := func(condition string, v any) {
		args = append(args, v)
		where += fmt.Sprintf(" AND "+condition, len(args))
	}
	switch state {
	case "":
	case "Open":
		where += " AND c.open"
	default:
		add("c.state = $%d", state)
	}
	if severity != "" {
		add("c.severity = $%d", severity)
	}
	return where, args
}

// where gives the SQL condition on grid.cases under the alias c that goes behind a scope's, and all arguments with those before.
func (f CaseFilter) where(s scope, args []any) (string, []any) {
	where := ""
	add := func(condition string, values ...any) {
		places := make([]any, len(values))
		for i, v := range values {
			args = append(args, v)
			places[i] = len(args)
		}
		where += fmt.Sprintf(" AND "+condition, places...)
	}
	if f.Community != "" {
		add("c.community = $%d", f.Community)
	}
	if f.Class != "" {
		add("c.class = $%d", f.Class)
	}
	if f.Grid != "" {
		add("c.grid = $%d", f.Grid)
	}
	if f.Organization != "" {
		add("EXISTS (SELECT FROM grid.case_parties p WHERE p.case_id = c.id AND p.organization = $%d AND p.released_at IS NULL)", f.Organization)
	}
	if f.Number != "" {
		add("c.number = $%d", f.Number)
	}
	if f.Overdue {
		where += " AND " + missedTime
	}
	if f.Mine {
		add(`(c.assignee_organization = $%[1]d AND c.assignee_person = $%[2]d OR EXISTS (SELECT FROM grid.case_parties p WHERE p.case_id = c.id AND p.released_at IS NULL
			AND (p.organization = $%[1]d AND p.person = $%[2]d OR p.post <> '' AND EXISTS (SELECT FROM grid.roster r WHERE r.organization = $%[1]d AND r.person = $%[2]d
				AND p.post IN (r.role, r.post) AND r.community = c.community AND r.grid IN ('', c.grid)))))`, s.Organization, s.Subject)
	}
	return where, args
}
