package auth

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestStoredDevicesOfAnOpenFleet: a row without a place keeps its device out, also where devices that no row names come in, and cuts one
// that came in before.
func TestStoredDevicesOfAnOpenFleet(t *testing.T) {
	issuer := newCA(t, "f").pem
	open := func(devices map[string]contract.Credential) *Registry {
		r, problems := NewRegistry(platform, map[string]contract.Credentials{"f": {Method: methodX509, Open: 9, Issuers: []string{issuer}, Devices: devices}})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return r
	}
	none := open(nil)
	if _, _, no := none.lookup("f", "d"); no != nil {
		t.Fatalf("a device that no row names: %v", no)
	}
	r := open(map[string]contract.Credential{"d": {Stored: true}})
	if _, _, no := r.lookup("f", "d"); no == nil || no.Reason != ReasonNoDevice {
		t.Errorf("a device in store: %v, want %s", no, ReasonNoDevice)
	}
	if owner := r.owner("f_d"); owner != "" {
		t.Errorf("a client id belongs to %s, which is in store", owner)
	}
	if gone := slices.Collect(Gone(none, r)); !slices.Equal(gone, []string{"f_d"}) || !Revokes(none, r) {
		t.Errorf("gone are %v, want f_d, and a sweep", gone)
	}
	user := Identity{Fleet: "f", Device: "d", Stamp: none.stamps("f", "d")[0]}.User()
	if !none.Stays(user, "f_d") || r.Stays(user, "f_d") {
		t.Error("a device stays while no row names it, and not in store")
	}
	if gone := slices.Collect(Gone(r, none)); len(gone) > 0 {
		t.Errorf("taken out of the store, gone are %v", gone)
	}
}

// TestGatewayOfAnotherNamespace: rows that are in force still after their gateway's fleet was deleted give no voice to who takes its name.
func TestGatewayOfAnotherNamespace(t *testing.T) {
	for namespace, want := range map[string]int{"a": 2, "b": 1} {
		r, problems := NewRegistry(platform, map[string]contract.Credentials{
			"gw":    {Namespace: namespace, Method: methodPassword, Devices: map[string]contract.Credential{"g": {}}},
			"doors": {Namespace: "a", AccessMode: "Gateway", Devices: map[string]contract.Credential{"d": {Via: "gw.g"}}},
		})
		if got := r.prefixes("gw", "g"); len(got) != want || len(problems) != 2-want {
			t.Errorf("gateway in namespace %s speaks for %v, problems %v", namespace, got, problems)
		}
	}
}

// TestIssuerEnds: what stands under the CA before a rotation ends with its overlap, whether or not a newer bundle comes.
func TestIssuerEnds(t *testing.T) {
	former, present := newCA(t, "former"), newCA(t, "present")
	now := time.Now()
	end := now.Add(30 * time.Minute).Truncate(time.Second)
	r, problems := NewRegistry(platform, map[string]contract.Credentials{"f": {Method: methodX509, Issuers: []string{present.pem, former.pem},
		IssuersUntil: []int64{0, end.Unix()}, Devices: map[string]contract.Credential{"d": {}}}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, tc := range []struct {
		by    ca
		at    time.Time
		want  Reason
		until time.Time
	}{
		{present, now, "", time.Time{}}, {present, end.Add(time.Second), "", time.Time{}},
		{former, now, "", end}, {former, end.Add(time.Second), ReasonBadIssuer, end},
	} {
		leaf := tc.by.client(t, contract.DeviceURI(platform, "f", "d")).Leaf
		if tc.until.IsZero() {
			tc.until = leaf.NotAfter
		}
		id, no := r.Identify(Request{Type: "mqtt", ClientID: "f_d", Chain: []*x509.Certificate{leaf}}, tc.at, nil)
		switch {
		case tc.want == "" && (no != nil || !id.Until.Equal(tc.until)):
			t.Errorf("under %s: %v, until %v, want %v", tc.by.cert.Subject, no, id.Until, tc.until)
		case tc.want != "" && (no == nil || no.Reason != tc.want):
			t.Errorf("under %s at %v: %v, want %s", tc.by.cert.Subject, tc.at, no, tc.want)
		}
	}
}

// TestIssuerRenewedWithItsKey: a CA made anew with its key does not end with the certificate before.
func TestIssuerRenewedWithItsKey(t *testing.T) {
	present := newCA(t, "ca")
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: present.cert.Subject, IsCA: true,
		BasicConstraintsValid: true, NotBefore: present.cert.NotBefore, NotAfter: present.cert.NotAfter.Add(time.Minute), KeyUsage: x509.KeyUsageCertSign},
		present.cert, present.cert.PublicKey, present.key)
	if err != nil {
		t.Fatal(err)
	}
	renewed := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	r, _ := NewRegistry(platform, map[string]contract.Credentials{"f": {Method: methodX509, Issuers: []string{renewed, present.pem},
		IssuersUntil: []int64{0, time.Now().Add(-time.Minute).Unix()}, Devices: map[string]contract.Credential{"d": {}}}})
	leaf := present.client(t, contract.DeviceURI(platform, "f", "d")).Leaf
	if _, no := r.Identify(Request{Type: "mqtt", ClientID: "f_d", Chain: []*x509.Certificate{leaf}}, time.Now(), nil); no != nil {
		t.Error(no)
	}
}
