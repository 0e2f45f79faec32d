package cli

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
)

// Backdate is how long before now a certificate begins, for devices whose clock is a little behind.
const backdate = 5 * time.Minute

type enrollment struct {
	kube            kubeFlags
	files           fileFlags
	caCert, caKey   string
	secret          string
	fleet, platform string
	devices, csrs   []string
	platformClient  bool
	csv, out        string
	validity        time.Duration
	force           bool
}

func (a *app) enrollCommand() *cobra.Command {
	var e enrollment
	cmd := &cobra.Command{
		Use:   "enroll --fleet F --platform P (--device D... | --csv FILE | --csr PATH... | --platform-client) --out DIR (--ca-cert FILE --ca-key FILE | --secret NS/NAME)",
		Short: "Make keys and certificates for devices",
		Long: `Make a key and a certificate for each device, signed by the fleet's CA, which the platform puts into the Secret <fleet>-ca of
the fleet's namespace. A device gets a folder DIR/<device> with tls.key (mode 0600), tls.crt and issuer.crt. The certificate
names the device in its URI, spiffe://<fleet>.<platform>.dizuo.internal/<device>, and is good for a client only. It never
outlives its CA, and must stand under the CA's name constraints. Where the device will hang need not be known.

It lasts for spec.identity.x509.certificateDuration of the fleet, which is read from the files of -f, else from the cluster where --secret
is. --validity goes before that; that it is shorter or longer is said.

With --csr the keys stay where they were made: each certificate request (PKCS #10; a file, or a folder with *.csr) becomes tls.crt and
issuer.crt in DIR/<device>. The device is named by the request's URI, else by the file's name. The request must be signed by its own key,
P-256 or RSA from 2048 bits; nothing but that public key is taken from it. What is wrong is said file by file, and the others go on; the
exit code is then 1.

With --platform-client one certificate is made, for the vendor's cloud that speaks for a fleet of access mode Platform.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.enroll(cmd.Context(), &e) },
	}
	e.kube.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&e.caCert, "ca-cert", "", "certificate of the fleet's CA (PEM)")
	flags.StringVar(&e.caKey, "ca-key", "", "key of the fleet's CA (PEM)")
	flags.StringVar(&e.secret, "secret", "", "Secret with the CA in the cluster, as namespace/name")
	flags.StringVar(&e.fleet, "fleet", "", "DeviceFleet")
	flags.StringVar(&e.platform, "platform", "", "name of the GridPlatform")
	flags.StringArrayVar(&e.devices, "device", nil, "device id; may be repeated")
	flags.StringVar(&e.csv, "csv", "", "CSV with a column device, such as an inventory")
	flags.StringArrayVar(&e.csrs, "csr", nil, "certificate request, or folder with *.csr; may be repeated")
	flags.BoolVar(&e.platformClient, "platform-client", false, "make the certificate of the cloud that speaks for the fleet")
	flags.StringVar(&e.out, "out", "", "folder to write to")
	flags.DurationVar(&e.validity, "validity", 0, "life of the certificates instead of the fleet's certificateDuration; the CA's end bounds it")
	flags.StringArrayVarP(&e.files.paths, "filename", "f", nil, "file or folder with the DeviceFleet; may be repeated")
	flags.BoolVar(&e.force, "force", false, "overwrite keys that are there")
	for _, name := range []string{"fleet", "platform", "out"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.MarkFlagsOneRequired("device", "csv", "csr", "platform-client")
	cmd.MarkFlagsMutuallyExclusive("csr", "platform-client")
	for _, other := range []string{"device", "csv"} {
		cmd.MarkFlagsMutuallyExclusive(other, "csr")
		cmd.MarkFlagsMutuallyExclusive(other, "platform-client")
	}
	cmd.MarkFlagsOneRequired("ca-cert", "secret")
	cmd.MarkFlagsMutuallyExclusive("ca-cert", "secret")
	cmd.MarkFlagsRequiredTogether("ca-cert", "ca-key")
	return cmd
}

func (a *app) enroll(ctx context.Context, e *enrollment) error {
	devices, err := e.list()
	if err != nil {
		return err
	}
	ca, err := a.readCA(ctx, e)
	if err != nil {
		return err
	}
	if e.validity, err = a.life(ctx, e, ca); err != nil {
		return err
	}
	if len(e.csrs) > 0 {
		return a.enrollRequests(e, ca)
	}
	for i, device := range devices {
		// All names are checked before the first key is made, and each certificate before it is written.
		made, err := ca.issue(e.platform, e.fleet, device, a.now(), e.validity)
		if err != nil {
			return fmt.Errorf("device %s: %w", device, err)
		}
		if err := made.write(filepath.Join(e.out, device), ca.certificate, e.force); err != nil {
			return fmt.Errorf("device %s: %w", device, err)
		}
		if (i+1)%1000 == 0 {
			fmt.Fprintf(a.Err, "%d of %d devices\n", i+1, len(devices))
		}
	}
	fmt.Fprintf(a.Err, "devices enrolled in %s: %d\n", e.out, len(devices))
	return nil
}

// list gives the devices to enrol, each once.
func (e *enrollment) list() ([]string, error) {
	devices := e.devices
	if e.csv != "" {
		t, err := readTable(e.csv)
		if err != nil {
			return nil, err
		}
		column, err := t.column("device")
		if err != nil {
			return nil, err
		}
		for _, row := range t.rows {
			devices = append(devices, row[column])
		}
	}
	if !contract.ValidFleet(e.fleet) {
		return nil, usage("--fleet %q: want lower-case letters, digits and hyphens, at most 63", e.fleet)
	}
	if e.platformClient {
		return []string{contract.PlatformDevice}, nil
	}
	seen := map[string]bool{}
	for _, d := range devices {
		if d == contract.PlatformDevice {
			return nil, fmt.Errorf("device %s: the name is kept for the cloud of a fleet; use --platform-client for that", d)
		}
		if !contract.ValidDevice(d) {
			return nil, fmt.Errorf("device %q: want 1 to 64 letters, digits, _ or -", d)
		}
		if seen[d] {
			return nil, fmt.Errorf("device %s is named twice; a device has one key", d)
		}
		seen[d] = true
	}
	return devices, nil
}

// authority is a fleet's CA.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func (a *app) readCA(ctx context.Context, e *enrollment) (*authority, error) {
	if e.secret != "" {
		data, err := a.secret(ctx, &e.kube, e.secret)
		if err != nil {
			return nil, err
		}
		return newAuthority("Secret "+e.secret, data["tls.crt"], data["tls.key"])
	}
	cert, err := os.ReadFile(e.caCert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(e.caKey)
	if err != nil {
		return nil, err
	}
	return newAuthority(e.caCert, cert, key)
}

func newAuthority(source string, certPEM, keyPEM []byte) (*authority, error) {
	chain, err := parseCertificates(certPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	ca := chain[0]
	pub, ok := ca.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ca.IsCA || ca.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, fmt.Errorf("%s: the certificate is not a CA's; give the one in the Secret <fleet>-ca", source)
	case !ok || !pub.Equal(key.Public()):
		return nil, fmt.Errorf("%s: the key does not belong to the certificate", source)
	}
	return &authority{ca, key}, nil
}

// credential is what a device holds.
type credential struct {
	// key is nil if the device made its own.
	key         *ecdsa.PrivateKey
	certificate []byte
}

// issue makes a key and a certificate for a device.
func (ca *authority) issue(platform, fleet, device string, now time.Time, life time.Duration) (*credential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := ca.sign(platform, fleet, device, key.Public(), now, life)
	return &credential{key, der}, err
}

// sign makes a certificate for a device's key, and checks it as the broker will.
func (ca *authority) sign(platform, fleet, device string, key crypto.PublicKey, now time.Time, life time.Duration) ([]byte, error) {
	uri, err := url.Parse(contract.DeviceURI(platform, fleet, device))
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	from, to := now.Add(-backdate), now.Add(life)
	if from.Before(ca.certificate.NotBefore) {
		from = ca.certificate.NotBefore
	}
	if to.After(ca.certificate.NotAfter) {
		to = ca.certificate.NotAfter
	}
	if !to.After(now) {
		return nil, fmt.Errorf("the CA ended at %s; raise spec.identity.caGeneration of the fleet", ca.certificate.NotAfter.Format(time.RFC3339))
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: subject(fleet, device), URIs: []*url.URL{uri},
		NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key, ca.key)
	if err != nil {
		return nil, err
	}
	return der, ca.check(der, now)
}

// subject helps people who look at a certificate; nothing reads it. X.509 allows 64 characters.
func subject(fleet, device string) pkix.Name {
	if id := contract.DeviceID(fleet, device); len(id) <= 64 {
		return pkix.Name{CommonName: id}
	}
	return pkix.Name{}
}

// check verifies a certificate under the CA, name constraints included.
func (ca *authority) check(der []byte, now time.Time) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.certificate)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && (invalid.Reason == x509.CANotAuthorizedForThisName || invalid.Reason == x509.UnconstrainedName || invalid.Reason == x509.NameConstraintsWithoutSANs) {
		return fmt.Errorf("%s lies outside the names that this CA may sign (%v); check --fleet and --platform", cert.URIs[0], ca.certificate.PermittedURIDomains)
	}
	return err
}

func (c *credential) write(dir string, ca *x509.Certificate, force bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if c.key != nil {
		key, err := encodeKey(c.key)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, "tls.key"), key, force); err != nil {
			return err
		}
	}
	for name, der := range map[string][]byte{"tls.crt": c.certificate, "issuer.crt": ca.Raw} {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
