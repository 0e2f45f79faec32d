package policies

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/rego"
)

// GuardInput is the `input` of policies/guardrails.
type GuardInput struct {
	Agreement GuardAgreement `json:"agreement"`
}

// withoutNil writes missing lists as empty ones: JSON would make them null, which Rego cannot count.
func (in GuardInput) withoutNil() GuardInput {
	a := &in.Agreement
	a.Datasets, a.Purposes, a.Roles = notNil(a.Datasets), notNil(a.Purposes), notNil(a.Roles)
	a.Datasets = slices.Clone(a.Datasets)
	for i := range a.Datasets {
		a.Datasets[i].Fields = notNil(a.Datasets[i].Fields)
	}
	return in
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// GuardAgreement is an agreement beside what it refers to. Empty strings mean "not said", and what is not said counts as
// the worst case.
type GuardAgreement struct {
	// Name of the DataSharingAgreement object.
	Name     string        `json:"name"`
	Consumer GuardConsumer `json:"consumer"`
	// Datasets in the order of spec.datasets: findings name a field by its index.
	Datasets []GuardDataset `json:"datasets"`
	// Purposes of the agreement, from the controlled list.
	Purposes []string `json:"purposes"`
	// Roles of the persons who may read.
	Roles []string `json:"roles"`
	// LegalBasis is nil if none is named.
	LegalBasis *GuardLegalBasis `json:"legalBasis,omitempty"`
	// ImpactAssessment is the reference to the assessment; empty if there is none.
	ImpactAssessment string        `json:"impactAssessment,omitempty"`
	Validity         GuardValidity `json:"validity"`
	// CaseNumberRequired says that every request must give a case number.
	CaseNumberRequired bool `json:"caseNumberRequired"`
}

// GuardConsumer is the organisation that reads.
type GuardConsumer struct {
	// Name of the Organization object.
	Name string `json:"name"`
	// Type as in the Organization API, such as "Police" or "PropertyCompany".
	Type string `json:"type"`
}

// GuardDataset is a dataset and what the agreement gives of it.
type GuardDataset struct {
	// Name of the Dataset object.
	Name string `json:"name"`
	// Category as in contract.Dataset, such as "Ordinary", "KeyPopulation" or "Biometric".
	Category string `json:"category"`
	// Sharing is "Unconditional", "Conditional" or "None".
	Sharing string `json:"sharing"`
	// Fields that the agreement gives; all of the dataset's where it names none.
	Fields []GuardField `json:"fields"`
	// Rows that the agreement reaches. No shipped rule looks at it yet; a city's own may.
	Rows *GuardRows `json:"rows,omitempty"`
}

// GuardField is a field that an agreement gives.
type GuardField struct {
	// Name of the field.
	Name string `json:"name"`
	// Grade is "General1" to "General4", "Important" or "Core".
	Grade string `json:"grade"`
	// Personal is "None", "Ordinary", "Sensitive" or "Biometric".
	Personal string `json:"personal"`
	// Mask is the method of contract.Mask; empty gives the field as it is.
	Mask string `json:"mask,omitempty"`
}

// GuardRows is the row scope of an agreement.
type GuardRows struct {
	// Divisions are code prefixes.
	Divisions []string `json:"divisions,omitempty"`
	// Communities are names of Community objects.
	Communities []string `json:"communities,omitempty"`
}

// GuardLegalBasis is the ground on which data is processed.
type GuardLegalBasis struct {
	// Kind as in the API's LegalBasisKind, such as "SeparateConsent".
	Kind string `json:"kind"`
	// Citation of the law or document and its article.
	Citation string `json:"citation"`
}

// GuardValidity bounds an agreement, as RFC 3339; empty means unbounded.
type GuardValidity struct {
	NotBefore string `json:"notBefore,omitempty"`
	NotAfter  string `json:"notAfter,omitempty"`
}

// Violation is a rule that an agreement breaks.
type Violation struct {
	// Rule is the stable name of the rule, such as "biometric-consumer".
	Rule string `json:"rule"`
	// Field is the path in the agreement, such as "spec.purposes[0]".
	Field string `json:"field"`
	// Message says what is wrong and what to write instead.
	Message string `json:"message"`
	// Origin is "law" or "ours".
	Origin string `json:"origin"`
	// Citation of the law if Origin is "law".
	Citation string `json:"citation,omitempty"`
}

// String gives "field: message (rule, origin)".
func (v Violation) String() string {
	origin := v.Origin
	if v.Citation != "" {
		origin += ": " + v.Citation
	}
	return fmt.Sprintf("%s: %s (%s, %s)", v.Field, v.Message, v.Rule, origin)
}

// Guard is the guardrails, compiled once. It is safe for use by many goroutines.
type Guard struct{ query rego.PreparedEvalQuery }

// Guardrails compiles the shipped guardrails. An error means that the release is broken.
func Guardrails(ctx context.Context) (*Guard, error) {
	c, err := Compile(GuardrailModules())
	if err != nil {
		return nil, err
	}
	q, err := rego.New(rego.Query("data.dizuo.guardrails.deny"), rego.Compiler(c), rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("guardrails: %w", err)
	}
	return &Guard{query: q}, nil
}

// Check gives the rules that an agreement breaks, sorted by field, rule and message; none means that it passes. An error
// means that no answer could be had, and the agreement must not come into force.
func (g *Guard) Check(ctx context.Context, in GuardInput) ([]Violation, error) {
	results, err := g.query.Eval(ctx, rego.EvalInput(in.withoutNil()))
	if err != nil {
		return nil, fmt.Errorf("guardrails for agreement %s: %w", in.Agreement.Name, err)
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return nil, fmt.Errorf("guardrails for agreement %s: no answer", in.Agreement.Name)
	}
	raw, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return nil, fmt.Errorf("guardrails for agreement %s: %w", in.Agreement.Name, err)
	}
	var found []Violation
	if err := json.Unmarshal(raw, &found); err != nil {
		return nil, fmt.Errorf("guardrails for agreement %s: %w", in.Agreement.Name, err)
	}
	slices.SortFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	return found, nil
}
