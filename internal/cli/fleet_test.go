package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/csv"
	"encoding/pem"
	"math/big"
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
