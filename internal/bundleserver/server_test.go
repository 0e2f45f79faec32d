package bundleserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

type door map[string]error

func (d door) MayRead(_ context.Context, token string, platform types.NamespacedName) (bool, error) {
	err, known := d[token]
	return known && err == nil && platform.Name == "henan", err
}

// Nothing is told to who shows no token, one that nobody knows, one that may not, or one that cannot be checked; and a platform that is
// not there looks to them like one that is.
func TestOnlyWhoMayReadReads(t *testing.T) {
	s := &Server{Authorizer: door{"good": nil, "stale": ErrUnknown, "unchecked": errors.New("the API server is away")}}
	made := 0
	offer := Offer{Version: "v1", Keys: []byte("keys"), Lease: "lease", Policy: func() ([]byte, error) { made++; return []byte("policy"), nil }}
	s.Set(types.NamespacedName{Namespace: "ns", Name: "henan"}, offer)
	get := func(path, token, etag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		r.Header.Set("If-None-Match", etag)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	const base = "/v1/platforms/ns/henan/bundles/"
	for _, path := range []string{base + "policy.tar.gz", base + "keys.pem", base + "lease"} {
		for token, want := range map[string]int{"": 401, "stale": 401, "unchecked": 503, "stranger": 403, "good": 200} {
			if w := get(path, token, ""); w.Code != want || want != 200 && w.Header().Get("ETag") != "" {
				t.Errorf("%s with token %q: %d, want %d", path, token, w.Code, want)
			}
		}
		if w := get("/v1/platforms/ns/other/bundles/policy.tar.gz", "good", ""); w.Code != 403 {
			t.Errorf("another platform: %d", w.Code)
		}
	}
	w := get(base+"policy.tar.gz", "good", "")
	if w.Body.String() != "policy" || w.Header().Get("ETag") != `"v1"` {
		t.Errorf("%q %v", w.Body, w.Header())
	}
	for _, etag := range []string{`"v1"`, `W/"v1"`} {
		if w := get(base+"policy.tar.gz", "good", etag); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("%s: %d", etag, w.Code)
		}
	}
	offer.Lease = "renewed"
	s.Set(types.NamespacedName{Namespace: "ns", Name: "henan"}, offer)
	if w := get(base+"policy.tar.gz", "good", `"v0"`); w.Code != 200 || made != 1 {
		t.Errorf("%d, and the tarball of one version was made %d times", w.Code, made)
	}
	if w := get(base+"lease", "good", ""); w.Body.String() != "renewed" {
		t.Errorf("lease %q", w.Body)
	}
	s.Drop(types.NamespacedName{Namespace: "ns", Name: "henan"})
	if w := get(base+"keys.pem", "good", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("after the platform is gone: %d", w.Code)
	}
}
