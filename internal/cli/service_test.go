package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// pemOf writes a certificate to a file of the test.
func pemOf(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// staff makes an organisation's key and the directory that binds it.
func staff(t *testing.T) (key string, dir contract.Directory) {
	t.Helper()
	key = filepath.Join(t.TempDir(), "org.pem")
	if r := run(t, "", "key", "new", "--out", key); r.code != ExitOK {
		t.Fatal(r.err)
	}
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(run(t, "", "key", "public", "--key", key).out))
	if err != nil {
		t.Fatal(err)
	}
	return key, contract.Directory{Organizations: map[string]contract.Organization{"committee": {KeyDigests: []string{contract.Digest(der)}}}}
}

func TestToken(t *testing.T) {
	key, dir := staff(t)
	r := run(t, "", "token", "--organization", "committee", "--subject", "p-17", "--role", "GridWorker", "--for", "grid", "--platform", "qi/qi", "--key", key)
	if r.code != ExitOK {
		t.Fatal(r.err)
	}
	who, err := person.Verify(strings.TrimSpace(r.out), dir, nil, contract.PersonAudience("qi", "qi", contract.RoleGrid), at)
	if err != nil || who != (person.Identity{Organization: "committee", Subject: "p-17", Role: "GridWorker"}) {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := person.Verify(strings.TrimSpace(r.out), dir, nil, contract.PersonAudience("qi", "qi", contract.RoleGateway), at); err == nil {
		t.Error("a token for the grid service opens the gateway")
	}
}

// gridServer answers as the grid service does, to those who show a token.
func gridServer(t *testing.T, dir contract.Directory) *httptest.Server {
	t.Helper()
	one := map[string]any{
		"id": "0197a1b2-0000-7000-8000-000000000001", "number": "2026-000001", "state": "Dispatched", "severity": "Critical", "community": "jinghu",
		"fleet": "smoke", "device": "sd-1", "title": "楼道烟感报警", "openedAt": "2026-06-01T08:00:00Z", "acknowledgeOverdue": true, "version": 3,
	}
	two := map[string]any{"id": "0197a1b2-0000-7000-8000-000000000002", "number": "2026-000002", "state": "Closed", "severity": "Low", "community": "jinghu", "title": "x", "openedAt": "2026-06-01T07:00:00Z"}
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /v1/cases", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("state") == "Closed":
			reply(w, 200, map[string]any{"cases": []any{two}})
		case r.URL.Query().Get("cursor") == "2":
			reply(w, 200, map[string]any{"cases": []any{two}})
		default:
			reply(w, 200, map[string]any{"cases": []any{one}, "next": "2"})
		}
	})
	mux.HandleFunc("GET /v1/cases/{id}", func(w http.ResponseWriter, r *http.Request) {
		one["history"] = []any{map[string]any{"at": "2026-06-01T08:00:00Z", "action": "File", "from": "Reported", "to": "Filed", "actor": map[string]any{"kind": "System"}}}
		reply(w, 200, one)
	})
	mux.HandleFunc("POST /v1/cases/{id}/actions", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(raw), `"action":"Acknowledge"`) {
			reply(w, 409, map[string]any{"title": "Conflict", "status": 409, "detail": "the case is Dispatched: it cannot be closed"})
			return
		}
		one["state"] = "Handling"
		reply(w, 200, one)
	})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := person.Verify(token, dir, nil, contract.PersonAudience("qi", "qi", contract.RoleGrid), at); err != nil {
			reply(w, 401, map[string]any{"title": "Unauthorized", "status": 401, "detail": err.Error()})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestCases(t *testing.T) {
	key, dir := staff(t)
	server := gridServer(t, dir)
	common := []string{"--server", server.URL, "--ca", pemOf(t, server.Certificate()), "--platform", "qi/qi"}
	signing := []string{"--organization", "committee", "--subject", "p-17", "--role", "GridWorker", "--key", key}
	cases := func(args ...string) ran {
		return run(t, "", append(append(append([]string{"cases"}, args...), common...), signing...)...)
	}

	r := cases()
	if r.code != ExitOK || !strings.Contains(r.out, "2026-000001") || !strings.Contains(r.out, "2026-000002") || !strings.Contains(r.out, "smoke.sd-1") {
		t.Errorf("list: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	if lines := strings.Split(r.out, "\n"); !strings.Contains(lines[0], "OVERDUE") || !strings.HasSuffix(lines[1], "acknowledge") {
		t.Errorf("list:\n%s", r.out)
	}
	if r = cases("--state", "Closed"); strings.Contains(r.out, "2026-000001") {
		t.Errorf("--state was not passed on:\n%s", r.out)
	}
	if r = cases("--limit", "1"); strings.Contains(r.out, "2026-000002") {
		t.Errorf("--limit was not kept:\n%s", r.out)
	}
	var list []map[string]any
	if r = cases("-o", "json"); json.Unmarshal([]byte(r.out), &list) != nil || len(list) != 2 || list[0]["version"] != 3.0 {
		t.Errorf("json must hold everything that the service says:\n%s", r.out)
	}
	for _, name := range []string{"2026-000001", "0197a1b2-0000-7000-8000-000000000001"} {
		if r = cases("show", name); r.code != ExitOK || !strings.Contains(r.out, "Reported -> Filed") {
			t.Errorf("show %s: exit code %d:\n%s%s", name, r.code, r.out, r.err)
		}
	}
	if r = cases("show", "2026-999999"); r.code != ExitFailed || !strings.Contains(r.err, "sees no case of that number") {
		t.Errorf("unknown number: exit code %d: %s", r.code, r.err)
	}
	if r = cases("act", "2026-000001", "--action", "Acknowledge", "--note", "on my way"); r.code != ExitOK || !strings.Contains(r.out, "Handling") {
		t.Errorf("act: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	if r = cases("act", "2026-000001", "--action", "Extend", "--note", "parts", "--until", "tomorrow"); r.code != ExitUsage || !strings.Contains(r.err, "is not a time such as") {
		t.Errorf("extended until tomorrow: %d %s", r.code, r.err)
	}
	if r = cases("act", "2026-000001", "--action", "Close"); r.code != ExitFailed || !strings.Contains(r.err, "cannot be closed") {
		t.Errorf("refused action: exit code %d: %s", r.code, r.err)
	}
	r = run(t, "", append([]string{"cases", "--token", "not-a-token"}, common...)...)
	if r.code != ExitDenied || !strings.Contains(r.err, "401") {
		t.Errorf("bad token: exit code %d: %s", r.code, r.err)
	}
	r = run(t, "", append([]string{"cases", "--server", server.URL, "--platform", "qi/qi"}, signing...)...)
	if r.code != ExitFailed || !strings.Contains(r.err, "certificate") {
		t.Errorf("a server that no CA vouches for: exit code %d: %s", r.code, r.err)
	}
	stranger, _ := fleetCA(t, "qi", at, at.AddDate(100, 0, 0))
	r = run(t, "", append([]string{"cases", "--server", server.URL, "--platform", "qi/qi", "--ca", stranger}, signing...)...)
	if r.code != ExitFailed || !strings.Contains(r.err, "certificate") {
		t.Errorf("a server of another CA: exit code %d: %s", r.code, r.err)
	}
}

func TestRead(t *testing.T) {
	key, dir := staff(t)
	cert, certKey := fleetCA(t, "qi.dizuo.internal", at, at.AddDate(1, 0, 0)) // any certificate: this server asks for one and no more
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		switch _, err := person.Verify(r.Header.Get("Dizuo-Person"), dir, nil, contract.PersonAudience("qi", "qi", contract.RoleGateway), at); {
		case len(r.TLS.PeerCertificates) == 0:
			w.WriteHeader(http.StatusTeapot)
		case err != nil:
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"title":"the request is refused","status":403,"reasons":["PersonRequired"],"request":"r-1"}`)
		case q.Get("cursor") == "":
			_, _ = io.WriteString(w, `{"records":[{"phone":"***1234","visits":3}],"agreement":"a","masked":{"phone":"KeepLast"},"request":"r-2","next":"2"}`)
		default:
			_, _ = io.WriteString(w, `{"records":[{"phone":"***9999","visits":null}],"agreement":"a","masked":{"phone":"KeepLast"},"request":"r-3"}`)
		}
		if q.Get("purpose") != "HomeVisit" || q.Get("fields") != "visits,phone" || r.URL.Path != "/v1/datasets/elder-visits/records" {
			t.Errorf("asked for %s", r.URL)
		}
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	args := []string{"read", "elder-visits", "--purpose", "HomeVisit", "--fields", "visits,phone", "--server", server.URL, "--ca", pemOf(t, server.Certificate()), "--cert", cert, "--key", certKey}

	r := run(t, "", args...)
	if r.code != ExitDenied || !strings.Contains(r.err, "PersonRequired") || !strings.Contains(r.err, "r-1") {
		t.Errorf("without a person: exit code %d: %s", r.code, r.err)
	}
	token := run(t, "", "token", "--organization", "committee", "--subject", "p-17", "--role", "Officer", "--for", "gateway", "--platform", "qi/qi", "--key", key)
	args = append(args, "--person-token", strings.TrimSpace(token.out))
	if r = run(t, "", args...); r.code != ExitOK || r.out != "visits   phone\n3        ***1234\n" || !strings.Contains(r.err, "phone KeepLast") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	if r = run(t, "", append(args, "--all")...); strings.Count(r.out, "\n") != 3 || !strings.Contains(r.out, "-        ***9999") {
		t.Errorf("--all:\n%s", r.out)
	}
	if r = run(t, "", append(args, "-o", "json")...); !strings.Contains(r.out, `"next": "2"`) {
		t.Errorf("json:\n%s", r.out)
	}
}

// TestNamesInsideTheCluster: a name that only the cluster knows says how it is reached, of any other the error is as it is.
func TestNamesInsideTheCluster(t *testing.T) {
	for name, hint := range map[string]bool{"dizuo-grid.henan.svc": true, "grid.example.org": false, "svc": false, "grid.svc": false} {
		err := fromOutside(fmt.Errorf("dial: %w", &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}))
		if got := strings.Contains(err.Error(), "kubectl -n henan port-forward svc/dizuo-grid 8443"); got != hint || strings.Contains(err.Error(), "port-forward") != hint {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := fromOutside(&net.DNSError{Err: "no answer", Name: "dizuo-grid.henan.svc", IsTimeout: true}); strings.Contains(err.Error(), "port-forward") {
		t.Errorf("a server of names that does not answer: %v", err)
	}
}
