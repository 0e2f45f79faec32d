package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/certrule"
	"github.com/dizuo/dizuo/internal/node/chain"
)

const (
	methodX509     = "X509"
	methodPassword = "Password"
)

// noIssuer stands where no certificate was shown.
var noIssuer chain.Key

// Registry says who may connect. It is made from one bundle and never changes.
type Registry struct {
	// platform is the name of the GridPlatform, as in certificate URIs.
	platform string
	fleets   map[string]*fleetEntry
	// bound maps a client id that a row binds to the device that holds it. Client ids made from names are not listed.
	bound map[string]string
	// via lists, by the device whose connection speaks for others, those others, sorted.
	via map[string][]Prefix
	// edges are the edge nodes; see takeEdges.
	edges map[string]*edgeEntry
	// organizations take cases; see takeOrganizations.
	organizations organizations
}

// fleetEntry is a fleet as the registry keeps it.
type fleetEntry struct {
	contract.Credentials
	issuers chain.Issuers
	// rule reads a device from a certificate of a vendor's own CA; nil where the certificate has the device's URI.
	rule *certrule.Rule
}

// credential gives what a device proves itself by; false for one that has no connection of its own.
func (f *fleetEntry) credential(device string) (contract.Credential, bool) {
	if device == contract.PlatformDevice {
		return contract.Credential{PasswordHash: f.PlatformHash}, f.AccessMode == contract.AccessPlatform
	}
	c, ok := f.Devices[device]
	if !ok { // open enrolment, under the fleet's own CA alone
		return c, f.Open > 0 && f.Method == methodX509 && f.Rule == "" && f.AccessMode == "" && contract.ValidDevice(device)
	}
	return c, c.Via == "" && !c.Stored && f.AccessMode != contract.AccessPlatform
}

// NewRegistry reads the credentials of a bundle for the platform of that name. A fleet with an issuer that cannot be read
// keeps its other issuers; the problems are returned beside the registry, which is always usable.
func NewRegistry(platform string, credentials map[string]contract.Credentials) (*Registry, []error) {
	r := &Registry{platform: platform, fleets: make(map[string]*fleetEntry, len(credentials)), bound: map[string]string{}, via: map[string][]Prefix{}}
	var problems []error
	for name, c := range credentials {
		f, found := newEntry(name, c)
		problems = append(problems, found...)
		r.fleets[name] = f
	}
	problems = append(problems, r.bind()...)
	return r, append(problems, r.speakers()...)
}

func newEntry(name string, c contract.Credentials) (*fleetEntry, []error) {
	issuers, problems := chain.Read(c.Issuers, c.EndOfIssuer)
	f := &fleetEntry{Credentials: c, issuers: issuers}
	for n, err := range problems {
		problems[n] = fmt.Errorf("fleet %s: %w", name, err)
	}
	if c.Rule != "" {
		var err error
		if f.rule, err = certrule.Compile(c.Rule); err != nil { // without one, a certificate would be judged by its URI
			problems = append(problems, fmt.Errorf("fleet %s: rule: %w", name, err))
			f.issuers = chain.Issuers{}
		}
	}
	return f, problems
}

// speakers fills via. A row whose speaker is not there has none, and nobody speaks for it; nor does a device of another namespace, whose
// fleet may have taken the name of the one that the row meant.
func (r *Registry) speakers() []error {
	var problems []error
	for name, f := range r.fleets {
		strangers := map[string]bool{}
		for device, c := range f.Devices {
			if c.Via == "" {
				continue
			}
			fleet, _, _ := contract.ParseDeviceID(c.Via)
			if g := r.fleets[fleet]; g != nil && g.Namespace != f.Namespace {
				strangers[fleet] = true
				continue
			}
			r.via[c.Via] = append(r.via[c.Via], Prefix{name, device})
		}
		for fleet := range strangers {
			problems = append(problems, fmt.Errorf("fleet %s: its rows name gateways of fleet %s, which is of another namespace; name one of its own", name, fleet))
		}
	}
	for speaker, rows := range r.via {
		slices.SortFunc(rows, func(a, b Prefix) int { return strings.Compare(a.Fleet+"."+a.Device, b.Fleet+"."+b.Device) })
		if len(rows) > contract.MaxVia {
			problems = append(problems, fmt.Errorf("device %s: speaks for %d devices, at most %d are served; share them among more gateways", speaker, len(rows), contract.MaxVia))
			r.via[speaker] = rows[:contract.MaxVia]
		}
	}
	return problems
}

