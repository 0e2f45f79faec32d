// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func preparedPKI(t *testing.T) Layout {
	t.Helper()
	l := Layout{Cache: t.TempDir()}
	if err := preparePKI(l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAPIServerCertificateCoversItsNames(t *testing.T) {
	l := preparedPKI(t)
	ca, _, err := readPair(l.State("pki"), "ca")
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := readPair(l.State("pki"), "apiserver")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, host := range []string{nodeIP, apiServiceIP, "kubernetes.default.svc"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestClientCertificatesNameTheirIdentity(t *testing.T) {
	l := preparedPKI(t)
	for file, organization := range map[string]string{"admin": "system:masters", "kubelet": "system:nodes"} {
		cert, _, err := readPair(l.State("pki"), file)
		if err != nil {
			t.Fatal(err)
		}
		if len(cert.Subject.Organization) != 1 || cert.Subject.Organization[0] != organization {
			t.Errorf("%s is in %v", file, cert.Subject.Organization)
		}
		if len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
			t.Errorf("%s can be used for %v", file, cert.ExtKeyUsage)
		}
	}
}

func TestPKIIsKeptAndRepaired(t *testing.T) {
	l := preparedPKI(t)
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(l.State("pki"), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before, account := read("admin.crt"), read("service-account.key")
	// An interrupted run leaves a new key beside an old certificate.
	if err := os.WriteFile(filepath.Join(l.State("pki"), "scheduler.key"), []byte(read("proxy.key")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := preparePKI(l); err != nil {
		t.Fatal(err)
	}
	if before != read("admin.crt") || account != read("service-account.key") {
		t.Error("a second run made new keys")
	}
	if _, _, err := readPair(l.State("pki"), "scheduler"); err != nil {
		t.Errorf("the mismatched pair was not repaired: %v", err)
	}
	info, err := os.Stat(filepath.Join(l.State("pki"), "admin.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.key has mode %v (%v)", info.Mode(), err)
	}
}

func TestKubeconfigStandsAlone(t *testing.T) {
	l := preparedPKI(t)
	data, err := os.ReadFile(l.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), apiServerURL) || strings.Contains(string(data), l.Cache) {
		t.Errorf("the kubeconfig must name the server and no file:\n%s", data)
	}
}
