package compile_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// shared is the head of a small world: a platform, a county that may write every kind, and two organisations of the platform.
const shared = `
apiVersion: dizuo.io/v1alpha1
kind: GridPlatform
metadata: {name: henan, namespace: henan}
spec: {divisions: ["41"], members: [{namespace: county, role: County, divisions: ["4101"]}, {namespace: clinic, role: Provider}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: county, labels: {dizuo.io/platform: henan}}
---
apiVersion: v1
kind: Namespace
metadata: {name: clinic, labels: {dizuo.io/platform: henan}}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: henan}
stringData: {dsn: "postgres://reader:synthetic@db.example/health"}
---
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: health, namespace: henan}
spec: {type: Health, jurisdiction: ["41"], approvers: [{name: office, publicKey: "${key health/office}"}]}
---
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: civil, namespace: henan}
spec: {type: Department, jurisdiction: ["4101"], approvers: [{name: office, publicKey: "${key civil/office}"}]}
---
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: visits, namespace: henan}
spec: {provider: {name: health}, divisionColumn: division, subjectColumn: subject, consent: {scope: care}, fields: [{name: division, personal: None, grade: General1}, {name: phone, personal: Ordinary, grade: General3}]}
---
`

// compiled gives what an object of a text compiles to, beside the world above.
func compiled(t *testing.T, text, object string) member {
	t.Helper()
	text = shared + text
	list := results(t, load(t, signed(t, text)), text)
	i := slices.IndexFunc(list, func(m member) bool { return m.Object == object })
	if i < 0 {
		t.Fatalf("no %s", object)
	}
	return list[i]
}

// refused checks that an object is refused for a field, with words.
func refused(t *testing.T, m member, field, words string) {
	t.Helper()
	for _, p := range m.Problems {
		if p.Field == field && strings.Contains(p.Message, words) && !p.Partial {
			return
		}
	}
	t.Errorf("%s: not refused at %s (%q): %+v", m.Object, field, words, m.Problems)
}

// The rows of the platform's own data are scoped by its own columns: a column of another meaning, with a Community named like one of
// its values, would open the rows of others.
func TestScopeOfOwnDataIsNotChosen(t *testing.T) {
	for field, text := range map[string]string{
		"spec.communityColumn": "communityColumn: class", "spec.gridColumn": "gridColumn: class",
		"spec.divisionColumn": "divisionColumn: class", "spec.compoundColumn": "compoundColumn: class",
	} {
		m := compiled(t, `
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: all-cases, namespace: county}
spec: {provider: {name: civil}, source: {type: Cases}, `+text+`, fields: [{name: number, personal: None}]}
`, "Dataset county/all-cases")
		refused(t, m, field, "take it out")
	}
	m := compiled(t, `
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: cases, namespace: county}
spec: {provider: {name: civil}, source: {type: Cases}, communityColumn: community, gridColumn: grid, fields: [{name: number, personal: None}]}
`, "Dataset county/cases")
	if m.Fatal {
		t.Errorf("the columns themselves are refused: %+v", m.Problems)
	}
}

// A county offers tables of the platform's database only where the platform says so.
func TestCountyNeedsSchemas(t *testing.T) {
	m := compiled(t, `
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: unclaimed, namespace: county}
spec: {provider: {name: civil}, communityColumn: status, fields: [{name: a, personal: None}]}
`, "Dataset county/unclaimed")
	refused(t, m, "spec.source.schema", "no tables of the platform's database")
}

const consented = `
apiVersion: dizuo.io/v1alpha1
kind: DataSharingAgreement
metadata: {name: care, namespace: henan, uid: 0b7c1d1e-0000-4000-8000-000000000001}
spec:
  consumer: {name: civil}
  datasets: [{name: visits, fields: [division, phone]}]
  purposes: [HomeVisit]
  roles: [Officer]
  legalBasis: {kind: SeparateConsent, citation: form 7}
  validity: {notAfter: "2027-01-01T00:00:00Z"}
  approvals: [{organization: health, approver: office, signature: "${sign health/office}"}, {organization: civil, approver: office, signature: "${sign civil/office}"}]
`

