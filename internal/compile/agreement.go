package compile

import (
	"context"
	"fmt"
	"maps"
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
	Phase  v1alpha1.AgreementPhase
	// Pending names the organisations whose approval is missing, sorted.
	Pending []string
	// Findings of the guardrails.
	Findings []policies.Violation
	// Consumer and Grants (by dataset) are empty unless Phase is InForce.
	Consumer string
	Grants   map[string]contract.Grant
	// WakeAt is when the phase changes by time alone; zero if it does not.
	WakeAt time.Time
}

// Agreement compiles a DataSharingAgreement of s.Platform. guard holds the guardrails; they bind here, whatever an
// admission webhook said.
func Agreement(ctx context.Context, s *Snapshot, guard *policies.Guard, o *v1alpha1.DataSharingAgreement) (AgreementPlan, Problems) {
	var c problems
	claimName(&c, o, s.Agreements)
	plan := AgreementPlan{Phase: v1alpha1.AgreementDraft}
	digest, err := approval.Digest(o)
	if err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "", err.Error())
		return plan, c.list
	}
	plan.Digest = digest
	checkAgreementServed(&c, o)
	consumer := organization(&c, s, "spec.consumer.name", o.Spec.Consumer.Name)
	datasets := agreementDatasets(&c, s, o)
	if consumer == nil || len(datasets) != len(o.Spec.Datasets) {
		return plan, c.list
	}
	guardrails(ctx, &c, s, guard, o, consumer, datasets, &plan)
	approvals(&c, s, o, consumer, datasets, &plan)
	grants := map[string]contract.Grant{}
	for i := range o.Spec.Datasets {
		grants[o.Spec.Datasets[i].Name] = grant(&c, s, o, i, consumer, datasets[i], digest)
	}
	if plan.Phase = phase(&c, s.Now, o, &plan); plan.Phase == v1alpha1.AgreementInForce {
		plan.Consumer, plan.Grants = consumer.Name, grants
	}
	return plan, c.list
}

