package certrule_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract/certrule"
)

func cert() *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(0xbeef), DNSNames: []string{"D7.meters.example"}, URIs: []*url.URL{{Scheme: "urn", Opaque: "dev:D8"}},
		Subject: pkix.Name{CommonName: "D9", SerialNumber: "D6", OrganizationalUnit: []string{"meters"}}}
}

func TestDevice(t *testing.T) {
	for rule, want := range map[string]string{
		"cert.subject.serialNumber":      "D6",
		"cert.dnsNames[0].split('.')[0]": "D7",
		"cert.uris[0].substring(8)":      "D8",
		"cert.serial":                    "beef",
		"cert.subject.organizationalUnit[0] == 'meters' ? 'yes' : ''": "yes",
		"cert.subject.organizationalUnit[0] == 'gas' ? 'yes' : ''":    "",
		"cert.dnsNames[0]": "", // a dot is in no device's name
		"cert.dnsNames[5]": "",
		"cert.nothing":     "",
		"cert.uris":        "",
	} {
		r, err := certrule.Compile(rule)
		if err != nil {
			t.Fatalf("%s: %v", rule, err)
		}
		got, err := r.Device(cert())
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", rule, got, err, want)
		}
	}
}

func TestRulesThatCannotBe(t *testing.T) {
	for rule, want := range map[string]string{
		"":                        "no valid CEL",
		"cert.":                   "no valid CEL",
		"payload.id":              "undeclared reference",
		"1 + 2":                   "gives int",
		"cert.subject.commonName": "common name",
		strings.Repeat("x", 3000): "no valid CEL",
	} {
		if _, err := certrule.Compile(rule); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want one that says %q", rule, err, want)
		}
	}
}

func TestARuleHasABound(t *testing.T) {
	r, err := certrule.Compile("[1,2,3,4,5,6,7,8,9].map(a, [1,2,3,4,5,6,7,8,9].map(b, [1,2,3,4,5,6,7,8,9].map(c, [1,2,3,4,5,6,7,8,9].map(d, a*b*c*d)))).size() > 0 ? cert.serial : ''")
	if err != nil {
		return // refused when it is written is as good
	}
	if _, err := r.Device(cert()); err == nil {
		t.Error("a rule without bound was evaluated")
	}
}
