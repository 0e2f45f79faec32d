package cli

import (
	"strings"
	"testing"
)

func TestCaseStats(t *testing.T) {
	figures := func(more map[string]any) map[string]any {
		out := map[string]any{"cases": 12, "open": 2, "closed": 9, "void": 1, "overdue": 3, "escalated": 2, "reopened": 1, "score": 4.25, "acknowledgeP50": 61.2, "acknowledgeP90": 600.0, "onSiteP50": nil, "closeP50": 5400.0, "closeP90": 172800.0}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	args, all := stub(t, func(q asked) (int, any) {
		switch {
		case q.query.Get("format") == "csv":
			return 200, "a,b"
		case q.path == "/v1/one-table":
			return 200, map[string]any{"period": "2026-11", "title": "一套表", "titleEN": "One table", "indicators": []any{
				map[string]any{"id": "opened", "name": "新增事件数", "nameEN": "Cases opened", "unit": "件", "unitEN": "cases"}, map[string]any{"id": "score", "name": "群众评分", "nameEN": "Score", "unit": "分"}},
				"rows":  []any{map[string]any{"community": "jinghu", "values": map[string]any{"opened": 12, "score": nil}}, map[string]any{"community": "other", "values": map[string]any{"opened": nil, "score": 4.5}, "withheld": []any{"opened"}}},
				"total": map[string]any{"values": map[string]any{"opened": nil, "score": 4.5}, "withheld": []any{"opened"}}}
		}
		return 200, map[string]any{"interval": "month", "by": []any{"community", "severity"}, "withheld": true, "whole": figures(nil),
			"groups": []any{figures(map[string]any{"period": "2026-11-01", "community": "jinghu", "severity": "High"}), figures(map[string]any{"rest": true, "cases": 3})}}
	})
	for _, lang := range []string{"en", "zh"} {
		for _, verb := range [][]string{{"stats", "--by", "community,severity", "--interval", "month", "--from", "2026-11-01", "--class", "fire"}, {"one-table", "--period", "2026-11"}} {
			*all = nil
			r := run(t, "", append(append([]string{"cases"}, append(verb, "--lang", lang)...), args...)...)
			if r.code != ExitOK {
				t.Fatal(r.err)
			}
			golden(t, "cases-"+verb[0]+"."+lang+".txt", r.out)
			want := map[string]string{"stats": "by=community%2Cseverity&class=fire&from=2026-11-01&interval=month", "one-table": "period=2026-11"}[verb[0]]
			if got := (*all)[0].query.Encode(); got != want {
				t.Errorf("asked %s, want %s", got, want)
			}
		}
	}
	if r := run(t, "", append([]string{"cases", "stats", "-o", "csv"}, args...)...); r.code != ExitOK || r.out != "\"a,b\"\n" {
		t.Errorf("csv is not as it came: %q %s", r.out, r.err)
	}
	if r := run(t, "", append([]string{"cases", "stats", "-o", "json"}, args...)...); !strings.Contains(r.out, `"closeP90": 172800`) {
		t.Errorf("json:\n%s", r.out)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"stats"}, "by=community"}, {[]string{"stats", "--to", "2026-12-01", "--community", "jinghu"}, "by=community&community=jinghu&to=2026-12-01"},
		{[]string{"one-table", "--period", "2026-11", "-o", "csv", "--lang", "en"}, "format=csv&lang=en&period=2026-11"},
		{[]string{"one-table", "--period", "2026-11", "-o", "csv", "--lang", "zh"}, "format=csv&period=2026-11"},
		{[]string{"one-table", "--period", "2026-11", "-o", "csv"}, "format=csv&period=2026-11"}, // the file is for people here, whatever the machine speaks
	} {
		*all = nil
		if r := run(t, "", append(append([]string{"cases"}, tc.args...), args...)...); r.code != ExitOK || len(*all) != 1 || (*all)[0].query.Encode() != tc.want {
			t.Errorf("%v: exit code %d, asked %+v, want %s", tc.args, r.code, *all, tc.want)
		}
	}
	for _, wrong := range [][]string{{"stats", "-o", "xls"}, {"one-table"}, {"stats", "jinghu"}} {
		if r := run(t, "", append(append([]string{"cases"}, wrong...), args...)...); r.code != ExitUsage {
			t.Errorf("%v: exit code %d", wrong, r.code)
		}
	}
}