// Where the legal basis is a consent, it is asked beside that of the dataset, under a scope that no dataset can have and that ends with
// the agreement.
func TestConsentToTheAgreement(t *testing.T) {
	m := compiled(t, consented, "DataSharingAgreement henan/care")
	plan := m.Plan.(compile.AgreementPlan)
	if got := plan.Grants["visits"].ConsentScope; got != "agreement.0b7c1d1e-0000-4000-8000-000000000001" {
		t.Errorf("scope %q, phase %s, %+v", got, plan.Phase, m.Problems)
	}
}

// What may raise what an organisation is given is said where the platform is run, not by whoever wants the data.
func TestClearanceIsNotSelfDeclared(t *testing.T) {
	for spec, field := range map[string]string{
		"type: Police": "spec.type", "type: DataOffice": "spec.type", "type: Company, clearance: C3": "spec.clearance",
	} {
		text := `
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: own, namespace: county}
spec: {` + spec + `, jurisdiction: ["4101"], approvers: [{name: office, publicKey: "${key own/office}"}]}
---
apiVersion: dizuo.io/v1alpha1
kind: DataSharingAgreement
metadata: {name: grab, namespace: county}
spec:
  consumer: {name: own}
  datasets: [{name: visits, fields: [division]}]
  purposes: [HomeVisit]
`
		refused(t, compiled(t, text, "Organization county/own"), field, "namespace henan")
		refused(t, compiled(t, text, "DataSharingAgreement county/grab"), "spec.consumer.name", "namespace henan")
	}
	m := compiled(t, `
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: lower, namespace: county}
spec: {type: Department, clearance: C1, jurisdiction: ["4101"]}
`, "Organization county/lower")
	if m.Fatal {
		t.Errorf("a lower clearance is refused: %+v", m.Problems)
	}
}

// TestFormerHolderOfAName: whoever had an Organization of a name, and its certificate for years, does not speak for the next of that name.
func TestFormerHolderOfAName(t *testing.T) {
	seen := map[string]bool{}
	for _, namespace := range []string{"county-a", "county-b"} {
		o := &v1alpha1.Organization{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "town"}, Spec: v1alpha1.OrganizationSpec{
			Type: v1alpha1.OrganizationTownship, Identities: []v1alpha1.OrganizationIdentity{{Name: "system", Type: v1alpha1.IdentityIssuedCertificate}}}}
		s := &compile.Snapshot{Platform: &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "henan"}}}
		plan, _ := compile.Organization(s, o)
		if uri := plan.Certificates[0].URI; seen[uri] || !slices.Equal(plan.Document.URIs, []string{uri}) {
			t.Errorf("%s is of both, or not in %v", uri, plan.Document.URIs)
		}
		seen[plan.Certificates[0].URI] = true
	}
}

// A connection string is bound to the Secret that it comes from and to the Dataset itself: the file of a former owner is not read.
func TestSourceIsBoundToItsSecret(t *testing.T) {
	const text = `
apiVersion: v1
kind: Secret
metadata: {name: db2, namespace: henan}
stringData: {dsn: "postgres://reader:synthetic@db2.example/health"}
---
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: foreign, namespace: henan}
spec: {provider: {name: health}, source: {schema: public, dsnSecretRef: {name: db}}, divisionColumn: division, fields: [{name: a, personal: None}]}
`
	seen := map[string]bool{}
	for _, change := range [][2]string{{"", ""}, {"{name: db}", "{name: db2}"}, {"{name: foreign, namespace: henan}", "{name: foreign, namespace: henan, uid: another}"}} {
		m := compiled(t, strings.Replace(text, change[0], change[1], 1), "Dataset henan/foreign")
		dsn := m.Plan.(compile.DatasetPlan).Document.Source.DSN
		if !strings.HasPrefix(dsn, "foreign.") || seen[dsn] {
			t.Errorf("source %q, seen %v", dsn, seen)
		}
		seen[dsn] = true
	}
}

