package compile

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/policies"
)

// GuardrailPlan is what becomes of the guardrails that a platform names in spec.guardrails.
type GuardrailPlan struct {
	// Accepted are the rules in force, by ConfigMap, file and text: what compiles, and of what does not the form that did last.
	// It is kept in ConfigMapGuardrails before anything uses it. Nil: nothing was ever accepted and something is wrong, so
	// nothing is kept, and until then no agreement grants anything.
	Accepted map[string]map[string]string
	// Refused says by ConfigMap why it was not taken as it stands.
	Refused map[string]string
}

// ConfigMapGuardrails has the accepted guardrails of the city's own, a key for each ConfigMap.
const ConfigMapGuardrails = "dizuo-guardrails"

// LabelGuardrails is the label, of any value, of ConfigMaps with guardrails of the city's own: only those are watched.
const LabelGuardrails = v1alpha1.GroupName + "/guardrails"

// guardrailPlan compiles the city's own guardrails. What is wrong with them is no problem of the platform: a typing error must
// neither fell a county nor open anything.
func guardrailPlan(s *Snapshot) GuardrailPlan {
	plan := GuardrailPlan{Accepted: map[string]map[string]string{}, Refused: map[string]string{}}
	for _, ref := range s.Platform.Spec.Guardrails {
		files, there := s.CityGuardrails[ref.Name]
		err := fmt.Errorf("%s: there is no such ConfigMap with label %s in namespace %s; create it, or label it", ref.Name, LabelGuardrails, s.Platform.Namespace)
		if there {
			_, err = policies.CompileCity(ref.Name, files)
		}
		if err == nil {
			plan.Accepted[ref.Name] = files
			continue
		}
		plan.Refused[ref.Name] = err.Error()
		if former, ok := s.Guardrails[ref.Name]; ok {
			plan.Accepted[ref.Name] = former
		}
	}
	if len(plan.Refused) > 0 && s.Guardrails == nil {
		plan.Accepted = nil
	}
	return plan
}

// cityRules gives the accepted rules that the platform names. The problem says why there are none to be had.
func cityRules(s *Snapshot) (rules []*policies.CityRules, problem string) {
	if len(s.Platform.Spec.Guardrails) > 0 && s.Guardrails == nil {
		return nil, "the guardrails that the platform names in spec.guardrails were not accepted yet; see its condition " + v1alpha1.ConditionGuardrailsCompiled
	}
	for _, ref := range s.Platform.Spec.Guardrails {
		files, ok := s.Guardrails[ref.Name]
		if !ok {
			continue // never good: the platform says so, and what was in force without it stays so
		}
		r, err := policies.CompileCity(ref.Name, files)
		if err != nil { // a release that compiles less than the one that accepted it
			return nil, "guardrails accepted before no longer compile: " + err.Error()
		}
		rules = append(rules, r)
	}
	return rules, ""
}

// guardrails runs the rules about agreements. What they refuse is invalid, whatever an admission webhook said.
func guardrails(ctx context.Context, c *problems, s *Snapshot, guard *policies.Guard, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset, plan *AgreementPlan) {
	city, problem := cityRules(s)
	if problem != "" {
		c.waiting(v1alpha1.ConditionGuardrailsPassed, v1alpha1.ReasonGuardrailInvalid, "", problem)
		return
	}
	found, err := guard.With(city...).Check(ctx, GuardInput(s, o, consumer, datasets))
	if err != nil {
		c.invalid(v1alpha1.ConditionGuardrailsPassed, v1alpha1.ReasonUnknown, "", err.Error())
		return
	}
	plan.Findings = found
	for _, v := range found {
		c.invalid(v1alpha1.ConditionGuardrailsPassed, v1alpha1.ReasonGuardrailViolated, v.Field, v.Message+" ("+v.Rule+", "+origin(v)+")")
	}
}

// Guardrails gives what the guardrails say of an agreement. known is false where the platform, the consumer or a dataset is not there, or
// the city's own guardrails are not to be had.
func Guardrails(ctx context.Context, s *Snapshot, guard *policies.Guard, o *v1alpha1.DataSharingAgreement) (found []policies.Violation, known bool, err error) {
	if s.Platform == nil {
		return nil, false, nil
	}
	city, problem := cityRules(s)
	consumer, ok := s.Organizations.Get(o.Spec.Consumer.Name)
	if problem != "" || !ok {
		return nil, false, nil
	}
	var datasets []*v1alpha1.Dataset
	for _, want := range o.Spec.Datasets {
		d, ok := s.Datasets.Get(want.Name)
		if !ok {
			return nil, false, nil
		}
		datasets = append(datasets, d)
	}
	found, err = guard.With(city...).Check(ctx, GuardInput(s, o, consumer, datasets))
	return found, err == nil, err
}

func origin(v policies.Violation) string {
	if v.Citation != "" {
		return v.Citation
	}
	return v.Origin
}

