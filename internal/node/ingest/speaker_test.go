package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestIssuerOfACloudEnds: a cloud's certificate of the CA before a rotation is good until the overlap is over.
func TestIssuerOfACloudEnds(t *testing.T) {
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, _ := url.Parse(contract.DeviceURI("henan", "f", contract.PlatformDevice))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), URIs: []*url.URL{uri},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := contract.Credentials{Issuers: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}, IssuersUntil: []int64{now.Unix()}}
	broken := contract.Credentials{Issuers: append([]string{"rubbish"}, c.Issuers...)}
	if err := ofCloud([]*x509.Certificate{cert}, broken, uri.String(), now); err != nil {
		t.Errorf("one issuer that cannot be read takes the others along: %v", err)
	}
	for at, good := range map[time.Time]bool{now.Add(-time.Minute): true, now.Add(time.Minute): false} {
		if err := ofCloud([]*x509.Certificate{cert}, c, uri.String(), at); (err == nil) != good {
			t.Errorf("at %v: %v, want good %v", at, err, good)
		}
	}
}
