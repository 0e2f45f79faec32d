package chain_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/node/chain"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// signer is a CA of the test.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (s signer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate of a day around noon unless the template says when, by itself where by is nil.
func sign(t *testing.T, by *signer, key *ecdsa.PrivateKey, template x509.Certificate) *x509.Certificate {
	t.Helper()
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = noon.Add(-12 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = noon.Add(12 * time.Hour)
	}
	parent := &signer{cert: &template, key: key}
	if by != nil {
		parent = by
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func authority(t *testing.T, by *signer, key *ecdsa.PrivateKey, name string, uris ...string) signer {
	t.Helper()
	return signer{sign(t, by, key, x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, PermittedURIDomains: uris, PermittedDNSDomainsCritical: len(uris) > 0}), key}
}

func keyOf(s signer) chain.Key { return sha256.Sum256(s.cert.RawSubjectPublicKeyInfo) }

// TestVerify: one table for all who rely on it. A case with an end that is zero is refused.
func TestVerify(t *testing.T) {
	uri := &url.URL{Scheme: "spiffe", Host: "smoke.jinghu.dizuo.internal", Path: "/s1"}
	leaf := func(change ...func(*x509.Certificate)) x509.Certificate {
		c := x509.Certificate{URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	show := func(by signer, c x509.Certificate, sent ...signer) []*x509.Certificate {
		out := []*x509.Certificate{sign(t, &by, newKey(t), c)}
		for _, s := range sent {
			out = append(out, s.cert)
		}
		return out
	}
	own, stranger := authority(t, nil, newKey(t), "own"), authority(t, nil, newKey(t), "own")
	narrow := authority(t, nil, newKey(t), "narrow", "smoke.jinghu.dizuo.internal")
	elsewhere := authority(t, nil, newKey(t), "elsewhere", "doors.jinghu.dizuo.internal")
	between := authority(t, &own, newKey(t), "between")
	former := authority(t, nil, newKey(t), "former")
	renewed := authority(t, nil, former.key, "former")
	day := noon.Add(12 * time.Hour)
	type list []string
	for name, tc := range map[string]struct {
		listed list
		// until are the ends of listed by place.
		until  []time.Time
		shown  []*x509.Certificate
		issuer signer
		end    time.Time
	}{
		"in order":             {list{own.pem()}, nil, show(own, leaf()), own, day},
		"nothing shown":        {list{own.pem()}, nil, nil, own, time.Time{}},
		"nobody listed":        {nil, nil, show(own, leaf()), own, time.Time{}},
		"expired":              {list{own.pem()}, nil, show(own, leaf(func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) })), own, time.Time{}},
		"ends now":             {list{own.pem()}, nil, show(own, leaf(func(c *x509.Certificate) { c.NotAfter = noon })), own, noon},
		"not yet valid":        {list{own.pem()}, nil, show(own, leaf(func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Second) })), own, time.Time{}},
		"CA of the same name":  {list{own.pem()}, nil, show(stranger, leaf()), own, time.Time{}},
		"brings its own CA":    {list{own.pem()}, nil, show(stranger, leaf(), stranger), own, time.Time{}},
		"for a server":         {list{own.pem()}, nil, show(own, leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), own, time.Time{}},
		"within the names":     {list{narrow.pem()}, nil, show(narrow, leaf()), narrow, day},
		"outside the names":    {list{elsewhere.pem()}, nil, show(elsewhere, leaf()), elsewhere, time.Time{}},
		"intermediate missing": {list{own.pem()}, nil, show(between, leaf()), own, time.Time{}},
		"intermediate sent":    {list{own.pem()}, nil, show(between, leaf(), between), own, day},
		"intermediate listed":  {list{between.pem()}, nil, show(between, leaf()), between, day},
		"two in one text":      {list{stranger.pem() + between.pem()}, nil, show(between, leaf()), between, day},
		"signed by a device": {list{own.pem()}, nil, func() []*x509.Certificate {
			k := newKey(t)
			d := signer{sign(t, &own, k, leaf()), k}
			return show(d, leaf(), d)
		}(), own, time.Time{}},
		"rotated, overlap":      {list{own.pem(), former.pem()}, []time.Time{{}, noon.Add(time.Minute)}, show(former, leaf()), former, noon.Add(time.Minute)},
		"rotated, last second":  {list{own.pem(), former.pem()}, []time.Time{{}, noon}, show(former, leaf()), former, noon},
		"rotated, over":         {list{own.pem(), former.pem()}, []time.Time{{}, noon.Add(-time.Second)}, show(former, leaf()), former, time.Time{}},
		"rotated, the new one":  {list{own.pem(), former.pem()}, []time.Time{{}, noon.Add(-time.Second)}, show(own, leaf()), own, day},
		"ends before its CA":    {list{own.pem()}, []time.Time{noon.Add(time.Hour)}, show(own, leaf(func(c *x509.Certificate) { c.NotAfter = noon.Add(time.Minute) })), own, noon.Add(time.Minute)},
		"renewed with its key":  {list{renewed.pem(), former.pem()}, []time.Time{{}, noon.Add(-time.Second)}, show(former, leaf()), former, day},
		"renewed, second place": {list{former.pem(), renewed.pem()}, []time.Time{noon.Add(-time.Second), {}}, show(former, leaf()), former, day},
		"beside what is broken": {list{"rubbish", own.pem()}, nil, show(own, leaf()), own, day},
	} {
		t.Run(name, func(t *testing.T) {
			issuers, problems := chain.Read(tc.listed, func(n int) (time.Time, bool) {
				if n >= len(tc.until) {
					return time.Time{}, false
				}
				return tc.until[n], !tc.until[n].IsZero()
			})
			if want := strings.Count(strings.Join(tc.listed, ""), "rubbish"); len(problems) != want {
				t.Errorf("problems %v, want %d", problems, want)
			}
			issuer, end, err := issuers.Verify(tc.shown, noon)
			if tc.end.IsZero() {
				if err == nil {
					t.Error("let in")
				}
				return
			}
			if err != nil || issuer != keyOf(tc.issuer) || !end.Equal(tc.end) {
				t.Errorf("%v; issuer is the wanted %v; until %v, want %v", err, issuer == keyOf(tc.issuer), end, tc.end)
			}
		})
	}
}

// TestNobodyIsTrusted: neither the zero value nor a nil pool falls back to the CAs of the system.
func TestNobodyIsTrusted(t *testing.T) {
	own := authority(t, nil, newKey(t), "own")
	shown := []*x509.Certificate{own.cert}
	if _, _, err := (chain.Issuers{}).Verify(shown, noon); err == nil {
		t.Error("the zero value let a certificate in")
	}
	if _, err := chain.Verify(shown, nil, noon); err == nil || !strings.Contains(err.Error(), "no CA") {
		t.Errorf("nil roots: %v", err)
	}
}

// TestParse: one broken certificate costs nobody else's.
func TestParse(t *testing.T) {
	own := authority(t, nil, newKey(t), "own")
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for text, want := range map[string]struct {
		certs int
		err   string
	}{"": {0, "no PEM certificate"}, own.pem(): {1, ""}, broken + own.pem(): {1, "certificate: "}, own.pem() + broken: {1, "certificate: "}, broken: {0, "certificate: "}} {
		certs, err := chain.Parse(text)
		if len(certs) != want.certs || (err == nil) != (want.err == "") || (err != nil && !strings.Contains(err.Error(), want.err)) {
			t.Errorf("%q: %d certificates, %v; want %v", text, len(certs), err, want)
		}
	}
}
