package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

func TestDeviceCommands(t *testing.T) {
	key, dir := staff(t)
	const id = "0197a1b2-0000-7000-8000-000000000001"
	one := map[string]any{"id": id, "fleet": "pumps", "device": "p1", "command": "run", "arguments": map[string]any{"minutes": 3, "note": "<5>"}, "sender": "Operator", "organization": "committee",
		"state": "Void", "reason": "OutOfRange", "detail": "busy", "createdAt": "2026-06-01T08:00:00Z", "expiresAt": "2026-06-01T08:05:00Z", "sent": 2,
		"history": []any{map[string]any{"at": "2026-06-01T08:00:00Z", "action": "Give", "to": "Pending", "actor": map[string]any{"kind": "Person", "organization": "committee", "person": "p-17"}}}}
	desired := map[string]any{"device": "pumps.p1", "state": "Done", "desired": map[string]any{"lamp": map[string]any{"arguments": map[string]any{"on": true}, "sender": "Operator", "organization": "committee"}}}
	var asked []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		asked = append(asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(raw)))
		if _, err := person.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), dir, nil, contract.PersonAudience("qi", "qi", contract.RoleGrid), at); err != nil {
			t.Error(err)
		}
		if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/commands") && len(r.Header.Get("Idempotency-Key")) < 8 {
			t.Error("no key")
		}
		w.Header().Set("Content-Type", "application/json")
		var answer any = one
		switch {
		case strings.Contains(string(raw), "explode"):
			w.WriteHeader(422)
			answer = map[string]any{"type": "urn:dizuo:reason:UndeclaredCommand", "title": "Unprocessable Entity", "status": 422, "detail": "the device's profile declares no command"}
		case strings.Contains(r.URL.Path, "/desired"):
			answer = desired
		case r.Method == "GET" && r.URL.Query().Get("cursor") == "":
			answer = map[string]any{"commands": []any{one}, "next": id}
		case r.Method == "GET" && r.URL.Query().Get("cursor") == id:
			answer = map[string]any{"commands": []any{one}}
		}
		if r.URL.Path == "/v1/commands/"+id {
			answer = one
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	device := func(args ...string) ran {
		asked = nil
		return run(t, "", append(append([]string{"device"}, args...), "--server", server.URL, "--ca", pemOf(t, server.Certificate()), "--platform", "qi/qi",
			"--organization", "committee", "--subject", "p-17", "--role", "Dispatcher", "--key", key)...)
	}
	for _, c := range []struct {
		args       []string
		code       int
		asks, says string
	}{
		{[]string{"command", "send", "pumps.p1", "run", "--arg", "minutes=3", "--arg", "note=<5>", "--arg", `text="7"`, "--arg", "on=true"}, ExitOK,
			`POST /v1/devices/pumps.p1/commands {"arguments":{"minutes":3,"note":"\u003c5\u003e","on":true,"text":"7"},"command":"run"}`, `Void (OutOfRange)  pumps.p1  run  {"minutes":3,"note":"<5>"}`},
		{[]string{"command", "send", "pumps.p1", "explode"}, ExitFailed, "", "declares no command"},
		{[]string{"command", "send", "pumps.p1", "run", "--arg", "minutes"}, ExitUsage, "", "write name=value"},
		{[]string{"command", "send", "pumps.p1", "run", "--arg", "a=1", "--arg", "a=2"}, ExitUsage, "", "twice"},
		{[]string{"command", "send", "pumps.p1"}, ExitUsage, "", ""},
		{[]string{"command", "list", "pumps.p1"}, ExitOK, "GET /v1/devices/pumps.p1/commands", "Operator committee"},
		{[]string{"command", "show", id}, ExitOK, "GET /v1/commands/" + id, "- -> Pending"},
		{[]string{"command", "show", id, "-o", "yaml"}, ExitOK, "", "reason: OutOfRange"},
		{[]string{"command", "withdraw", id}, ExitOK, "POST /v1/commands/" + id + "/withdraw", "device: busy"},
		{[]string{"desired", "show", "pumps.p1"}, ExitOK, "GET /v1/devices/pumps.p1/desired", `lamp      {"on":true}   Operator committee`},
		{[]string{"desired", "set", "pumps.p1", "lamp", "--arg", "on=true"}, ExitOK, `PUT /v1/devices/pumps.p1/desired/lamp {"arguments":{"on":true}}`, "Done"},
		{[]string{"desired", "drop", "pumps.p1", "lamp", "-o", "json"}, ExitOK, "DELETE /v1/devices/pumps.p1/desired/lamp", `"state": "Done"`},
	} {
		r := device(c.args...)
		if r.code != c.code || !strings.Contains(r.out+r.err, c.says) || !strings.Contains(strings.Join(asked, "\n"), c.asks) {
			t.Errorf("%v: exit code %d, asked %q:\n%s%s", c.args, r.code, asked, r.out, r.err)
		}
	}
	if r := device("command", "list", "pumps.p1", "-o", "json"); strings.Count(r.out, `"id"`) != 2 {
		t.Errorf("two pages:\n%s", r.out)
	}
}
