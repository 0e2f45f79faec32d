package check

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/policies"
)

// lineNumber of a rule.
var lineNumber = regexp.MustCompile(`(\.rego):[0-9]+\)`)

var update = flag.Bool("update", false, "rewrite the golden files")

// world is a county with two communities, a dataset about people, and one agreement in force.
func world() World {
	field := func(personal string) contract.DatasetField {
		return contract.DatasetField{Type: "String", Column: "c", Grade: "General3", Personal: personal}
	}
	return World{
		Modules: policies.Access(), Asleep: map[string]Sleeping{
			"a9": {Consumer: "town", Datasets: []string{"elders"}, Phase: "AwaitingApproval", Pending: []string{"town"}},
			"b1": {Consumer: "property", Datasets: []string{"elders"}, Phase: "Draft", Wrong: true}, "b2": {Consumer: "property", Datasets: []string{"roads"}, Phase: "Revoked"},
		},
		Access: contract.Access{
			Datasets: map[string]contract.Dataset{
				"elders": {DisplayName: "高龄老人", Provider: "civil-affairs", Sharing: "Conditional", Category: "Ordinary", Source: contract.Source{Schema: "datasets", Table: "e", DivisionColumn: "d", SubjectColumn: "s"},
					Fields: map[string]contract.DatasetField{"phone": field("Ordinary"), "level": field("None"), "born": field("Sensitive")}},
				"roads": {Sharing: "None", Fields: map[string]contract.DatasetField{"name": field("None")}},
			},
			Grants: map[string]map[string]map[string]contract.Grant{"elders": {"town": {"a6": {
				UID: "u", Generation: 1, Digest: "d", Purposes: []string{"HomeVisit"}, Roles: []string{"GridWorker"}, NoOnward: true, RetentionSeconds: 30 * 86400, NotAfter: 1_900_000_000,
				Fields: map[string]contract.Mask{"phone": {Method: "KeepLast", Keep: 4}, "level": {}, "born": {Method: "Generalise", To: "Year"}},
				Rows:   contract.Rows{Divisions: []string{"410702"}, Requirements: []contract.Requirement{{Field: "level", Operator: "In", Values: []string{"1", "2"}}}},
			}}}},
		},
		Directory: contract.Directory{
			Communities:   map[string]contract.Community{"jinghu": {Division: "410702001001"}, "east": {Division: "410703001001", FormerDivisions: []string{"410702001002"}}, "far": {Division: "410703001009"}},
			Organizations: map[string]contract.Organization{"town": {DisplayName: "荆胡镇"}, "property": {}},
		},
	}
}

func ask(change func(*Question)) Question {
	q := Question{DecisionInput: contract.DecisionInput{
		Dataset: "elders", Consumer: "town", Purpose: "HomeVisit", Clearance: "C2", Contract: contract.ContractVersion, Fields: []string{"phone", "born"}, Now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).Unix(),
		Person: &contract.Person{Subject: "p", Roles: []string{"GridWorker"}}, Clock: &contract.Clock{Minute: 600, WorkingDay: true},
	}}
	change(&q)
	return q
}

// TestAnswers holds decision, reasons and words against what was written down.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Question)
		allow   bool
		reasons []string
	}{
		"allowed":       {func(*Question) {}, true, nil},
		"in-community":  {func(q *Question) { q.Community = "jinghu" }, true, nil},
		"by-its-past":   {func(q *Question) { q.Community = "east" }, true, nil},
		"out-of-rows":   {func(q *Question) { q.Community = "far" }, false, []string{ReasonCommunity}},
		"no-person":     {func(q *Question) { q.Person = nil }, false, []string{"PersonRequired"}},
		"two-reasons":   {func(q *Question) { q.Purpose = "Audit"; q.Person.Roles = []string{"Clerk"} }, false, []string{"PurposeNotAllowed", "RoleNotAllowed"}},
		"expired":       {func(q *Question) { q.Now = 2_000_000_000 }, false, []string{"Expired"}},
		"not-approved":  {func(q *Question) { q.Agreement = "a9" }, false, []string{"NoAgreement"}},
		"property":      {func(q *Question) { q.Consumer = "property" }, false, []string{"NoAgreement"}},
		"never-shared":  {func(q *Question) { q.Dataset = "roads" }, false, []string{"NoAgreement", "SharingNone"}},
		"no-dataset":    {func(q *Question) { q.Dataset = "elder" }, false, []string{"NoAgreement", "UnknownDataset"}},
		"unknown-field": {func(q *Question) { q.Fields = []string{"name"} }, false, []string{"FieldNotGranted", "NothingGranted"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := Ask(t.Context(), world(), ask(c.change))
			if err != nil {
				t.Fatal(err)
			}
			if a.Allow != c.allow || !slices.Equal(a.Reasons, c.reasons) {
				t.Errorf("allow %v, reasons %q; want %v, %q", a.Allow, a.Reasons, c.allow, c.reasons)
			}
			for _, code := range c.reasons { // each reason of the policy has its rule, with a title
				if code != ReasonCommunity && !slices.ContainsFunc(a.Rules, func(r Rule) bool { return r.Code == code && r.Title != "" && r.Line > 0 }) {
					t.Errorf("%s: no rule among %+v", code, a.Rules)
				}
			}
			for _, language := range []string{English, Chinese} {
				golden(t, name+"."+language, a.Text(language))
			}
		})
	}
	if _, err := Ask(t.Context(), world(), ask(func(q *Question) { q.Community = "nowhere" })); err == nil {
		t.Error("a community that is not there")
	}
}

// golden compares a text with a file. Lines of the policy's text are no part of it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	got = lineNumber.ReplaceAllString(got, "$1)")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, diff)
	}
}

// TestEverySentenceHasAChineseTitle: whatever the policy may name as what made a decision.
func TestEverySentenceHasAChineseTitle(t *testing.T) {
	compiler, err := policies.Compile(policies.Access())
	if err != nil {
		t.Fatal(err)
	}
	chinese, n := languages[Chinese], 0
	for _, module := range compiler.Modules {
		for _, rule := range module.Rules {
			titled := slices.ContainsFunc(compiler.GetAnnotationSet().Chain(rule), func(a *ast.AnnotationsRef) bool {
				return a.Annotations != nil && a.Annotations.Scope == "rule" && a.Annotations.Title != ""
			})
			key := rule.Head.Name.String()
			if rule.Head.Key != nil {
				code, ok := rule.Head.Key.Value.(ast.String)
				if !ok {
					continue
				}
				key = string(code)
			} else if !sentence(rule) || !titled {
				continue
			}
			if n++; chinese.title(key) == "" {
				t.Errorf("%s has no Chinese title; write it in words.go, or that of a reason in package reason", key)
			}
		}
	}
	if n < 50 {
		t.Errorf("looked at %d rules", n)
	}
}
