package grid

import (
	"fmt"
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
)

// scope is what a person may see. Every query of the API goes through it, so a case outside is not there.
type scope struct {
	person.Identity
	// communities in the jurisdiction of the person's organisation, sorted.
	communities []string
	// grassroots are committees and townships: they see every case of their jurisdiction. Others see cases with sensitive
	// personal data only where they were called to them: a property company covers a community, and has no business with who
	// has not left home.
	grassroots bool
	// compounds narrow a property company to the cases and devices of those that it manages, each as "<community>/<compound>", sorted; nil does not narrow.
	compounds []string
	// rostered narrows to the communities and grids for which the roster names the person.
	rostered bool
}

// scopeOf says what an identity may see. It is pure. A role that the grid service does not know sees nothing, nor does an
// organisation that is in the directory only because it sells devices.
func scopeOf(b *intake.Bundle, who person.Identity) scope {
	s := scope{Identity: who, rostered: Role(who.Role) == RoleGridWorker}
	org, ok := b.Directory.Organizations[who.Organization]
	reads := slices.Contains([]Role{RoleGridWorker, RoleCommunityWorker, RoleDispatcher, RoleCommander, RoleAuditor, RoleOrganizationSystem}, Role(who.Role))
	if !ok || !reads || len(org.Duties) == 0 && isVendor(b, who.Organization) {
		return s
	}
	s.grassroots = grassroots(org)
	if len(org.Compounds) > 0 {
		s.compounds = []string{}
	}
	for name, c := range b.Directory.Communities {
		if b.Directory.ActsIn(org, name) {
			s.communities = append(s.communities, name)
		}
		for _, k := range c.Compounds {
			if len(org.Compounds) > 0 && b.Directory.Reach(org, contract.Place{Community: name, Compound: k}) > 0 {
				s.compounds = append(s.compounds, name+"/"+k)
			}
		}
	}
	slices.Sort(s.communities)
	slices.Sort(s.compounds)
	return s
}

// grassroots says whether an organisation answers for posts of the grid: a committee or a township.
func grassroots(o contract.Organization) bool { return o.Type == "Committee" || o.Type == "Township" }

func isVendor(b *intake.Bundle, organization string) bool {
	for _, f := range b.Fleets {
		if f.Vendor == organization {
			return true
		}
	}
	return false
}

// covers says whether a community is in the jurisdiction.
func (s scope) covers(community string) bool {
	_, ok := slices.BinarySearch(s.communities, community)
	return ok
}

// place gives the SQL condition on rows with columns community, grid and compound under the alias c, and its arguments from number first on.
func (s scope) place(first int) (string, []any) {
	where, args := s.where(first)
	if s.compounds == nil {
		return where, args
	}
	args = append(args, s.compounds)
	return where + fmt.Sprintf(inCompounds, first+len(args)-1), args
}

// inCompounds narrows to compounds, which are the argument of that number.
const inCompounds = " AND c.community || '/' || c.compound = ANY($%d)"

// where is place for what has no compound: a table with columns community and grid.
func (s scope) where(first int) (string, []any) {
	communities := s.communities
	if communities == nil {
		communities = []string{} // NULL would be a different question
	}
	if !s.rostered {
		return fmt.Sprintf("c.community = ANY($%d)", first), []any{communities}
	}
	return fmt.Sprintf(`c.community = ANY($%d) AND EXISTS (SELECT FROM grid.roster r WHERE r.organization = $%d AND r.person = $%d
		AND r.role = $%d AND r.community = c.community AND r.grid IN ('', c.grid))`, first, first+1, first+2, first+3),
		[]any{communities, s.Organization, s.Subject, s.Role}
}

// cases gives the SQL condition on grid.cases under the alias c, and its arguments from number first on.
func (s scope) cases(first int) (string, []any) {
	where, args := s.where(first)
	if s.rostered { // whoever stands in for another is on no roster there
		args = append(args, s.Organization, s.Subject)
		where = fmt.Sprintf("(%s OR c.community = ANY($%d) AND c.assignee_organization = $%d AND c.assignee_person = $%d)", where, first, first+len(args)-2, first+len(args)-1)
	}
	if s.grassroots {
		return where, args
	}
	uncalled := "c.data_class NOT IN ('C2', 'C3')"
	if s.compounds != nil {
		args = append(args, s.compounds)
		uncalled += fmt.Sprintf(inCompounds, first+len(args)-1)
	}
	args = append(args, s.Organization)
	return fmt.Sprintf(`%s AND (%s OR EXISTS (SELECT FROM grid.case_parties p
		WHERE p.case_id = c.id AND p.organization = $%d))`, where, uncalled, first+len(args)-1), args
}

// incidents is cases for one-key responses: a post of a grid was called by name, so whoever the roster names for that grid sees it, though the
// response is of the whole community. Posts are of committees and townships: another's roster calls nobody.
func (s scope) incidents(first int) (string, []any) {
	where, args := s.cases(first)
	if !s.rostered || !s.grassroots {
		return where, args
	}
	return fmt.Sprintf(`(%s OR c.community = ANY($%d) AND EXISTS (SELECT FROM grid.roster r JOIN grid.case_parties p ON p.case_id = c.id AND p.kind = 'Call' AND starts_with(p.post, r.grid || '/')
		WHERE r.organization = $%d AND r.person = $%d AND r.role = $%d AND r.community = c.community AND r.grid <> ''))`, where, first, first+1, first+2, first+3), args
}

// actor names the person, or the organisation whose system it is, in a history.
func (s scope) actor() Actor {
	if Role(s.Role) == RoleOrganizationSystem {
		return Actor{Kind: "Organization", Organization: s.Organization, Role: RoleOrganizationSystem}
	}
	return Actor{Kind: "Person", Organization: s.Organization, Person: s.Subject, Role: Role(s.Role)}
}
