package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAReceiverAnswersCases: it takes its actions once, whatever comes again, and asks for the event again while the grid service is away.
func TestAReceiverAnswersCases(t *testing.T) {
	var mu sync.Mutex // held by the test but while it sends
	var taken []string
	done, away, refuse := map[string]bool{}, true, ""
	grid := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		var body struct{ Action string }
		if err := json.Unmarshal(raw, &body); err != nil || r.URL.Path != "/v1/cases/0197a1b2-0000-7000-8000-0000000000c1/actions" || len(r.TLS.PeerCertificates) != 1 {
			t.Errorf("%s %s with %d certificates, %v", r.URL.Path, raw, len(r.TLS.PeerCertificates), err)
		}
		mu.Lock()
		defer mu.Unlock()
		key := r.Header.Get("Idempotency-Key")
		switch {
		case away && body.Action == "Close":
			w.WriteHeader(http.StatusBadGateway)
		case body.Action == refuse:
			w.WriteHeader(http.StatusConflict)
		case !done[key]:
			done[key], taken = true, append(taken, body.Action)
		}
	}))
	grid.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	grid.StartTLS()
	t.Cleanup(grid.Close)
	dir := t.TempDir()
	put := func(name string, raw []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := httptest.NewUnstartedServer(nil) // any certificate with its key
	pair.StartTLS()
	t.Cleanup(pair.Close)
	der, err := x509.MarshalPKCS8PrivateKey(pair.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	flags := answerFlags{actions: []string{"Acknowledge", "Close"}, server: grid.URL, ca: pemOf(t, grid.Certificate()), cert: pemOf(t, pair.Certificate()),
		key: put("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
	answers, err := flags.answerer()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	server := httptest.NewServer((&receiver{file: put("secret", []byte(fireSecret)), log: &log, now: time.Now, answer: answers}).handler())
	t.Cleanup(server.Close)
	send := func(id string, want int) {
		t.Helper()
		mu.Unlock()
		defer mu.Lock()
		if got := post(t, server.URL, fireSecret, id, event, time.Now()); got != want {
			t.Fatalf("%s: %d, want %d", id, got, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	send("m1", http.StatusServiceUnavailable)
	away = false
	send("m1", http.StatusOK)
	send("m1", http.StatusOK)
	if want := []string{"Acknowledge", "Close"}; !slices.Equal(taken, want) {
		t.Errorf("took %v, want %v", taken, want)
	}
	refuse = "Acknowledge"
	send("m2", http.StatusOK)
	if len(taken) != 2 || !strings.Contains(log.String(), `"problem":"Acknowledge: 409 Conflict"`) || !strings.Contains(log.String(), `"answered":["Acknowledge","Close"]`) {
		t.Errorf("took %v, log %s", taken, log.String())
	}
	refuse = ""
	mu.Unlock()
	forged := post(t, server.URL, policeSecret, "m3", event, time.Now())
	if mu.Lock(); forged != http.StatusUnauthorized || len(taken) != 2 {
		t.Error("an event that is not signed was answered")
	}
	flags.actions = []string{"Suspend"}
	if _, err := flags.answerer(); err == nil || !strings.Contains(err.Error(), "Acknowledge") {
		t.Errorf("an action that no system may take: %v", err)
	}
}
