package auth

import (
	"crypto/sha256"
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
}

// Identity is a device that was let in, or an edge node.
type Identity struct {
	Fleet, Device string
	// Edge is the edge node; then there is no device. Token says that it came with its enrolment token.
	Edge  string
	Token bool
	// ClientID that the connection must use.
	ClientID string
	// Stamp is a digest of what the admission rested on; see Registry.Stays.
	Stamp string
	// Prefixes that the connection may use.
	Prefixes []Prefix
}

// User gives the name of the identity's connections in the broker.
func (i Identity) User() string {
	if i.Edge != "" {
		return edgeUser + i.Edge + "/" + i.Stamp
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
	var id Identity
	var no *Refusal
	if len(req.Chain) > 0 {
		id, no = r.byCertificate(req, now)
	} else {
		id, no = r.byPassword(req, verify)
	}
	if no != nil {
		return Identity{}, no
	}
	if no := r.checkClientID(id, req.ClientID); no != nil {
		return Identity{}, no
	}
	id.ClientID = req.ClientID
	id.Prefixes = r.prefixes(id.Fleet, id.Device)
	return id, nil
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
	f, no := r.lookup(fleet, device)
	if no != nil {
		return Identity{}, no
	}
	if f.method != methodX509 {
		return Identity{}, &Refusal{ReasonWrongMethod, fleet, device}
	}
	// A username beside a certificate may repeat the identity and nothing else.
	if req.Username != "" && req.Username != contract.DeviceID(fleet, device) {
		return Identity{}, &Refusal{ReasonMixedIdentity, fleet, device}
	}
	intermediates := x509.NewCertPool()
	for _, c := range req.Chain[1:] {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: f.roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return Identity{}, &Refusal{ReasonBadIssuer, fleet, device}
	}
	for _, chain := range chains {
		issuer := sha256.Sum256(chain[len(chain)-1].RawSubjectPublicKeyInfo)
		if f.lists(issuer) {
			return Identity{Fleet: fleet, Device: device, Stamp: r.stamp(fleet, device, issuer)}, nil
		}
	}
	return Identity{}, &Refusal{ReasonBadIssuer, fleet, device}
}

func (r *Registry) byPassword(req Request, verify Verifier) (Identity, *Refusal) {
	if req.Username == "" {
		return Identity{}, &Refusal{Reason: ReasonNoCredential}
	}
	fleet, device, err := contract.ParseDeviceID(req.Username)
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadUsername}
	}
	f, no := r.lookup(fleet, device)
	if no != nil {
		return Identity{}, no
	}
	if f.method != methodPassword {
		return Identity{}, &Refusal{ReasonWrongMethod, fleet, device}
	}
	hash, err := password.Parse(f.devices[device].PasswordHash)
	if err != nil {
		return Identity{}, &Refusal{ReasonBadHash, fleet, device}
	}
	switch match, ok := verify(hash, req.Password); {
	case !ok:
		return Identity{}, &Refusal{ReasonBusy, fleet, device}
	case !match:
		return Identity{}, &Refusal{ReasonBadPassword, fleet, device}
	}
	return Identity{Fleet: fleet, Device: device, Stamp: r.stamp(fleet, device, noIssuer)}, nil
}

func (r *Registry) lookup(fleet, device string) (*fleetEntry, *Refusal) {
	f := r.fleets[fleet]
	if f == nil {
		return nil, &Refusal{Reason: ReasonNoFleet}
	}
	if _, ok := f.devices[device]; !ok {
		return nil, &Refusal{Reason: ReasonNoDevice, Fleet: fleet}
	}
	return f, nil
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
