package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// CommunityPlan is what a Community becomes.
type CommunityPlan struct {
	Document contract.Community
	// Workspace is nil where none was asked for.
	Workspace *WorkspacePlan
}

// WorkspacePlan is a namespace of a community's own.
type WorkspacePlan struct {
	// Namespace is <platform namespace>-<community>.
	Namespace string
	// Owner names the community, for the labels by which the namespace is known as ours.
	Owner     Owner
	Platform  Owner
	Workspace v1alpha1.Workspace
}

// Owner names the object that another was made for.
type Owner struct{ Kind, Namespace, Name string }

// Community compiles a Community of s.Platform.
func Community(s *Snapshot, o *v1alpha1.Community) (CommunityPlan, Problems) {
	var c problems
	claimName(&c, o, s.Communities)
	checkDivision(&c, s, o)
	checkGrids(&c, s.Platform.Spec.GridCodeScheme, o)
	checkSelections(&c, s, o)
	plan := CommunityPlan{Document: contract.Community{
		DisplayName: o.Spec.DisplayName, Division: o.Spec.Division, FormerDivisions: o.Spec.FormerDivisions, Posts: o.Spec.Posts,
	}}
	for _, k := range o.Spec.Compounds {
		plan.Document.Compounds = append(plan.Document.Compounds, k.Name)
	}
	for _, g := range o.Spec.Grids {
		posts := g.Posts
		if len(posts) == 0 {
			posts = o.Spec.Posts
		}
		grid := contract.Grid{Name: g.Name, Code: g.Code, Posts: posts, Compounds: g.Compounds}
		for _, m := range g.MicroGrids {
			grid.MicroGrids = append(grid.MicroGrids, contract.MicroGrid{Name: m.Name, Posts: m.Posts, Buildings: m.Buildings})
		}
		plan.Document.Grids = append(plan.Document.Grids, grid)
	}
	if len(o.Spec.Grids) == 0 { // a community without grids is one grid
		plan.Document.Grids = []contract.Grid{{Posts: o.Spec.Posts}}
	}
	if o.Spec.Workspace != nil {
		plan.Workspace = workspace(&c, s, o)
	}
	return plan, c.list
}

// checkDivision checks that the platform covers the community's code and its former ones, and that no other community holds
// one of them: rows are scoped by code, so a code claimed beside its holder would open the holder's rows.
func checkDivision(c *problems, s *Snapshot, o *v1alpha1.Community) {
	allowed := Divisions(s.Platform, o.Namespace)
	for i, code := range Codes(o) {
		field := "spec.division"
		if i > 0 {
			field = fmt.Sprintf("spec.formerDivisions[%d]", i-1)
		}
		if longestPrefix(allowed, code) == 0 {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDivisionOutsidePlatform, field,
				fmt.Sprintf("%s lies under none of the divisions that GridPlatform %s gives namespace %s (%s); write a code under one of them, or add its prefix there", code, s.Platform.Name, o.Namespace, strings.Join(allowed, ", ")))
		}
		rivals := holders(s, code)
		if len(rivals) == 0 {
			continue
		}
		if first := winner(rivals, ClaimDivision, code); first.Namespace != o.Namespace || first.Name != o.Name {
			c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonDivisionClaimed, field,
				fmt.Sprintf("%s is held by Community %s/%s; write this community's own 12-digit code", code, first.Namespace, first.Name))
		}
	}
}

// Codes gives the division code of a community and its former ones.
func Codes(o *v1alpha1.Community) []string {
	return append([]string{o.Spec.Division}, o.Spec.FormerDivisions...)
}

// holders gives the communities that name a code.
func holders(s *Snapshot, code string) []*v1alpha1.Community {
	var out []*v1alpha1.Community
	for _, list := range s.Communities {
		for _, o := range list {
			if slices.Contains(Codes(o), code) {
				out = append(out, o)
			}
		}
	}
	return out
}

// longestPrefix gives the length of the longest prefix that matches, or 0.
func longestPrefix(prefixes []string, division string) int {
	return contract.Organization{Jurisdiction: prefixes}.Covers(division)
}

// checkGrids checks grid codes by the scheme that the city uses, because cities differ.
func checkGrids(c *problems, scheme v1alpha1.GridCodeScheme, o *v1alpha1.Community) {
	for i, g := range o.Spec.Grids {
		if g.Code == "" {
			continue
		}
		if wrong := gridCode(scheme, o.Spec.Division, g.Code); wrong != "" {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonGridCodeInvalid, fmt.Sprintf("spec.grids[%d].code", i), g.Code+": "+wrong)
		}
	}
}

var (
	digits20 = regexp.MustCompile(`^[0-9]{20}$`)
	sequence = regexp.MustCompile(`^[0-9]{2,4}$`)
)

func gridCode(scheme v1alpha1.GridCodeScheme, division, code string) string {
	switch scheme.Type {
	case v1alpha1.GridCodeCJT349:
		if !digits20.MatchString(code) {
			return "want 20 digits (gridCodeScheme CJT349)"
		}
	case v1alpha1.GridCodePattern:
		pattern, err := regexp.Compile("^(?:" + scheme.Pattern + ")$")
		if err != nil {
			return "the platform's gridCodeScheme.pattern is not a regular expression"
		}
		if !pattern.MatchString(code) {
			return "want a code of the pattern " + scheme.Pattern
		}
	default:
		rest, ok := strings.CutPrefix(code, division)
		if !ok || !sequence.MatchString(rest) {
			return "want " + division + " and 2 to 4 digits (gridCodeScheme Division12PlusSequence)"
		}
	}
	return ""
}

func workspace(c *problems, s *Snapshot, o *v1alpha1.Community) *WorkspacePlan {
	name := s.Platform.Namespace + "-" + o.Name
	if len(name) > 63 {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.workspace",
			fmt.Sprintf("the namespace %s would have %d characters; names of platform namespace and community together may have 62", name, len(name)))
		return nil
	}
	return &WorkspacePlan{
		Namespace: name, Workspace: *o.Spec.Workspace,
		Owner:    Owner{Kind: "Community", Namespace: o.Namespace, Name: o.Name},
		Platform: Owner{Kind: "GridPlatform", Namespace: s.Platform.Namespace, Name: s.Platform.Name},
	}
}
