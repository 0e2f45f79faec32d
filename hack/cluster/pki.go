// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certLife is long: the cluster is private to this machine and `down` throws its keys away.
const certLife = 10 * 365 * 24 * time.Hour

// authority is a certificate authority of the cluster.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// leaf says what a certificate is for.
type leaf struct {
	File          string // name of its files, without .crt and .key
	CommonName    string
	Organizations []string
	Hosts         []string // DNS names and addresses; none for clients
}

// leaves are all certificates that the cluster's own authority signs.
func leaves() []leaf {
	return []leaf{
		{File: "etcd", CommonName: "etcd", Hosts: []string{"127.0.0.1", "localhost"}},
		{File: "apiserver-etcd", CommonName: "apiserver"},
		{File: "apiserver", CommonName: "kube-apiserver", Hosts: []string{"127.0.0.1", nodeIP, apiServiceIP, "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain}},
		{File: "apiserver-kubelet", CommonName: "kube-apiserver", Organizations: []string{"system:masters"}},
		{File: "kubelet-serving", CommonName: "system:node:" + nodeName, Hosts: []string{nodeIP, nodeName}},
		{File: "admin", CommonName: "admin", Organizations: []string{"system:masters"}},
		{File: "controller-manager", CommonName: "system:kube-controller-manager"},
		{File: "scheduler", CommonName: "system:kube-scheduler"},
		{File: "kubelet", CommonName: "system:node:" + nodeName, Organizations: []string{"system:nodes"}},
		{File: "proxy", CommonName: "system:kube-proxy"},
	}
}

// kubeconfigs maps a kubeconfig's path under the state folder to the client certificate in it.
var kubeconfigs = map[string]string{
	"kubeconfig":                        "admin",
	"config/controller-manager.conf":    "controller-manager",
	"config/scheduler.conf":             "scheduler",
	"config/kubelet-kubeconfig.conf":    "kubelet",
	"config/kube-proxy-kubeconfig.conf": "proxy",
}

// preparePKI makes the authorities, certificates and kubeconfigs that are not there yet.
func preparePKI(l Layout) error {
	dir := l.State("pki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := loadOrMakeAuthority(dir, "ca")
	if err != nil {
		return err
	}
	front, err := loadOrMakeAuthority(dir, "front-proxy-ca")
	if err != nil {
		return err
	}
	for _, want := range leaves() {
		if err := ensureLeaf(dir, ca, want); err != nil {
			return err
		}
	}
	if err := ensureLeaf(dir, front, leaf{File: "front-proxy-client", CommonName: "front-proxy-client"}); err != nil {
		return err
	}
	if err := ensureServiceAccountKey(dir); err != nil {
		return err
	}
	return writeKubeconfigs(l)
}

func loadOrMakeAuthority(dir, name string) (authority, error) {
	cert, key, err := readPair(dir, name)
	if err == nil {
		return authority{cert, key}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return authority{}, fmt.Errorf("%w; run `cluster down` to throw the damaged keys away", err)
	}
	key, err = newKey()
	if err != nil {
		return authority{}, err
	}
	template := certTemplate(leaf{CommonName: "dizuo-local-" + name})
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = nil
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err = x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	return authority{cert, key}, writePair(dir, name, der, key)
}

func ensureLeaf(dir string, ca authority, want leaf) error {
	cert, _, err := readPair(dir, want.File)
	if err == nil && cert.CheckSignatureFrom(ca.cert) == nil && coversHosts(cert, want.Hosts) {
		return nil
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, certTemplate(want), ca.cert, key.Public(), ca.key)
	if err != nil {
		return err
	}
	return writePair(dir, want.File, der, key)
}

func coversHosts(cert *x509.Certificate, hosts []string) bool {
	for _, h := range hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

func certTemplate(want leaf) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the system's random source is broken
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: want.CommonName, Organization: want.Organizations},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(certLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, h := range want.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	if len(want.Hosts) > 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return t
}

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// ensureServiceAccountKey makes the key pair that signs and checks service account tokens.
func ensureServiceAccountKey(dir string) error {
	private, public := filepath.Join(dir, "service-account.key"), filepath.Join(dir, "service-account.pub")
	if fileExists(private) && fileExists(public) {
		return nil
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writeKey(private, key); err != nil {
		return err
	}
	return writeFileAtomic(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

func writePair(dir, name string, der []byte, key crypto.Signer) error {
	if err := writeKey(filepath.Join(dir, name+".key"), key); err != nil {
		return err
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return writeFileAtomic(filepath.Join(dir, name+".crt"), crt, 0o644)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFileAtomic(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func readPair(dir, name string) (*x509.Certificate, crypto.Signer, error) {
	crt, err := readPEM(filepath.Join(dir, name+".crt"))
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(crt)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	der, err := readPEM(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, nil, fmt.Errorf("key %s: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("key %s cannot sign", name)
	}
	// A run that was interrupted between the two files leaves a pair that does not match.
	if pub, ok := signer.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("key and certificate %s do not match: %w", name, fs.ErrNotExist)
	}
	return cert, signer, nil
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	return block.Bytes, nil
}
