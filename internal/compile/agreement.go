package compile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/policies"
)

// AgreementPlan is what a DataSharingAgreement becomes.
type AgreementPlan struct {
	// Digest that approvals are given for.
	Digest string
	// Relied is the digest of what the agreement relies on beside its text.
	Relied string
	Phase  v1alpha1.AgreementPhase
	// Pending names the organisations whose approval is missing, sorted.
	Pending []string
	// Record of the approvals, to be kept before anything rests on them; nil where it stays as it is.
	Record *ApprovalsRecord `json:",omitempty"`
	// Findings of the guardrails.
	Findings []policies.Violation
	// DataClass is the highest class of the data given.
	DataClass v1alpha1.DataClass
	// Consumer and Grants (by dataset) are empty unless Phase is InForce, or InForce by time alone: a grant carries its own bounds, so it
	// goes out before it begins, and the gateway opens and closes by its own clock.
	Consumer string
	Grants   map[string]contract.Grant
	// WakeAt is when the phase changes by time alone; zero if it does not.
	WakeAt time.Time
	// Sound says that nothing but approvals is missing. OnceSigned has then what the text would grant if every party signed it; nil where it
	// is revoked, suspended or over. It is for whoever reviews a text before it is signed, and nothing may be read under it.
	Sound      bool                      `json:"-"`
	OnceSigned map[string]contract.Grant `json:"-"`
}

// Agreement compiles a DataSharingAgreement of s.Platform. guard holds the guardrails; they bind here, whatever an
// admission webhook said.
func Agreement(ctx context.Context, s *Snapshot, guard *policies.Guard, o *v1alpha1.DataSharingAgreement) (AgreementPlan, Problems) {
	var c problems
	claimName(&c, o, s.Agreements)
	plan := AgreementPlan{Phase: v1alpha1.AgreementDraft}
	record := recordOf(s, o)
	keepRecord(s, o, record, &plan)
	consumer := organization(&c, s, "spec.consumer.name", o.Spec.Consumer.Name)
	datasets := agreementDatasets(&c, s, o)
	if consumer == nil || len(datasets) != len(o.Spec.Datasets) {
		return plan, c.list
	}
	selfDeclared(s, consumer, func(_, reason, message string) {
		c.waiting(v1alpha1.ConditionAccepted, reason, "spec.consumer.name", message)
	})
	digests(&c, s, o, datasets, consumer, &plan)
	checkParties(&c, o, datasets)
	plan.DataClass = checkClearance(&c, o, consumer, datasets)
	guardrails(ctx, &c, s, guard, o, consumer, datasets, &plan)
	granted := grants(&c, s, o, consumer, datasets)
	sound := !c.list.Fatal()
	begun := approvals(&c, s, o, consumer, datasets, &record, &plan)
	keepRecord(s, o, record, &plan)
	plan.Sound = sound
	if phase(&c, s.Now, o, sound, begun, &plan) {
		for name, g := range granted {
			g.Digest, g.Relied = plan.Digest, plan.Relied
			granted[name] = g
		}
		plan.Consumer, plan.Grants = consumer.Name, granted
	}
	if sound && (plan.Grants != nil || plan.Phase == v1alpha1.AgreementDraft || plan.Phase == v1alpha1.AgreementAwaitingApproval) {
		plan.OnceSigned = granted
	}
	return plan, c.list
}

// digests puts the digest of what the agreement relies on, and that of the whole, into the plan. Where something relied on is not
// there nothing can be approved, and the problem was told already.
func digests(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement, datasets []*v1alpha1.Dataset, consumer *v1alpha1.Organization, plan *AgreementPlan) {
	namespaces := map[string]string{}
	for _, d := range datasets {
		if provider := organization(c, s, "spec.datasets", d.Spec.Provider.Name); provider != nil {
			namespaces[provider.Name] = provider.Namespace
		}
	}
	r, err := approval.RelyOn(o, datasets, consumer, namespaces)
	if err != nil {
		if !c.list.Fatal() {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonFieldNotFound, "spec.datasets", err.Error())
		}
		return
	}
	if plan.Relied, err = r.Digest(); err == nil {
		plan.Digest, err = approval.Digest(o, r)
	}
	if err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "", err.Error())
	}
}

// agreementDatasets resolves the datasets in the order of the spec and checks fields and masks against them.
func agreementDatasets(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement) []*v1alpha1.Dataset {
	var found []*v1alpha1.Dataset
	for i, want := range o.Spec.Datasets {
		at := fmt.Sprintf("spec.datasets[%d]", i)
		d, ok := s.Datasets.Get(want.Name)
		if !ok {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonDatasetNotFound, at+".name", "Dataset "+want.Name+" is not there; create it")
			continue
		}
		found = append(found, d)
		if d.Spec.Sharing == v1alpha1.SharingNone {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonSharingNone, at+".name", "Dataset "+want.Name+" is not shared (sharing: None); take it out")
		}
		for j, name := range want.Fields {
			if fieldOf(d, name) == nil {
				c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonFieldNotFound, fmt.Sprintf("%s.fields[%d]", at, j), "Dataset "+want.Name+" has no field "+name)
			}
		}
		if want.Rows != nil {
			for j, r := range want.Rows.Requirements {
				if fieldOf(d, r.Column) == nil {
					c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonFieldNotFound, fmt.Sprintf("%s.rows.requirements[%d].column", at, j),
						"Dataset "+want.Name+" has no field "+r.Column+"; write one of "+strings.Join(fieldNames(d), ", "))
				}
			}
		}
		for j, m := range want.Masks {
			if !slices.Contains(want.Fields, m.Field) {
				c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonFieldNotFound, fmt.Sprintf("%s.masks[%d].field", at, j), m.Field+" is not among the fields given")
			}
		}
	}
	return found
}

func fieldNames(d *v1alpha1.Dataset) (out []string) {
	for _, f := range d.Spec.Fields {
		out = append(out, f.Name)
	}
	return out
}

func fieldOf(d *v1alpha1.Dataset, name string) *v1alpha1.DatasetField {
	for i := range d.Spec.Fields {
		if d.Spec.Fields[i].Name == name {
			return &d.Spec.Fields[i]
		}
	}
	return nil
}

func validity(o *v1alpha1.DataSharingAgreement) (from, to time.Time) {
	if v := o.Spec.Validity; v != nil {
		if v.NotBefore != nil {
			from = v.NotBefore.Time
		}
		if v.NotAfter != nil {
			to = v.NotAfter.Time
		}
	}
	return from, to
}

// checkParties refuses an agreement of an organisation with itself: one signature would open it.
func checkParties(c *problems, o *v1alpha1.DataSharingAgreement, datasets []*v1alpha1.Dataset) {
	for i, d := range datasets {
		if d.Spec.Provider.Name == o.Spec.Consumer.Name {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.datasets[%d].name", i),
				"Dataset "+d.Name+" is provided by the consumer "+o.Spec.Consumer.Name+" itself; an agreement has two parties, take it out")
		}
	}
}

// OrganizationsOf gives the organisations that an agreement names, sorted: its text changes its meaning with theirs. Providers and the data
// office count once they have signed.
func OrganizationsOf(o *v1alpha1.DataSharingAgreement) []string {
	out := []string{o.Spec.Consumer.Name}
	for _, a := range o.Spec.Approvals {
		out = append(out, a.Organization)
	}
	if b := o.Spec.BreakGlass; b != nil {
		out = append(out, b.Reviewer.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
