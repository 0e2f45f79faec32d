package approval_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
)

// signedThing is an agreement with what it names.
type signedThing struct {
	agreement *v1alpha1.DataSharingAgreement
	dataset   *v1alpha1.Dataset
	consumer  *v1alpha1.Organization
	providers map[string]string
}

func thing() signedThing {
	return signedThing{
		agreement: &v1alpha1.DataSharingAgreement{
			ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "visits"},
			Spec: v1alpha1.DataSharingAgreementSpec{
				Consumer: v1alpha1.LocalRef{Name: "civil"}, Purposes: []v1alpha1.Purpose{v1alpha1.PurposeElderCare}, Roles: []string{"GridWorker"},
				Datasets: []v1alpha1.AgreementDataset{{Name: "visits", Fields: []string{"division", "phone"}, Masks: []v1alpha1.FieldMask{{Field: "phone", Method: v1alpha1.MaskKeepLast, Keep: ptr.To(int32(4))}}}},
				Validity: &v1alpha1.Validity{NotAfter: &metav1.Time{Time: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}},
			},
		},
		dataset: &v1alpha1.Dataset{
			ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "visits"},
			Spec: v1alpha1.DatasetSpec{
				Provider: v1alpha1.LocalRef{Name: "health"}, Sharing: v1alpha1.SharingConditional, Category: v1alpha1.CategoryOrdinary, SchemaVersion: 1,
				Source: v1alpha1.DatasetSource{Type: v1alpha1.SourceTable, Schema: "datasets"}, DivisionColumn: "division", SubjectColumn: "subject",
				Fields: []v1alpha1.DatasetField{
					{Name: "division", Type: v1alpha1.DatasetString, Grade: v1alpha1.GradeGeneral1, Personal: v1alpha1.PersonalNone},
					{Name: "phone", Type: v1alpha1.DatasetString, Grade: v1alpha1.GradeGeneral4, Personal: v1alpha1.PersonalSensitive},
					{Name: "level", Type: v1alpha1.DatasetEnum, Enum: []string{"b", "a"}, Grade: v1alpha1.GradeGeneral4, Personal: v1alpha1.PersonalSensitive},
				},
			},
		},
		consumer: &v1alpha1.Organization{
			ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "civil"},
			Spec:       v1alpha1.OrganizationSpec{Type: v1alpha1.OrganizationDepartment, Jurisdiction: []string{"4101"}},
		},
		providers: map[string]string{"health": "henan", "civil": "henan"},
	}
}

func (s signedThing) digest(t *testing.T) string {
	t.Helper()
	r, err := approval.RelyOn(s.agreement, []*v1alpha1.Dataset{s.dataset}, s.consumer, s.providers)
	if err != nil {
		t.Fatal(err)
	}
	d, err := approval.Digest(s.agreement, r)
	if err != nil || !strings.HasPrefix(d, "sha256:") || len(d) != 71 {
		t.Fatalf("digest %q: %v", d, err)
	}
	return d
}

// The digest is what an approver signed: it may change with the code only by intent, since it voids every approval given.
func TestDigestIsStable(t *testing.T) {
	const want = "sha256:c4e6459687b95b979625d153171e8f8e29b40950e8e7abf8241c4a6b9245b857"
	if got := thing().digest(t); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDigestFollowsTheSubstance(t *testing.T) {
	type change func(a *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, o *v1alpha1.OrganizationSpec)
	same := map[string]change{
		"approvals": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Approvals = []v1alpha1.Approval{{Organization: "civil"}}
		},
		"suspended": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Suspended = true
		},
		"revoked": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Revoked = true
		},
		"the dataset's names and expectations": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.DisplayName, d.Description, d.Quality, d.Fields[1].DisplayName = "a", "b", &v1alpha1.QualityExpectation{}, "c"
		},
		"a field that is not given": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Fields[2].Personal, d.Fields[2].Column = v1alpha1.PersonalNone, "other"
		},
		"a default said": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.KeyColumn, d.Source.Table, d.Fields[0].Column = "id", "visits", "division"
		},
		"order of jurisdiction": func(_ *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, o *v1alpha1.OrganizationSpec) {
			o.Jurisdiction = []string{"4101"}
		},
		"the consumer's keys": func(_ *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, o *v1alpha1.OrganizationSpec) {
			o.Approvers, o.DisplayName = []v1alpha1.NamedKey{{Name: "a"}}, "x"
		},
	}
	other := map[string]change{
		"consumer": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Consumer.Name = "property"
		},
		"a field more": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Datasets[0].Fields = append(a.Datasets[0].Fields, "level")
		},
		"a mask less": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Datasets[0].Masks = nil
		},
		"a weaker mask": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Datasets[0].Masks[0].Keep = ptr.To(int32(8))
		},
		"rows": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Datasets[0].Rows = &v1alpha1.RowSelector{Communities: []string{"jinghu"}}
		},
		"a purpose more": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Purposes = append(a.Purposes, v1alpha1.PurposeAudit)
		},
		"a later end": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Validity.NotAfter.Time = a.Validity.NotAfter.Add(time.Hour)
		},
		"order of fields": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.Datasets[0].Fields = []string{"phone", "division"}
		},
		"the display name": func(a *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			a.DisplayName = "独居老人"
		},
		"another column under the name": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Fields[1].Column = "id_number"
		},
		"a lower mark": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Fields[1].Personal = v1alpha1.PersonalNone
		},
		"a lower grade": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Fields[1].Grade = v1alpha1.GradeGeneral1
		},
		"another type": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Fields[1].Type = v1alpha1.DatasetNumber
		},
		"another table": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Source.Table = "all"
		},
		"another database": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Source.DSNSecretRef = &v1alpha1.SecretKeyRef{Name: "s", Key: "dsn"}
		},
		"another division column": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.DivisionColumn = "all"
		},
		"another subject": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.SubjectColumn = "x"
		},
		"another provider": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Provider.Name = "civil"
		},
		"a milder category": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Category = v1alpha1.CategoryLocation
		},
		"consent": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.Consent = &v1alpha1.ConsentRule{Scope: "care"}
		},
		"the next schema version": func(_ *v1alpha1.DataSharingAgreementSpec, d *v1alpha1.DatasetSpec, _ *v1alpha1.OrganizationSpec) {
			d.SchemaVersion = 2
		},
		"a wider jurisdiction": func(_ *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, o *v1alpha1.OrganizationSpec) {
			o.Jurisdiction = append(o.Jurisdiction, "41")
		},
		"a compound more": func(_ *v1alpha1.DataSharingAgreementSpec, _ *v1alpha1.DatasetSpec, o *v1alpha1.OrganizationSpec) {
			o.Compounds = []v1alpha1.CompoundRef{{Community: "jinghu", Compound: "east"}}
		},
	}
	was := thing().digest(t)
	for stays, changes := range map[bool]map[string]change{true: same, false: other} {
		for name, change := range changes {
			s := thing()
			change(&s.agreement.Spec, &s.dataset.Spec, &s.consumer.Spec)
			before := s.agreement.DeepCopy()
			if got := s.digest(t); (got == was) != stays {
				t.Errorf("%s: digest stays: %v, want %v", name, got == was, stays)
			}
			if len(s.agreement.Spec.Approvals) != len(before.Spec.Approvals) || s.agreement.Spec.Suspended != before.Spec.Suspended {
				t.Errorf("%s: the agreement itself was changed", name)
			}
		}
	}
	s := thing()
	s.agreement.Name = "other"
	if s.digest(t) == was {
		t.Error("the digest does not depend on the name")
	}
}

