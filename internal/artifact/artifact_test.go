package artifact

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

const rows = "device,community\nsd-1,jinghu\n"

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

func packed(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpacked(t *testing.T, content []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// serve starts HTTPS servers and gives their addresses and a fetcher that knows them.
func serve(t *testing.T, handlers ...http.Handler) ([]string, *Fetcher) {
	t.Helper()
	roots := x509.NewCertPool()
	var addresses []string
	for _, h := range handlers {
		s := httptest.NewTLSServer(h)
		t.Cleanup(s.Close)
		roots.AddCert(s.Certificate())
		addresses = append(addresses, s.URL)
	}
	return addresses, NewFetcher(Options{Allow: loopback, Roots: roots})
}

func file(content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
}

func TestFetchFile(t *testing.T) {
	for name, content := range map[string][]byte{"plain": []byte(rows), "gzipped": packed(t, []byte(rows)), "empty": {}, "one byte": {'d'}} {
		t.Run(name, func(t *testing.T) {
			at, f := serve(t, file(content))
			got, err := f.Fetch(t.Context(), Ref{URL: at[0], SHA256: sum(content)})
			if err != nil {
				t.Fatal(err)
			}
			want := string(content)
			if name == "gzipped" {
				want = rows
			}
			if text := unpacked(t, got); text != want {
				t.Errorf("got %q", text)
			}
		})
	}
}

func TestFetchRefuses(t *testing.T) {
	large := make([]byte, MaxBytes+1)
	_, _ = rand.Read(large[:1<<20])
	ours := func(h http.Handler) (string, *Fetcher) { at, f := serve(t, h); return at[0], f }
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret text of the host", code) })
	}
	for name, c := range map[string]struct {
		handler http.Handler
		change  func(ref *Ref, f **Fetcher)
		says    string
	}{
		"another digest":      {file([]byte(rows + "x")), nil, "another SHA-256"},
		"too large":           {file(large), nil, "larger than 64 MiB"},
		"not there":           {status(404), nil, "404 Not Found"},
		"credentials missing": {status(401), nil, "secretRef"},
		"to plain HTTP":       {http.RedirectHandler("http://127.0.0.1/x", http.StatusFound), nil, "without TLS"},
		"in circles":          {http.RedirectHandler("/again", http.StatusFound), nil, "too often"},
		"address not public":  {file([]byte(rows)), func(_ *Ref, f **Fetcher) { *f = NewFetcher(Options{}) }, "--artifact-allow"},
		"CA not known":        {file([]byte(rows)), func(_ *Ref, f **Fetcher) { *f = NewFetcher(Options{Allow: loopback}) }, "certificate"},
		"credentials in it":   {file([]byte(rows)), func(r *Ref, _ **Fetcher) { r.URL = strings.Replace(r.URL, "//", "//me:secret@", 1) }, "secretRef"},
		"scheme":              {file([]byte(rows)), func(r *Ref, _ **Fetcher) { r.URL = "http://127.0.0.1/x" }, "scheme"},
		"no host":             {file([]byte(rows)), func(r *Ref, _ **Fetcher) { r.URL = "https:///x" }, "cannot be read"},
		"name of no host":     {file([]byte(rows)), func(r *Ref, _ **Fetcher) { r.URL = "https://vendor.invalid/x?sig=secret" }, "resolved"},
		"nobody listens":      {file([]byte(rows)), func(r *Ref, _ **Fetcher) { r.URL = "https://127.0.0.1:1/x?sig=secret" }, "no connection"},
		"answers never": {http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), func(_ *Ref, f **Fetcher) {
			slow := **f
			slow.patience = 50 * time.Millisecond
			*f = &slow
		}, "in time"},
		"breaks off": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(rows))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}), nil, "broke off"},
		"OCI, answers something else": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("sig") == "" {
				http.Redirect(w, r, "/elsewhere?sig=secret", http.StatusTemporaryRedirect)
				return
			}
			w.Header().Set("Docker-Content-Digest", "sha256:nonsense")
		}), func(r *Ref, _ **Fetcher) { r.URL = strings.Replace(r.URL, "https", "oci", 1) + "/devices" }, "cannot be used"},
		"OCI, no repository": {file(nil), func(r *Ref, _ **Fetcher) { r.URL = "oci://host" }, "oci://host/repository"},
		"OCI, not there":     {status(404), func(r *Ref, _ **Fetcher) { r.URL = strings.Replace(r.URL, "https", "oci", 1) + "/devices" }, "no layer"},
		"OCI, forbidden":     {status(403), func(r *Ref, _ **Fetcher) { r.URL = strings.Replace(r.URL, "https", "oci", 1) + "/devices" }, "403"},
		"OCI, not public": {file(nil), func(r *Ref, f **Fetcher) {
			r.URL, *f = strings.Replace(r.URL, "https", "oci", 1)+"/devices", NewFetcher(Options{})
		}, "--artifact-allow"},
	} {
		t.Run(name, func(t *testing.T) {
			at, f := ours(c.handler)
			ref := Ref{URL: at, SHA256: sum([]byte(rows)), Credentials: Credentials{Username: "me", Password: "secret"}}
			if c.change != nil {
				c.change(&ref, &f)
			}
			got, err := f.Fetch(t.Context(), ref)
			if err == nil || got != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %d bytes and %v, want an error with %q", len(got), err, c.says)
			}
			if err != nil && (strings.Contains(err.Error(), "secret ") || strings.Contains(err.Error(), "sig=") || strings.Contains(err.Error(), "127.0.0.1")) {
				t.Errorf("the error says too much: %v", err)
			}
		})
	}
}

