package compile

import (
	"context"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/policies"
)

// guardrails runs the rules about agreements. What they refuse is invalid, whatever an admission webhook said.
func guardrails(ctx context.Context, c *problems, guard *policies.Guard, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset, plan *AgreementPlan) {
	found, err := guard.Check(ctx, GuardInput(o, consumer, datasets))
	if err != nil {
		c.invalid(v1alpha1.ConditionGuardrailsPassed, v1alpha1.ReasonUnknown, "", err.Error())
		return
	}
	plan.Findings = found
	for _, v := range found {
		c.invalid(v1alpha1.ConditionGuardrailsPassed, v1alpha1.ReasonGuardrailViolated, v.Field, v.Message+" ("+v.Rule+", "+origin(v)+")")
	}
}

func origin(v policies.Violation) string {
	if v.Citation != "" {
		return v.Citation
	}
	return v.Origin
}

// GuardInput gives what the guardrails see of an agreement: the agreement beside what it refers to, datasets in the order
// of the spec.
func GuardInput(o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset) policies.GuardInput {
	a := policies.GuardAgreement{
		Name: o.Name, Consumer: policies.GuardConsumer{Name: consumer.Name, Type: string(consumer.Spec.Type)},
		Roles: o.Spec.Roles, CaseNumberRequired: o.Spec.CaseNumberRequired != nil && *o.Spec.CaseNumberRequired,
	}
	for _, p := range o.Spec.Purposes {
		a.Purposes = append(a.Purposes, string(p))
	}
	if b := o.Spec.LegalBasis; b != nil {
		a.LegalBasis = &policies.GuardLegalBasis{Kind: string(b.Kind), Citation: b.Citation}
	}
	if i := o.Spec.ImpactAssessment; i != nil {
		a.ImpactAssessment = i.Reference
	}
	from, to := validity(o)
	a.Validity = policies.GuardValidity{NotBefore: stamp(from), NotAfter: stamp(to)}
	for i, d := range datasets {
		a.Datasets = append(a.Datasets, guardDataset(&o.Spec.Datasets[i], d))
	}
	return policies.GuardInput{Agreement: a}
}

func guardDataset(want *v1alpha1.AgreementDataset, d *v1alpha1.Dataset) policies.GuardDataset {
	out := policies.GuardDataset{Name: d.Name, Category: string(d.Spec.Category), Sharing: string(d.Spec.Sharing)}
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
	if want.Rows != nil {
		out.Rows = &policies.GuardRows{Divisions: want.Rows.Divisions, Communities: want.Rows.Communities}
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
