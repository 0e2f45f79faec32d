package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// TestStanding: what is told of an issued certificate is of the leaf, which comes first, and nothing is told of what is none.
func TestStanding(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func(end time.Time) []byte {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}, &x509.Certificate{}, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum, end := sha256.Sum256(spki), time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	chain := append(made(end), made(end.AddDate(10, 0, 0))...)
	if fingerprint, ends := (IssuedCertificate{Issued: map[string][]byte{"tls.crt": chain}}).Standing(); fingerprint != "sha256:"+hex.EncodeToString(sum[:]) || !ends.Equal(end) {
		t.Errorf("%s until %v", fingerprint, ends)
	}
	for _, c := range []IssuedCertificate{{}, {Issued: map[string][]byte{"tls.crt": []byte("no certificate")}}} {
		if fingerprint, ends := c.Standing(); fingerprint != "" || !ends.IsZero() {
			t.Errorf("of nothing: %s until %v", fingerprint, ends)
		}
	}
}
