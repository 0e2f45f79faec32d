package docs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestGuideSaysWhatIsKeptHowLong: the table of the guide has a line for each rule, as the code has it.
func TestGuideSaysWhatIsKeptHowLong(t *testing.T) {
	guide, err := os.ReadFile("guides/residents-rights.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range contract.Kepts() {
		if !strings.Contains(string(guide), "\n"+k.Row()+"\n") {
			t.Errorf("guides/residents-rights.md lacks the line\n%s", k.Row())
		}
	}
}
