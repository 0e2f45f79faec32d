// Package bundleserver serves the policy of each platform over HTTPS, as a bundle that a stock opa pulls and verifies. It is for whoever
// wants to decide, or to check decisions, beside the gateway; nodes take their bundles from the broker.
//
//	controllers/publication --Offer--> Server --> GET /v1/platforms/{namespace}/{name}/bundles/policy.tar.gz   ETag, 304
//	                                          --> GET .../bundles/keys.pem   the keys that sign, two during a rotation
//	                                          --> GET .../bundles/lease      the lease in force, a compact JWS
//	Service --> EndpointSlice <-- lead.go       of all replicas the one that leads, which alone has offers
//
// The bundle says who may read what about whom, so it is no public document: every request is authorised.
package bundleserver

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Offer is what is in force on one platform.
type Offer struct {
	// Version names the content of Policy and the key that signs it.
	Version string
	// Policy makes the signed tarball. It is called once for a version, when somebody asks for it.
	Policy func() ([]byte, error)
	// Keys are PEM public keys, one after the other.
	Keys []byte
	// Lease is a compact JWS.
	Lease string
}

// Authorizer says whether the bearer of a token may read the bundle of a platform. The error is one of asking.
type Authorizer interface {
	MayRead(ctx context.Context, token string, platform types.NamespacedName) (bool, error)
}

// Server serves offers. It is safe for use by many goroutines.
type Server struct {
	Authorizer Authorizer

	mu     sync.Mutex
	offers map[types.NamespacedName]*made
}

// made is an offer and its tarball.
type made struct {
	Offer
	*tarball
}

// tarball is made at most once.
type tarball struct {
	once sync.Once
	make func() ([]byte, error)
	raw  []byte
	err  error
}

func (t *tarball) get() ([]byte, error) {
	t.once.Do(func() {
		t.raw, t.err = t.make()
		t.make = nil // and with it all that it was made from
	})
	return t.raw, t.err
}

// Set puts what is in force on a platform in the place of what was. A tarball of the same version stays.
func (s *Server) Set(platform types.NamespacedName, o Offer) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offers == nil {
		s.offers = map[types.NamespacedName]*made{}
	}
	next := &made{o, &tarball{make: o.Policy}}
	if was := s.offers[platform]; was != nil && was.Version == o.Version {
		next.tarball = was.tarball
	}
	next.Policy = nil // the tarball has it
	s.offers[platform] = next
}

// Drop forgets a platform.
func (s *Server) Drop(platform types.NamespacedName) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.offers, platform)
}

// Handler gives the API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	const bundles = "GET /v1/platforms/{namespace}/{name}/bundles/"
	mux.HandleFunc(bundles+"policy.tar.gz", s.offered(policy))
	mux.HandleFunc(bundles+"keys.pem", s.offered(func(w http.ResponseWriter, _ *http.Request, m *made) {
		answer(w, "application/x-pem-file", m.Keys)
	}))
	mux.HandleFunc(bundles+"lease", s.offered(func(w http.ResponseWriter, _ *http.Request, m *made) {
		answer(w, "application/jose", []byte(m.Lease))
	}))
	return mux
}

// offered authorises a request and finds the offer. A platform that is not there is told only to whom may read it.
func (s *Server) offered(serve func(http.ResponseWriter, *http.Request, *made)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		platform := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
		token, bears := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !bears || token == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "show the token of a service account: Authorization: Bearer ...", http.StatusUnauthorized)
			return
		}
		may, err := s.Authorizer.MayRead(r.Context(), token, platform)
		switch {
		case errors.Is(err, ErrUnknown):
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token is not valid here", http.StatusUnauthorized)
			return
		case err != nil:
			http.Error(w, "the token cannot be checked now", http.StatusServiceUnavailable)
			return
		case !may:
			http.Error(w, "the token may not get gridplatforms/bundle of "+platform.String(), http.StatusForbidden)
			return
		}
		s.mu.Lock()
		m := s.offers[platform]
		s.mu.Unlock()
		if m == nil {
			w.Header().Set("Retry-After", "5")
			http.Error(w, "this replica has published no bundle of "+platform.String(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		serve(w, r, m)
	}
}

// policy serves the tarball, or 304 to whoever has it already.
func policy(w http.ResponseWriter, r *http.Request, m *made) {
	etag := `"` + m.Version + `"`
	w.Header().Set("ETag", etag)
	if held := strings.TrimPrefix(r.Header.Get("If-None-Match"), "W/"); held == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	raw, err := m.get()
	if err != nil {
		w.Header().Del("ETag")
		http.Error(w, "the bundle cannot be made", http.StatusInternalServerError)
		return
	}
	answer(w, "application/vnd.openpolicyagent.bundles", raw)
}

func answer(w http.ResponseWriter, kind string, raw []byte) {
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(raw)
}
