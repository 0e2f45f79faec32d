package cli

import (
	"net/url"
	"strings"
	"testing"
)

// aDuty is what the service says of a grid: a person on duty, one who stands in, another post's, and nobody.
func aDuty(chain bool) map[string]any {
	step := func(post, person, outcome, substitute string) map[string]any {
		s := map[string]any{"post": post, "outcome": outcome}
		for name, v := range map[string]string{"person": person, "substitute": substitute} {
			if v != "" {
				s[name] = v
			}
		}
		return s
	}
	posts := []map[string]any{
		{"asked": []string{"grid-worker"}, "post": "grid-worker", "person": "p-1", "organization": "committee", "chain": []any{step("grid-worker", "p-1", "OnDuty", "")}},
		{"asked": []string{"building-head"}, "post": "building-head", "person": "p-3", "organization": "committee",
			"chain": []any{step("building-head", "p-2", "Absent", "p-3"), step("building-head", "p-3", "OnDuty", "")}},
		{"asked": []string{"grid-head"}, "post": "community-head", "person": "p-5", "organization": "committee",
			"chain": []any{step("grid-head", "p-4", "OffShift", ""), step("community-head", "p-5", "OnDuty", "")}},
		{"asked": []string{"doctor"}, "chain": []any{step("doctor", "", "Vacant", "")}},
	}
	if !chain {
		for _, p := range posts {
			delete(p, "chain")
		}
	}
	return map[string]any{"community": "jinghu", "grid": "g1", "at": at, "posts": posts}
}

func TestDuty(t *testing.T) {
	args, all := stub(t, func(asked) (int, any) { return 200, aDuty(true) })
	duty := func(more ...string) ran { return run(t, "", append(append([]string{"duty"}, more...), args...)...) }
	for _, lang := range []string{"en", "zh"} {
		r := duty("--community", "jinghu", "--grid", "g1", "--lang", lang)
		if r.code != ExitOK {
			t.Fatal(r.err)
		}
		golden(t, "duty."+lang+".txt", r.out)
	}
	if r := duty("--community", "jinghu", "--grid", "g1", "--micro-grid", "m1", "--at", "2026-06-01T18:00:00+08:00", "-o", "yaml"); r.code != ExitOK || !strings.Contains(r.out, "outcome: OffShift") {
		t.Errorf("%d %s%s", r.code, r.out, r.err)
	}
	want := []url.Values{
		{"community": {"jinghu"}, "grid": {"g1"}}, {"community": {"jinghu"}, "grid": {"g1"}},
		{"community": {"jinghu"}, "grid": {"g1"}, "microGrid": {"m1"}, "at": {"2026-06-01T18:00:00+08:00"}},
	}
	for i, q := range *all {
		if q.method != "GET" || q.path != "/v1/duty" || q.query.Encode() != want[i].Encode() {
			t.Errorf("asked %s %s %v, want %v", q.method, q.path, q.query, want[i])
		}
	}
	*all = nil
	for _, wrong := range [][]string{nil, {"--community", "jinghu", "--at", "tonight"}, {"--community", "jinghu", "-o", "xml"}, {"--community", "jinghu", "--lang", "fr"}, {"jinghu", "--community", "jinghu"}} {
		if r := duty(wrong...); r.code != ExitUsage {
			t.Errorf("%v: exit code %d: %s", wrong, r.code, r.err)
		}
	}
	if len(*all) > 0 {
		t.Errorf("a wrong command line asked %+v", *all)
	}
	args, _ = stub(t, func(asked) (int, any) { return 200, aDuty(false) })
	if r := duty("--community", "jinghu", "--lang", "en"); r.code != ExitOK || strings.Contains(r.out, "absent") || !strings.Contains(r.out, "p-3") {
		t.Errorf("who is not told why:\n%s%s", r.out, r.err)
	}
	for status, code := range map[int]int{401: ExitDenied, 403: ExitDenied, 404: ExitFailed, 500: ExitFailed} {
		args, _ = stub(t, func(asked) (int, any) {
			return status, map[string]any{"title": "No", "status": status, "detail": "synthetic"}
		})
		if r := duty("--community", "jinghu"); r.code != code || !strings.Contains(r.err, "synthetic") {
			t.Errorf("%d: exit code %d, want %d: %s", status, r.code, code, r.err)
		}
	}
}
