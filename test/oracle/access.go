// Package oracle decides who may read what, slowly and simply, from the words of the design. It imports nothing of the platform: it
// reads the JSON of agreements and requests with types of its own, so that a mistake in the policy is not made here again.
package oracle

import (
	"encoding/json"
	"sort"
	"strings"
)

// World is what there is: datasets by name, and agreements by dataset, consumer and name.
type World struct {
	Datasets map[string]struct {
		Sharing, Category, ConsentScope string
		Fields                          map[string]struct{ Personal string }
		Source                          struct{ DivisionColumn, CommunityColumn, GridColumn, CompoundColumn, SubjectColumn string }
	}
	Grants map[string]map[string]map[string]Agreement
}

// Agreement as the bundle has it.
type Agreement struct {
	Fields map[string]struct{ Method string }
	Rows   struct {
		Divisions, Communities, Grids, Compounds []string
		Roster                                   bool
	}
	Purposes, Roles                    []string
	PersonRequired, CaseNumberRequired bool
	CaseNumber, ConsentScope           string
	Case                               *struct {
		Classes      []string
		MinSeverity  string
		GraceSeconds int64
	}
	Hours *struct {
		From, To        int
		WorkingDaysOnly bool
	}
	Aggregates *struct {
		Only                 bool
		SmallCell            int
		Dimensions, Measures []string
	}
	BreakGlass          *struct{ Roles []string }
	NotBefore, NotAfter int64
}

// Request as the policy is asked it.
type Request struct {
	Contract                                         int
	Dataset, Consumer, Clearance, Agreement, Purpose string
	Fields                                           []string
	Aggregate                                        *struct{ By, Sum []string }
	Filter                                           []struct{ Field, Operator string }
	Case                                             *struct {
		Number, Origin, Class, Severity, Community, Division string
		Open                                                 bool
		ClosedAt                                             int64
	}
	Person *struct {
		Subject string
		Roles   []string
	}
	Clock *struct {
		Minute     int
		WorkingDay bool
	}
	BreakGlass *struct {
		Reason  string
		Overdue bool
	}
	Now int64
}

// Verdict is what may be read. All but Allow is empty where nothing may.
type Verdict struct {
	Allow                         bool
	Agreement, Role, ConsentScope string
	// Fields of which something leaves, sorted.
	Fields     []string
	BreakGlass bool
	SmallCell  int
}

// Parse reads a world.
func Parse(raw []byte) (World, error) {
	var w World
	return w, json.Unmarshal(raw, &w)
}

// Decide reads a request and looks at every agreement there is.
func (w World) Decide(raw []byte) (Verdict, error) {
	var q Request
	if err := json.Unmarshal(raw, &q); err != nil {
		return Verdict{}, err
	}
	var all, fit []string
	for dataset, consumers := range w.Grants {
		for consumer, agreements := range consumers {
			for name, a := range agreements {
				if dataset != q.Dataset || consumer != q.Consumer {
					continue
				}
				all = append(all, name)
				if q.Now >= a.NotBefore && (a.NotAfter == 0 || q.Now < a.NotAfter) && has(a.Purposes, q.Purpose) {
					fit = append(fit, name)
				}
			}
		}
	}
	name := q.Agreement
	if name == "" {
		if len(fit) != 1 {
			return Verdict{}, nil // none fits, or it is not clear which is meant
		}
		name = fit[0]
	}
	if !has(all, name) || !has(fit, name) {
		return Verdict{}, nil
	}
	return w.under(name, w.Grants[q.Dataset][q.Consumer][name], q), nil
}

