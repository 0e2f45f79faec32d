// Package policies holds the Rego of the platform: who may read what (access) and the rules about agreements themselves
// (guardrails). It reads no file, clock or network: the same input gives the same answer everywhere.
package policies

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

//go:embed access/*.rego guardrails/*.rego
var files embed.FS

// AccessEntrypoint is the rule of the access policy that decides a request: contract.DecisionInput in, contract.Decision out.
const AccessEntrypoint = "data.dizuo.access.decision"

// Access gives the access policy, path to text, without its tests. It travels in the access shard of the bundle.
func Access() map[string]string { return modules("access") }

// GuardrailModules gives the guardrails, path to text, without their tests.
func GuardrailModules() map[string]string { return modules("guardrails") }

func modules(dir string) map[string]string {
	out := map[string]string{}
	paths, err := fs.Glob(files, dir+"/*.rego")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.rego") {
			continue
		}
		raw, err := files.ReadFile(path)
		if err != nil {
			panic(err) // the file was listed by the same file system
		}
		out[path] = string(raw)
	}
	return out
}

// Capabilities is what policy may use: every built-in function whose result depends on its arguments alone. No network, no
// clock, no randomness, no environment.
func Capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.ContainsFunc([]string{"net.lookup", "http.", "opa.", "rand.", "uuid.", "time.now"},
			func(prefix string) bool { return strings.HasPrefix(b.Name, prefix) })
	})
	c.AllowNet = []string{} // not nil: nil would allow every host
	return c
}

// Compile parses and compiles modules (path to text) under Capabilities, strictly. Annotations are kept, so rules can read
// their own. The error names the file and the line.
func Compile(modules map[string]string) (*ast.Compiler, error) {
	parsed := map[string]*ast.Module{}
	for path, text := range modules {
		m, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{
			ProcessAnnotation: true, Capabilities: Capabilities(), RegoVersion: ast.RegoV1,
		})
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		if m == nil {
			return nil, fmt.Errorf("policy %s: the file is empty", path)
		}
		parsed[path] = m
	}
	c := ast.NewCompiler().WithCapabilities(Capabilities()).WithStrict(true)
	if c.Compile(parsed); c.Failed() {
		return nil, fmt.Errorf("policy: %w", c.Errors)
	}
	return c, nil
}
