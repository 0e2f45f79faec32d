package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// modeServer answers as the grid service does, to commanders. asked is the body of the last switch.
func modeServer(t *testing.T, dir contract.Directory, asked *map[string]any) *httptest.Server {
	t.Helper()
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	on := map[string]any{"n": 2, "mode": "Emergency", "since": at, "expiresAt": at.Add(6 * time.Hour), "reason": "暴雨红色预警", "organization": "command", "person": "p-1", "role": "Commander"}
	off := map[string]any{"n": 1, "mode": "Routine", "since": at.Add(-time.Hour), "endedAt": at, "organization": "command", "person": "p-2", "role": "Commander"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/mode", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, on) })
	mux.HandleFunc("GET /v1/mode/history", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("before") == "2" {
			if r.URL.Query().Get("limit") != "49" {
				t.Errorf("asked for %s more, want the rest of 50", r.URL.Query().Get("limit"))
			}
			reply(w, 200, map[string]any{"modes": []any{off}})
			return
		}
		reply(w, 200, map[string]any{"modes": []any{on}, "next": 2})
	})
	mux.HandleFunc("PUT /v1/mode", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		*asked = map[string]any{}
		if json.Unmarshal(raw, asked); (*asked)["until"] == nil && (*asked)["mode"] == "Emergency" {
			reply(w, 422, map[string]any{"title": "Unprocessable Entity", "status": 422, "detail": "body.until: Emergency needs an end"})
			return
		}
		reply(w, 200, map[string]any{"n": 3, "mode": (*asked)["mode"], "since": at})
	})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := person.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), dir, nil, contract.PersonAudience("qi", "qi", contract.RoleGrid), at)
		if err != nil || who.Role != "Commander" {
			reply(w, 403, map[string]any{"title": "Forbidden", "status": 403, "detail": "it takes role Commander"})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestMode(t *testing.T) {
	key, dir := staff(t)
	var asked map[string]any
	server := modeServer(t, dir, &asked)
	as := func(role string, args ...string) ran {
		return run(t, "", append(append([]string{"mode"}, args...), "--server", server.URL, "--ca", pemOf(t, server.Certificate()), "--platform", "qi/qi",
			"--organization", "committee", "--subject", "p-17", "--role", role, "--key", key)...)
	}
	mode := func(args ...string) ran { return as("Commander", args...) }
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"show":               {[]string{"show", "--lang", "en"}, []string{"Mode: Emergency, since ", ", ends by itself at ", "(in 6h0m)", "Reason: 暴雨红色预警", "Switched by: command Commander p-1"}},
		"show in Chinese":    {[]string{"show", "--lang", "zh"}, []string{"模式：战时 (Emergency)，自 ", "自动结束（还有 6h0m）", "原因：暴雨红色预警", "切换人：command Commander p-1"}},
		"history":            {[]string{"show", "--history", "--lang", "en"}, []string{"MODE", "Emergency   ", "until " + clock(at.Add(6*time.Hour)), "command Commander p-2"}},
		"history in Chinese": {[]string{"show", "--history", "--lang", "zh"}, []string{"切换人", "平时 (Routine)", "至 "}},
		"history, not all":   {[]string{"show", "--history", "--limit", "1", "-o", "json"}, []string{`"person": "p-1"`}},
		"yaml":               {[]string{"show", "-o", "yaml"}, []string{"mode: Emergency", "reason: 暴雨红色预警"}},
		"set":                {[]string{"set", "Emergency", "--reason", "r", "--for", "6h", "-o", "json"}, []string{`"mode": "Emergency"`}},
		"set until":          {[]string{"set", "Emergency", "--reason", "r", "--until", "2026-06-01T18:00:00+08:00", "--lang", "en"}, []string{"Mode: Emergency"}},
		"set Routine":        {[]string{"set", "Routine", "--reason", "r", "--lang", "zh"}, []string{"模式：平时 (Routine)"}},
	} {
		asked = nil
		r := mode(c.args...)
		if r.code != ExitOK {
			t.Errorf("%s: exit code %d: %s", name, r.code, r.err)
		}
		for _, want := range c.want {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, r.out)
			}
		}
		switch {
		case name == "history" && !strings.Contains(r.out[strings.Index(r.out, "Routine"):], clock(at)):
			t.Errorf("when it ended is not in\n%s", r.out)
		case name == "set" && (asked["until"] != at.Add(6*time.Hour).UTC().Format(time.RFC3339) || asked["reason"] != "r" || asked["mode"] != "Emergency"):
			t.Errorf("asked for %v", asked)
		case name == "set Routine" && asked["until"] != nil, name == "set until" && asked["until"] != "2026-06-01T18:00:00+08:00":
			t.Errorf("asked for %v", asked)
		case name == "history, not all" && strings.Contains(r.out, "p-2"):
			t.Errorf("--limit was not kept:\n%s", r.out)
		}
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no reason":         {[]string{"set", "Emergency", "--for", "6h"}, ExitUsage, "reason"},
		"both ends":         {[]string{"set", "Emergency", "--reason", "r", "--for", "6h", "--until", "2026-06-01T18:00:00+08:00"}, ExitUsage, "for until"},
		"no time":           {[]string{"set", "Emergency", "--reason", "r", "--until", "tonight"}, ExitUsage, "is not a time such as"},
		"backwards":         {[]string{"set", "Emergency", "--reason", "r", "--for", "-6h"}, ExitUsage, "such as 6h"},
		"refused":           {[]string{"set", "Emergency", "--reason", "r"}, ExitFailed, "needs an end"},
		"a format too late": {[]string{"set", "Emergency", "--reason", "r", "--for", "6h", "-o", "xml"}, ExitUsage, "json or yaml"},
		"a language":        {[]string{"show", "--lang", "fr"}, ExitUsage, "zh or en"},
	} {
		asked = nil
		if r := mode(c.args...); r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: exit code %d: %s", name, r.code, r.err)
		}
		if asked != nil && name != "refused" {
			t.Errorf("%s: it was asked for %v", name, asked)
		}
	}
	for _, args := range [][]string{{"show"}, {"show", "--history"}, {"set", "Routine", "--reason", "r"}} {
		if r := as("Dispatcher", args...); r.code != ExitDenied || !strings.Contains(r.err, "it takes role Commander") {
			t.Errorf("a dispatcher: %v: exit code %d: %s", args, r.code, r.err)
		}
	}
}