// Where an agreement names its divisions, the consumer's jurisdiction can only narrow: it is not relied on. A property company is bound
// by its compounds all the same.
func TestTheConsumerIsReliedOnWhereItBoundsRows(t *testing.T) {
	for _, tc := range []struct {
		name      string
		divisions []string
		kind      v1alpha1.OrganizationType
		want      bool
	}{
		{"no divisions", nil, v1alpha1.OrganizationDepartment, true},
		{"divisions", []string{"410103"}, v1alpha1.OrganizationDepartment, false},
		{"property company", []string{"410103"}, v1alpha1.OrganizationPropertyCompany, true},
	} {
		s := thing()
		s.agreement.Spec.Datasets[0].Rows = &v1alpha1.RowSelector{Divisions: tc.divisions}
		s.consumer.Spec.Type = tc.kind
		r, err := approval.RelyOn(s.agreement, []*v1alpha1.Dataset{s.dataset}, s.consumer, s.providers)
		if err != nil || (r.Consumer.Jurisdiction != nil) != tc.want || r.Consumer.Type != string(tc.kind) || r.Consumer.Clearance == "" {
			t.Errorf("%s: consumer %v, %v", tc.name, r.Consumer, err)
		}
	}
}

func TestNothingReliedOnIsMissing(t *testing.T) {
	for name, change := range map[string]func(*signedThing){
		"a field that is not there": func(s *signedThing) { s.agreement.Spec.Datasets[0].Fields = []string{"nothing"} },
		"a requirement on a field that is not there": func(s *signedThing) {
			s.agreement.Spec.Datasets[0].Rows = &v1alpha1.RowSelector{Requirements: []v1alpha1.RowRequirement{{Column: "nothing"}}}
		},
		"another dataset": func(s *signedThing) { s.dataset.Name = "other" },
		"two datasets for one": func(s *signedThing) {
			s.agreement.Spec.Datasets = append(s.agreement.Spec.Datasets, v1alpha1.AgreementDataset{Name: "b"})
		},
	} {
		s := thing()
		change(&s)
		if _, err := approval.RelyOn(s.agreement, []*v1alpha1.Dataset{s.dataset}, s.consumer, s.providers); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Who the parties are, and how much the consumer may be given, is signed whatever bounds the rows.
func TestThePartiesAreReliedOn(t *testing.T) {
	base := func() signedThing {
		s := thing()
		s.agreement.Spec.Datasets[0].Rows = &v1alpha1.RowSelector{Divisions: []string{"410103"}}
		return s
	}
	for name, change := range map[string]func(*signedThing){
		"the consumer's type":      func(s *signedThing) { s.consumer.Spec.Type = v1alpha1.OrganizationPolice },
		"the consumer's clearance": func(s *signedThing) { s.consumer.Spec.Clearance = v1alpha1.DataClassC3 },
		"a consumer of that name":  func(s *signedThing) { s.consumer.Namespace = "county" },
		"a provider of that name":  func(s *signedThing) { s.providers["health"] = "county" },
	} {
		s := base()
		change(&s)
		if s.digest(t) == base().digest(t) {
			t.Errorf("%s: the digest stays", name)
		}
	}
}
