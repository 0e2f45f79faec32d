package artifact

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Bounds in time of one fetch.
const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 20 * time.Second
	fetchTimeout  = 3 * time.Minute
	maxRedirects  = 5
)

// Options of a Fetcher.
type Options struct {
	// Allow are prefixes whose addresses may be fetched from though they are not public, such as those of a registry of the city's own.
	Allow []netip.Prefix
	// Roots by which hosts are known; nil for those of the system.
	Roots *x509.CertPool
}

// Fetcher fetches artefacts. It is safe for concurrent use.
type Fetcher struct {
	client   *http.Client
	patience time.Duration
}

// NewFetcher gives a Fetcher.
func NewFetcher(o Options) *Fetcher {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: guard(o.Allow)}
	transport := &http.Transport{
		// No proxy: it would resolve names where the guard does not see the address.
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout, MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns: 8, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}
	return &Fetcher{client: &http.Client{Transport: secure{transport}, CheckRedirect: redirected}, patience: fetchTimeout}
}

// refusedError says that an address may not be reached. It does not tell the address: that would be a look into the network.
type refusedError struct{}

func (*refusedError) Error() string {
	return "the host's address is not public; whoever runs the operator allows it with --artifact-allow"
}

// guard refuses addresses at the moment of connecting, so that no name can resolve to one after it was checked.
func guard(allow []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !reachable(at.Addr(), allow) {
			return &refusedError{}
		}
		return nil
	}
}

func reachable(a netip.Addr, allow []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	for _, p := range allow {
		if p.Contains(a) {
			return true
		}
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false // unspecified, loopback, multicast, link-local (cloud metadata), RFC 1918, unique local
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// special are further ranges of the IANA special-purpose address registries that are not the public network, or that hold an IPv4
// address within; and the one address at which a cloud answers its machines though it looks public.
var special = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"168.63.129.16/32", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
)

// ParsePrefixes reads prefixes that are separated by commas, such as 10.20.0.0/16,fd00::/8.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q: want a prefix such as 10.20.0.0/16", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// secure sends nothing without TLS, wherever a redirect or a registry's challenge points to.
type secure struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s secure) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, &redirectError{"leads to an address without TLS; only https is followed"}
	}
	return s.next.RoundTrip(r)
}

// redirectError says why a redirect is not followed.
type redirectError struct{ text string }

func (e *redirectError) Error() string { return e.text }

// redirected follows a redirect over HTTPS, without credentials where it leads to another host.
func redirected(r *http.Request, via []*http.Request) error {
	switch {
	case r.URL.Scheme != "https":
		return &redirectError{"leads to an address without TLS; only https is followed"}
	case len(via) > maxRedirects:
		return &redirectError{"leads from one address to the next too often"}
	}
	if r.URL.Host != via[0].URL.Host { // net/http would keep them for a subdomain
		r.Header.Del("Authorization")
	}
	r.Header.Del("Referer") // it may be a signed address
	return nil
}

// certificate says in a few words why a host is not believed.
func certificate(err error) error {
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return errors.New("the host's certificate is not valid for it, or its CA is not known")
	}
	var operation *net.OpError
	if errors.As(err, &operation) {
		return errors.New("no connection to the host")
	}
	return err
}
