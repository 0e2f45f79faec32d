package vault

import (
	"crypto"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
)

// Erasure is the payload of a receipt: what was destroyed, what others were asked to do, and what stays and why. It holds nothing of what
// was erased.
type Erasure struct {
	Format   string    `json:"format"`
	ID       uuid.UUID `json:"id"`
	Platform string    `json:"platform"`
	// Subject is the random id, which leads to nobody any more.
	Subject      string    `json:"subject"`
	At           time.Time `json:"at"`
	Organization string    `json:"organization"`
	Person       string    `json:"person"`
	Reason       string    `json:"reason"`
	Destroyed    Destroyed `json:"destroyed"`
	// ConsentsWithdrawn counts those that were in force.
	ConsentsWithdrawn int64   `json:"consentsWithdrawn"`
	Asked             []Asked `json:"asked"`
	Kept              []Kept  `json:"kept"`
}

// Answer is the payload of a receipt of what is no erasure: who asked, for whom, and what they were told, or who is to put what right. The
// statement of what is wrong is not in it.
type Answer struct {
	Format   string    `json:"format"`
	ID       uuid.UUID `json:"id" doc:"The number of the request in the vault's log."`
	Platform string    `json:"platform"`
	Subject  string    `json:"subject"`
	At       time.Time `json:"at"`
	// Organization and Person are who asked for the subject.
	Organization string      `json:"organization"`
	Person       string      `json:"person"`
	Reason       string      `json:"reason"`
	Access       *Access     `json:"access,omitempty"`
	Correction   *Correction `json:"correction,omitempty"`
}

// Correction says who was asked to put which fields of a dataset right.
type Correction struct {
	Asked
	Fields []string `json:"fields"`
}

// Destroyed counts what is gone.
type Destroyed struct {
	Keys       int64 `json:"keys"`
	Identities int64 `json:"identities"`
	Relations  int64 `json:"relations"`
	// Rows by dataset of the platform's own.
	Rows map[string]int64 `json:"rows,omitempty"`
}

// Asked says that the one writer of a dataset was told to erase.
type Asked struct {
	Dataset      string    `json:"dataset"`
	Organization string    `json:"organization"`
	Task         uuid.UUID `json:"task"`
}

// Kept says what stays, and why.
type Kept struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// signer signs receipts with the key of a certificate, read again each time.
type signer struct{ files contract.TLSFiles }

// sign gives a compact JWS of a header "typ", with the certificate in its header: whoever trusts the platform's CA can check it.
func (s signer) sign(kind string, claim any) (string, error) {
	pair, err := tls.LoadX509KeyPair(s.files.CertFile, s.files.KeyFile)
	if err != nil {
		return "", fmt.Errorf("key of receipts: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return "", fmt.Errorf("key of receipts: %T cannot sign", pair.PrivateKey)
	}
	chain := make([]string, len(pair.Certificate))
	for i, der := range pair.Certificate {
		chain[i] = base64.StdEncoding.EncodeToString(der)
	}
	opts := (&jose.SignerOptions{}).WithType(jose.ContentType(kind)).WithHeader("x5c", chain)
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: cryptosigner.Opaque(key)}, opts)
	if err != nil {
		return "", fmt.Errorf("key of receipts: %w", err)
	}
	raw, err := json.Marshal(claim)
	if err != nil {
		return "", fmt.Errorf("receipt: %w", err)
	}
	signed, err := js.Sign(raw)
	if err != nil {
		return "", fmt.Errorf("sign receipt: %w", err)
	}
	return signed.CompactSerialize()
}

// answer signs the receipt of an answer to a request about a subject.
func (s *service) answer(c caller, request, subject, reason string, a Answer) (string, error) {
	id, err := uuid.Parse(request)
	if err != nil {
		return "", err
	}
	p := c.bundle.Directory.Platform
	a.Format, a.ID, a.Platform, a.Subject, a.At = contract.AnswerFormat, id, p.Namespace+"/"+p.Name, subject, c.at.UTC()
	a.Organization, a.Person, a.Reason = c.who.Organization, c.who.Subject, reason
	return s.sign.sign(contract.AnswerType, a)
}
