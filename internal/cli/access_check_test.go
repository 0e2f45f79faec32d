package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestAccessCheck asks about the sample county, from its YAML alone.
func TestAccessCheck(t *testing.T) {
	ask := func(args ...string) ran {
		return run(t, "", append([]string{"access", "check", "-f", "../../config/samples/county", "--dataset", "addresses"}, args...)...)
	}
	r := ask("--as", "helan-fire", "--purpose", "FireResponse")
	if r.code != ExitOK || !strings.Contains(r.out, "ALLOWED") || !strings.Contains(r.out, "agreement: fire-addresses") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	r = ask("--as", "helan-fire", "--purpose", "Audit", "--lang", "zh")
	if r.code != ExitDenied || !strings.Contains(r.out, "拒绝") || !strings.Contains(r.out, "PurposeNotAllowed") {
		t.Errorf("another purpose: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	r = ask("--as", "helan-fire", "--purpose", "FireResponse", "--at", "2020-01-01T00:00:00+08:00", "-o", "json")
	var out struct{ Input struct{ Now int64 } }
	if err := json.Unmarshal([]byte(r.out), &out); err != nil || out.Input.Now != 1577808000 {
		t.Errorf("--at: exit code %d, %v:\n%s%s", r.code, err, r.out, r.err)
	}
	for _, wrong := range [][]string{{"--as", "nobody", "--purpose", "Audit"}, {"--as", "helan-fire", "--purpose", "Audit", "--at", "yesterday"}, {"--as", "helan-fire", "--purpose", "Audit", "--lang", "fr"}} {
		if r := ask(wrong...); r.code != ExitUsage {
			t.Errorf("%q: exit code %d: %s", wrong, r.code, r.err)
		}
	}
}
