package policies

import (
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestAccessIsCovered runs the tests of the access policy and asks that they reach every line of it: a sentence that no test proves and
// no test breaks may say anything.
func TestAccessIsCovered(t *testing.T) {
	modules := map[string]*ast.Module{}
	for path, text := range regoFiles(t) {
		m, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		modules[path] = m
	}
	coverage := cover.New()
	results, err := tester.NewRunner().SetStore(inmem.New()).SetModules(modules).SetCoverageQueryTracer(coverage).RunTests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for r := range results {
		if !r.Pass() {
			t.Errorf("%s failed", r.Name)
		}
	}
	report := coverage.Report(modules)
	for path := range Access() {
		for _, missed := range report.Files[path].NotCovered {
			t.Errorf("%s:%d: no test comes here", path, missed.Start.Row)
		}
	}
}
