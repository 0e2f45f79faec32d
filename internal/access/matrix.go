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
			})
		}
	}
	slices.SortFunc(out, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Agreement, b.Agreement))
	})
	return out
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