// Credentials go to the host that they are for, and not along to where it sends us.
func TestCredentialsStay(t *testing.T) {
	for name, c := range map[string]struct {
		with Credentials
		want string
	}{
		"token":    {Credentials{Token: "t0"}, "Bearer t0"},
		"password": {Credentials{Username: "me", Password: "pw"}, "Basic bWU6cHc="},
		"none":     {Credentials{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var first, same, other string
			var target string
			store := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				other = r.Header.Get("Authorization") + r.Header.Get("Referer")
				_, _ = io.WriteString(w, rows)
			})
			host := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/a" {
					first = r.Header.Get("Authorization")
					http.Redirect(w, r, "/b", http.StatusFound)
					return
				}
				same = r.Header.Get("Authorization")
				http.Redirect(w, r, target, http.StatusTemporaryRedirect)
			})
			at, f := serve(t, host, store)
			target = at[1] + "/c"
			if _, err := f.Fetch(t.Context(), Ref{URL: at[0] + "/a", SHA256: sum([]byte(rows)), Credentials: c.with}); err != nil {
				t.Fatal(err)
			}
			if first != c.want || same != c.want || other != "" {
				t.Errorf("sent %q, on the same host %q, to another %q", first, same, other)
			}
		})
	}
}

// registryOf is a registry with one layer: it asks for a token, which its token service gives for a password, and sends on to a store.
func registryOf(t *testing.T, content []byte) (http.Handler, *string) {
	mux := http.NewServeMux()
	store := new(string)
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "me" || pass != "pw" || r.URL.Query().Get("scope") != "repository:vendor/devices:pull" {
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": "from-the-service"})
	})
	mux.HandleFunc("GET /v2/vendor/devices/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		switch got := r.Header.Get("Authorization"); {
		case got != "Bearer from-the-service" && got != "Bearer own":
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token",service="r",scope="repository:vendor/devices:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.PathValue("digest") != "sha256:"+sum(content):
			http.NotFound(w, r)
		case *store != "":
			http.Redirect(w, r, *store, http.StatusTemporaryRedirect)
		default:
			_, _ = w.Write(content)
		}
	})
	return mux, store
}

func TestFetchLayer(t *testing.T) {
	content := packed(t, []byte(rows))
	for name, c := range map[string]struct {
		with Credentials
		path string
		says string
	}{
		"password":       {Credentials{Username: "me", Password: "pw"}, "/vendor/devices:2026-06", ""},
		"registry token": {Credentials{Token: "own"}, "/vendor/devices", ""},
		"with a digest":  {Credentials{Token: "own"}, "/vendor/devices@sha256:" + strings.Repeat("0", 64), ""},
		"wrong password": {Credentials{Username: "me", Password: "x"}, "/vendor/devices", "401"},
		"none":           {Credentials{}, "/vendor/devices", "401"},
	} {
		t.Run(name, func(t *testing.T) {
			h, store := registryOf(t, content)
			var leaked string
			at, f := serve(t, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				leaked = r.Header.Get("Authorization")
				_, _ = w.Write(content)
			}))
			*store = at[1] + "/blob?sig=1"
			host, _ := url.Parse(at[0])
			got, err := f.Fetch(t.Context(), Ref{URL: "oci://" + host.Host + c.path, SHA256: sum(content), Credentials: c.with})
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || unpacked(t, got) != rows || leaked != "" {
				t.Errorf("got %d bytes, %v, and the store saw %q", len(got), err, leaked)
			}
		})
	}
}

