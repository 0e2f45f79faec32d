package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// asked is what a stub of the grid service was asked.
type asked struct {
	method, path string
	query        url.Values
	body         map[string]any
	token        string
}

// stub answers every request with what answer gives, and keeps what it was asked.
func stub(t *testing.T, answer func(asked) (int, any)) (args []string, all *[]asked) {
	t.Helper()
	all = &[]asked{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := asked{method: r.Method, path: r.URL.Path, query: r.URL.Query(), token: r.Header.Get("Authorization")}
		if raw, _ := io.ReadAll(r.Body); len(raw) > 0 {
			if err := json.Unmarshal(raw, &q.body); err != nil {
				t.Error(err)
			}
		}
		*all = append(*all, q)
		status, v := answer(q)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}))
	t.Cleanup(server.Close)
	return []string{"--server", server.URL, "--ca", pemOf(t, server.Certificate()), "--token", "t"}, all
}

// aCase is a case as the service shows one.
func aCase() map[string]any { return aCaseIn(time.UTC) }

// aCaseIn is aCase by the clocks of a place.
func aCaseIn(place *time.Location) map[string]any {
	at := func(minute string) string {
		t, err := time.ParseInLocation("2006-01-02T15:04:05", "2026-06-01T08:"+minute+":00", place)
		if err != nil {
			panic(err)
		}
		return t.Format(time.RFC3339)
	}
	person := map[string]any{"kind": "Person", "organization": "committee", "person": "p-17", "role": "GridWorker"}
	return map[string]any{
		"id": "0197a1b2-0000-7000-8000-000000000001", "number": "20260601-000001", "state": "Handling", "severity": "Critical", "community": "jinghu", "grid": "g1",
		"fleet": "smoke", "device": "sd-1", "title": "楼道烟感报警", "class": "fire", "openedAt": at("00"), "updatedAt": at("03"), "version": 3,
		"acknowledgeOverdue": true, "acknowledgeDue": at("02"),
		"closing": []any{map[string]any{"text": "现场已排查", "doneAt": at("03")}, map[string]any{"text": "隐患已消除"}},
		"parties": []any{
			map[string]any{"kind": "Responder", "post": "grid-worker", "calledAt": at("00")},
			map[string]any{"kind": "Responder", "organization": "fire", "calledAt": at("00"), "releasedAt": at("02"), "release": "reassigned"},
		},
		"times": []any{map[string]any{"kind": "OnSite", "leftSeconds": 90, "due": at("05")}, map[string]any{"kind": "Resolve", "leftSeconds": 3600, "working": true, "paused": true}},
		"history": []any{
			map[string]any{"n": 1, "at": at("00"), "action": "Report", "to": "Reported", "actor": map[string]any{"kind": "Device"}},
			map[string]any{"n": 2, "at": at("01"), "action": "Dispatch", "from": "Reported", "to": "Dispatched", "actor": map[string]any{"kind": "System"}},
			map[string]any{"n": 3, "at": at("03"), "action": "Acknowledge", "from": "Dispatched", "to": "Handling", "actor": person, "note": "on my way"},
		},
	}
}

func TestCaseShown(t *testing.T) {
	args, _ := stub(t, func(asked) (int, any) { return 200, aCaseIn(time.Local) }) // as it is printed
	for _, lang := range []string{"en", "zh"} {
		r := run(t, "", append([]string{"cases", "show", "0197a1b2-0000-7000-8000-000000000001", "--lang", lang}, args...)...)
		if r.code != ExitOK {
			t.Fatal(r.err)
		}
		golden(t, "case."+lang+".txt", r.out)
	}
	if r := run(t, "", append([]string{"cases", "show", "0197a1b2-0000-7000-8000-000000000001", "-o", "yaml"}, args...)...); !strings.Contains(r.out, "leftSeconds: 90") {
		t.Errorf("yaml:\n%s", r.out)
	}
	if r := run(t, "", append([]string{"cases", "show", "0197a1b2-0000-7000-8000-000000000001", "-o", "xml"}, args...)...); r.code != ExitUsage {
		t.Errorf("-o xml: exit code %d", r.code)
	}
}

// TestCaseListFits: a table is no wider than the terminal while there is something to leave out, and what stays is whole but for the title.
func TestCaseListFits(t *testing.T) {
	rows := [][]string{
		{"NUMBER", "STATE", "SEVERITY", "COMMUNITY", "DEVICE", "TITLE", "OPENED", "OVERDUE"},
		{"20260601-000001", "Dispatched", "Critical", "jinghu", "smoke.sd-1", "三号楼楼道烟感报警，请到现场查看", "2026-06-01 08:00:00", "acknowledge"},
	}
	for _, tc := range []struct{ columns, cells int }{{0, 8}, {200, 8}, {120, 8}, {100, 6}, {80, 5}} {
		got := fitted(rows, tc.columns, 5, 4, 3, 6)
		var out bytes.Buffer
		if err := table(&out, got); err != nil {
			t.Fatal(err)
		}
		if len(got[1]) != tc.cells {
			t.Errorf("%d columns: %d cells: %q", tc.columns, len(got[1]), got[1])
		}
		for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			if w := wide.StringWidth(line); tc.columns > 0 && w > tc.columns {
				t.Errorf("%d columns: a line has %d: %s", tc.columns, w, line)
			}
		}
		if cut := strings.Contains(out.String(), "…"); cut != (tc.columns > 0 && tc.columns < 200) {
			t.Errorf("%d columns: cut %v:\n%s", tc.columns, cut, out.String())
		}
	}
}