func (w World) under(name string, a Agreement, q Request) Verdict {
	no := Verdict{}
	d, known := w.Datasets[q.Dataset]
	if !known || d.Sharing != "Unconditional" && d.Sharing != "Conditional" || q.Contract < 3 {
		return no
	}
	// What is asked for, and what of it leaves.
	want := q.Fields
	if q.Aggregate != nil {
		if a.Aggregates == nil || a.Aggregates.SmallCell < 2 {
			return no
		}
		want = append(append([]string{}, q.Aggregate.By...), q.Aggregate.Sum...)
		for _, f := range q.Aggregate.By {
			if !has(a.Aggregates.Dimensions, f) {
				return no
			}
		}
		for _, f := range q.Aggregate.Sum {
			if !has(a.Aggregates.Measures, f) {
				return no
			}
		}
		for _, c := range q.Filter {
			if !has(a.Aggregates.Dimensions, c.Field) || c.Operator != "In" {
				return no
			}
			want = append(want, c.Field)
		}
	} else {
		if a.Aggregates != nil && a.Aggregates.Only {
			return no
		}
		if len(want) == 0 {
			for f := range a.Fields {
				if _, there := d.Fields[f]; there {
					want = append(want, f)
				}
			}
		}
	}
	leaves := map[string]bool{}
	rank, known := map[string]int{"Ordinary": 0, "KeyPopulation": 3, "Biometric": 3, "Video": 3, "Health": 2, "Minor": 2, "Financial": 2, "Location": 2}[d.Category]
	if !known {
		rank = 3
	}
	people := false
	for _, f := range want {
		mask, granted := a.Fields[f]
		field, there := d.Fields[f]
		if !granted || !there {
			return no
		}
		if mask.Method == "Drop" {
			continue
		}
		leaves[f] = true
		level, marked := map[string]int{"None": 0, "Ordinary": 1, "Sensitive": 2, "Biometric": 3}[field.Personal]
		if !marked {
			level = 3
		}
		rank = max(rank, level)
		people = people || level > 0
	}
	if q.Aggregate == nil {
		if len(leaves) == 0 {
			return no
		}
		for _, c := range q.Filter {
			if !has(want, c.Field) || a.Fields[c.Field].Method != "" {
				return no
			}
		}
	} else {
		people = false // groups are no persons
	}
	if clearance := strings.Index("C0C1C2C3", or(q.Clearance, "C0")) / 2; rank > clearance {
		return no
	}
	// Which rows, and whose consent.
	s := d.Source
	if s.DivisionColumn == "" && s.CommunityColumn == "" {
		if people || s.SubjectColumn != "" || len(a.Rows.Communities)+len(a.Rows.Grids)+len(a.Rows.Compounds) > 0 || a.Rows.Roster {
			return no
		}
	} else if len(a.Rows.Grids) > 0 && s.GridColumn == "" || len(a.Rows.Compounds) > 0 && s.CompoundColumn == "" {
		return no
	}
	consent := or(d.ConsentScope, a.ConsentScope)
	if consent != "" && s.SubjectColumn == "" {
		return no
	}
	// Who.
	shown := q.Person != nil && q.Person.Subject != ""
	var roles []string
	if q.Person != nil {
		for _, r := range q.Person.Roles {
			if has(a.Roles, r) {
				roles = append(roles, r)
			}
		}
	}
	if (people || a.PersonRequired || a.Rows.Roster) && (!shown || len(roles) == 0) {
		return no
	}
	number := ""
	if q.Case != nil {
		number = strings.TrimSpace(q.Case.Number)
	}
	if a.CaseNumber != "" && number != "" && q.Case.Number != a.CaseNumber {
		return no
	}
	emergency := !inHours(a, q) || !caseHolds(a, q, number)
	if emergency {
		if a.BreakGlass == nil || q.BreakGlass == nil || strings.TrimSpace(q.BreakGlass.Reason) == "" || q.BreakGlass.Overdue || !shown {
			return no
		}
		var may []string
		for _, r := range roles {
			if has(a.BreakGlass.Roles, r) {
				may = append(may, r)
			}
		}
		if roles = may; len(roles) == 0 {
			return no
		}
	}
	v := Verdict{Allow: true, Agreement: name, ConsentScope: consent, BreakGlass: emergency, Fields: []string{}}
	for f := range leaves {
		v.Fields = append(v.Fields, f)
	}
	sort.Strings(v.Fields)
	if sort.Strings(roles); len(roles) > 0 {
		v.Role = roles[0]
	}
	if q.Aggregate != nil {
		v.SmallCell = a.Aggregates.SmallCell
	}
	return v
}

func inHours(a Agreement, q Request) bool {
	h := a.Hours
	if h == nil {
		return true
	}
	if q.Clock == nil || h.WorkingDaysOnly && !q.Clock.WorkingDay {
		return false
	}
	// Walk from the first minute to the last, over midnight if need be.
	for m := h.From; ; {
		if m == q.Clock.Minute {
			return true
		}
		if m = (m + 1) % (24 * 60); m == h.To {
			return false
		}
	}
}

func caseHolds(a Agreement, q Request, number string) bool {
	if !a.CaseNumberRequired && a.CaseNumber == "" && a.Case == nil {
		return true
	}
	if number == "" {
		return false
	}
	c := q.Case
	switch c.Origin {
	case "Foreign":
		return a.Case == nil
	case "Platform":
	default:
		return false
	}
	if !c.Open && (a.Case == nil || q.Now >= c.ClosedAt+a.Case.GraceSeconds) {
		return false
	}
	if a.Case != nil {
		severities := map[string]int{"Low": 1, "Medium": 2, "High": 3, "Critical": 4}
		if len(a.Case.Classes) > 0 && !has(a.Case.Classes, c.Class) || severities[c.Severity] < severities[a.Case.MinSeverity] {
			return false
		}
	}
	if len(a.Rows.Communities) > 0 && !has(a.Rows.Communities, c.Community) {
		return false
	}
	for _, prefix := range a.Rows.Divisions {
		if strings.HasPrefix(c.Division, prefix) {
			return true
		}
	}
	return false
}

func has(list []string, one string) bool {
	for _, item := range list {
		if item == one {
			return true
		}
	}
	return false
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
