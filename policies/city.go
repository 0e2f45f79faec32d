package policies

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

const (
	// MaxCityBytes bounds the Rego of one ConfigMap. Those of a platform, at most 16, are kept together in one ConfigMap, which
	// holds 1 MiB.
	MaxCityBytes = 48 << 10
	// CityTime is how long the rules of one ConfigMap may take for one agreement.
	CityTime = 200 * time.Millisecond
	// OriginCity marks rules of a city's own.
	OriginCity = "city"
)

// CityRules are the guardrails of one ConfigMap of a city, compiled once. It is safe for use by many goroutines.
type CityRules struct {
	name      string
	query     rego.PreparedEvalQuery
	citations map[string]string // by rule
}

// CityPackage gives the package that the rules of a ConfigMap stand in: hyphens as underscores.
func CityPackage(configMap string) string {
	return "dizuo.city." + strings.ReplaceAll(configMap, "-", "_")
}

// CityCapabilities is what a city's rules may use: Capabilities without what serves no rule about an agreement and could
// cost much: cryptography, queries of other languages, numbers without bound, and what goes on within one call, where CityTime does not
// reach: loops of templates, paths of graphs, intersections of patterns.
func CityCapabilities() *ast.Capabilities {
	c := Capabilities()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return slices.ContainsFunc([]string{"crypto.", "io.jwt.", "graphql.", "providers.", "bits.", "numbers.range", "net.cidr_expand", "rego.parse_module", "json.match_schema", "json.verify_schema", "trace",
			"strings.render_template", "graph.", "regex.globs_match"},
			func(prefix string) bool { return strings.HasPrefix(b.Name, prefix) })
	})
	return c
}

// cityMemo keeps what CompileCity gave last: the same text gives the same rules, and a platform is looked at often.
var cityMemo = struct {
	sync.Mutex
	known map[[sha256.Size]byte]cityResult
}{known: map[[sha256.Size]byte]cityResult{}}

type cityResult struct {
	rules *CityRules
	err   error
}

// errSlow is said of rules that take longer than CityTime.
var errSlow = fmt.Errorf("no answer within %s: make them simpler", CityTime)

// maxMemo bounds the memo; beyond it, it starts anew.
const maxMemo = 256

// CompileCity compiles the guardrails of a ConfigMap: file name to text. Rules are `deny contains {"rule", "field", "message"}`
// in package CityPackage, each with METADATA (title, custom.rule, custom.origin: city). They see `input` as GuardInput has it, and
// no data but their own package: nothing shipped can be overridden, and no release changes what they rely on. Files that end in
// _test.rego are left out. The error names the file and, where there is one, the line, and says what to write instead.
func CompileCity(configMap string, files map[string]string) (*CityRules, error) {
	text, err := json.Marshal([]any{configMap, files}) // keys are sorted
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(text)
	cityMemo.Lock()
	defer cityMemo.Unlock()
	if r, ok := cityMemo.known[key]; ok {
		return r.rules, r.err
	}
	rules, err := compileCity(configMap, files)
	if errors.Is(err, errSlow) { // a busy machine is no property of the text
		return nil, err
	}
	if len(cityMemo.known) >= maxMemo {
		clear(cityMemo.known)
	}
	cityMemo.known[key] = cityResult{rules, err}
	return rules, err
}

func compileCity(configMap string, files map[string]string) (*CityRules, error) {
	modules, err := parseCity(configMap, files)
	if err != nil {
		return nil, err
	}
	out := &CityRules{name: configMap, citations: map[string]string{}}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		if err := out.inspect(modules[path]); err != nil {
			return nil, err
		}
	}
	if len(out.citations) == 0 {
		return nil, fmt.Errorf("%s: has no rule; write `deny contains {...} if {...}` in package %s", configMap, CityPackage(configMap))
	}
	c := ast.NewCompiler().WithCapabilities(CityCapabilities()).WithStrict(true)
	if c.Compile(modules); c.Failed() {
		return nil, plain(c.Errors)
	}
	ctx := context.Background()
	out.query, err = rego.New(rego.Query("data."+CityPackage(configMap)+".deny"), rego.Compiler(c), rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range probes() {
		if _, err := out.check(ctx, in.withoutNil()); err != nil {
			return nil, fmt.Errorf("%w (tried on an agreement made up for the purpose)", err)
		}
	}
	return out, nil
}

