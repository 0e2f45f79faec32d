package render

import (
	"testing"

	"github.com/dizuo/dizuo/internal/compile"
)

// TestSourcesOpenTheirPortsAlone: a connection string that cannot be read opens nothing. A rule of a policy that names no port would open all.
func TestSourcesOpenTheirPortsAlone(t *testing.T) {
	for dsn, want := range map[string]int{"postgres://r:p@db.example/x\n": 1, "postgres://r:p@db.example:99999999/x\n": 0, "no connection string\n": 1, "postgres://r:p@[/x\n": 0, "": 0} {
		p := platform{PlatformPlan: compile.PlatformPlan{SourceDSNs: map[string][]byte{"a": []byte(dsn)}}}
		if dsn == "" {
			p.SourceDSNs = nil
		}
		rules := p.toSources()
		if len(rules) != want {
			t.Fatalf("%q: %d rules, want %d", dsn, len(rules), want)
		}
		for _, r := range rules {
			if len(r.Ports) != 1 {
				t.Errorf("%q: a rule with %d ports", dsn, len(r.Ports))
			}
		}
	}
}
