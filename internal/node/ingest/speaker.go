package ingest

import (
	"crypto/x509"
	"errors"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/chain"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// Speaker says who may speak for a fleet.
type Speaker interface {
	// Speaks gives nil if the chain, the certificate that the client proved to hold the key of and then what it sent with it, is that of
	// the cloud of a fleet at the time now; a stale error while that cannot be known; else why not.
	Speaks(chain []*x509.Certificate, fleet string, now time.Time) error
}

// stale is the error of a Speaker that has no bundle in force: nobody is let in.
type stale struct{ error }

// Unwrap gives the error itself.
func (s stale) Unwrap() error { return s.error }

// errSpeaker is all that a stranger is told: not even whether there is such a fleet.
var errSpeaker = errors.New("the certificate is not that of the cloud of this fleet")

// speakers let the clouds in whose fleets are in the bundle in force.
type speakers struct {
	platform string
	in       *intake.Intake
}

// Speaks implements Speaker.
func (s speakers) Speaks(chain []*x509.Certificate, fleet string, now time.Time) error {
	b, err := s.in.Live(now)
	if err != nil {
		return stale{err}
	}
	c, ok := b.Credentials[fleet]
	if !ok || c.AccessMode != contract.AccessPlatform || c.Method != "X509" || c.Rule != "" {
		return errSpeaker
	}
	return ofCloud(chain, c, contract.DeviceURI(s.platform, fleet, contract.PlatformDevice), now)
}

// ofCloud verifies a chain up to one of a fleet's own issuers: a CA of one fleet is worth nothing in another.
func ofCloud(shown []*x509.Certificate, c contract.Credentials, uri string, now time.Time) error {
	leaf := shown[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != uri {
		return errSpeaker
	}
	issuers, _ := chain.Read(c.Issuers, c.EndOfIssuer) // auth tells of what cannot be read
	if _, _, err := issuers.Verify(shown, now); err != nil {
		return errSpeaker
	}
	return nil
}
