package cli

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/csv"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
)

// fleetCA makes a CA as cert-manager issues it for a fleet: constrained to the fleet's host.
func fleetCA(t *testing.T, domain string, from, to time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fleet"}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, PermittedURIDomains: []string{domain}, PermittedDNSDomainsCritical: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := encodeKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	for path, data := range map[string][]byte{cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: raw} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func enroll(t *testing.T, cert, key, out string, more ...string) ran {
	t.Helper()
	return run(t, "", append([]string{"fleet", "enroll", "--ca-cert", cert, "--ca-key", key, "--fleet", "smoke", "--platform", "qi", "--out", out}, more...)...)
}

func TestEnroll(t *testing.T) {
	end := at.Add(1000 * time.Hour)
	cert, key := fleetCA(t, contract.FleetDomain("smoke", "qi"), at.Add(-time.Hour), end)
	list := filepath.Join(t.TempDir(), "devices.csv")
	if err := os.WriteFile(list, []byte("\xef\xbb\xbfcommunity,device\n# a comment\neast,sd-2\nwest,sd_3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if r := enroll(t, cert, key, out, "--device", "sd-1", "--csv", list); r.code != ExitOK {
		t.Fatal(r.err)
	}
	for _, device := range []string{"sd-1", "sd-2", "sd_3"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(out, device, "tls.crt"), filepath.Join(out, device, "tls.key"))
		if err != nil {
			t.Fatal(err)
		}
		c := pair.Leaf
		if len(c.URIs) != 1 || c.URIs[0].String() != contract.DeviceURI("qi", "smoke", device) {
			t.Errorf("%s: URIs %v", device, c.URIs)
		}
		if !c.NotAfter.Equal(end) || c.IsCA || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
			t.Errorf("%s: ends %s, CA %v, usages %v", device, c.NotAfter, c.IsCA, c.ExtKeyUsage)
		}
		info, err := os.Stat(filepath.Join(out, device, "tls.key"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: key has mode %v, %v", device, info.Mode(), err)
		}
	}
	if r := enroll(t, cert, key, out, "--device", "sd-1"); r.code != ExitFailed || !strings.Contains(r.err, "is there already") {
		t.Errorf("a key was overwritten: %q", r.err)
	}
	if r := enroll(t, cert, key, out, "--device", "sd-1", "--force", "--validity", "24h"); r.code != ExitOK {
		t.Errorf("--force: %q", r.err)
	}
}

// TestEnrollLife: certificates last as the fleet says, and what differs is said.
func TestEnrollLife(t *testing.T) {
	cert, key := fleetCA(t, contract.FleetDomain("smoke", "qi"), at.Add(-time.Hour), at.Add(50_000*time.Hour))
	yaml := filepath.Join(t.TempDir(), "fleet.yaml")
	text := "apiVersion: dizuo.io/v1alpha1\nkind: DeviceFleet\nmetadata: {name: smoke}\nspec:\n  profileRef: {name: smoke-detector}\n" +
		"  vendor: {name: v}\n  identity: {x509: {certificateDuration: 240h}}\n"
	if err := os.WriteFile(yaml, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		life time.Duration
		says string
	}{
		"the fleet's":           {[]string{"-f", yaml}, 240 * time.Hour, ""},
		"the default":           {nil, 43800 * time.Hour, "not known here; taken is its default, 43800h"},
		"given":                 {[]string{"--validity", "24h"}, 24 * time.Hour, ""},
		"given, as the fleet's": {[]string{"-f", yaml, "--validity", "240h"}, 240 * time.Hour, ""},
		"shorter":               {[]string{"-f", yaml, "--validity", "24h"}, 24 * time.Hour, "24h is shorter than certificateDuration of DeviceFleet smoke, 240h"},
		"longer":                {[]string{"-f", yaml, "--validity", "300h"}, 300 * time.Hour, "300h is longer than certificateDuration of DeviceFleet smoke, 240h"},
		"longer than the CA":    {[]string{"--validity", "60000h"}, 50_000 * time.Hour, "the CA ends at "},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			r := enroll(t, cert, key, out, append([]string{"--device", "sd-1"}, tc.args...)...)
			if r.code != ExitOK {
				t.Fatal(r.err)
			}
			pair, err := tls.LoadX509KeyPair(filepath.Join(out, "sd-1", "tls.crt"), filepath.Join(out, "sd-1", "tls.key"))
			if err != nil {
				t.Fatal(err)
			}
			if !pair.Leaf.NotAfter.Equal(at.Add(tc.life)) {
				t.Errorf("lasts %s, want %s", pair.Leaf.NotAfter.Sub(at), tc.life)
			}
			if !strings.Contains(r.err, tc.says) || (tc.says == "") != !strings.Contains(r.err, "# ") {
				t.Errorf("says %q, want %q", r.err, tc.says)
			}
		})
	}
	if r := enroll(t, cert, key, t.TempDir(), "--device", "sd-1", "-f", yaml, "--fleet", "doors"); r.code != ExitFailed || !strings.Contains(r.err, "no DeviceFleet doors") {
		t.Errorf("another fleet's file: %q", r.err)
	}
}

