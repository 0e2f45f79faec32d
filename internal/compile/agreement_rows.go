package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// rows gives the row scope: the consumer's jurisdiction, narrowed by what the agreement says. A consumer without jurisdiction and a
// selection that selects nothing give no row at all, never every row.
func rows(c *problems, s *Snapshot, field string, want *v1alpha1.RowSelector, consumer *v1alpha1.Organization, d *v1alpha1.Dataset) contract.Rows {
	if want == nil {
		want = &v1alpha1.RowSelector{}
	}
	jurisdiction := consumer.Spec.Jurisdiction
	if len(jurisdiction) == 0 {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field,
			"Organization "+consumer.Name+" has no jurisdiction, so it reads nowhere; write spec.jurisdiction of the Organization")
		return contract.Rows{}
	}
	out := contract.Rows{Divisions: want.Divisions}
	if len(out.Divisions) == 0 {
		out.Divisions = jurisdiction
	}
	for _, division := range want.Divisions {
		if !slices.ContainsFunc(jurisdiction, func(prefix string) bool { return strings.HasPrefix(division, prefix) }) {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field+".divisions",
				fmt.Sprintf("%s is outside the jurisdiction of Organization %s (%s): an agreement narrows it and never widens it; write a division under it", division, consumer.Name, strings.Join(jurisdiction, ", ")))
		}
	}
	if ownSources[d.Spec.Source.Type] != nil {
		out.Divisions = ownDivisions(c, s, field, out.Divisions, d)
	}
	out.Communities = slices.Clone(want.Communities)
	if sel := want.CommunitySelector; sel != nil {
		selected := selectCommunities(s, sel, want.Communities)
		if out.Communities = selected; len(selected) == 0 {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonCommunityNotFound, field+".communitySelector", "selects no Community")
		}
	}
	out.Grids = want.Grids
	out.Roster = isTrue(want.Roster)
	if d.Spec.GridColumn == "" && ownSources[d.Spec.Source.Type] == nil && (len(out.Grids) > 0 || out.Roster) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field,
			"names grids or the roster, and Dataset "+d.Name+" has no gridColumn; name the column of the Dataset, or take them out")
	}
	out.Compounds = compounds(c, field, consumer, d)
	for i, r := range want.Requirements {
		if f := fieldOf(d, r.Column); f != nil {
			checkRequirement(c, fmt.Sprintf("%s.requirements[%d]", field, i), r, f)
		}
		out.Requirements = append(out.Requirements, contract.Requirement{Field: r.Column, Operator: string(r.Operator), Values: r.Values})
	}
	return out
}

// ownDivisions narrows the divisions of an agreement on the platform's own data to those that the namespace of the Dataset speaks for: a
// county gives its own cases and not its neighbours', whoever the consumer is. Else two parties would open what neither has.
func ownDivisions(c *problems, s *Snapshot, field string, divisions []string, d *v1alpha1.Dataset) (out []string) {
	if d.Namespace == s.Platform.Namespace {
		return divisions
	}
	own := Divisions(s.Platform, d.Namespace)
	for _, a := range divisions {
		for _, b := range own {
			switch {
			case strings.HasPrefix(a, b):
				out = append(out, a)
			case strings.HasPrefix(b, a):
				out = append(out, b)
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 0 {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field+".divisions", fmt.Sprintf(
			"Dataset %s is of namespace %s, which gives the platform's own data of its divisions (%s), and %s lies under none of them; name a Dataset of the platform's namespace, or a division there",
			d.Name, d.Namespace, strings.Join(own, ", "), strings.Join(divisions, ", ")))
	}
	return out
}

// selectCommunities gives the names of communities that a selector matches, among names if any are given.
func selectCommunities(s *Snapshot, sel *v1alpha1.LabelSelector, names []string) []string {
	var out []string
	for name := range s.Communities {
		o, _ := s.Communities.Get(name)
		if (len(names) == 0 || slices.Contains(names, name)) && matches(sel, o.Labels) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func matches(sel *v1alpha1.LabelSelector, labels map[string]string) bool {
	for key, want := range sel.MatchLabels {
		if got, ok := labels[key]; !ok || got != string(want) {
			return false
		}
	}
	for _, r := range sel.MatchExpressions {
		got, ok := labels[r.Key]
		in := ok && slices.Contains(r.Values, got)
		good := map[string]bool{"In": in, "NotIn": !in, "Exists": ok, "DoesNotExist": !ok}
		if !good[string(r.Operator)] {
			return false
		}
	}
	return true
}

// compounds gives the compounds that bound a consumer: a property company has nothing but those that it manages.
func compounds(c *problems, field string, consumer *v1alpha1.Organization, d *v1alpha1.Dataset) []string {
	if consumer.Spec.Type != v1alpha1.OrganizationPropertyCompany {
		return nil
	}
	if len(consumer.Spec.Compounds) == 0 {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field,
			"Organization "+consumer.Name+" is a property company without compounds, so it reads nowhere; write spec.compounds of the Organization")
	}
	if d.Spec.CompoundColumn == "" {
		remedy := "name the column of the Dataset"
		if ownSources[d.Spec.Source.Type] != nil {
			remedy = "rows of source type " + string(d.Spec.Source.Type) + " say no compound, so share a table that does, or let it ask the grid service for its cases"
		}
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field,
			"Organization "+consumer.Name+" is a property company and reads its own compounds only, and Dataset "+d.Name+" has no compoundColumn; "+remedy)
	}
	var out []string
	for _, k := range consumer.Spec.Compounds {
		out = append(out, k.Community+"/"+k.Compound)
	}
	slices.Sort(out)
	return out
}
