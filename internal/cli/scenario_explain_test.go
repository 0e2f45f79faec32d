package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScenarioExplain: the words for every scenario of the release, in both languages.
func TestScenarioExplain(t *testing.T) {
	files, err := filepath.Glob(scenes + "*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, lang := range []string{"en", "zh"} {
		var all strings.Builder
		for _, file := range files {
			r := run(t, "", "scenario", "explain", strings.TrimSuffix(filepath.Base(file), ".yaml"), "--lang", lang)
			if r.code != ExitOK {
				t.Fatalf("%s: %s", file, r.err)
			}
			if strings.Contains(r.out, "%!") || strings.Contains(r.out, "${") || strings.Contains(r.out, "params.") {
				t.Errorf("%s: something is not filled in:\n%s", file, r.out)
			}
			all.WriteString(r.out + "\n")
		}
		golden(t, "explain."+lang+".txt", all.String())
	}
}

// TestScenarioExplainOrigins: each value says who set it, and the words have the value in force.
func TestScenarioExplainOrigins(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("city.yaml", `apiVersion: dizuo.io/v1alpha1
kind: GridPlatform
metadata: {name: city}
spec:
  divisions: ["410702"]
  sla: [{severity: High, acknowledge: 5m, onSite: 20m, resolve: 1h}]
  scenarios: [{name: s01-no-exit, parameters: {dedup: 6h}}]
  retention: {classes: [{class: C2, cases: 720h}]}
---
apiVersion: dizuo.io/v1alpha1
kind: Community
metadata: {name: jinghu}
spec:
  division: "410702001001"
  posts: [community-worker]
  grids: [{name: g1, posts: [grid-worker]}, {name: g2, posts: [guard]}]
---
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: city-fire}
spec: {type: Fire, jurisdiction: ["410702"], duties: [fire], identities: [{name: system}]}
`)
	explain := func(args ...string) string {
		t.Helper()
		r := run(t, "", append([]string{"scenario", "explain", "--lang", "en"}, args...)...)
		if r.code != ExitOK {
			t.Fatal(r.err)
		}
		return r.out
	}
	for what, parts := range map[string][]string{
		explain("s01-no-exit", "-f", dir, "--community", "jinghu"): {
			"Runs: yes, spec.scenarios of GridPlatform city", "absence = 24h  [text of the paper]", "dedup = 6h  [platform]", "for 24h nothing came with msg.event == \"exit\"", "within 6h it joins",
			"acknowledge within 5m, on site within 20m, resolve within 1h  [platform]", "the post grid-worker of the device's grid or community: in g1\n", "for 30d after it is over (spec.retention.classes"},
		explain("s01-no-exit"):                                      {"Runs: no, ", "To run it: ", "dedup = 12h  [ours]", "acknowledge within 10m, on site within 30m, resolve within 1d  [ours]", "the post grid-worker of the device's grid or community\n", "spec.retention.cases"},
		explain("s04-sos", "-f", dir, "--community", "jinghu"):      {"the post community-worker of the device's grid or community: in jinghu\n"},
		explain("s11-gas-leak", "-f", dir, "--community", "jinghu"): {"organizations with the duty fire: city-fire\n", "organizations with the duty gas: nobody in jinghu", "closeValve (关闭切断阀), to the device", "msg.lelPct >= 10, for 10s"},
	} {
		for _, part := range parts {
			if !strings.Contains(what, part) {
				t.Errorf("no %q in\n%s", part, what)
			}
		}
	}
	for _, wrong := range [][]string{{"s99"}, {"s01-no-exit", "-f", dir, "--community", "nowhere"}} {
		if r := run(t, "", append([]string{"scenario", "explain"}, wrong...)...); r.code != ExitFailed || r.err == "" {
			t.Errorf("%v: exit code %d: %s", wrong, r.code, r.err)
		}
	}
	if r := run(t, "", "scenario", "explain", "s01-no-exit", "-o", "json"); !strings.Contains(r.out, `"from": "Text"`) {
		t.Errorf("json:\n%s", r.out)
	}
}
