package docs_test

import (
	"os"
	"strings"
	"testing"
)

// TestGuideShowsTheExampleThatRuns: what the guide of integrators has in Go is the function of the client's example.
func TestGuideShowsTheExampleThatRuns(t *testing.T) {
	guide, err := os.ReadFile("guides/integrators.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../pkg/client/grid/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(example), "// takeCases takes")
	body, _, whole := strings.Cut(rest, "\n}\n")
	if !ok || !whole {
		t.Fatal("the example has no function takeCases")
	}
	if want := "```go\n// takeCases takes" + body + "\n}\n```\n"; !strings.Contains(string(guide), want) {
		t.Errorf("guides/integrators.md lacks\n%s", want)
	}
}
