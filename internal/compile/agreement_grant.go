package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// grants gives what an agreement allows, by dataset. The digests are put in once they are known.
func grants(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement, consumer *v1alpha1.Organization, datasets []*v1alpha1.Dataset) map[string]contract.Grant {
	checkAggregates(c, o, datasets)
	shared := agreementTerms(c, s, o)
	out := map[string]contract.Grant{}
	for i, d := range datasets {
		out[d.Name] = grant(c, s, o, i, consumer, d, shared)
	}
	return out
}

// agreementTerms gives the part of a grant that is the same for all datasets of an agreement.
func agreementTerms(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement) contract.Grant {
	from, to := validity(o)
	g := contract.Grant{
		UID: string(o.UID), Generation: o.Generation, ExternalRef: o.Spec.ExternalRef, Roles: o.Spec.Roles,
		// A case that is asked for must be named.
		CaseNumberRequired: isTrue(o.Spec.CaseNumberRequired) || o.Spec.CaseNumber != "" || o.Spec.CaseCondition != nil,
		CaseNumber:         o.Spec.CaseNumber, NotBefore: unix(from), NotAfter: unix(to),
		RequestsPerDay: o.Spec.Quota.RequestsPerDay, RecordsPerDay: o.Spec.Quota.RecordsPerDay,
		NoOnward: o.Spec.Obligations.NoOnward == nil || *o.Spec.Obligations.NoOnward, RetentionSeconds: seconds(o.Spec.Obligations.Retention.Duration),
	}
	for _, p := range o.Spec.Purposes {
		g.Purposes = append(g.Purposes, string(p))
	}
	if k := o.Spec.CaseCondition; k != nil {
		g.Case = &contract.CaseCondition{Classes: k.Classes, MinSeverity: cmp.Or(contract.Severity(k.MinimumSeverity), contract.SeverityLow), GraceSeconds: seconds(k.Grace.Duration)}
	}
	if h := o.Spec.Hours; h != nil {
		g.Hours = &contract.Hours{From: minute(h.From), To: minute(h.To), WorkingDaysOnly: isTrue(h.WorkingDaysOnly)}
	}
	if b := o.Spec.BreakGlass; b != nil {
		organization(c, s, "spec.breakGlass.reviewer.name", b.Reviewer.Name)
		g.BreakGlass = &contract.BreakGlass{Roles: b.Roles, Reviewer: b.Reviewer.Name, ReviewSeconds: seconds(b.ReviewWithin.Duration)}
	}
	return g
}

// grant gives what an agreement allows on one dataset.
func grant(c *problems, s *Snapshot, o *v1alpha1.DataSharingAgreement, i int, consumer *v1alpha1.Organization, d *v1alpha1.Dataset, g contract.Grant) contract.Grant {
	want, at := &o.Spec.Datasets[i], fmt.Sprintf("spec.datasets[%d]", i)
	g.ConsumerNamespace, g.Provider, g.Fields = consumer.Namespace, d.Spec.Provider.Name, map[string]contract.Mask{}
	personal := false
	for _, name := range want.Fields {
		g.Fields[name] = mask(want, name)
	}
	for _, name := range slices.Concat(want.Fields, picked(want)) {
		f := fieldOf(d, name)
		personal = personal || f == nil || f.Personal != v1alpha1.PersonalNone
	}
	g.Rows = rows(c, s, at+".rows", want.Rows, consumer, d)
	g.Aggregates = aggregates(o, want)
	// Counts of groups that are large enough are of nobody (decision 0027), so a system may ask for them; access.rego says so too. A consent
	// that the dataset asks for, or that the agreement rests on, binds whose rows are counted.
	counts := g.Aggregates != nil && g.Aggregates.Only
	g.PersonRequired = personal && !counts || g.Rows.Roster // the roster says where a person reads
	g.ConsentScope = consentScope(c, o, at, d, personal)
	return g
}

// consentScope gives the scope of the agreement that subjects must have consented to, where its legal basis is a consent. The gateway asks
// for that of the dataset beside it: who agreed to care in general has not agreed to this sharing.
func consentScope(c *problems, o *v1alpha1.DataSharingAgreement, at string, d *v1alpha1.Dataset, personal bool) string {
	b := o.Spec.LegalBasis
	if b == nil || (b.Kind != v1alpha1.LegalBasisConsent && b.Kind != v1alpha1.LegalBasisSeparateConsent) {
		return ""
	}
	if d.Spec.SubjectColumn == "" {
		if personal {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".name", fmt.Sprintf(
				"the legal basis is %s, and Dataset %s has no subjectColumn by which consent is looked up; name the column, or another legal basis", b.Kind, d.Name))
		}
		return ""
	}
	return AgreementScope(o)
}

// AgreementScope gives the scope of a consent to an agreement. No dataset's scope has a dot, and an agreement that is made anew under the
// name is another one. Files without a cluster have no uid.
func AgreementScope(o *v1alpha1.DataSharingAgreement) string {
	return "agreement." + cmp.Or(string(o.UID), o.Name)
}

// ConsentScope gives the scope that a dataset asks consent for, whatever the agreement; empty where it asks for none.
func ConsentScope(d *v1alpha1.Dataset) string {
	k := d.Spec.Consent
	if k == nil || (k.Required != nil && !*k.Required) {
		return ""
	}
	if k.Scope == "" {
		return d.Name
	}
	return k.Scope
}

func isTrue(b *bool) bool { return b != nil && *b }

// seconds rounds up: half a second of grace or retention is not none.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// minute gives the minute of the day of HH:MM, which the schema has checked.
func minute(text string) int {
	hours, minutes, _ := strings.Cut(text, ":")
	h, _ := strconv.Atoi(hours)
	m, _ := strconv.Atoi(minutes)
	return 60*h + m
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