// plain gives errors of Rego on one line each, without a count.
func plain(errs ast.Errors) error {
	var out []string
	for _, e := range errs {
		out = append(out, fmt.Sprintf("%s: %s: %s", e.Location, e.Code, e.Message))
	}
	return errors.New(strings.Join(out, "; "))
}

// parseCity parses the files, whose names in errors are <configmap>/<file>.
func parseCity(configMap string, files map[string]string) (map[string]*ast.Module, error) {
	modules, size := map[string]*ast.Module{}, 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := configMap + "/" + name
		if size += len(files[name]); size > MaxCityBytes {
			return nil, fmt.Errorf("%s: the rules of a ConfigMap are larger than %d KiB; spread them over several", path, MaxCityBytes>>10)
		}
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		if !strings.HasSuffix(name, ".rego") {
			return nil, fmt.Errorf("%s: is no Rego; give the key a name that ends in .rego, or take it out", path)
		}
		m, err := ast.ParseModuleWithOpts(path, files[name], ast.ParserOptions{ProcessAnnotation: true, Capabilities: CityCapabilities(), RegoVersion: ast.RegoV1})
		if errs := (ast.Errors{}); errors.As(err, &errs) {
			return nil, plain(errs)
		}
		if err != nil {
			return nil, err
		}
		if m == nil {
			return nil, fmt.Errorf("%s: the file is empty", path)
		}
		if got, want := m.Package.Path.String(), "data."+CityPackage(configMap); got != want {
			return nil, fmt.Errorf("%s: package is %s; write package %s", m.Package.Location, strings.TrimPrefix(got, "data."), CityPackage(configMap))
		}
		modules[path] = m
	}
	return modules, nil
}

// inspect checks what a module reaches and what its rules say of themselves, and notes its rules.
func (c *CityRules) inspect(m *ast.Module) error {
	var beyond *ast.Location
	own := m.Package.Path
	ast.WalkRefs(m, func(r ast.Ref) bool {
		if r.HasPrefix(ast.DefaultRootRef) && !r.HasPrefix(own) && beyond == nil && !r.Equal(own) {
			beyond = r[0].Location
			if beyond == nil {
				beyond = m.Package.Location
			}
		}
		return false
	})
	for _, i := range m.Imports {
		if path, ok := i.Path.Value.(ast.Ref); ok && path.HasPrefix(ast.DefaultRootRef) && !path.HasPrefix(own) {
			beyond = i.Location
		}
	}
	if beyond != nil {
		return fmt.Errorf("%s: reaches data beyond its own package; rules see input and data.%s alone", beyond, strings.TrimPrefix(own.String(), "data."))
	}
	for _, r := range m.Rules {
		if r.Head.Ref()[0].Value.Compare(ast.Var("deny")) != 0 {
			continue
		}
		if err := c.note(r); err != nil {
			return fmt.Errorf("%s: %w", r.Location, err)
		}
	}
	return nil
}