func TestEnrollRefuses(t *testing.T) {
	from, to := at.Add(-time.Hour), at.Add(time.Hour)
	mine, mineKey := fleetCA(t, contract.FleetDomain("smoke", "qi"), from, to)
	other, otherKey := fleetCA(t, contract.FleetDomain("doors", "qi"), from, to)
	over, overKey := fleetCA(t, contract.FleetDomain("smoke", "qi"), from, at.Add(-time.Minute))
	for name, c := range map[string]struct {
		cert, key, device, says string
	}{
		"another fleet's CA": {other, otherKey, "sd-1", "outside the names"},
		"another key":        {mine, otherKey, "sd-1", "does not belong"},
		"a CA that ended":    {over, overKey, "sd-1", "the CA ended"},
		"a dot in the name":  {mine, mineKey, "sd.1", "letters, digits"},
		"a path in the name": {mine, mineKey, "../sd", "letters, digits"},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			if r := enroll(t, c.cert, c.key, out, "--device", c.device); r.code == ExitOK || !strings.Contains(r.err, c.says) {
				t.Errorf("exit code %d: %q", r.code, r.err)
			}
			if left, _ := os.ReadDir(out); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestPasswords(t *testing.T) {
	dir := t.TempDir()
	in, out, secrets := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out.csv"), filepath.Join(dir, "secrets.csv")
	kept := "sha256:AAAAAAAAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	if err := os.WriteFile(in, []byte("device,community,passwordHash\nd-1,east,\nd-2,west,"+kept+"\nd-3,east,\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"fleet", "passwords", "--csv", in, "--out-csv", out, "--out-secrets", secrets, "--fleet", "doors"}
	if r := run(t, "", args...); r.code != ExitOK {
		t.Fatal(r.err)
	}
	rows, plain := records(t, out), records(t, secrets)
	if len(plain) != 3 || plain[1][2] != "doors.d-1" || plain[1][3] != "doors_d-1" {
		t.Fatalf("secrets: %v", plain)
	}
	for _, p := range plain[1:] {
		for _, row := range rows[1:] {
			hash, err := password.Parse(row[2])
			if err != nil {
				t.Fatal(err)
			}
			if hash.Verify(p[1]) != (row[0] == p[0]) {
				t.Errorf("password of %s against the hash of %s", p[0], row[0])
			}
		}
	}
	if rows[2][2] != kept {
		t.Error("a hash that was there was replaced")
	}
	if info, err := os.Stat(secrets); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("passwords have mode %v, %v", info.Mode(), err)
	}
	if r := run(t, "", args...); r.code != ExitFailed {
		t.Error("a file of passwords was overwritten")
	}
}