// GuardInput gives what the guardrails see of an agreement: the agreement beside what it refers to, datasets in the order
// of the spec.
func GuardInput(s *Snapshot, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset) policies.GuardInput {
	spec := &o.Spec
	a := policies.GuardAgreement{
		Name: o.Name, Consumer: guardConsumer(consumer), Roles: spec.Roles, Relationship: string(spec.Relationship),
		CaseNumberRequired: isTrue(spec.CaseNumberRequired), CaseNumber: spec.CaseNumber, ExternalRef: spec.ExternalRef,
		Quota:       policies.GuardQuota{RequestsPerDay: spec.Quota.RequestsPerDay, RecordsPerDay: spec.Quota.RecordsPerDay},
		Obligations: policies.GuardObligations{NoOnward: isTrue(spec.Obligations.NoOnward), RetentionSeconds: int64(spec.Obligations.Retention.Seconds())},
		Others:      others(s, o),
	}
	for _, p := range spec.Purposes {
		a.Purposes = append(a.Purposes, string(p))
	}
	if b := spec.LegalBasis; b != nil {
		a.LegalBasis = &policies.GuardLegalBasis{Kind: string(b.Kind), Citation: b.Citation}
	}
	if i := spec.ImpactAssessment; i != nil {
		a.ImpactAssessment, a.ImpactAssessmentDate = i.Reference, i.Date
	}
	from, to := validity(o)
	a.Validity = policies.GuardValidity{NotBefore: stamp(from), NotAfter: stamp(to)}
	guardLimits(&a, spec)
	for i, d := range datasets {
		a.Datasets = append(a.Datasets, guardDataset(s, &spec.Datasets[i], d))
	}
	return policies.GuardInput{Agreement: a}
}

// guardLimits fills in what an agreement has only if it says so.
func guardLimits(a *policies.GuardAgreement, spec *v1alpha1.DataSharingAgreementSpec) {
	if h := spec.Hours; h != nil {
		a.Hours = &policies.GuardHours{From: h.From, To: h.To, WorkingDaysOnly: isTrue(h.WorkingDaysOnly)}
	}
	if c := spec.CaseCondition; c != nil {
		a.CaseCondition = &policies.GuardCaseCondition{Classes: c.Classes, MinimumSeverity: string(c.MinimumSeverity), GraceSeconds: int64(c.Grace.Seconds())}
	}
	if g := spec.Aggregates; g != nil {
		a.Aggregates = &policies.GuardAggregates{Only: isTrue(g.Only), SmallCell: g.SmallCell, Dimensions: g.Dimensions, Measures: g.Measures}
	}
	if b := spec.BreakGlass; b != nil {
		a.BreakGlass = &policies.GuardBreakGlass{Roles: b.Roles, Reviewer: b.Reviewer.Name, ReviewWithinSeconds: int64(b.ReviewWithin.Seconds())}
	}
}

func guardConsumer(o *v1alpha1.Organization) policies.GuardConsumer {
	out := policies.GuardConsumer{
		Name: o.Name, Type: string(o.Spec.Type), Clearance: string(o.Spec.EffectiveClearance()), Jurisdiction: o.Spec.Jurisdiction, Duties: o.Spec.Duties,
	}
	for _, c := range o.Spec.Compounds {
		out.Compounds = append(out.Compounds, c.Community+"/"+c.Compound)
	}
	return out
}

func guardDataset(s *Snapshot, want *v1alpha1.AgreementDataset, d *v1alpha1.Dataset) policies.GuardDataset {
	out := policies.GuardDataset{
		Name: d.Name, Provider: policies.GuardProvider{Name: d.Spec.Provider.Name}, ItemCode: d.Spec.ItemCode, Category: string(d.Spec.Category),
		Sharing: string(d.Spec.Sharing), Source: string(d.Spec.Source.Type), CompoundColumn: d.Spec.CompoundColumn,
	}
	if p, ok := s.Organizations.Get(d.Spec.Provider.Name); ok {
		out.Provider.Type = string(p.Spec.Type)
	}
	if c := d.Spec.Consent; c != nil {
		out.Consent = policies.GuardConsent{Required: c.Required == nil || *c.Required, Scope: c.Scope}
	}
	for _, name := range want.Fields {
		f := fieldOf(d, name)
		if f == nil {
			continue
		}
		g := policies.GuardField{Name: name, Grade: string(f.Grade), Personal: string(f.Personal)}
		if m := maskOf(want, name); m != nil {
			g.Mask = string(m.Method)
		}
		out.Fields = append(out.Fields, g)
	}
	for _, name := range picked(want) {
		if f := fieldOf(d, name); f != nil {
			out.Picked = append(out.Picked, policies.GuardField{Name: name, Grade: string(f.Grade), Personal: string(f.Personal)})
		}
	}
	if r := want.Rows; r != nil {
		out.Rows = &policies.GuardRows{
			Divisions: r.Divisions, Communities: r.Communities, Selector: r.CommunitySelector != nil, Grids: r.Grids, Roster: isTrue(r.Roster),
		}
		for _, q := range r.Requirements {
			out.Rows.Requirements = append(out.Rows.Requirements, strings.TrimSpace(q.Column+" "+string(q.Operator)+" "+strings.Join(q.Values, ",")))
		}
	}
	return out
}

// others gives the agreements of the same consumer that give aggregates, are not revoked and were there before this one: who came
// first keeps what it has.
func others(s *Snapshot, o *v1alpha1.DataSharingAgreement) []policies.GuardOther {
	if o.Spec.Aggregates == nil {
		return nil
	}
	var out []policies.GuardOther
	for _, name := range slices.Sorted(maps.Keys(s.Agreements)) {
		a, _ := s.Agreements.Get(name)
		if a.Spec.Aggregates == nil || a.Spec.Revoked || a.Spec.Consumer.Name != o.Spec.Consumer.Name || !earlier(a, o) {
			continue
		}
		other := policies.GuardOther{Name: name, Dimensions: a.Spec.Aggregates.Dimensions}
		for _, d := range a.Spec.Datasets {
			other.Datasets = append(other.Datasets, d.Name)
		}
		out = append(out, other)
	}
	return out
}

func earlier(a, b *v1alpha1.DataSharingAgreement) bool {
	return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) < 0
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
