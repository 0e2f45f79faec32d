package audit

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/dizuo/dizuo/internal/contract"
)

// checkErasure says why a receipt is not one of the vault of the platform that names the line. It is the platform's word, signed: it can be
// held against whoever gave it.
func checkErasure(compact string, roots *x509.CertPool, platform string, line absence, instance string) error {
	if roots == nil {
		return errors.New("its receipt was not checked: the CA of receipts was not given")
	}
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("its receipt: %w", err)
	}
	var e contract.ErasureClaim
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &e); err != nil {
		return fmt.Errorf("its receipt: %w", err)
	}
	header := jws.Signatures[0].Protected
	// The certificate was good when the receipt was given; by now it is over.
	chains, err := header.Certificates(x509.VerifyOptions{Roots: roots, CurrentTime: e.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("its receipt: %w", err)
	}
	leaf := chains[0][0]
	if _, err := jws.Verify(leaf.PublicKey); err != nil {
		return fmt.Errorf("its receipt: the signature is not good: %w", err)
	}
	_, name, _ := strings.Cut(e.Platform, "/")
	switch {
	case header.ExtraHeaders[jose.HeaderType] != contract.ErasureType || e.Format != contract.ErasureFormat:
		return fmt.Errorf("its receipt is a %v of format %q", header.ExtraHeaders[jose.HeaderType], e.Format)
	case leaf.Subject.CommonName != contract.ErasureSigner(name) || len(leaf.URIs) > 0: // an organisation's certificate is of the same CA
		return fmt.Errorf("its receipt is signed by %q, not by the vault", leaf.Subject.CommonName)
	case e.Platform != platform:
		return fmt.Errorf("its receipt is of platform %q, the log of %q", e.Platform, platform)
	case e.At.Before(line.at):
		return errors.New("its receipt is older than the line")
	case !slices.Contains(e.Records, contract.ErasedRecord{Instance: instance, Sequence: line.sequence}):
		return errors.New("its receipt does not name the line")
	}
	return nil
}
