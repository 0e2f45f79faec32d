package person

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/dizuo/dizuo/internal/contract"
)

// Sign makes a token by which the organisation org vouches, towards audience (see contract.PersonAudience), that subject
// (a pseudonym) acts in role, from now for life (at most contract.MaxPersonTokenLife).
//
// key is the organisation's ECDSA P-256 or Ed25519 key. chain is its certificate with intermediates, leaf first; if empty,
// the bare public key is put into the token, and the directory must list its digest.
func Sign(key crypto.Signer, chain []*x509.Certificate, org, subject, role, audience string, now time.Time, life time.Duration) (string, error) {
	switch {
	case org == "", subject == "", role == "", audience == "":
		return "", errors.New("person token: organisation, subject, role and audience must all be given")
	case len(subject) > maxName, len(role) > maxName:
		return "", fmt.Errorf("person token: subject and role are at most %d bytes each", maxName)
	case life <= 0, life > contract.MaxPersonTokenLife:
		return "", fmt.Errorf("person token: life is %s, want more than 0 and at most %s", life, contract.MaxPersonTokenLife)
	}
	signer, err := newSigner(key, chain)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims{
		Role: role,
		Claims: jwt.Claims{
			Issuer:   org,
			Subject:  subject,
			Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(now),
			Expiry:   jwt.NewNumericDate(now.Add(life)),
		},
	}).Serialize()
}

// newSigner chooses the algorithm by the kind of key and puts the key's proof into the header.
func newSigner(key crypto.Signer, chain []*x509.Certificate) (jose.Signer, error) {
	alg, err := algorithmFor(key)
	if err != nil {
		return nil, err
	}
	opts := (&jose.SignerOptions{EmbedJWK: len(chain) == 0}).WithType("JWT")
	if len(chain) > 0 {
		pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !pub.Equal(chain[0].PublicKey) {
			return nil, errors.New("person token: the certificate does not belong to the key; give the certificate of this key first")
		}
		opts = opts.WithHeader(headerX5C, encodeChain(chain))
	}
	return jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: cryptosigner.Opaque(key)}, opts)
}

// algorithmFor gives the algorithm of a key, or an error that says which keys can sign.
func algorithmFor(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	if key == nil {
		return "", errors.New("person token: no key given")
	}
	switch pub := key.Public().(type) {
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			return jose.ES256, nil
		}
	}
	return "", fmt.Errorf("person token: key of type %T cannot sign; use ECDSA P-256 or Ed25519", key.Public())
}
