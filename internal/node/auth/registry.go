package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	methodX509     = "X509"
	methodPassword = "Password"
)

// issuerKey is the SHA-256 of the public key (SPKI) of a CA.
type issuerKey = [sha256.Size]byte

// noIssuer stands where no certificate was shown.
var noIssuer issuerKey

// Registry says who may connect. It is made from one bundle and never changes.
type Registry struct {
	// platform is the name of the GridPlatform, as in certificate URIs.
	platform string
	fleets   map[string]*fleetEntry
	// bound maps a client id that a row binds to the device that holds it. Client ids made from names are not listed.
	bound map[string]string
	// edges are the edge nodes; see takeEdges.
	edges map[string]*edgeEntry
}

type fleetEntry struct {
	method  string
	devices map[string]contract.Credential
	// roots and issuers are the same CAs, as a pool and by key.
	roots   *x509.CertPool
	issuers []issuerKey
}

func (f *fleetEntry) lists(k issuerKey) bool { return slices.Contains(f.issuers, k) }

// NewRegistry reads the credentials of a bundle for the platform of that name. A fleet with an issuer that cannot be read
// keeps its other issuers; the problems are returned beside the registry, which is always usable.
func NewRegistry(platform string, credentials map[string]contract.Credentials) (*Registry, []error) {
	r := &Registry{platform: platform, fleets: make(map[string]*fleetEntry, len(credentials)), bound: map[string]string{}}
	var problems []error
	for name, c := range credentials {
		f := &fleetEntry{method: c.Method, devices: c.Devices, roots: x509.NewCertPool()}
		for n, text := range c.Issuers {
			certs, err := parsePEM(text)
			if err != nil {
				problems = append(problems, fmt.Errorf("fleet %s: issuers[%d]: %w", name, n, err))
			}
			for _, cert := range certs {
				f.roots.AddCert(cert)
				f.issuers = append(f.issuers, sha256.Sum256(cert.RawSubjectPublicKeyInfo))
			}
		}
		r.fleets[name] = f
	}
	problems = append(problems, r.bind()...)
	return r, problems
}

// bind fills bound, in the order of names so that two bindings of one client id always have the same winner. A binding
// never takes the client id that another device has by its name.
func (r *Registry) bind() []error {
	var problems []error
	for _, fleet := range slices.Sorted(maps.Keys(r.fleets)) {
		devices := r.fleets[fleet].devices
		for _, device := range slices.Sorted(boundDevices(devices)) {
			id, want := contract.DeviceID(fleet, device), devices[device].ClientID
			if owner := r.owner(want); owner != "" && owner != id {
				problems = append(problems, fmt.Errorf("device %s: clientId %q belongs to %s; bind another", id, want, owner))
				continue
			}
			r.bound[want] = id
		}
	}
	return problems
}

func boundDevices(devices map[string]contract.Credential) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name, c := range devices {
			if c.ClientID != "" && !yield(name) {
				return
			}
		}
	}
}

// owner gives the device that a client id belongs to, or "".
func (r *Registry) owner(clientID string) string {
	if fleet, device, ok := contract.ParseClientID(clientID); ok {
		if f := r.fleets[fleet]; f != nil {
			if c, ok := f.devices[device]; ok && (c.ClientID == "" || c.ClientID == clientID) {
				return contract.DeviceID(fleet, device)
			}
		}
	}
	return r.bound[clientID]
}

// clientID gives the client id that a device must use.
func (r *Registry) clientID(fleet, device string) string {
	if bound := r.fleets[fleet].devices[device].ClientID; bound != "" {
		return bound
	}
	return contract.ClientID(fleet, device)
}

// prefixes gives what a device may speak for: itself. Gateways and platforms add the rows that name them as via.
func (r *Registry) prefixes(fleet, device string) []Prefix {
	return []Prefix{{Fleet: fleet, Device: device}}
}

// Has reports whether a fleet of that name is registered.
func (r *Registry) Has(fleet string) bool { return r.fleets[fleet] != nil }

// stamp digests what an admission rests on. It must be called for a registered device only.
func (r *Registry) stamp(fleet, device string, issuer issuerKey) string {
	f := r.fleets[fleet]
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q", f.method, fleet, device, r.clientID(fleet, device), f.devices[device].PasswordHash)
	for _, p := range r.prefixes(fleet, device) {
		fmt.Fprintf(h, " %q %q", p.Fleet, p.Device)
	}
	h.Write(issuer[:])
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func parsePEM(text string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return certs, fmt.Errorf("certificate: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("no PEM certificate found; write one that begins with -----BEGIN CERTIFICATE-----")
	}
	return certs, nil
}