func TestReachable(t *testing.T) {
	own := []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}
	for text, want := range map[string]bool{
		"1.1.1.1": true, "2606:4700::1111": true, "10.20.3.4": true, "::ffff:10.20.3.4": true,
		"10.21.0.1": false, "127.0.0.1": false, "::1": false, "0.0.0.0": false, "169.254.169.254": false, "fe80::1": false, "fd00::1": false, "172.16.0.1": false,
		"192.168.1.1": false, "100.100.100.200": false, "::ffff:127.0.0.1": false, "::7f00:1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::1": false,
		"224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false, "168.63.129.16": false, "fec0::1": false,
	} {
		if got := reachable(netip.MustParseAddr(text), own); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// steered is a store whose fetches wait for the test.
func steered(t *testing.T) (*Store, chan Ref, chan error, *time.Time) {
	t.Helper()
	asked, answers, now := make(chan Ref), make(chan error), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	s := NewStore(t.Context(), &Fetcher{}, func() time.Time { return now })
	s.fetch = func(ctx context.Context, ref Ref) ([]byte, error) {
		select {
		case asked <- ref:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case err := <-answers:
			return []byte(ref.URL), err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s, asked, answers, &now
}

func TestStoreFetchesOnceForAll(t *testing.T) {
	s, asked, answers, _ := steered(t)
	called := make(chan string, 10)
	look := func(ns, who string) Result {
		return s.Get(ns, Ref{URL: "u", SHA256: "d"}, who, func() { called <- who })
	}
	for _, who := range []string{"a", "b", "a"} {
		if r := look("ns", who); r.Data != nil || r.Err != nil {
			t.Fatalf("got %+v before it is fetched", r)
		}
	}
	<-asked
	answers <- nil
	if got := map[string]bool{<-called: true, <-called: true}; !got["a"] || !got["b"] {
		t.Errorf("called %v", got)
	}
	if r := look("ns", "a"); string(r.Data) != "u" {
		t.Errorf("got %+v", r)
	}
	if r := look("other", "x"); r.Data != nil {
		t.Error("who knows a digest gets what another namespace fetched")
	}
	<-asked
	answers <- nil
	<-called
	select {
	case who := <-called:
		t.Errorf("%s is called twice", who)
	default:
	}
}

func TestStoreWaitsAfterAFailure(t *testing.T) {
	s, asked, answers, now := steered(t)
	called := make(chan bool, 1)
	look := func(password string) Result {
		return s.Get("ns", Ref{URL: "u", Credentials: Credentials{Password: password}}, "a", func() { called <- true })
	}
	fail := errors.New("not today")
	for try, wait := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
		if r := look("x"); (r.Err != nil) != (try > 0) {
			t.Fatalf("try %d begins with %+v", try, r)
		}
		<-asked
		answers <- fail
		<-called
		if r := look("x"); !errors.Is(r.Err, fail) || !r.RetryAt.Equal(now.Add(wait)) {
			t.Fatalf("try %d: %+v", try, r)
		}
		*now = now.Add(wait)
	}
	*now = now.Add(-time.Second)
	if r := look("other"); r.Err == nil {
		t.Error("what was said is not said any more")
	}
	<-asked // other credentials are tried at once
	answers <- nil
	<-called
	if r := look("other"); r.Data == nil {
		t.Errorf("got %+v", r)
	}
}

func TestStoreIsBounded(t *testing.T) {
	s := NewStore(t.Context(), &Fetcher{}, time.Now)
	large := make([]byte, maxCached/4)
	s.fetch = func(context.Context, Ref) ([]byte, error) { return large, nil }
	called := make(chan bool)
	look := func(name string) bool { return s.Get("ns", Ref{URL: name}, "a", func() { called <- true }).Data != nil }
	for _, name := range []string{"1", "2", "3", "4", "5"} {
		if look(name) {
			t.Fatalf("%s is there already", name)
		}
		<-called
		if name == "4" && !look("1") { // and so it is not the oldest
			t.Fatal("1 is gone")
		}
	}
	for name, want := range map[string]bool{"1": true, "3": true, "4": true, "5": true} {
		if look(name) != want {
			t.Errorf("%s there: %v", name, !want)
		}
	}
	if s.used > maxCached {
		t.Errorf("%d bytes are kept", s.used)
	}
	if look("2") {
		t.Error("the one that was not looked at is still there")
	}
	<-called
}

// A namespace whose host is slow holds up its own fetches and nobody else's.
func TestStoreLetsOneOfANamespaceGo(t *testing.T) {
	s, asked, answers, _ := steered(t)
	called := make(chan string, 4)
	for _, name := range []string{"1", "2", "3"} {
		s.Get("slow", Ref{URL: name}, name, func() { called <- name })
	}
	<-asked
	s.Get("other", Ref{URL: "o"}, "o", func() { called <- "o" })
	if got := <-asked; got.URL != "o" {
		t.Fatalf("%s of the slow namespace is fetched beside its neighbour", got.URL)
	}
	answers <- nil
	answers <- nil
	<-asked
	answers <- nil
	<-asked
	answers <- nil
	for range 4 {
		<-called
	}
}
