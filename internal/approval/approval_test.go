package approval_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
)

func agreement() *v1alpha1.DataSharingAgreement {
	return &v1alpha1.DataSharingAgreement{
		ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "visits"},
		Spec: v1alpha1.DataSharingAgreementSpec{
			Consumer: v1alpha1.LocalRef{Name: "civil"}, Purposes: []v1alpha1.Purpose{v1alpha1.PurposeElderCare}, Roles: []string{"GridWorker"},
			Datasets: []v1alpha1.AgreementDataset{{Name: "visits", Fields: []string{"division", "phone"}, Masks: []v1alpha1.FieldMask{{Field: "phone", Method: v1alpha1.MaskKeepLast, Keep: ptr.To(int32(4))}}}},
			Validity: &v1alpha1.Validity{NotAfter: &metav1.Time{Time: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}},
		},
	}
}

func digest(t *testing.T, a *v1alpha1.DataSharingAgreement) string {
	t.Helper()
	d, err := approval.Digest(a)
	if err != nil || !strings.HasPrefix(d, "sha256:") || len(d) != 71 {
		t.Fatalf("digest %q: %v", d, err)
	}
	return d
}

func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"ECDSA": ec, "Ed25519": ed}
}

func public(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// The digest is what an approver signed: it may change with the code only by intent, since it voids every approval given.
func TestDigestIsStable(t *testing.T) {
	const want = "sha256:37bafe5799ea915814cf3c8e1946e8114deece2add95dfb823acc8db48c858e3"
	if got := digest(t, agreement()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDigestFollowsTheSubstance(t *testing.T) {
	was := digest(t, agreement())
	for name, c := range map[string]struct {
		change func(*v1alpha1.DataSharingAgreement)
		same   bool
	}{
		"approvals": {func(a *v1alpha1.DataSharingAgreement) {
			a.Spec.Approvals = []v1alpha1.Approval{{Organization: "civil"}}
		}, true},
		"suspended": {func(a *v1alpha1.DataSharingAgreement) { a.Spec.Suspended = true }, true},
		"status":    {func(a *v1alpha1.DataSharingAgreement) { a.Status.Phase = v1alpha1.AgreementInForce }, true},
		"labels and UID": {func(a *v1alpha1.DataSharingAgreement) {
			a.Labels, a.UID, a.Generation = map[string]string{"a": "b"}, "u", 7
		}, true},
		"name":      {func(a *v1alpha1.DataSharingAgreement) { a.Name = "other" }, false},
		"namespace": {func(a *v1alpha1.DataSharingAgreement) { a.Namespace = "other" }, false},
		"consumer":  {func(a *v1alpha1.DataSharingAgreement) { a.Spec.Consumer.Name = "property" }, false},
		"a field more": {func(a *v1alpha1.DataSharingAgreement) {
			a.Spec.Datasets[0].Fields = append(a.Spec.Datasets[0].Fields, "name")
		}, false},
		"a mask less":   {func(a *v1alpha1.DataSharingAgreement) { a.Spec.Datasets[0].Masks = nil }, false},
		"a weaker mask": {func(a *v1alpha1.DataSharingAgreement) { a.Spec.Datasets[0].Masks[0].Keep = ptr.To(int32(8)) }, false},
		"rows": {func(a *v1alpha1.DataSharingAgreement) {
			a.Spec.Datasets[0].Rows = &v1alpha1.RowSelector{Divisions: []string{"41"}}
		}, false},
		"a purpose more": {func(a *v1alpha1.DataSharingAgreement) {
			a.Spec.Purposes = append(a.Spec.Purposes, v1alpha1.PurposeAudit)
		}, false},
		"a later end": {func(a *v1alpha1.DataSharingAgreement) {
			a.Spec.Validity.NotAfter.Time = a.Spec.Validity.NotAfter.Add(time.Hour)
		}, false},
		"revoked":          {func(a *v1alpha1.DataSharingAgreement) { a.Spec.Revoked = true }, false},
		"order of fields":  {func(a *v1alpha1.DataSharingAgreement) { f := a.Spec.Datasets[0].Fields; f[0], f[1] = f[1], f[0] }, false},
		"the display name": {func(a *v1alpha1.DataSharingAgreement) { a.Spec.DisplayName = "独居老人" }, false},
	} {
		a := agreement()
		c.change(a)
		before := a.DeepCopy()
		if got := digest(t, a); (got == was) != c.same {
			t.Errorf("%s: digest stays: %v, want %v", name, got == was, c.same)
		}
		if len(a.Spec.Approvals) != len(before.Spec.Approvals) || a.Spec.Suspended != before.Spec.Suspended {
			t.Errorf("%s: the agreement itself was changed", name)
		}
	}
}

func TestSignAndVerify(t *testing.T) {
	d := digest(t, agreement())
	for name, key := range keys(t) {
		stranger := keys(t)[name]
		good, err := approval.Sign(key, "civil", "office", d)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(good, ".")
		for what, c := range map[string]struct {
			key, organization, approver, digest, signature string
			ok                                             bool
		}{
			"good":                    {public(t, key), "civil", "office", d, good, true},
			"another text":            {public(t, key), "civil", "office", d + "0", good, false},
			"another key":             {public(t, stranger), "civil", "office", d, good, false},
			"another organisation":    {public(t, key), "health", "office", d, good, false},
			"another approver":        {public(t, key), "civil", "deputy", d, good, false},
			"payload not detached":    {public(t, key), "civil", "office", d, parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(d)) + "." + parts[2], false},
			"signature of zeroes":     {public(t, key), "civil", "office", d, parts[0] + ".." + strings.Repeat("A", 86), false},
			"empty":                   {public(t, key), "civil", "office", d, "", false},
			"a key that is none":      {"AAAA", "civil", "office", d, good, false},
			"a key that is no base64": {"-", "civil", "office", d, good, false},
		} {
			if err := approval.Verify(c.key, c.organization, c.approver, c.digest, c.signature); (err == nil) != c.ok {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
}

// A signature of the same key over the same bytes for another purpose is no approval.
func TestOnlyApprovalsAreTaken(t *testing.T) {
	key := keys(t)["ECDSA"]
	d := digest(t, agreement())
	for typ, ok := range map[string]bool{"dizuo-approval": true, "dizuo-lease": false, "JWT": false, "": false} {
		options := (&jose.SignerOptions{}).WithHeader("kid", "civil/office")
		if typ != "" {
			options = options.WithType(jose.ContentType(typ))
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(d))
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jws.DetachedCompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if err := approval.Verify(public(t, key), "civil", "office", d, compact); (err == nil) != ok {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
}

func TestWeakKeysAreRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-384": p384, "RSA": small} {
		if _, err := approval.Sign(key, "o", "a", "d"); err == nil {
			t.Errorf("%s: signs", name)
		}
		if _, err := approval.ParsePublicKey(public(t, key)); err == nil {
			t.Errorf("%s: is taken as public key", name)
		}
	}
}