func records(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rotate runs fleet passwords --rotate over an inventory and gives the new one and the passwords.
func rotate(t *testing.T, inventory string, more ...string) (rows, plain [][]string) {
	t.Helper()
	dir := t.TempDir()
	in, out, secrets := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out.csv"), filepath.Join(dir, "secrets.csv")
	if err := os.WriteFile(in, []byte(inventory), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"fleet", "passwords", "--csv", in, "--out-csv", out, "--out-secrets", secrets, "--rotate"}, more...)
	if r := run(t, "", args...); r.code != ExitOK {
		t.Fatal(r.err)
	}
	return records(t, out), records(t, secrets)
}

func TestRotation(t *testing.T) {
	const old = "sha256:AAAAAAAAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	rows, plain := rotate(t, "device,passwordHash\nd-1,"+old+"\nd-2,\n", "--overlap", "48h")
	if len(plain) != 3 {
		t.Fatalf("%d passwords, want one for each of 2 devices", len(plain)-1)
	}
	if got := strings.Join(rows[0], ","); got != "device,passwordHash,previousPasswordHash,previousUntil" {
		t.Errorf("header %s", got)
	}
	if rows[1][2] != old || rows[1][3] != "2026-06-03T08:00:00Z" || rows[1][1] == old {
		t.Errorf("row %v: want the old hash until 48 h from now, and a new one", rows[1])
	}
	if rows[2][2] != "" || rows[2][3] != "" {
		t.Errorf("row %v: a device without a hash has no previous one", rows[2])
	}
	// A second rotation forgets the first password, and without an overlap nothing is kept.
	var again strings.Builder
	for _, row := range rows {
		again.WriteString(strings.Join(row, ",") + "\n")
	}
	if second, _ := rotate(t, again.String()); second[1][2] != rows[1][1] || second[1][3] != "2026-07-01T08:00:00Z" {
		t.Errorf("row %v after the second rotation; want the hash of the first, for 720 h", second[1])
	}
	if second, _ := rotate(t, again.String(), "--overlap", "0"); second[1][2] != "" || second[1][3] != "" || second[1][1] == rows[1][1] {
		t.Errorf("row %v without an overlap", second[1])
	}
	if r := run(t, "", "fleet", "passwords", "--csv", "x", "--out-csv", "y", "--out-secrets", "z", "--overlap", "-1h"); r.code != ExitUsage {
		t.Errorf("a negative overlap: exit code %d", r.code)
	}
}

