package compile_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/policies"
)

const guardedPlatform = `
apiVersion: dizuo.io/v1alpha1
kind: GridPlatform
metadata: {name: henan, namespace: henan}
spec: {divisions: ["41"], guardrails: [{name: night}, {name: rows}]}
---
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: health, namespace: henan}
spec: {type: Health, jurisdiction: ["41"]}
---
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: fire, namespace: henan}
spec: {type: Fire, jurisdiction: ["4101"]}
---
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: buildings, namespace: henan}
spec: {provider: {name: health}, divisionColumn: division, fields: [{name: division, personal: None, grade: General1}]}
---
apiVersion: dizuo.io/v1alpha1
kind: DataSharingAgreement
metadata: {name: buildings, namespace: henan}
spec: {consumer: {name: fire}, datasets: [{name: buildings, fields: [division]}], purposes: [FireResponse]}
`

// cityFiles gives the files of a ConfigMap whose one rule refuses everything and says so.
func cityFiles(configMap, says string) map[string]string {
	return map[string]string{"rules.rego": "package " + policies.CityPackage(configMap) + `

# METADATA
# title: Refuses everything
# custom:
#   rule: everything
#   origin: city
deny contains {"rule": "everything", "field": "spec", "message": "` + says + `"} if input.agreement
`}
}

var brokenFiles = map[string]string{"rules.rego": "package dizuo.city.night\n\ndeny contains {\n"}

// guarded compiles the platform and its agreement.
func guarded(t *testing.T, city, accepted map[string]map[string]string) (compile.GuardrailPlan, compile.AgreementPlan, compile.Problems) {
	t.Helper()
	set, err := offline.Load(context.Background(), offline.Source{Paths: []string{"-"}, Stdin: strings.NewReader(guardedPlatform)}, "henan")
	if err != nil || len(set.Findings) > 0 {
		t.Fatal(err, set.Findings)
	}
	s := snapshotOf(t, set, now(t, guardedPlatform))
	w := world{s}.of(set, s.Platforms[0])
	w.CityGuardrails, w.Guardrails = city, accepted
	platform, problems := compile.Platform(w)
	if slices.ContainsFunc(problems, func(p compile.Problem) bool { return p.Condition == v1alpha1.ConditionGuardrailsCompiled }) {
		t.Errorf("guardrails are no problem of the platform: %v", problems)
	}
	guard, err := guardrails()
	if err != nil {
		t.Fatal(err)
	}
	o, _ := w.Agreements.Get("buildings")
	plan, found := compile.Agreement(t.Context(), w, guard, o)
	return platform.Guardrails, plan, found
}

func says(found compile.Problems) string {
	var out []string
	for _, p := range found {
		if p.Condition == v1alpha1.ConditionGuardrailsPassed {
			out = append(out, p.Message)
		}
	}
	return strings.Join(out, "; ")
}

// TestLastGoodGuardrailsStay: what does not compile takes away neither what did last nor what another ConfigMap says, and where
// nothing ever compiled nothing opens.
func TestLastGoodGuardrailsStay(t *testing.T) {
	night, rows := cityFiles("night", "by night"), cityFiles("rows", "by rows")
	type sets = map[string]map[string]string
	for name, c := range map[string]struct {
		city, accepted sets
		kept           []string // of the plan; nil: nothing is written
		refused        []string
		agreement      string // what the agreement says
	}{
		"good":                       {sets{"night": night, "rows": rows}, nil, []string{"night", "rows"}, nil, "were not accepted yet"},
		"good and accepted":          {sets{"night": night, "rows": rows}, sets{"night": night, "rows": rows}, []string{"night", "rows"}, nil, "by night (night/everything, city); by rows (rows/everything, city)"},
		"bad, good before":           {sets{"night": brokenFiles, "rows": rows}, sets{"night": night, "rows": rows}, []string{"night", "rows"}, []string{"night"}, "by night (night/everything, city); by rows (rows/everything, city)"},
		"gone, good before":          {sets{"rows": rows}, sets{"night": night, "rows": rows}, []string{"night", "rows"}, []string{"night"}, "by night (night/everything, city); by rows (rows/everything, city)"},
		"bad, never good":            {sets{"night": brokenFiles, "rows": rows}, sets{"rows": rows}, []string{"rows"}, []string{"night"}, "by rows (rows/everything, city)"},
		"bad, first of a county":     {sets{"night": brokenFiles}, sets{}, []string{}, []string{"night", "rows"}, ""},
		"bad, nothing was ever good": {sets{"night": brokenFiles, "rows": rows}, nil, nil, []string{"night"}, "were not accepted yet"},
		"accepted no longer compile": {sets{"night": brokenFiles, "rows": rows}, sets{"night": brokenFiles, "rows": rows}, []string{"night", "rows"}, []string{"night"}, "no longer compile: "},
		"no longer named":            {sets{"night": night, "rows": rows, "old": night}, sets{"night": night, "rows": rows, "old": night}, []string{"night", "rows"}, nil, "by night (night/everything, city); by rows (rows/everything, city)"},
	} {
		t.Run(name, func(t *testing.T) {
			plan, agreement, found := guarded(t, c.city, c.accepted)
			if (plan.Accepted == nil) != (c.kept == nil) || !slices.Equal(slices.Sorted(maps.Keys(plan.Accepted)), c.kept) {
				t.Errorf("keeps %v, want %v", plan.Accepted, c.kept)
			}
			if !slices.Equal(slices.Sorted(maps.Keys(plan.Refused)), c.refused) {
				t.Errorf("refuses %v, want %v", plan.Refused, c.refused)
			}
			if got := says(found); (c.agreement == "") != (got == "") || !strings.Contains(got, c.agreement) {
				t.Errorf("the agreement says %q, want %q", got, c.agreement)
			}
			if len(agreement.Grants) > 0 {
				t.Error("it grants something, unsigned and refused")
			}
		})
	}
	plan, _, _ := guarded(t, sets{"night": brokenFiles, "rows": rows}, sets{"night": night, "rows": rows})
	if !strings.Contains(plan.Refused["night"], "night/rules.rego:") || plan.Accepted["night"]["rules.rego"] != night["rules.rego"] {
		t.Errorf("refused %v, accepted %v; want file and line, and the rules from before", plan.Refused, plan.Accepted)
	}
}
