package offline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
	"github.com/dizuo/dizuo/internal/schema"
	"github.com/dizuo/dizuo/policies"
)

// Result is what the files compile to.
type Result struct {
	// Platforms in the order of namespace and name.
	Platforms []*Platform
	// Findings of reading, of the schema and of compilation, by place.
	Findings []Finding
}

// Compile compiles every platform in the files with its members. An error means that the release itself is broken; what is
// wrong with the files is in the findings.
func Compile(ctx context.Context, set *Set, o Options) (*Result, error) {
	guard, err := policies.Guardrails(ctx)
	if err != nil {
		return nil, err
	}
	platforms, findings := set.platforms(o)
	findings = append(findings, set.Findings...)
	for _, p := range platforms {
		plan, problems := compile.Platform(p.Snapshot)
		if len(plan.TrustPEM) == 0 {
			plan.TrustPEM = []byte(placeholder)
			p.Notes = append(p.Notes, fmt.Sprintf("ConfigMap %s/dizuo-bundle-trust: the public key of the signing certificate that cert-manager issues; a placeholder here", p.Object.GetNamespace()))
		}
		p.Plan, p.Fatal = plan, problems.Fatal()
		findings = append(findings, p.Object.problems(problems)...)
		findings = append(findings, p.guardrails(set)...)
		contests(p.Snapshot)
		for _, m := range p.Members {
			findings = append(findings, m.compile(ctx, p.Snapshot, guard, set)...)
		}
	}
	return &Result{Platforms: platforms, Findings: sorted(findings)}, nil
}

// contests works out which fleet holds what more than one of them claims.
func contests(s *compile.Snapshot) {
	if len(s.Fleets) > 1 {
		s.Claimed = compile.Contests(s).Lost
	}
}

// compile compiles one member.
func (m *Member) compile(ctx context.Context, s *compile.Snapshot, guard *policies.Guard, set *Set) []Finding {
	var problems compile.Problems
	var findings []Finding
	switch o := m.Object.Object.(type) {
	case *v1alpha1.Community:
		m.Plan, problems = planned(compile.Community(s, o))
	case *v1alpha1.Organization:
		m.Plan, problems = planned(compile.Organization(s, o))
	case *v1alpha1.DeviceProfile:
		m.Plan, problems = planned(compile.Profile(s, o))
	case *v1alpha1.DeviceFleet:
		var plan compile.FleetPlan
		plan, problems = compile.Fleet(s, o)
		m.Plan = plan
		findings = m.rejected(set, plan.Rejected)
		problems = withoutSummary(problems, len(findings) > 0)
	case *v1alpha1.EdgeNode:
		s.Edge = edgeStanding(s, o)
		m.Plan, problems = planned(compile.Edge(s, o))
	case *v1alpha1.Scenario:
		m.Plan, problems = planned(compile.Scenario(s, o))
	case *v1alpha1.Dataset:
		m.Plan, problems = planned(compile.Dataset(s, o))
	case *v1alpha1.DataSharingAgreement:
		m.Plan, problems = planned(compile.Agreement(ctx, s, guard, o))
	}
	m.Fatal = problems.Fatal()
	return append(findings, m.problems(problems)...)
}

// edgeStanding is what can be known of an edge node without a cluster: what the devices at its communities may send, and that there will
// be a token.
func edgeStanding(s *compile.Snapshot, o *v1alpha1.EdgeNode) compile.EdgeStanding {
	out := compile.EdgeStanding{Made: true, Token: map[string][]byte{compile.EdgeTokenKey: []byte(placeholder), compile.EdgeTokenHashKey: []byte(placeholder)}}
	for name := range s.Fleets {
		f, _ := s.Fleets.Get(name)
		if f.Spec.Placement != v1alpha1.PlacementEdge {
			continue
		}
		plan, _ := compile.Fleet(s, f)
		for community, load := range compile.EdgeLoads(f, plan) {
			if slices.Contains(o.Spec.Communities, community) {
				out.Loads = append(out.Loads, load)
			}
		}
	}
	return out
}

func planned[T any](plan T, problems compile.Problems) (any, compile.Problems) { return plan, problems }

// problems turns the problems of the object into findings.
func (o *Object) problems(list compile.Problems) []Finding {
	var out []Finding
	for _, p := range list {
		out = append(out, o.finding(p.Field, p.Message, p.Reason))
	}
	return out
}

// withoutSummary drops the line that sums up rejected rows, where each row has a finding of its own.
func withoutSummary(list compile.Problems, each bool) compile.Problems {
	var out compile.Problems
	for _, p := range list {
		if !each || p.Reason != v1alpha1.ReasonInvalidRows {
			out = append(out, p)
		}
	}
	return out
}

// rejected gives a finding per rejected row, at the row's own line where the files have it.
func (m *Member) rejected(set *Set, rows []v1alpha1.RejectedRow) []Finding {
	var out []Finding
	for _, r := range rows {
		place, inSecret := strings.CutPrefix(r.Source, "secrets/")
		if !inSecret {
			out = append(out, m.finding(fmt.Sprintf("spec.inventory.rows[%d]", r.Line-1), r.Reason, v1alpha1.ReasonInvalidRows))
			continue
		}
		name, key, _ := strings.Cut(place, "/")
		f := m.finding("spec.inventory.secrets", fmt.Sprintf("Secret %s line %d: %s", name, r.Line, r.Reason), v1alpha1.ReasonInvalidRows)
		if secret := set.object("Secret", m.GetNamespace(), name); secret != nil {
			f.File, f.Line = secret.rowAt(key, int(r.Line))
		}
		out = append(out, f)
	}
	return out
}

func (s *Set) object(kind, namespace, name string) *Object {
	for _, o := range s.Objects {
		if o.Kind == kind && o.GetNamespace() == namespace && o.GetName() == name {
			return o
		}
	}
	return nil
}

// rowAt gives the place of a line of a key of an inventory Secret: the line itself if it stands there as a block of text.
func (o *Object) rowAt(key string, line int) (string, int) { return o.textAt("stringData", key, line) }

// textAt gives the place of a line of a text in a field of the object.
func (o *Object) textAt(field, key string, line int) (string, int) {
	path := schema.Path{}.Child(field).Child(key)
	file, at := o.Document.File, o.Document.Offset+locate(o.Document.Node, path)
	if n := find(o.Document.Node, path); n != nil && n.Style&yaml.LiteralStyle != 0 {
		at = o.Document.Offset + n.Line + line
	}
	return file, at
}

// Render gives what the operator would apply for a platform and its members, in the order in which it would. Objects that
// do not compile are left out, as the operator leaves them out.
func (p *Platform) Render() []render.Object {
	if p.Fatal {
		return nil
	}
	out := render.Platform(p.Plan)
	ns := p.Object.GetNamespace()
	for _, m := range p.Members {
		if m.Fatal {
			continue
		}
		owner := compile.Owner{Kind: m.Kind, Namespace: m.GetNamespace(), Name: m.GetName()}
		switch plan := m.Plan.(type) {
		case compile.CommunityPlan:
			out = append(out, render.Community(plan)...)
		case compile.OrganizationPlan:
			out = append(out, render.Organization(ns, owner, plan)...)
		case compile.FleetPlan:
			out = append(out, render.Fleet(ns, owner, plan)...)
		case compile.EdgePlan:
			out = append(out, render.Edge(ns, owner, plan)...)
		}
	}
	return out
}
