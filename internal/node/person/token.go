package person

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// algorithms that a token may be signed with. A symmetric or empty algorithm is refused while parsing.
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA}

const (
	headerX5C = "x5c"
	// maxToken bounds the length of a token in bytes; a chain of three certificates fits well.
	maxToken = 16 << 10
	// maxChain bounds the number of certificates in x5c.
	maxChain = 4
	// maxName bounds the subject and the role, in bytes.
	maxName = 128
)

// claims of a token.
type claims struct {
	jwt.Claims
	Role string `json:"role"`
}

// encodeChain gives the x5c header: standard base64 of DER, leaf first.
func encodeChain(chain []*x509.Certificate) []string {
	x5c := make([]string, len(chain))
	for i, c := range chain {
		x5c[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	return x5c
}

// chainOf reads the x5c header of a compact token as sent; nil if it carries none. go-jose hands these certificates out only
// once they verify to a root, but a key pinned by its digest needs no root.
func chainOf(token string) ([]*x509.Certificate, error) {
	protected, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(protected)
	if err != nil {
		return nil, fmt.Errorf("token header: %w", err)
	}
	var header struct {
		X5C []string `json:"x5c"`
	}
	if err := json.Unmarshal(raw, &header); err != nil {
		return nil, fmt.Errorf("token header: %w", err)
	}
	if len(header.X5C) > maxChain {
		return nil, fmt.Errorf("token header x5c: %d certificates, want at most %d", len(header.X5C), maxChain)
	}
	var chain []*x509.Certificate
	for i, s := range header.X5C {
		der, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("token header x5c[%d]: want standard base64 of a DER certificate: %w", i, err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("token header x5c[%d]: %w", i, err)
		}
		chain = append(chain, c)
	}
	return chain, nil
}
