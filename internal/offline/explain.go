package offline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// Default is a value that nobody wrote.
type Default struct {
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Field     string `json:"field"`
	Value     any    `json:"value"`
	// Why says what the value means or where it comes from.
	Why string `json:"why,omitempty"`
}

// String gives "Kind/name: field = value  (why)".
func (d Default) String() string {
	raw, err := json.Marshal(d.Value)
	if err != nil {
		raw = []byte(fmt.Sprint(d.Value))
	}
	text := fmt.Sprintf("%s/%s: %s = %s", d.Kind, d.Name, d.Field, raw)
	if d.Why != "" {
		text += "  (" + d.Why + ")"
	}
	return text
}

// Explain lists every default that was taken: those of the schema, and those that depend on other objects. Objects come by
// kind, namespace and name; fields by path.
func Explain(set *Set, r *Result) []Default {
	var out []Default
	for _, o := range set.Objects {
		for _, d := range o.Defaults {
			out = append(out, o.taken(d.Path, d.Value, d.Doc))
		}
	}
	for _, p := range r.Platforms {
		out = append(out, p.explain()...)
		for _, m := range p.Members {
			out = append(out, m.explain(p)...)
		}
	}
	slices.SortStableFunc(out, func(a, b Default) int {
		return cmp.Or(cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Field, b.Field))
	})
	return out
}

func (o *Object) taken(field string, value any, why string) Default {
	file, line := o.At(field)
	return Default{File: file, Line: line, Kind: o.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), Field: field, Value: value, Why: why}
}

// explain gives the SLA, the images and the scenarios of the catalogue.
func (p *Platform) explain() []Default {
	spec := p.Object.Object.(*v1alpha1.GridPlatform).Spec
	var out []Default
	for _, severity := range slices.Sorted(maps.Keys(p.Plan.Document.SLA)) {
		if slices.ContainsFunc(spec.SLA, func(l v1alpha1.SLA) bool { return contract.Severity(l.Severity) == severity }) {
			continue
		}
		v := p.Plan.Document.SLA[severity]
		out = append(out, p.Object.taken("spec.sla["+string(severity)+"]", map[string]string{
			"acknowledge": seconds(v.AcknowledgeSeconds), "onSite": seconds(v.OnSiteSeconds), "resolve": seconds(v.ResolveSeconds),
		}, "ours: no policy text names a response time"))
	}
	for field, pair := range map[string][2]string{
		"spec.images.node": {spec.Images.Node, p.Plan.Spec.Images.Node}, "spec.images.postgres": {spec.Images.Postgres, p.Plan.Spec.Images.Postgres},
	} {
		if pair[0] == "" && pair[1] != "" {
			out = append(out, p.Object.taken(field, pair[1], "the image of the release"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Snapshot.Catalog.Scenarios)) {
		if _, own := p.Snapshot.Scenarios.Get(name); own {
			continue
		}
		plan, _ := compile.Scenario(p.Snapshot, p.Snapshot.Catalog.Scenarios[name])
		out = append(out, Default{Kind: "Scenario", Namespace: p.Object.GetNamespace(), Name: name, Field: "running", Value: plan.Running, Why: "of the catalogue, on GridPlatform " + p.Object.GetName() + ": " + plan.Why})
	}
	return out
}

func seconds(n int64) string {
	switch {
	case n%3600 == 0:
		return fmt.Sprintf("%dh", n/3600)
	case n%60 == 0:
		return fmt.Sprintf("%dm", n/60)
	}
	return fmt.Sprintf("%ds", n)
}

// explain gives the defaults that compile fills in for a member.
func (m *Member) explain(p *Platform) []Default {
	switch plan := m.Plan.(type) {
	case compile.ScenarioPlan:
		return []Default{m.taken("running", plan.Running, plan.Why)}
	case compile.CommunityPlan:
		return m.explainCommunity(plan)
	case compile.DatasetPlan:
		return m.explainDataset(plan)
	case compile.AgreementPlan:
		return m.explainAgreement(p)
	case compile.OrganizationPlan:
		return m.explainOrganization(plan)
	}
	return nil
}

func (m *Member) explainCommunity(plan compile.CommunityPlan) []Default {
	spec := m.Object.Object.(*v1alpha1.Community).Spec
	var out []Default
	for i, g := range spec.Grids {
		if len(g.Posts) == 0 && i < len(plan.Document.Grids) && len(plan.Document.Grids[i].Posts) > 0 {
			out = append(out, m.taken(fmt.Sprintf("spec.grids[%d].posts", i), plan.Document.Grids[i].Posts, "the community's posts"))
		}
	}
	if w := plan.Workspace; w != nil {
		out = append(out, m.taken("workspace namespace", w.Namespace, "namespace of the platform and name of the community"))
	}
	return out
}

func (m *Member) explainDataset(plan compile.DatasetPlan) []Default {
	spec := m.Object.Object.(*v1alpha1.Dataset).Spec
	var out []Default
	if spec.Source.Table == "" {
		out = append(out, m.taken("spec.source.table", plan.Document.Source.Table, "the dataset's name, hyphens as underscores"))
	}
	if spec.KeyColumn == "" {
		out = append(out, m.taken("spec.keyColumn", plan.Document.Source.KeyColumn, "the column that orders records for paging"))
	}
	if spec.Writer == nil {
		out = append(out, m.taken("spec.writer.name", plan.Document.Provider, "the provider writes"))
	}
	for i, f := range spec.Fields {
		if f.Column == "" {
			out = append(out, m.taken(fmt.Sprintf("spec.fields[%d].column", i), plan.Document.Fields[f.Name].Column, "the field's name"))
		}
	}
	return out
}

// explainAgreement gives the row scope, which is the consumer's jurisdiction where the agreement names none.
func (m *Member) explainAgreement(p *Platform) []Default {
	spec := m.Object.Object.(*v1alpha1.DataSharingAgreement).Spec
	consumer, ok := p.Snapshot.Organizations.Get(spec.Consumer.Name)
	if !ok {
		return nil
	}
	var out []Default
	for i, d := range spec.Datasets {
		if d.Rows == nil || len(d.Rows.Divisions) == 0 {
			out = append(out, m.taken(fmt.Sprintf("spec.datasets[%d].rows.divisions", i), notNil(consumer.Spec.Jurisdiction),
				"the jurisdiction of the consumer, Organization "+consumer.Name))
		}
	}
	return out
}

func (m *Member) explainOrganization(plan compile.OrganizationPlan) []Default {
	spec := m.Object.Object.(*v1alpha1.Organization).Spec
	var out []Default
	for i, id := range spec.Identities {
		if id.Type != v1alpha1.IdentityIssuedCertificate || id.IssuedCertificate != nil && id.IssuedCertificate.SecretName != "" {
			continue
		}
		for _, c := range plan.Certificates {
			if c.Index == i {
				out = append(out, m.taken(fmt.Sprintf("spec.identities[%d].issuedCertificate.secretName", i), c.CopyTo.Name, "the Secret with the certificate, in the organisation's namespace"))
			}
		}
	}
	return out
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