// Consent is asked of subjects in a database of the provider's own as in the platform's.
func TestConsentInADatabaseOfTheProvidersOwn(t *testing.T) {
	const source = `
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: foreign, namespace: henan}
spec: {provider: {name: health}, source: {schema: public, dsnSecretRef: {name: db}}, divisionColumn: division, subjectColumn: s, consent: {scope: x}, fields: [{name: a, personal: Ordinary}]}
`
	m := compiled(t, source, "Dataset henan/foreign")
	if d := m.Plan.(compile.DatasetPlan).Document; m.Fatal || d.ConsentScope != "x" || d.Source.DSN == "" || d.Source.SubjectColumn != "s" {
		t.Errorf("%+v, %+v", d, m.Problems)
	}
	m = compiled(t, source+"---\n"+strings.Replace(strings.Replace(consented, "visits", "foreign", 1), "[division, phone]", "[a]", 1), "DataSharingAgreement henan/care")
	if m.Fatal {
		t.Errorf("%+v", m.Problems)
	}
}

// A key speaks for one organisation: who holds it keeps it, and a rival that writes it too locks nobody out.
func TestKeyOfAnother(t *testing.T) {
	der, err := base64.StdEncoding.DecodeString(publicKey(t, "k"))
	if err != nil {
		t.Fatal(err)
	}
	m := compiled(t, strings.ReplaceAll(`
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: holder, namespace: henan, annotations: {test/claims: "Key=${digest k}"}}
spec: {type: Company, jurisdiction: ["4101"], identities: [{name: a, type: PublicKey, publicKey: "${key k}"}]}
---
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: a-rival, namespace: henan}
spec: {type: Company, jurisdiction: ["4101"], identities: [{name: a, type: PublicKey, publicKey: "${key k}"}]}
`, "${digest k}", contract.Digest(der)), "Organization henan/a-rival")
	if got := m.Plan.(compile.OrganizationPlan).Document.KeyDigests; len(got) != 0 || len(m.Problems) != 1 || !strings.Contains(m.Problems[0].Message, "holder") {
		t.Errorf("keys %v, %+v", got, m.Problems)
	}
}

// One who holds a key for two parties would sign an agreement with himself.
func TestOneKeyForTwoParties(t *testing.T) {
	m := compiled(t, `
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: twin, namespace: henan}
spec: {type: Department, jurisdiction: ["4101"], approvers: [{name: office, publicKey: "${key twin/office}"}, {name: other, publicKey: "${key health/office}"}]}
---
apiVersion: dizuo.io/v1alpha1
kind: DataSharingAgreement
metadata: {name: self, namespace: henan}
spec:
  consumer: {name: twin}
  datasets: [{name: visits, fields: [division]}]
  purposes: [HomeVisit]
  approvals: [{organization: health, approver: office, signature: "${sign health/office}"}, {organization: twin, approver: office, signature: "${sign twin/office}"}]
`, "DataSharingAgreement henan/self")
	refused(t, m, "spec.approvals[0].signature", "twin")
	if plan := m.Plan.(compile.AgreementPlan); len(plan.Grants) != 0 {
		t.Errorf("grants %v", plan.Grants)
	}
}

