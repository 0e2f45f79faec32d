package gateway

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/reason"
	"github.com/dizuo/dizuo/policies"
)

// policyReasons lists the reasons that the policy gives.
func policyReasons(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, text := range policies.Access() {
		for _, m := range regexp.MustCompile(`(?m)^(?:reasons|unmet) contains "(\w+)"`).FindAllStringSubmatch(text, -1) {
			if !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	if len(out) < 25 {
		t.Fatalf("found %d reasons in the policy", len(out))
	}
	return append(out, "PolicyError")
}

// Every reason of the policy has a status and a title in both languages, no reason has two, and the guide has the same table.
func TestEveryReasonIsInTheTable(t *testing.T) {
	known := map[string]bool{}
	for _, r := range reason.Refusals {
		if known[r.Code] || r.English == "" || r.Chinese == "" || r.Status < 400 || r.Status > 503 {
			t.Errorf("refusal %+v", r)
		}
		known[r.Code] = true
	}
	for _, code := range policyReasons(t) {
		if !known[code] {
			t.Errorf("reason %s of the policy is not in package reason", code)
		}
	}
	raw, err := os.ReadFile("../../../docs/guides/reading.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, r := range reason.Refusals {
		fmt.Fprintf(&want, "| `%s` | %d | %s | %s |\n", r.Code, r.Status, r.English, r.Chinese)
	}
	if !strings.Contains(string(raw), want.String()) {
		t.Errorf("docs/guides/reading.md: the table of reasons is not this one:\n%s", want.String())
	}
}

func TestProblemSpeaksTheCallersLanguage(t *testing.T) {
	p := denied([]string{"Expired", "PurposeNotAllowed"}, "r")
	for accept, want := range map[string]string{
		"": "the agreement has ended", "zh": "协议已到期", "zh-CN,zh;q=0.9,en;q=0.8": "协议已到期", "en,zh;q=0.5": "the agreement has ended", "fr": "the agreement has ended", ";;;": "the agreement has ended",
	} {
		if got := p.in(accept); got.Title != want || got.Type != "urn:dizuo:reason:Expired" || got.Status != 403 || got.Request != "r" {
			t.Errorf("%q: %+v", accept, got)
		}
	}
}
