package auth

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
)

// Request is what the broker tells about a connection that wants in.
type Request struct {
	// Type is the connection type, such as "mqtt".
	Type string
	// ClientID is the MQTT client id.
	ClientID string
	Username string
	Password string
	// Chain is the certificate that the client proved to hold the key of, then what it sent with it; empty if none.
	Chain []*x509.Certificate
	// DevicesOnly keeps out organisations: what they are sent does not go over the broker that asks.
	DevicesOnly bool
}

// Identity is a device that was let in, or an edge node.
type Identity struct {
	Fleet, Device string
	// Edge is the edge node; then there is no device. Token says that it came with its enrolment token.
	Edge  string
	Token bool
	// Organization that takes cases over MQTT; then there is no device.
	Organization string
	// ClientID that the connection must use.
	ClientID string
	// Stamp is a digest of what the admission rested on; see Registry.Stays.
	Stamp string
	// Prefixes that the connection may use.
	Prefixes []Prefix
	// Cloud is the fleet of access mode Platform that the connection speaks for as a whole; empty for a device.
	Cloud string
	// Unnamed says that no row names the device: its fleet takes in some under its CA.
	Unnamed bool
	// Until is when the credential ends that was shown; zero if it does not.
	Until time.Time
	// Limits of the connection.
	Limits contract.Limits
}

// User gives the name of the identity's connections in the broker.
func (i Identity) User() string {
	if i.Edge != "" {
		return edgeUser + i.Edge + "/" + i.Stamp
	}
	if i.Organization != "" {
		return organizationUser + i.Organization + "/" + i.Stamp
	}
	return contract.DeviceID(i.Fleet, i.Device) + "/" + i.Stamp
}

// Reason says why a connection was refused, as a stable code for metrics and the broker's log.
type Reason string

// Reasons for a refusal.
const (
	ReasonNoBundle      Reason = "NoLiveBundle"
	ReasonNotMQTT       Reason = "NotMQTT"
	ReasonNoCredential  Reason = "NoCredential"
	ReasonBadUsername   Reason = "BadUsername"
	ReasonBadURI        Reason = "BadCertificateURI"
	ReasonNoFleet       Reason = "UnknownFleet"
	ReasonNoDevice      Reason = "UnknownDevice"
	ReasonWrongMethod   Reason = "WrongMethod"
	ReasonBadIssuer     Reason = "WrongIssuer"
	ReasonBadPassword   Reason = "WrongPassword"
	ReasonBadHash       Reason = "BadPasswordHash"
	ReasonWrongClientID Reason = "WrongClientID"
	ReasonClientIDTaken Reason = "ClientIDBoundToOther"
	ReasonMixedIdentity Reason = "CertificateAndUsernameDiffer"
	ReasonBusy          Reason = "Busy"
	ReasonBadRequest    Reason = "BadRequest"
	ReasonNoIngest      Reason = "NoIngest"
	ReasonSpokenFor     Reason = "SpokenForByAnother"
	ReasonBadRule       Reason = "CertificateRule"
	ReasonFull          Reason = "EnrolmentFull"
)

// Refusal is why a connection was not let in.
type Refusal struct {
	Reason Reason
	// Fleet that the connection claimed, if that fleet exists; else empty.
	Fleet string
	// Device that it claimed, if that device exists; else empty.
	Device string
}

// Error gives the reason and, where known, the device.
func (r *Refusal) Error() string {
	if r.Device != "" {
		return fmt.Sprintf("%s: %s", r.Reason, contract.DeviceID(r.Fleet, r.Device))
	}
	return string(r.Reason)
}

// Verifier checks a password; a costly one may be given up with ok false when the process is busy.
type Verifier func(h password.Hash, plain string) (match, ok bool)

// Identify says which device a connection speaks for, or why it is refused. now is the time at which certificates must be
// valid.
func (r *Registry) Identify(req Request, now time.Time, verify Verifier) (Identity, *Refusal) {
	if strings.EqualFold(req.Type, typeEdge) {
		return r.identifyEdge(req, now, verify)
	}
	if !strings.EqualFold(req.Type, "mqtt") {
		return Identity{}, &Refusal{Reason: ReasonNotMQTT}
	}
	if uri, ok := r.organizationURI(req.Chain); ok {
		return r.identifyOrganization(req, uri, now)
	}
	id, no := r.prove(req, now, verify)
	if no != nil {
		return Identity{}, no
	}
	if no := r.checkClientID(id, req.ClientID); no != nil {
		return Identity{}, no
	}
	id.ClientID = req.ClientID
	id.Prefixes, id.Limits = r.prefixes(id.Fleet, id.Device), r.fleets[id.Fleet].Limits
	_, named := r.fleets[id.Fleet].Devices[id.Device]
	if id.Device == contract.PlatformDevice {
		id.Cloud = id.Fleet
	} else {
		id.Unnamed = !named
	}
	return id, nil
}

// prove finds who a connection is by what it shows: a certificate with a URI of this platform, one of a vendor's own CA, or a password.
func (r *Registry) prove(req Request, now time.Time, verify Verifier) (Identity, *Refusal) {
	switch {
	case len(req.Chain) == 0:
		return r.byPassword(req, now, verify)
	case r.claims(req.Chain[0]):
		return r.byCertificate(req, now)
	}
	return r.byVendor(req, now)
}