// writeCSR makes a certificate request over a key.
func writeCSR(t *testing.T, path string, key crypto.Signer, uris ...string) {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "anything"}, DNSNames: []string{"evil.example"}}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEnrollRequests(t *testing.T) {
	cert, key := fleetCA(t, contract.FleetDomain("smoke", "qi"), at.Add(-time.Hour), at.Add(1000*time.Hour))
	in, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	one := ecKey(t, elliptic.P256())
	large, err1 := rsa.GenerateKey(rand.Reader, 2048)
	_, edwards, err2 := ed25519.GenerateKey(rand.Reader)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	writeCSR(t, filepath.Join(in, "sd-1.csr"), one)
	writeCSR(t, filepath.Join(in, "whatever.csr"), large, contract.DeviceURI("qi", "smoke", "sd-2"))
	says := map[string]string{"sd-3.csr": "same key", "sd-4.csr": "P-384", "sd-5.csr": "asks for", "sd.6.csr": "names the device", "sd-7.csr": "URIs", "sd-8.csr": "not signed by the key",
		"sd-9.csr": "no certificate request", "t-sd-1.csr": "is in", "z.csr": "and not _platform", "zz.csr": "ed25519"}
	writeCSR(t, filepath.Join(in, "sd-3.csr"), one)
	writeCSR(t, filepath.Join(in, "sd-4.csr"), ecKey(t, elliptic.P384()))
	writeCSR(t, filepath.Join(in, "sd-5.csr"), ecKey(t, elliptic.P256()), contract.DeviceURI("qi", "doors", "sd-5"))
	writeCSR(t, filepath.Join(in, "sd.6.csr"), ecKey(t, elliptic.P256()))
	writeCSR(t, filepath.Join(in, "sd-7.csr"), ecKey(t, elliptic.P256()), contract.DeviceURI("qi", "smoke", "sd-7"), contract.DeviceURI("qi", "smoke", "sd-1"))
	writeCSR(t, filepath.Join(in, "t-sd-1.csr"), ecKey(t, elliptic.P256()), contract.DeviceURI("qi", "smoke", "sd-1"))
	writeCSR(t, filepath.Join(in, "z.csr"), ecKey(t, elliptic.P256()), contract.DeviceURI("qi", "smoke", contract.PlatformDevice))
	writeCSR(t, filepath.Join(in, "zz.csr"), edwards)
	writeCSR(t, filepath.Join(in, "sd-8.csr"), ecKey(t, elliptic.P256()))
	raw, err := os.ReadFile(filepath.Join(in, "sd-8.csr"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	block.Bytes = bytes.Replace(block.Bytes, []byte("evil"), []byte("evim"), 1)
	for name, text := range map[string][]byte{"sd-8.csr": pem.EncodeToMemory(block), "sd-9.csr": []byte("hello")} {
		if err := os.WriteFile(filepath.Join(in, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := enroll(t, cert, key, out, "--csr", in)
	if r.code != ExitFailed || !strings.Contains(r.err, "devices enrolled in "+out+": 2, refused: 10") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	for file, why := range says {
		found := false
		for _, line := range strings.Split(r.err, "\n") {
			found = found || strings.HasPrefix(line, filepath.Join(in, file)+": ") && strings.Contains(line, why)
		}
		if !found {
			t.Errorf("%s: want a line that says %q in:\n%s", file, why, r.err)
		}
	}
	for device, public := range map[string]crypto.PublicKey{"sd-1": one.Public(), "sd-2": large.Public()} {
		raw, err := os.ReadFile(filepath.Join(out, device, "tls.crt"))
		if err != nil {
			t.Fatal(err)
		}
		chain, err := parseCertificates(raw)
		if err != nil {
			t.Fatal(err)
		}
		c := chain[0]
		if !c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) || c.URIs[0].String() != contract.DeviceURI("qi", "smoke", device) ||
			c.Subject.CommonName != "smoke."+device || len(c.DNSNames) != 0 {
			t.Errorf("%s: URIs %v, subject %s, DNS names %v; want ours, and the request's key alone", device, c.URIs, c.Subject, c.DNSNames)
		}
		if _, err := os.Stat(filepath.Join(out, device, "tls.key")); err == nil {
			t.Errorf("%s: a key was made for a device that has its own", device)
		}
	}
	if left, _ := os.ReadDir(out); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
	if r := enroll(t, cert, key, out, "--csr", filepath.Join(in, "sd-1.csr")); r.code != ExitFailed || !strings.Contains(r.err, "is there already") {
		t.Errorf("a certificate was overwritten: %q", r.err)
	}
}

func TestEnrollPlatformClient(t *testing.T) {
	cert, key := fleetCA(t, contract.FleetDomain("smoke", "qi"), at.Add(-time.Hour), at.Add(time.Hour))
	out := filepath.Join(t.TempDir(), "out")
	if r := enroll(t, cert, key, out, "--platform-client"); r.code != ExitOK {
		t.Fatal(r.err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, contract.PlatformDevice, "tls.crt"), filepath.Join(out, contract.PlatformDevice, "tls.key"))
	if err != nil || pair.Leaf.URIs[0].String() != contract.DeviceURI("qi", "smoke", contract.PlatformDevice) {
		t.Errorf("%v: URIs %v", err, pair.Leaf.URIs)
	}
	if r := enroll(t, cert, key, out, "--device", contract.PlatformDevice); r.code == ExitOK || !strings.Contains(r.err, "--platform-client") {
		t.Errorf("the cloud's name was given to a device: %q", r.err)
	}
	if r := enroll(t, cert, key, out, "--platform-client", "--device", "sd-1"); r.code != ExitUsage {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}
