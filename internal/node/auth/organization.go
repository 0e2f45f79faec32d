package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
)

// organizationUser precedes the name of an organisation in the user of its connections. No device's user begins so: it has a dot before the slash.
const organizationUser = "organization/"

// ReasonNoOrganization says that no organisation that takes cases over MQTT has the certificate.
const ReasonNoOrganization Reason = "UnknownOrganization"

// organizations are who takes cases over MQTT, by certificate URI, and the platform's CAs under which their certificates stand.
type organizations struct {
	byURI   map[string]string
	issuers chain.Issuers
}

// takeOrganizations reads from the directory who takes cases over MQTT. Without the platform's CA, as at an edge node, nobody does. A URI that
// two organisations claim lets in neither.
func (r *Registry) takeOrganizations(all map[string]contract.Organization, ca string) []error {
	r.organizations = organizations{byURI: map[string]string{}}
	if ca == "" {
		return nil
	}
	issuers, problems := chain.Read([]string{ca}, nil)
	for n, err := range problems {
		problems[n] = fmt.Errorf("platform's CA: %w", err)
	}
	r.organizations.issuers = issuers
	claimed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, uri := range all[name].URIs {
			switch {
			case claimed[uri]:
				delete(r.organizations.byURI, uri)
			case all[name].Delivery == contract.DeliveryMQTT:
				r.organizations.byURI[uri] = name
			}
			claimed[uri] = true
		}
	}
	return problems
}

// organizationURI gives the URI of a certificate that names an organisation of the platform, and whether it does.
func (r *Registry) organizationURI(shown []*x509.Certificate) (uri string, ok bool) {
	if len(shown) == 0 || len(shown[0].URIs) != 1 {
		return "", false
	}
	uri = shown[0].URIs[0].String()
	_, _, err := contract.ParseOrganizationURI(r.platform, uri)
	return uri, err == nil
}

// identifyOrganization lets the system of an organisation in that takes cases over MQTT: by a certificate under the platform's CA with a URI
// that the directory gives that very organisation, and under its own client id.
func (r *Registry) identifyOrganization(req Request, uri string, now time.Time) (Identity, *Refusal) {
	name, identity, err := contract.ParseOrganizationURI(r.platform, uri)
	if err != nil || req.DevicesOnly || r.organizations.byURI[uri] != name {
		return Identity{}, &Refusal{Reason: ReasonNoOrganization}
	}
	if req.Username != "" {
		return Identity{}, &Refusal{Reason: ReasonMixedIdentity}
	}
	issuer, until, err := r.organizations.issuers.Verify(req.Chain, now)
	if err != nil {
		return Identity{}, &Refusal{Reason: ReasonBadIssuer}
	}
	if req.ClientID != contract.OrganizationClientID(name, identity) {
		return Identity{}, &Refusal{Reason: ReasonWrongClientID}
	}
	if r.owner(req.ClientID) != "" {
		return Identity{}, &Refusal{Reason: ReasonClientIDTaken}
	}
	return Identity{Organization: name, ClientID: req.ClientID, Stamp: organizationStamp(uri, issuer), Until: until}, nil
}

// organizationStamp digests what the admission of an organisation rests on.
func organizationStamp(uri string, issuer chain.Key) string {
	h := sha256.New()
	fmt.Fprintf(h, "organization %q ", uri)
	h.Write(issuer[:])
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// organizationStays is Stays for the rest of an organisation's user, "<name>/<stamp>".
func (r *Registry) organizationStays(rest, clientID string) bool {
	name, stamp, _ := strings.Cut(rest, "/")
	for uri, holder := range r.organizations.byURI {
		_, identity, err := contract.ParseOrganizationURI(r.platform, uri)
		if err != nil || holder != name || clientID != contract.OrganizationClientID(name, identity) || r.owner(clientID) != "" {
			continue
		}
		if slices.ContainsFunc(r.organizations.issuers.Keys, func(k chain.Key) bool { return stamp == organizationStamp(uri, k) }) {
			return true
		}
	}
	return false
}

// revokesOrganizations reports whether an organisation that old admits could have to go under next.
func revokesOrganizations(old, next *Registry) bool {
	for uri, name := range old.organizations.byURI {
		if next.organizations.byURI[uri] != name {
			return true
		}
	}
	return len(old.organizations.byURI) > 0 && lost(old.organizations.issuers.Keys, next.organizations.issuers.Keys)
}