// note takes down a rule by its METADATA.
func (c *CityRules) note(r *ast.Rule) error {
	if len(r.Annotations) == 0 {
		return errors.New("rule deny has no METADATA; write title, custom.rule and custom.origin: " + OriginCity + " above it")
	}
	a := r.Annotations[0]
	name, _ := a.Custom["rule"].(string)
	switch {
	case a.Title == "":
		return errors.New("METADATA has no title; write what the rule is for")
	case name == "":
		return errors.New("METADATA has no custom.rule; write the rule's name")
	case a.Custom["origin"] != OriginCity:
		return fmt.Errorf("METADATA says origin %v; write custom.origin: %s, and a law in custom.citation", a.Custom["origin"], OriginCity)
	}
	c.citations[name] = strings.TrimSpace(fmt.Sprint(orEmpty(a.Custom["citation"]), " ", orEmpty(a.Custom["article"])))
	return nil
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// check gives what the rules find, with the ConfigMap before the rule's name.
func (c *CityRules) check(ctx context.Context, in GuardInput) ([]Violation, error) {
	ctx, cancel := context.WithTimeout(ctx, CityTime)
	defer cancel()
	found, err := evaluate(ctx, c.query, in)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the rules of ConfigMap %s: %w", c.name, errSlow)
	}
	if err != nil {
		return nil, fmt.Errorf("the rules of ConfigMap %s: %w", c.name, err)
	}
	for i := range found {
		v := &found[i]
		citation, known := c.citations[v.Rule]
		if !known || v.Message == "" {
			return nil, fmt.Errorf("the rules of ConfigMap %s: a finding says rule %q and message %q; write the custom.rule of its METADATA, and what is wrong", c.name, v.Rule, v.Message)
		}
		v.Rule, v.Origin, v.Citation = c.name+"/"+v.Rule, OriginCity, citation
	}
	return found, nil
}

// probes are agreements on which rules are tried before they are taken: one that says all there is to say, one that says nothing.
func probes() []GuardInput {
	field := GuardField{Name: "phone", Grade: "General3", Personal: "Ordinary", Mask: "KeepLast"}
	return []GuardInput{{Agreement: GuardAgreement{Name: "nothing", Datasets: []GuardDataset{{}}}}, {Agreement: GuardAgreement{
		Name:     "everything",
		Consumer: GuardConsumer{Name: "property", Type: "PropertyCompany", Clearance: "C1", Jurisdiction: []string{"410103014006"}, Compounds: []string{"jinghu/east"}, Duties: []string{"property"}},
		Datasets: []GuardDataset{{
			Name: "residents", Provider: GuardProvider{Name: "town", Type: "Township"}, ItemCode: "A-1", Category: "Ordinary", Sharing: "Conditional", Source: "Table",
			CompoundColumn: "compound", Consent: GuardConsent{Required: true, Scope: "visits"}, Fields: []GuardField{field},
			Picked: []GuardField{{Name: "level", Grade: "General3", Personal: "Ordinary"}},
			Rows:   &GuardRows{Divisions: []string{"410103"}, Communities: []string{"jinghu"}, Selector: true, Grids: []string{"grid-1"}, Roster: true, Requirements: []string{"level In a,b"}},
		}},
		Purposes: []string{"CoManagement"}, Roles: []string{"PropertyManager"}, Relationship: "Provision",
		LegalBasis:       &GuardLegalBasis{Kind: "SeparateConsent", Citation: "个人信息保护法 第二十三条"},
		ImpactAssessment: "PIA-1", ImpactAssessmentDate: "2026-01-15", Validity: GuardValidity{NotBefore: "2026-02-01T00:00:00Z", NotAfter: "2027-02-01T00:00:00Z"},
		CaseNumberRequired: true, CaseNumber: "C-1", CaseCondition: &GuardCaseCondition{Classes: []string{"fire"}, MinimumSeverity: "Critical", GraceSeconds: 3600},
		Hours: &GuardHours{From: "08:00", To: "18:00", WorkingDaysOnly: true}, Quota: GuardQuota{RequestsPerDay: 100, RecordsPerDay: 1000},
		Obligations: GuardObligations{NoOnward: true, RetentionSeconds: 2592000},
		Aggregates:  &GuardAggregates{Only: true, SmallCell: 10, Dimensions: []string{"community"}, Measures: []string{"fee"}},
		BreakGlass:  &GuardBreakGlass{Roles: []string{"PropertyManager"}, Reviewer: "data-office", ReviewWithinSeconds: 259200},
		ExternalRef: "X-1", Others: []GuardOther{{Name: "before", Datasets: []string{"residents"}, Dimensions: []string{"community"}}},
	}}}
}