// bind fills bound, in the order of names so that two bindings of one client id always have the same winner. A binding
// never takes the client id that another device has by its name.
func (r *Registry) bind() []error {
	var problems []error
	for _, fleet := range slices.Sorted(maps.Keys(r.fleets)) {
		f := r.fleets[fleet]
		for _, device := range slices.Sorted(f.binding()) {
			id, want := contract.DeviceID(fleet, device), f.Devices[device].ClientID
			if owner := r.owner(want); owner != "" && owner != id {
				problems = append(problems, fmt.Errorf("device %s: clientId %q belongs to %s; bind another", id, want, owner))
				continue
			}
			r.bound[want] = id
		}
	}
	return problems
}

// binding gives the devices with a connection of their own whose row binds a client id.
func (f *fleetEntry) binding() iter.Seq[string] {
	return func(yield func(string) bool) {
		for device := range f.connecting() {
			if f.Devices[device].ClientID != "" && !yield(device) {
				return
			}
		}
	}
}

// owner gives the device that a client id belongs to, or "".
func (r *Registry) owner(clientID string) string {
	if fleet, device, ok := contract.ParseClientID(clientID); ok {
		if f := r.fleets[fleet]; f != nil {
			if c, ok := f.credential(device); ok && (c.ClientID == "" || c.ClientID == clientID) {
				return contract.DeviceID(fleet, device)
			}
		}
	}
	return r.bound[clientID]
}

// clientID gives the client id that a device must use.
func (r *Registry) clientID(fleet, device string) string {
	if bound := r.fleets[fleet].Devices[device].ClientID; bound != "" {
		return bound
	}
	return contract.ClientID(fleet, device)
}

// prefixes gives what a device may speak for: itself, and the rows that name it as via. The identity of a cloud is no device.
func (r *Registry) prefixes(fleet, device string) []Prefix {
	others := r.via[contract.DeviceID(fleet, device)]
	if device == contract.PlatformDevice {
		return others
	}
	return append([]Prefix{{Fleet: fleet, Device: device}}, others...)
}

// Has reports whether a fleet of that name is registered.
func (r *Registry) Has(fleet string) bool { return r.fleets[fleet] != nil }

// stamp digests what an admission rests on: an issuer, or a password's hash. It must be called for a registered device only.
func (r *Registry) stamp(fleet, device string, issuer chain.Key, hash string) string {
	f := r.fleets[fleet]
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q", f.Method, fleet, device, r.clientID(fleet, device), hash)
	if f.Rule != "" {
		fmt.Fprintf(h, " rule %q", f.Rule)
	}
	for _, p := range r.prefixes(fleet, device) {
		fmt.Fprintf(h, " %q %q", p.Fleet, p.Device)
	}
	h.Write(issuer[:])
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// stamps gives every stamp under which a registered device may be connected.
func (r *Registry) stamps(fleet, device string) []string {
	f := r.fleets[fleet]
	c, _ := f.credential(device)
	var out []string
	if f.Method == methodPassword {
		for _, hash := range hashes(c) {
			out = append(out, r.stamp(fleet, device, noIssuer, hash))
		}
		return out
	}
	for _, k := range f.issuers.Keys {
		out = append(out, r.stamp(fleet, device, k, ""))
	}
	return out
}

// hashes gives the password hashes of a device: the present one first, then the one that it replaces.
func hashes(c contract.Credential) []string {
	if c.PreviousHash == "" {
		return []string{c.PasswordHash}
	}
	return []string{c.PasswordHash, c.PreviousHash}
}