func TestCaseFiltersArePassedOn(t *testing.T) {
	args, all := stub(t, func(asked) (int, any) { return 200, map[string]any{"cases": []any{}} })
	r := run(t, "", append([]string{"cases", "list", "--state", "Open", "--community", "jinghu", "--grid", "g1", "--class", "fire", "--severity", "High", "--party", "fire-brigade", "--overdue", "--mine", "--limit", "7"}, args...)...)
	if r.code != ExitOK {
		t.Fatal(r.err)
	}
	want := url.Values{"state": {"Open"}, "community": {"jinghu"}, "grid": {"g1"}, "class": {"fire"}, "severity": {"High"}, "organization": {"fire-brigade"}, "overdue": {"true"}, "mine": {"true"}, "limit": {"7"}}
	if len(*all) != 1 || (*all)[0].query.Encode() != want.Encode() {
		t.Errorf("asked %+v, want %s", *all, want.Encode())
	}
	if run(t, "", append([]string{"cases"}, args...)...); (*all)[1].query.Encode() != "limit=100" {
		t.Errorf("without filters: %s", (*all)[1].query.Encode())
	}
}

func TestCaseVerbs(t *testing.T) {
	const id = "0197a1b2-0000-7000-8000-000000000001"
	args, all := stub(t, func(q asked) (int, any) {
		if strings.HasSuffix(q.path, "/reassign") && q.body["organization"] == "stranger" {
			return 403, map[string]any{"title": "Forbidden", "status": 403, "detail": "it was not called"}
		}
		return 200, aCase()
	})
	for _, tc := range []struct {
		args []string
		path string
		body map[string]any
		code int
	}{
		{[]string{"ack", id, "--note", "on my way"}, "/actions", map[string]any{"action": "Acknowledge", "note": "on my way"}, ExitOK},
		{[]string{"close", id, "--done", "1,2"}, "/actions", map[string]any{"action": "Close", "closing": []any{1.0, 2.0}}, ExitOK},
		{[]string{"close", id}, "/actions", map[string]any{"action": "Close"}, ExitOK},
		{[]string{"close", id, "--note", "aired"}, "/actions", map[string]any{"action": "Close", "note": "aired"}, ExitOK},
		{[]string{"act", id, "--action", "Extend", "--note", "parts", "--until", "2026-06-02T18:00:00+08:00"}, "/actions",
			map[string]any{"action": "Extend", "note": "parts", "until": "2026-06-02T18:00:00+08:00"}, ExitOK},
		{[]string{"act", id, "--action", "Dispatch", "--duty", "gas,water"}, "/actions", map[string]any{"action": "Dispatch", "duties": []any{"gas", "water"}}, ExitOK},
		{[]string{"act", id, "--action", "Verify", "--done", "2"}, "/actions", map[string]any{"action": "Verify", "closing": []any{2.0}}, ExitOK},
		{[]string{"act", id}, "", nil, ExitUsage},
		{[]string{"act", id, "--action", "Extend", "--until", "tomorrow"}, "", nil, ExitUsage},
		{[]string{"reassign", id, "--post", "grid-worker", "--reason", "ill"}, "/reassign", map[string]any{"post": "grid-worker", "reason": "ill"}, ExitOK},
		{[]string{"reassign", id, "--person", "p-3", "--reason", "ill"}, "/reassign", map[string]any{"person": "p-3", "reason": "ill"}, ExitOK},
		{[]string{"reassign", id, "--to", "gas", "--reason", "gas"}, "/reassign", map[string]any{"organization": "gas", "reason": "gas"}, ExitOK},
		{[]string{"reassign", id, "--to", "stranger", "--reason", "gas"}, "/reassign", map[string]any{"organization": "stranger", "reason": "gas"}, ExitDenied},
		{[]string{"reassign", id, "--to", "gas"}, "", nil, ExitUsage},
		{[]string{"reassign", id, "--reason", "x"}, "", nil, ExitUsage},
		{[]string{"reassign", id, "--to", "gas", "--post", "p", "--reason", "x"}, "", nil, ExitUsage},
		{[]string{"ack"}, "", nil, ExitUsage},
		{[]string{"ack", id, "-o", "xml"}, "", nil, ExitUsage},
	} {
		*all = nil
		r := run(t, "", append(append([]string{"cases"}, tc.args...), args...)...)
		if r.code != tc.code {
			t.Errorf("%v: exit code %d: %s", tc.args, r.code, r.err)
		}
		if tc.body == nil {
			if len(*all) > 0 {
				t.Errorf("%v: asked %+v", tc.args, *all)
			}
			continue
		}
		want, _ := json.Marshal(tc.body)
		if got, _ := json.Marshal((*all)[0].body); len(*all) != 1 || (*all)[0].path != "/v1/cases/"+id+tc.path || string(got) != string(want) {
			t.Errorf("%v: asked %+v, want %s with %s", tc.args, *all, tc.path, want)
		}
	}
}

func TestCaseNamesAreCompleted(t *testing.T) {
	args, _ := stub(t, func(asked) (int, any) { return 200, map[string]any{"cases": []any{aCase()}} })
	r := run(t, "", append(append([]string{"__complete", "cases", "ack"}, args...), "")...)
	if !strings.Contains(r.out, "20260601-000001\t楼道烟感报警") {
		t.Errorf("completion:\n%s%s", r.out, r.err)
	}
	r = run(t, "", "__complete", "cases", "list", "--state", "")
	if !strings.Contains(r.out, "Handling") {
		t.Errorf("completion of --state:\n%s", r.out)
	}
}
