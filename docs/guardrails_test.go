package docs_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestGuardrailsAreAllNamed: the page of the kind names each shipped guardrail and no other, and the READMEs count them right.
func TestGuardrailsAreAllNamed(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	var shipped, named []string
	for _, m := range regexp.MustCompile(`(?m)^#\s+rule: ([a-z0-9-]+)$`).FindAllStringSubmatch(read("../policies/guardrails/guardrails.rego"), -1) {
		shipped = append(shipped, m[1])
	}
	_, table, _ := strings.Cut(read("kinds/datasharingagreement.md"), "\n| rule | refuses |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		rule, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, m := range regexp.MustCompile("`([a-z0-9-]+)`").FindAllStringSubmatch(rule, -1) {
			named = append(named, m[1])
		}
	}
	slices.Sort(shipped)
	slices.Sort(named)
	if len(shipped) < 20 || !slices.Equal(shipped, named) {
		t.Errorf("kinds/datasharingagreement.md names\n%v, shipped are\n%v", named, shipped)
	}
	for name, count := range map[string]string{"../README.md": `(\d+) shipped guardrails`, "../README.zh-CN.md": `(\d+) 条自带红线规则`} {
		m := regexp.MustCompile(count).FindStringSubmatch(read(name))
		if m == nil || m[1] != strconv.Itoa(len(shipped)) {
			t.Errorf("%s counts %v guardrails, want %d", name, m, len(shipped))
		}
	}
}
