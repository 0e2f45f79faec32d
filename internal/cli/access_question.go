package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/access/check"
	"github.com/dizuo/dizuo/internal/contract"
)

// severities as --case-severity takes them.
var severities = []contract.Severity{contract.SeverityCritical, contract.SeverityHigh, contract.SeverityMedium, contract.SeverityLow}

// checkFlags refuses what would be asked otherwise than it was meant.
func (c *accessCheck) checkFlags() error {
	c.number = strings.TrimSpace(c.number) // as the gateway does
	aggregate := c.aggregate()
	switch {
	case c.number == "" && c.class+c.severity+c.place != "":
		return usage("--case-class, --case-severity and --case-community say what the case of --case is: write its number too")
	case c.class == "" && c.severity+c.place != "":
		return usage("--case-severity and --case-community are of a case of the platform: write its --case-class too")
	case c.class != "" && !contract.PlatformCaseNumber(c.number):
		return usage("--case %q is no number of the platform (such as 20270104-000123), so the gateway knows no class of it: leave out --case-class, or write such a number", c.number)
	case c.class != "" && !slices.Contains(severities, contract.Severity(c.severity)):
		return usage("--case-severity %q: write Critical, High, Medium or Low", c.severity)
	case c.class != "" && either(c.place, c.community) == "":
		return usage("--case-class: write with --case-community where the case happened: an agreement takes cases within its rows")
	case !aggregate && len(c.where) > 0:
		return usage("--where is a condition of counts and sums: write --by, --sum or --count too")
	case aggregate && len(c.fields) > 0:
		return usage("--fields is of records, and --by, --sum and --count ask for counts and sums: write one of both")
	}
	return nil
}

func (c *accessCheck) aggregate() bool { return c.count || len(c.by) > 0 || len(c.sum) > 0 }

// caseNote says what is not known of the case; empty where all is.
func (c *accessCheck) caseNote() string {
	switch {
	case c.number == "" || c.class != "":
		return ""
	case contract.PlatformCaseNumber(c.number):
		return fmt.Sprintf("note: --case %s has the form of the platform's own numbers, so the gateway looks it up; nothing is looked up here, so it counts as unknown. Write what would be found: --case-class, --case-severity and --case-community", c.number)
	}
	return fmt.Sprintf("note: --case %s has not the form of the platform's own numbers (such as 20270104-000123), so it is a foreign case, which nobody can look up; an agreement on cases of the platform takes it for unknown. For such a case write its number, --case-class, --case-severity and --case-community", c.number)
}

// question gives the request as the gateway would put it.
func (c *accessCheck) question(w check.World, now time.Time) (check.Question, error) {
	q := check.Question{Community: c.community, DecisionInput: contract.DecisionInput{
		Dataset: c.dataset, Consumer: c.organization, Agreement: c.agreement, Fields: contract.NamesOf(c.fields), Purpose: c.purpose, Now: now.Unix(),
	}}
	consumer, ok := w.Directory.Organizations[c.organization]
	if !ok {
		return q, usage("--as %s: there is no such Organization; write one of %s", c.organization, namesIn(w.Directory.Organizations))
	}
	q.Clearance = consumer.Clearance
	zone, err := time.LoadLocation(either(w.Directory.Platform.TimeZone, "Asia/Shanghai"))
	if err != nil {
		return q, fmt.Errorf("time zone of the platform: %w", err)
	}
	local := now.In(zone)
	q.Clock = &contract.Clock{Minute: local.Hour()*60 + local.Minute(), WorkingDay: w.Directory.Platform.Calendar.Works(local)}
	if c.role != "" {
		q.Person = &contract.Person{Subject: "somebody", Roles: []string{c.role}}
	}
	if c.breakGlass != "" {
		q.BreakGlass = &contract.BreakGlassRequest{Reason: c.breakGlass}
	}
	if q.Case, err = c.caseFact(w.Directory); err != nil {
		return q, err
	}
	if c.aggregate() {
		if q.Filter, err = contract.AggregateConditions(c.where); err != nil {
			return q, usage("--%v", err)
		}
		q.Aggregate = &contract.AggregateRequest{By: contract.NamesOf(c.by), Sum: contract.NamesOf(c.sum)}
		q.Fields = contract.NamesOf(q.Aggregate.Fields(q.Filter))
	}
	return q, nil
}

// caseFact is what the gateway would know of the case: of a number of the platform's form what the flags say of it, else nothing.
func (c *accessCheck) caseFact(dir contract.Directory) (*contract.CaseFact, error) {
	if c.number == "" {
		return nil, nil
	}
	fact := &contract.CaseFact{Number: c.number}
	switch {
	case !contract.PlatformCaseNumber(c.number):
		fact.Origin = contract.CaseForeign
	case c.class != "":
		place := either(c.place, c.community)
		community, ok := dir.Communities[place]
		if !ok {
			return nil, usage("--case-community %s: there is no such Community; write one of %s", place, namesIn(dir.Communities))
		}
		*fact = contract.CaseFact{
			Number: c.number, Origin: contract.CasePlatform, Open: true, Class: c.class, Severity: contract.Severity(c.severity), Community: place, Division: community.Division,
		}
	}
	return fact, nil
}

// namesIn lists the names of a map, to choose from.
func namesIn[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
