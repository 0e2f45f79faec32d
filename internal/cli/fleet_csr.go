package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// maxRequest bounds a file with a certificate request, in bytes, and maxRSA a key, in bits: verifying costs more with each.
const (
	maxRequest = 64 << 10
	maxRSA     = 8192
)

// enrollRequests signs a batch of certificate requests. What is wrong with one does not hold up the others.
func (a *app) enrollRequests(e *enrollment, ca *authority) error {
	paths, err := requests(e.csrs)
	if err != nil {
		return err
	}
	batch := batch{enrollment: e, ca: ca, devices: map[string]string{}, keys: map[string]string{}}
	var failed int
	for _, path := range paths {
		if err := batch.enroll(a, path); err != nil {
			fmt.Fprintf(a.Err, "%s: %v\n", path, err)
			failed++
		}
	}
	fmt.Fprintf(a.Err, "devices enrolled in %s: %d, refused: %d\n", e.out, len(paths)-failed, failed)
	if failed > 0 {
		return exit{ExitFailed, nil}
	}
	return nil
}

// requests gives the files that the paths name; of a folder those that end in .csr.
func requests(paths []string) ([]string, error) {
	var out []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, path)
			continue
		}
		list, err := filepath.Glob(filepath.Join(path, "*.csr"))
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("%s: holds no file that ends in .csr", path)
		}
		out = append(out, list...)
	}
	return out, nil
}

// batch is a run over many requests: each device has one, and each its own key.
type batch struct {
	*enrollment
	ca *authority
	// devices are the files by device, keys those by public key (SPKI, DER).
	devices, keys map[string]string
}

func (b *batch) enroll(a *app, path string) error {
	request, err := readRequest(path)
	if err != nil {
		return err
	}
	device, err := b.name(request, path)
	if err != nil {
		return err
	}
	if other, twice := b.devices[device]; twice {
		return fmt.Errorf("device %s is in %s, too; a device has one key", device, other)
	}
	key := string(request.RawSubjectPublicKeyInfo)
	if other, twice := b.keys[key]; twice {
		return fmt.Errorf("has the same key as %s; a key belongs to one device", other)
	}
	der, err := b.ca.sign(b.platform, b.fleet, device, request.PublicKey, a.now(), b.validity)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.out, device)
	if _, err := os.Stat(filepath.Join(dir, "tls.crt")); err == nil && !b.force {
		return fmt.Errorf("%s is there already; name another folder, or use --force", filepath.Join(dir, "tls.crt"))
	}
	if err := (&credential{certificate: der}).write(dir, b.ca.certificate, b.force); err != nil {
		return err
	}
	b.devices[device], b.keys[key] = path, path
	return nil
}

// readRequest reads a certificate request, PEM or DER, and wants it signed by a key that is strong.
func readRequest(path string) (*x509.CertificateRequest, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRequest {
		return nil, fmt.Errorf("is larger than %d bytes; write one certificate request", maxRequest)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(raw); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, fmt.Errorf("holds a %s; write a certificate request (PKCS #10)", block.Type)
		}
		raw = block.Bytes
	}
	request, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		return nil, errors.New("holds no certificate request; write PKCS #10 as PEM or DER")
	}
	if err := strong(request.PublicKey); err != nil { // before the signature, which may be of a key that costs
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("is not signed by the key in it (%w); make it anew on the device", err)
	}
	return request, nil
}

// strong takes P-256 and RSA from 2048 bits.
func strong(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("has a key on %s; make one on P-256", key.Curve.Params().Name)
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > maxRSA {
			return fmt.Errorf("has an RSA key of %d bits; make one of 2048 to %d", bits, maxRSA)
		}
		return nil
	}
	return fmt.Errorf("has a key of type %T; make one on P-256, or RSA from 2048 bits", key)
}

// name gives the device of a request: by its URI if it has one, else by the file.
func (b *batch) name(request *x509.CertificateRequest, path string) (string, error) {
	device := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	switch len(request.URIs) {
	case 0:
	case 1:
		fleet, named, err := contract.ParseDeviceURI(b.platform, request.URIs[0].String())
		if err != nil || fleet != b.fleet {
			return "", fmt.Errorf("asks for %s; want %s<device>", request.URIs[0], contract.DeviceURI(b.platform, b.fleet, ""))
		}
		device = named
	default:
		return "", fmt.Errorf("has %d URIs; want %s<device> alone, or none", len(request.URIs), contract.DeviceURI(b.platform, b.fleet, ""))
	}
	if !contract.ValidDevice(device) || device == contract.PlatformDevice {
		return "", fmt.Errorf("names the device %q; want 1 to 64 letters, digits, _ or -, and not %s", device, contract.PlatformDevice)
	}
	return device, nil
}
