package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// caseN is one of many cases.
func caseN(n int) map[string]any {
	c := aCase()
	c["id"], c["number"] = fmt.Sprintf("0197a1b2-0000-7000-8000-%012d", n), fmt.Sprintf("20260601-%06d", n)
	return c
}

// TestCasePagesAreFollowed asks for no more than the limit, 500 at a time, and goes on where the page before ended.
func TestCasePagesAreFollowed(t *testing.T) {
	args, all := stub(t, func(q asked) (int, any) {
		from, size := 1, 0
		_, _ = fmt.Sscan(q.query.Get("cursor"), &from)
		_, _ = fmt.Sscan(q.query.Get("limit"), &size)
		page := []any{}
		for n := from; n < from+size && n <= 1203; n++ {
			page = append(page, caseN(n))
		}
		out := map[string]any{"cases": page}
		if from+size <= 1203 {
			out["next"] = fmt.Sprint(from + size)
		}
		return 200, out
	})
	for _, tc := range []struct{ limit, want, asked string }{
		{"1100", "1100", "limit=500 cursor=501&limit=500 cursor=1001&limit=100"},
		{"5000", "1203", "limit=500 cursor=501&limit=500 cursor=1001&limit=500"},
		{"2", "2", "limit=2"},
	} {
		*all = nil
		r := run(t, "", append([]string{"cases", "list", "--limit", tc.limit, "--lang", "en"}, args...)...)
		var queries []string
		for _, q := range *all {
			queries = append(queries, q.query.Encode())
		}
		if n := fmt.Sprint(strings.Count(r.out, "\n") - 1); r.code != ExitOK || n != tc.want || strings.Join(queries, " ") != tc.asked {
			t.Errorf("--limit %s: exit code %d, %s cases, asked %v; want %s, %s", tc.limit, r.code, n, queries, tc.want, tc.asked)
		}
	}
}

// TestCaseListed: a row has what people look for first, of a device with its fleet and of none with a dash.
func TestCaseListed(t *testing.T) {
	one, two := aCaseIn(time.Local), aCaseIn(time.Local)
	two["number"], two["onSiteOverdue"], two["acknowledgeOverdue"], two["fleet"], two["device"] = "20260601-000002", true, false, "", ""
	args, _ := stub(t, func(asked) (int, any) { return 200, map[string]any{"cases": []any{one, two}} })
	want := `NUMBER            STATE      SEVERITY   COMMUNITY   DEVICE       TITLE          OPENED                OVERDUE
20260601-000001   Handling   Critical   jinghu      smoke.sd-1   楼道烟感报警   2026-06-01 08:00:00   acknowledge
20260601-000002   Handling   Critical   jinghu      -            楼道烟感报警   2026-06-01 08:00:00   on site
`
	if r := run(t, "", append([]string{"cases", "list", "--lang", "en"}, args...)...); r.out != want {
		t.Errorf("listed:\n%s\nwant:\n%s", r.out, want)
	}
}

// TestCaseByNumber: a number is looked up, and only that very number.
func TestCaseByNumber(t *testing.T) {
	args, all := stub(t, func(q asked) (int, any) {
		if q.path == "/v1/cases" {
			return 200, map[string]any{"cases": []any{caseN(1)}} // whatever was asked for
		}
		return 200, caseN(1)
	})
	for name, want := range map[string]string{
		"20260601-000001": "/v1/cases /v1/cases/0197a1b2-0000-7000-8000-000000000001", "0197a1b2-0000-7000-8000-000000000009": "/v1/cases/0197a1b2-0000-7000-8000-000000000009", "20260601-000007": "/v1/cases",
	} {
		*all = nil
		r := run(t, "", append([]string{"cases", "show", name}, args...)...)
		var paths []string
		for _, q := range *all {
			paths = append(paths, q.path)
		}
		if code := map[bool]int{true: ExitOK, false: ExitFailed}[name != "20260601-000007"]; r.code != code || strings.Join(paths, " ") != want {
			t.Errorf("%s: exit code %d, asked %v, want %d, %s", name, r.code, paths, code, want)
		}
		if len(paths) > 0 && paths[0] == "/v1/cases" && (*all)[0].query.Encode() != "limit=1&number="+name {
			t.Errorf("%s: asked for %s", name, (*all)[0].query.Encode())
		}
	}
	r := run(t, "", append(append([]string{"__complete", "cases", "ack"}, args...), "20260601-000001", "")...)
	if strings.Contains(r.out, "20260601-000001") {
		t.Errorf("a second case is completed:\n%s", r.out)
	}
	*all = nil
	run(t, "", append(append([]string{"__complete", "cases", "show"}, args...), "")...)
	if len(*all) != 1 || (*all)[0].query.Get("state") != "Open" {
		t.Errorf("completion asks for %+v, want open cases", *all)
	}
}

// TestCasesDenied: whoever may not gets the exit code for that, wherever it is said; other refusals are failures.
func TestCasesDenied(t *testing.T) {
	for status, want := range map[int]int{401: ExitDenied, 403: ExitDenied, 404: ExitFailed, 422: ExitFailed, 503: ExitFailed} {
		args, _ := stub(t, func(asked) (int, any) { return status, map[string]any{"title": "No", "status": status} })
		for _, command := range []string{"list", "show 20260601-000001", "show 0197a1b2-0000-7000-8000-000000000001", "ack 20260601-000001", "ack 0197a1b2-0000-7000-8000-000000000001", "stats", "stats -o csv", "one-table --period 2026-11"} {
			if r := run(t, "", append(append([]string{"cases"}, strings.Fields(command)...), args...)...); r.code != want {
				t.Errorf("%s, %d: exit code %d, want %d", command, status, r.code, want)
			}
		}
	}
}

// TestWhichToken speaks for the person: the one on the command line, of a file, signed here, or of the environment, in this order.
func TestWhichToken(t *testing.T) {
	key, _ := staff(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args, all := stub(t, func(asked) (int, any) { return 200, map[string]any{"cases": []any{}} })
	args = args[:4] // without its token
	signed := []string{"--organization", "committee", "--subject", "p-17", "--role", "GridWorker", "--platform", "qi/qi", "--key", key}
	for name, tc := range map[string]struct {
		args []string
		want string
		code int
	}{
		"all":         {append([]string{"--token", "given", "--token-file", file}, signed...), "Bearer given", ExitOK},
		"a file":      {append([]string{"--token-file", file}, signed...), "Bearer of-the-file", ExitOK},
		"signed":      {signed, "Bearer ey", ExitOK},
		"environment": {nil, "Bearer of-the-environment", ExitOK},
		"none":        {nil, "", ExitUsage},
	} {
		*all = nil
		var out, errs bytes.Buffer
		root := newRoot(&app{Streams: Streams{strings.NewReader(""), &out, &errs}, now: func() time.Time { return at }, env: func(n string) string {
			return map[bool]string{true: "of-the-environment"}[n == "DIZUO_TOKEN" && name != "none"]
		}})
		root.SetArgs(append(append([]string{"cases", "list"}, args...), tc.args...))
		code := report(root.ExecuteContext(t.Context()), &errs)
		if code != tc.code || len(*all) > 0 != (code == ExitOK) || code == ExitOK && !strings.HasPrefix((*all)[0].token, tc.want) {
			t.Errorf("%s: exit code %d, asked %+v: %s", name, code, *all, errs.String())
		}
	}
}
