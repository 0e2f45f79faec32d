package person

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
)

// OrganizationOf names the organisation of dir that a client certificate speaks for: by its public key (KeyDigests), or by a URI of a
// certificate that chains to roots for client authentication (URIs; nil roots admit none). shown is what the client sent, leaf first; TLS has
// proven that it holds the leaf's key. What two organisations claim speaks for neither. The error says what is wrong and names no key.
func OrganizationOf(shown []*x509.Certificate, dir contract.Directory, roots *x509.CertPool, now time.Time) (string, error) {
	if len(shown) == 0 {
		return "", errors.New("no client certificate was shown")
	}
	leaf := shown[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return "", fmt.Errorf("the client certificate is valid from %s to %s", leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	stands := false
	if roots != nil {
		_, err := chain.Verify(shown, roots, now)
		stands = err == nil
	}
	digest, found := contract.Digest(leaf.RawSubjectPublicKeyInfo), []string{}
	for name, o := range dir.Organizations {
		if slices.ContainsFunc(o.KeyDigests, func(d string) bool { return strings.EqualFold(d, digest) }) || stands && bears(leaf, o) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", errors.New("the client certificate speaks for no organisation of this platform")
	case 1:
		return found[0], nil
	}
	return "", errors.New("the client certificate speaks for two organisations")
}

func bears(leaf *x509.Certificate, o contract.Organization) bool {
	for _, u := range leaf.URIs {
		if slices.Contains(o.URIs, u.String()) {
			return true
		}
	}
	return false
}