// claims reports whether a certificate names somebody of this platform: then only the CA of that one counts.
func (r *Registry) claims(leaf *x509.Certificate) bool {
	domain := contract.TrustDomain(r.platform)
	for _, u := range leaf.URIs {
		if host := u.Hostname(); host == domain || strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}

// byCertificate verifies the whole chain here, against the issuers of the one fleet that the certificate claims: a CA of
// one fleet is worth nothing in another, and the broker need not be trusted to have looked.
func (r *Registry) byCertificate(req Request, now time.Time) (Identity, *Refusal) {
	leaf := req.Chain[0]
	if len(leaf.URIs) != 1 {
		return Identity{}, &Refusal{Reason: ReasonBadURI}
	}
	fleet, device, err := contract.ParseDeviceURI(r.platform, leaf.URIs[0].String())
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadURI}
	}
	f, _, no := r.lookup(fleet, device)
	if no != nil {
		return Identity{}, no
	}
	if f.Method != methodX509 || f.Rule != "" {
		return Identity{}, &Refusal{ReasonWrongMethod, fleet, device}
	}
	return r.underCA(req, f, fleet, device, now)
}

// byVendor finds the device that a certificate of a vendor's own CA is. The certificate names no fleet, so the client id or the user name
// does, as a candidate only: that fleet's CA must have signed, and its rule must give that very device.
func (r *Registry) byVendor(req Request, now time.Time) (Identity, *Refusal) {
	candidate := req.Username
	if candidate == "" {
		candidate = r.owner(req.ClientID)
	}
	fleet, device, err := contract.ParseDeviceID(candidate)
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadURI}
	}
	f, _, no := r.lookup(fleet, device)
	if no != nil {
		return Identity{}, no
	}
	if f.rule == nil || f.Method != methodX509 {
		return Identity{}, &Refusal{ReasonWrongMethod, fleet, device}
	}
	id, no := r.underCA(req, f, fleet, device, now)
	if no != nil {
		return Identity{}, no
	}
	if got, err := f.rule.Device(req.Chain[0]); err != nil || got != device {
		return Identity{}, &Refusal{ReasonBadRule, fleet, device}
	}
	return id, nil
}

// underCA verifies the chain against a fleet's issuers.
func (r *Registry) underCA(req Request, f *fleetEntry, fleet, device string, now time.Time) (Identity, *Refusal) {
	// A username beside a certificate may repeat the identity and nothing else.
	if req.Username != "" && req.Username != contract.DeviceID(fleet, device) {
		return Identity{}, &Refusal{ReasonMixedIdentity, fleet, device}
	}
	issuer, until, err := f.issuers.Verify(req.Chain, now)
	if err != nil {
		return Identity{}, &Refusal{ReasonBadIssuer, fleet, device}
	}
	return Identity{Fleet: fleet, Device: device, Stamp: r.stamp(fleet, device, issuer, ""), Until: until}, nil
}

func (r *Registry) byPassword(req Request, now time.Time, verify Verifier) (Identity, *Refusal) {
	if req.Username == "" {
		return Identity{}, &Refusal{Reason: ReasonNoCredential}
	}
	fleet, device, err := contract.ParseDeviceID(req.Username)
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadUsername}
	}
	f, c, no := r.lookup(fleet, device)
	if no != nil {
		return Identity{}, no
	}
	if f.Method != methodPassword {
		return Identity{}, &Refusal{ReasonWrongMethod, fleet, device}
	}
	for n, text := range hashes(c) {
		until := time.Time{}
		if n > 0 { // the one before the rotation
			if until = time.Unix(c.PreviousUntil, 0); !now.Before(until) {
				break
			}
		}
		hash, err := password.Parse(text)
		if err != nil {
			return Identity{}, &Refusal{ReasonBadHash, fleet, device}
		}
		switch match, ok := verify(hash, req.Password); {
		case !ok:
			return Identity{}, &Refusal{ReasonBusy, fleet, device}
		case match:
			return Identity{Fleet: fleet, Device: device, Stamp: r.stamp(fleet, device, noIssuer, text), Until: until}, nil
		}
	}
	return Identity{}, &Refusal{ReasonBadPassword, fleet, device}
}

// lookup gives a fleet and what one of its devices proves itself by.
func (r *Registry) lookup(fleet, device string) (*fleetEntry, contract.Credential, *Refusal) {
	var none contract.Credential
	f := r.fleets[fleet]
	if f == nil {
		return nil, none, &Refusal{Reason: ReasonNoFleet}
	}
	if c, ok := f.credential(device); ok {
		return f, c, nil
	}
	if c, ok := f.Devices[device]; ok && !c.Stored {
		return nil, none, &Refusal{ReasonSpokenFor, fleet, device}
	}
	return nil, none, &Refusal{Reason: ReasonNoDevice, Fleet: fleet}
}

// checkClientID lets a device use the one client id that is its own. A client id in use cuts off its holder, so taking
// another device's is an attack even by a device that is otherwise in order.
func (r *Registry) checkClientID(id Identity, clientID string) *Refusal {
	if clientID == "" || clientID != r.clientID(id.Fleet, id.Device) {
		return &Refusal{ReasonWrongClientID, id.Fleet, id.Device}
	}
	if owner := r.owner(clientID); owner != contract.DeviceID(id.Fleet, id.Device) {
		return &Refusal{ReasonClientIDTaken, id.Fleet, id.Device}
	}
	return nil
}
