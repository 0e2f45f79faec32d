package policies

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// suite parses the Rego of a folder, tests too.
func suite(t *testing.T, dir string) map[string]*ast.Module {
	t.Helper()
	out := map[string]*ast.Module{}
	for path, text := range regoFiles(t) {
		if !strings.HasPrefix(path, dir+"/") {
			continue
		}
		m, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		out[path] = m
	}
	return out
}

// noticed runs the tests of a suite with one module in another form. It reports whether a test fails or nothing compiles, and whether
// it compiles.
func noticed(t *testing.T, modules map[string]*ast.Module, path string, mutant *ast.Module) (found, compiles bool) {
	t.Helper()
	all := map[string]*ast.Module{}
	for p, m := range modules {
		all[p] = m.Copy()
	}
	all[path] = mutant
	results, err := tester.NewRunner().SetStore(inmem.New()).SetModules(all).RunTests(context.Background(), nil)
	if err != nil {
		return true, false
	}
	for r := range results {
		found = found || !r.Pass()
	}
	return found, true
}

// TestEveryRuleOfTheGuardrailsIsHeldByATest takes one rule away at a time, and one condition of a rule at a time: each time a test
// must fail. The first shows that what a rule refuses is tested, the second that its nearest allowed neighbour is.
func TestEveryRuleOfTheGuardrailsIsHeldByATest(t *testing.T) {
	const path = "guardrails/guardrails.rego"
	modules := suite(t, "guardrails")
	rules, conditions := 0, 0
	for i, r := range modules[path].Rules {
		mutant := modules[path].Copy()
		mutant.Rules = slices.Delete(mutant.Rules, i, i+1)
		if r.Default { // what stands in for nothing; its absence is noticed by the rules that read it
			continue
		}
		rules++
		if found, _ := noticed(t, modules, path, mutant); !found {
			t.Errorf("%s: no test notices that rule %s is gone", r.Location, r.Head.Ref())
		}
		for j, expr := range r.Body {
			if len(r.Body) == 1 {
				continue // the rule itself
			}
			mutant := modules[path].Copy()
			mutant.Rules[i].Body = slices.Delete(mutant.Rules[i].Body, j, j+1)
			found, compiles := noticed(t, modules, path, mutant)
			if !compiles {
				continue // it binds what others use
			}
			if conditions++; !found {
				t.Errorf("%s: no test notices that `%s` is gone", expr.Location, expr)
			}
		}
	}
	if rules < 40 || conditions < 40 {
		t.Errorf("%d rules and %d conditions were taken away, want at least 40 of each", rules, conditions)
	}
}

// TestPurposesInRegoExist holds the names of purposes in the guardrails against the API: a set that names what cannot occur guards
// nothing.
func TestPurposesInRegoExist(t *testing.T) {
	var known []string
	for _, p := range v1alpha1.Purposes() {
		known = append(known, string(p))
	}
	slices.Sort(known)
	c, err := Compile(GuardrailModules())
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string) (out []string) {
		results, err := rego.New(rego.Query("data.dizuo.guardrails."+name), rego.Compiler(c)).Eval(t.Context())
		if err != nil || len(results) != 1 {
			t.Fatalf("%s: %v, %v", name, results, err)
		}
		for _, v := range results[0].Expressions[0].Value.([]any) {
			out = append(out, v.(string))
		}
		return out
	}
	if diff := cmp.Diff(known, set("listed")); diff != "" {
		t.Errorf("`listed` and the API's purposes differ: %s", diff)
	}
	named := set("public_safety")
	for _, m := range regexp.MustCompile(`"(\w+)" in input\.agreement\.purposes`).FindAllStringSubmatch(GuardrailModules()["guardrails/guardrails.rego"], -1) {
		named = append(named, m[1])
	}
	if len(named) < 2 {
		t.Errorf("found %v, want every purpose that a rule names", named)
	}
	for _, name := range named {
		if !slices.Contains(known, name) {
			t.Errorf("%s is no purpose of the API", name)
		}
	}
}