// An agreement that was revoked does not come back with the signatures that it had, nor an older text with its own.
func TestApprovalsAreNotReplayed(t *testing.T) {
	digest := compiled(t, consented, "DataSharingAgreement henan/care").Plan.(compile.AgreementPlan).Digest
	at := func(unix string) string { return strings.ReplaceAll(consented, "/office}", "/office at "+unix+"}") }
	record := func(text, record string) string {
		return strings.Replace(text, "{name: care,", "{name: care, annotations: {test/approvals: '"+record+"'},", 1)
	}
	accepted := func(digest string) string {
		return `{"accepted":{"civil":{"digest":"` + digest + `","signedAt":1770000010},"health":{"digest":"` + digest + `","signedAt":1770000010}}}`
	}
	revoked := strings.Replace(at("1770000000"), "spec:\n  consumer: {name: civil}", "spec:\n  revoked: true\n  consumer: {name: civil}", 1)
	for name, c := range map[string]struct {
		text   string
		phase  v1alpha1.AgreementPhase
		words  string
		record *compile.ApprovalsRecord
	}{
		"first seen": {record(at("1770000000"), "{}"), v1alpha1.AgreementInForce, "",
			&compile.ApprovalsRecord{Accepted: map[string]compile.AcceptedApproval{"civil": {Digest: digest, SignedAt: 1770000000}, "health": {Digest: digest, SignedAt: 1770000000}}}},
		"the same again, an older signature": {record(at("1770000000"), accepted(digest)), v1alpha1.AgreementInForce, "", nil},
		"an older text":                      {record(at("1770000000"), accepted("sha256:other")), v1alpha1.AgreementAwaitingApproval, "approve again", nil},
		"a newer text": {record(at("1770000020"), accepted("sha256:other")), v1alpha1.AgreementInForce, "",
			&compile.ApprovalsRecord{Accepted: map[string]compile.AcceptedApproval{"civil": {Digest: digest, SignedAt: 1770000020}, "health": {Digest: digest, SignedAt: 1770000020}}}},
		"revoked now": {record(revoked, accepted(digest)), v1alpha1.AgreementRevoked, "",
			&compile.ApprovalsRecord{RevokedAt: 1780272000, Accepted: map[string]compile.AcceptedApproval{"civil": {Digest: digest, SignedAt: 1770000010}, "health": {Digest: digest, SignedAt: 1770000010}}}},
		"revoked, and seen so":       {record(revoked, `{"revokedAt":1770000005}`), v1alpha1.AgreementRevoked, "", nil},
		"made anew after revocation": {record(at("1770000000"), `{"revokedAt":1770000005}`), v1alpha1.AgreementAwaitingApproval, "approve again", nil},
		"signed anew after revocation": {record(at("1770000006"), `{"revokedAt":1770000005}`), v1alpha1.AgreementInForce, "",
			&compile.ApprovalsRecord{RevokedAt: 1770000005, Accepted: map[string]compile.AcceptedApproval{"civil": {Digest: digest, SignedAt: 1770000006}, "health": {Digest: digest, SignedAt: 1770000006}}}},
		"of tomorrow":               {record(at("1790000000"), "{}"), v1alpha1.AgreementAwaitingApproval, "yet to come", nil},
		"a record that is nonsense": {record(at("1770000000"), "{"), v1alpha1.AgreementAwaitingApproval, "cannot be read", nil},
	} {
		m := compiled(t, c.text, "DataSharingAgreement henan/care")
		plan := m.Plan.(compile.AgreementPlan)
		if plan.Phase != c.phase || (len(plan.Grants) > 0) != (c.phase == v1alpha1.AgreementInForce) {
			t.Errorf("%s: %s, %d grants, %+v", name, plan.Phase, len(plan.Grants), m.Problems)
		}
		if diff := gocmp.Diff(c.record, plan.Record); diff != "" {
			t.Errorf("%s: record -want +got:\n%s", name, diff)
		}
		if c.words != "" {
			refused(t, m, "spec.approvals[0].signature", c.words)
		}
	}
}

// A key that signs tokens for people lets in no system, and a system's key makes no people.
func TestKeysOfPeopleAndSystems(t *testing.T) {
	m := compiled(t, `
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: both, namespace: henan}
spec: {type: Company, jurisdiction: ["4101"], identities: [{name: a, type: PublicKey, publicKey: "${key a}"}], personTokenKeys: [{name: b, publicKey: "${key b}"}]}
`, "Organization henan/both")
	doc := m.Plan.(compile.OrganizationPlan).Document
	if len(doc.KeyDigests) != 1 || len(doc.PersonKeyDigests) != 1 || doc.KeyDigests[0] == doc.PersonKeyDigests[0] {
		t.Errorf("keys %v, of people %v", doc.KeyDigests, doc.PersonKeyDigests)
	}
}
