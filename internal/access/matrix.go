package access

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// Cell is what one organisation sees of one field under one agreement.
type Cell struct {
	Platform string `json:"platform"`
	Dataset  string `json:"dataset"`
	Field    string `json:"field"`
	Grade    string `json:"grade"`
	Personal string `json:"personal"`
	// Class of data that the field makes in its dataset.
	Class     string `json:"class,omitempty"`
	Consumer  string `json:"consumer"`
	Agreement string `json:"agreement"`
	// Shown is "whole", a mask such as "KeepLast 4", or "aggregates" where nothing else is given.
	Shown string `json:"shown"`
	// Communities that are reached.
	Communities []string `json:"communities"`
	Purposes    []string `json:"purposes"`
	Roles       []string `json:"roles,omitempty"`
	// Rows are further conditions on rows: grids, compounds, the roster, and requirements; all must hold.
	Rows []string `json:"rows,omitempty"`
	// Hours of the day, and what Case is asked for; empty where nothing was agreed about them.
	Hours string `json:"hours,omitempty"`
	Case  string `json:"case,omitempty"`
}

// Matrix gives who sees what, sorted by dataset, field, consumer and agreement.
func Matrix(s Side) []Cell {
	out := []Cell{}
	for _, g := range s.grants() {
		reached := communities(s, g.grant.Rows)
		d, ok := s.Datasets[g.key.dataset]
		if !ok {
			continue // a grant is made of a dataset that was written
		}
		for _, name := range g.seen() {
			f := g.dataset.Fields[name]
			out = append(out, Cell{
				Platform: s.Platform, Dataset: g.key.dataset, Field: name, Grade: f.Grade, Personal: f.Personal, Class: string(compile.ClassOf(d, func(field string) bool { return field == name })), Consumer: g.key.consumer, Agreement: g.key.agreement,
				Shown: shown(g.grant, name), Communities: reached, Purposes: g.grant.Purposes, Roles: g.grant.Roles,
				Rows: rowsText(g.grant.Rows), Hours: hoursText(g.grant.Hours), Case: caseText(g.grant),
			})
		}
	}
	slices.SortFunc(out, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Agreement, b.Agreement))
	})
	return out
}

// rowsText lists what narrows rows beside the communities.
func rowsText(r contract.Rows) (out []string) {
	for _, part := range []struct {
		name   string
		values []string
	}{{"grids", r.Grids}, {"compounds", r.Compounds}} {
		if len(part.values) > 0 {
			out = append(out, part.name+" "+strings.Join(part.values, ","))
		}
	}
	if r.Roster {
		out = append(out, "roster")
	}
	for _, q := range r.Requirements {
		out = append(out, requirementText(q))
	}
	return out
}

// caseText says what case is asked for.
func caseText(g contract.Grant) string {
	var parts []string
	if g.CaseNumber != "" {
		parts = append(parts, g.CaseNumber)
	} else if g.CaseNumberRequired {
		parts = append(parts, "number required")
	}
	if c := g.Case; c != nil {
		parts = append(parts, strings.TrimSpace(strings.Join(c.Classes, ",")+" from "+string(c.MinSeverity)))
	}
	return strings.Join(parts, "; ")
}

func shown(g contract.Grant, field string) string {
	if a := g.Aggregates; a != nil && a.Only {
		return "aggregates"
	}
	return cmp.Or(strings.Trim(maskText(g.Fields[field]), "()"), "whole")
}

// ClassCell counts the fields of one class that one organisation sees of one dataset.
type ClassCell struct {
	Platform  string   `json:"platform"`
	Consumer  string   `json:"consumer"`
	Dataset   string   `json:"dataset"`
	Class     string   `json:"class"`
	Agreement string   `json:"agreement"`
	Fields    []string `json:"fields"`
}

// ByClass gathers cells by class, sorted by consumer, dataset, agreement and class.
func ByClass(cells []Cell) []ClassCell {
	type group struct{ platform, consumer, dataset, agreement, class string }
	fields := map[group][]string{}
	for _, c := range cells {
		k := group{c.Platform, c.Consumer, c.Dataset, c.Agreement, c.Class}
		fields[k] = append(fields[k], strings.TrimSuffix(c.Field+"("+c.Shown+")", "(whole)"))
	}
	out := []ClassCell{}
	for _, k := range slices.SortedFunc(maps.Keys(fields), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.consumer, b.consumer), cmp.Compare(a.dataset, b.dataset), cmp.Compare(a.agreement, b.agreement), cmp.Compare(a.class, b.class))
	}) {
		out = append(out, ClassCell{k.platform, k.consumer, k.dataset, k.class, k.agreement, fields[k]})
	}
	return out
}