// checkAgreementServed refuses limits that this version does not enforce: an agreement must never reach further than it says.
func checkAgreementServed(c *problems, o *v1alpha1.DataSharingAgreement) {
	unserved := map[string]bool{
		"spec.hours": o.Spec.Hours != nil, "spec.breakGlass": o.Spec.BreakGlass != nil, "spec.caseCondition": o.Spec.CaseCondition != nil,
		"spec.aggregates": o.Spec.Aggregates != nil, "spec.caseNumber": o.Spec.CaseNumber != "",
	}
	for i, d := range o.Spec.Datasets {
		unserved[fmt.Sprintf("spec.datasets[%d].rows.grids", i)] = d.Rows != nil && len(d.Rows.Grids) > 0
		unserved[fmt.Sprintf("spec.datasets[%d].rows.roster", i)] = d.Rows != nil && d.Rows.Roster != nil && *d.Rows.Roster
	}
	for _, field := range slices.Sorted(maps.Keys(unserved)) {
		if unserved[field] {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, field, "is not enforced by this version; leave it out")
		}
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

// approvals checks that every party has signed this very text: the providers of the datasets, the consumer, and the data
// office where the platform asks for one.
func approvals(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset, plan *AgreementPlan) {
	parties := map[string]bool{consumer.Name: true}
	for _, d := range datasets {
		parties[d.Spec.Provider.Name] = true
	}
	if s.Platform.Spec.DataOffice != nil {
		parties[s.Platform.Spec.DataOffice.Name] = true
	}
	signed := map[string]bool{}
	for i, a := range o.Spec.Approvals {
		at := fmt.Sprintf("spec.approvals[%d]", i)
		if !parties[a.Organization] {
			c.invalid(v1alpha1.ConditionApproved, v1alpha1.ReasonApprovalInvalid, at+".organization", a.Organization+" is no party of this agreement; remove the approval")
			continue
		}
		if wrong := checkApproval(s, a, plan.Digest); wrong != "" {
			c.invalid(v1alpha1.ConditionApproved, v1alpha1.ReasonApprovalVoid, at+".signature", wrong)
			continue
		}
		signed[a.Organization] = true
	}
	for party := range parties {
		if !signed[party] {
			plan.Pending = append(plan.Pending, party)
		}
	}
	slices.Sort(plan.Pending)
	if len(plan.Pending) > 0 {
		c.waiting(v1alpha1.ConditionApproved, v1alpha1.ReasonAwaitingApproval, "spec.approvals",
			"approval of "+strings.Join(plan.Pending, ", ")+" is missing; an approver signs with `dizuo agreement approve`")
	}
}

func checkApproval(s *Snapshot, a v1alpha1.Approval, digest string) string {
	org, ok := s.Organizations.Get(a.Organization)
	if !ok {
		return "Organization " + a.Organization + " is not there"
	}
	for _, k := range org.Spec.Approvers {
		if k.Name != a.Approver {
			continue
		}
		if err := approval.Verify(k.PublicKey, a.Organization, a.Approver, digest, a.Signature); err != nil {
			return err.Error() + "; sign again with `dizuo agreement approve`"
		}
		return ""
	}
	return a.Approver + " is not among spec.approvers of Organization " + a.Organization
}

// phase gives the state of an agreement at the time now.
func phase(c *problems, now time.Time, o *v1alpha1.DataSharingAgreement, plan *AgreementPlan) v1alpha1.AgreementPhase {
	from, to := validity(o)
	switch {
	case o.Spec.Revoked:
		return v1alpha1.AgreementRevoked
	case !to.IsZero() && !now.Before(to):
		return v1alpha1.AgreementExpired
	case o.Spec.Suspended:
		return v1alpha1.AgreementSuspended
	case len(plan.Pending) > 0:
		plan.WakeAt = to
		return v1alpha1.AgreementAwaitingApproval
	case c.list.Fatal():
		return v1alpha1.AgreementDraft
	}
	// A grant carries its own bounds, so it goes out before it begins and the gateway opens on time by itself.
	plan.WakeAt = to
	if now.Before(from) {
		plan.WakeAt = from
	}
	return v1alpha1.AgreementInForce
}

// grant gives what an agreement allows on one dataset.
func grant(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement, i int, consumer *v1alpha1.Organization, d *v1alpha1.Dataset, digest string) contract.Grant {
	want := &o.Spec.Datasets[i]
	from, to := validity(o)
	g := contract.Grant{
		UID: string(o.UID), Generation: o.Generation, Digest: digest, Fields: map[string]contract.Mask{}, Roles: o.Spec.Roles,
		CaseNumberRequired: o.Spec.CaseNumberRequired != nil && *o.Spec.CaseNumberRequired,
		NotBefore:          unix(from), NotAfter: unix(to),
		RequestsPerDay: o.Spec.Quota.RequestsPerDay, RecordsPerDay: o.Spec.Quota.RecordsPerDay,
		Rows: rows(c, s, fmt.Sprintf("spec.datasets[%d].rows", i), want.Rows, consumer),
	}
	for _, p := range o.Spec.Purposes {
		g.Purposes = append(g.Purposes, string(p))
	}
	for _, name := range want.Fields {
		g.Fields[name] = mask(want, name)
		if f := fieldOf(d, name); f == nil || f.Personal != v1alpha1.PersonalNone {
			g.PersonRequired = true
		}
	}
	return g
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func mask(want *v1alpha1.AgreementDataset, field string) contract.Mask {
	m := maskOf(want, field)
	if m == nil {
		return contract.Mask{}
	}
	out := contract.Mask{Method: string(m.Method), To: string(m.To)}
	if m.Keep != nil {
		out.Keep = int(*m.Keep)
	}
	if m.To == v1alpha1.GranularityStep {
		out.To = m.Step
	}
	return out
}

func maskOf(want *v1alpha1.AgreementDataset, field string) *v1alpha1.FieldMask {
	for i := range want.Masks {
		if want.Masks[i].Field == field {
			return &want.Masks[i]
		}
	}
	return nil
}

// rows gives the row scope: the consumer's jurisdiction, narrowed by what the agreement says. A consumer without jurisdiction and a
// selection that selects nothing give no row at all, never every row.
func rows(c *problems, s *Snapshot, field string, want *v1alpha1.RowSelector, consumer *v1alpha1.Organization) contract.Rows {
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
	for _, d := range want.Divisions {
		if !slices.ContainsFunc(jurisdiction, func(prefix string) bool { return strings.HasPrefix(d, prefix) }) {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field+".divisions",
				fmt.Sprintf("%s is outside the jurisdiction of Organization %s (%s): an agreement narrows it and never widens it; write a division under it", d, consumer.Name, strings.Join(jurisdiction, ", ")))
		}
	}
	out.Communities = slices.Clone(want.Communities)
	if sel := want.CommunitySelector; sel != nil {
		selected := selectCommunities(s, sel, want.Communities)
		if out.Communities = selected; len(selected) == 0 {
			c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonCommunityNotFound, field+".communitySelector", "selects no Community")
		}
	}
	for i, r := range want.Requirements {
		if r.Operator == v1alpha1.RowAtLeast || r.Operator == v1alpha1.RowAtMost {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, fmt.Sprintf("%s.requirements[%d].operator", field, i), string(r.Operator)+" is not served by this version; use In, NotIn, Exists or DoesNotExist")
		}
		out.Requirements = append(out.Requirements, contract.Requirement{Field: r.Column, Operator: string(r.Operator), Values: r.Values})
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
