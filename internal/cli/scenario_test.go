package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const scenes = "../../config/scenarios/"

// TestScenarioTest: as expected 0, different 1, and what is wrong with a scenario stops no other.
func TestScenarioTest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := write("bad.yaml", `apiVersion: dizuo.io/v1alpha1
kind: Scenario
metadata: {name: bad}
spec:
  profileRef: {name: smoke-detector}
  dataClass: C0
  trigger:
    when: mgs.smoke == true
  case: {class: fire, severity: High, title: 火}
`)
	half := write("half.ndjson", `{"ts":"2026-03-01T08:10:00+08:00","scenario":"s10-smoke","community":"","device":"smoke-detector/sd-1","kind":"raised","severity":"High","title":"楼道烟感报警"}`)
	torn := write("torn.ndjson", `{"ts":"2026-03-01T08:10:00+08:00","topic":"dizuo/v1/d/smoke-detector/sd-1/signal","payload":{"smoke":true}}
{"ts":"2026-03-01T08:11:00+08:00","topic":"dizuo/v1/d/smoke-detector/sd-1/sig`)
	for name, c := range map[string]struct {
		args      []string
		code      int
		out, errs string
	}{
		"as expected":        {[]string{"-f", scenes + "s10-smoke.yaml", "--trace", scenes + "s10-smoke.trace.ndjson", "--expect", scenes + "s10-smoke.expect.ndjson"}, 0, "", "4 lines, all as expected"},
		"another severity":   {[]string{"-f", scenes + "s10-smoke.yaml", "--trace", scenes + "s10-smoke.trace.ndjson", "--expect", half}, 1, `- {"ts":"2026-03-01T00:10:00Z"`, "5 lines differ"},
		"until":              {[]string{"-f", scenes + "s10-smoke.yaml", "--trace", scenes + "s10-smoke.trace.ndjson", "--until", "2026-03-01T08:12:00+08:00"}, 0, `"kind":"raised"`, ""},
		"a bad scenario":     {[]string{"-f", bad, "-f", scenes + "s10-smoke.yaml", "--trace", scenes + "s10-smoke.trace.ndjson"}, 1, `"scenario":"s10-smoke"`, "bad.yaml:8: Scenario/bad: spec.trigger.when: "},
		"nothing but bad":    {[]string{"-f", bad, "--trace", scenes + "s10-smoke.trace.ndjson"}, 1, "", "hold no scenario that compiles"},
		"off, and played":    {[]string{"-f", scenes + "s01-no-exit.yaml", "--trace", scenes + "s01-no-exit.trace.ndjson"}, 0, "独居老人超时未出门", "is off on the platform"},
		"a torn trace":       {[]string{"-f", scenes + "s10-smoke.yaml", "--trace", torn}, 1, "", "torn.ndjson:2: the line is cut off; remove it or write it whole"},
		"no trace":           {[]string{"-f", scenes + "s10-smoke.yaml"}, 2, "", "trace"},
		"a wrong time":       {[]string{"-f", scenes + "s10-smoke.yaml", "--trace", torn, "--until", "noon"}, 2, "", "--until noon"},
		"a platform of none": {[]string{"-f", scenes + "s10-smoke.yaml", "--trace", scenes + "s10-smoke.trace.ndjson", "--platform", "a/b"}, 2, "", "default/trace"},
		"two vendors' files": {[]string{"-f", "../../config/samples/henan-pilots", "--all", "--trace", scenes + "s10-smoke.trace.ndjson"}, 0, `"device":"smoke-detector/sd-1"`, ""},
	} {
		got := run(t, "", append([]string{"scenario", "test"}, c.args...)...)
		if got.code != c.code || !strings.Contains(got.out, c.out) || !strings.Contains(got.err, c.errs) {
			t.Errorf("%s: exit %d, want %d\n%s%s", name, got.code, c.code, got.out, got.err)
		}
	}
}

func TestScenarioList(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"the release": {nil, "S10   fire-alarm"},
		"a platform":  {[]string{"-f", "../../config/samples/henan-pilots"}, "spec.scenarios of GridPlatform henan says enabled: true"},
		"a program":   {[]string{"-o", "json"}, `"catalogueID": "S01"`},
	} {
		if got := run(t, "", append([]string{"scenario", "list"}, c.args...)...); got.code != 0 || !strings.Contains(got.out, c.want) {
			t.Errorf("%s: exit %d\n%s%s", name, got.code, got.out, got.err)
		}
	}
}

// TestScenarioTestOfAMode: a trace switches the mode; scenarios run as platform, mode and community say.
func TestScenarioTestOfAMode(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"platform.yaml": `apiVersion: dizuo.io/v1alpha1
kind: GridPlatform
metadata: {name: qi, namespace: qi}
spec:
  divisions: ["41"]
  modes: [{name: Emergency, scenarios: [{name: s18-bin-full, enabled: false}, {name: s13-charging, parameters: {temperature: "50"}}]}]
---
apiVersion: dizuo.io/v1alpha1
kind: Community
metadata: {name: cars, namespace: qi}
spec: {displayName: 车, division: "410702001001", scenarios: [{name: s13-charging, parameters: {temperature: "55"}}]}
`, "trace.ndjson": `{"ts":"2026-07-20T07:00:00+08:00","device":"charger/c-1","row":{"community":"jinghu"}}
{"ts":"2026-07-20T07:00:00+08:00","device":"charger/c-2","row":{"community":"cars"}}
{"ts":"2026-07-20T08:00:00+08:00","topic":"dizuo/v1/d/charger/c-1/telemetry","payload":{"temp":52}}
{"ts":"2026-07-20T08:00:00+08:00","topic":"dizuo/v1/d/charger/c-2/telemetry","payload":{"temp":52}}
{"ts":"2026-07-20T08:00:00+08:00","topic":"dizuo/v1/d/bin/b-1/telemetry","payload":{"fillPct":99}}
{"ts":"2026-07-20T08:05:00+08:00","mode":"Emergency"}
{"ts":"2026-07-20T08:06:00+08:00","topic":"dizuo/v1/d/charger/c-1/telemetry","payload":{"temp":52}}
{"ts":"2026-07-20T08:06:00+08:00","topic":"dizuo/v1/d/charger/c-2/telemetry","payload":{"temp":52}}
{"ts":"2026-07-20T08:07:00+08:00","topic":"dizuo/v1/d/charger/c-2/telemetry","payload":{"temp":56}}
{"ts":"2026-07-20T09:00:00+08:00","mode":"Routine"}
{"ts":"2026-07-20T09:30:00+08:00","topic":"dizuo/v1/d/charger/c-1/telemetry","payload":{"temp":52}}
{"ts":"2026-07-20T10:00:00+08:00"}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := run(t, "", "scenario", "test", "-f", filepath.Join(dir, "platform.yaml"), "--all", "--trace", filepath.Join(dir, "trace.ndjson"))
	var raised []string
	for _, line := range strings.Split(got.out, "\n") {
		if strings.Contains(line, `"kind":"raised"`) && strings.Contains(line, `"s13-charging"`) {
			raised = append(raised, line)
		}
	}
	if got.code != 0 || len(raised) != 2 || !strings.Contains(raised[0], `"ts":"2026-07-20T08:06:00+08:00"`) || !strings.Contains(raised[0], "c-1") || !strings.Contains(raised[1], `"ts":"2026-07-20T08:07:00+08:00"`) || !strings.Contains(raised[1], "c-2") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
}
