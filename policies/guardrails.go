package policies

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
	a.Datasets, a.Purposes, a.Roles, a.Others = notNil(a.Datasets), notNil(a.Purposes), notNil(a.Roles), notNil(a.Others)
	a.Consumer.Compounds = notNil(a.Consumer.Compounds)
	a.Datasets = slices.Clone(a.Datasets)
	for i := range a.Datasets {
		a.Datasets[i].Fields = notNil(a.Datasets[i].Fields)
	}
	a.Others = slices.Clone(a.Others)
	for i := range a.Others {
		a.Others[i].Datasets, a.Others[i].Dimensions = notNil(a.Others[i].Datasets), notNil(a.Others[i].Dimensions)
	}
	if a.Aggregates != nil {
		g := *a.Aggregates
		g.Dimensions, g.Measures = notNil(g.Dimensions), notNil(g.Measures)
		a.Aggregates = &g
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
// the worst case. Fields are only ever added: a city's own rules rely on them.
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
	// Relationship as in the API, such as "Provision".
	Relationship string `json:"relationship"`
	// LegalBasis is nil if none is named.
	LegalBasis *GuardLegalBasis `json:"legalBasis,omitempty"`
	// ImpactAssessment is the reference to the assessment; empty if there is none.
	ImpactAssessment string `json:"impactAssessment,omitempty"`
	// ImpactAssessmentDate as YYYY-MM-DD; empty if there is none.
	ImpactAssessmentDate string        `json:"impactAssessmentDate,omitempty"`
	Validity             GuardValidity `json:"validity"`
	// CaseNumberRequired says that every request must give a case number.
	CaseNumberRequired bool `json:"caseNumberRequired"`
	// CaseNumber is the one case that the agreement is bound to; empty if it is bound to none.
	CaseNumber string `json:"caseNumber,omitempty"`
	// CaseCondition is nil if cases do not limit reading.
	CaseCondition *GuardCaseCondition `json:"caseCondition,omitempty"`
	// Hours is nil if the agreement may be used around the clock.
	Hours       *GuardHours      `json:"hours,omitempty"`
	Quota       GuardQuota       `json:"quota"`
	Obligations GuardObligations `json:"obligations"`
	// Aggregates is nil if single records alone are given.
	Aggregates *GuardAggregates `json:"aggregates,omitempty"`
	// BreakGlass is nil if there is none.
	BreakGlass *GuardBreakGlass `json:"breakGlass,omitempty"`
	// ExternalRef is the number in the city's exchange platform; empty if there is none.
	ExternalRef string `json:"externalRef,omitempty"`
	// Others are the agreements of the same consumer that give aggregates, are not revoked and were there before this one.
	// Filled where this agreement gives aggregates.
	Others []GuardOther `json:"others"`
}

// GuardConsumer is the organisation that reads.
type GuardConsumer struct {
	// Name of the Organization object.
	Name string `json:"name"`
	// Type as in the Organization API, such as "Police" or "PropertyCompany".
	Type string `json:"type"`
	// Clearance is the highest class of data that it may be given, "C0" to "C3".
	Clearance string `json:"clearance"`
	// Jurisdiction are prefixes of division codes.
	Jurisdiction []string `json:"jurisdiction,omitempty"`
	// Compounds that a property company manages, as "community/compound".
	Compounds []string `json:"compounds"`
	// Duties as in the API, such as "fire".
	Duties []string `json:"duties,omitempty"`
}

// GuardProvider is the organisation that answers for a dataset.
type GuardProvider struct {
	// Name of the Organization object.
	Name string `json:"name"`
	// Type as in the Organization API; empty where the Organization is not there.
	Type string `json:"type"`
}

// GuardDataset is a dataset and what the agreement gives of it.
type GuardDataset struct {
	// Name of the Dataset object.
	Name     string        `json:"name"`
	Provider GuardProvider `json:"provider"`
	// ItemCode in the city's catalogue; empty if it has none.
	ItemCode string `json:"itemCode,omitempty"`
	// Category as in contract.Dataset, such as "Ordinary", "KeyPopulation" or "Biometric".
	Category string `json:"category"`
	// Sharing is "Unconditional", "Conditional" or "None".
	Sharing string `json:"sharing"`
	// Source is "Table", "Cases", "Devices" or "Telemetry".
	Source string `json:"source,omitempty"`
	// CompoundColumn has the compound of a record; empty if there is none.
	CompoundColumn string       `json:"compoundColumn"`
	Consent        GuardConsent `json:"consent"`
	// Fields that the agreement gives; there is no "all".
	Fields []GuardField `json:"fields"`
	// Picked are the fields by whose values the agreement picks records, in the order of its requirements: who gets a list of the sick is
	// told who is, whether the field itself is given or not.
	Picked []GuardField `json:"picked,omitempty"`
	// Rows that the agreement reaches, as it says; nil if it says nothing. No shipped rule looks at it; a city's own may.
	Rows *GuardRows `json:"rows,omitempty"`
}

// GuardConsent says whether each subject's consent is looked up, by what the dataset says.
type GuardConsent struct {
	Required bool `json:"required"`
	// Scope that a consent must cover.
	Scope string `json:"scope,omitempty"`
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

// GuardRows is the row scope of an agreement, as it says.
type GuardRows struct {
	// Divisions are code prefixes.
	Divisions []string `json:"divisions,omitempty"`
	// Communities are names of Community objects.
	Communities []string `json:"communities,omitempty"`
	// Selector says that communities are selected by label.
	Selector bool `json:"selector,omitempty"`
	// Grids are names of grids.
	Grids []string `json:"grids,omitempty"`
	// Roster says that each person reads only where the roster puts them.
	Roster bool `json:"roster,omitempty"`
	// Requirements are conditions on fields, as "column Operator value,value".
	Requirements []string `json:"requirements,omitempty"`
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

// GuardCaseCondition limits reading to cases.
type GuardCaseCondition struct {
	Classes         []string `json:"classes,omitempty"`
	MinimumSeverity string   `json:"minimumSeverity"`
	GraceSeconds    int64    `json:"graceSeconds"`
}

// GuardHours limits reading to hours of the day, as HH:MM.
type GuardHours struct {
	From            string `json:"from"`
	To              string `json:"to"`
	WorkingDaysOnly bool   `json:"workingDaysOnly"`
}

// GuardQuota is how much may be read in a day.
type GuardQuota struct {
	RequestsPerDay int64 `json:"requestsPerDay"`
	RecordsPerDay  int64 `json:"recordsPerDay"`
}

// GuardObligations are what the consumer must keep to.
type GuardObligations struct {
	NoOnward         bool  `json:"noOnward"`
	RetentionSeconds int64 `json:"retentionSeconds"`
}

// GuardAggregates is what the agreement gives of counts and sums.
type GuardAggregates struct {
	Only       bool     `json:"only"`
	SmallCell  int32    `json:"smallCell"`
	Dimensions []string `json:"dimensions"`
	Measures   []string `json:"measures"`
}

// GuardBreakGlass is reading in an emergency.
type GuardBreakGlass struct {
	Roles []string `json:"roles"`
	// Reviewer is the name of an Organization.
	Reviewer            string `json:"reviewer"`
	ReviewWithinSeconds int64  `json:"reviewWithinSeconds"`
}

// GuardOther is another agreement of the same consumer that gives aggregates.
type GuardOther struct {
	Name       string   `json:"name"`
	Datasets   []string `json:"datasets"`
	Dimensions []string `json:"dimensions"`
}

// Violation is a rule that an agreement breaks.
type Violation struct {
	// Rule is the stable name of the rule, such as "biometric-consumer".
	Rule string `json:"rule"`
	// Field is the path in the agreement, such as "spec.purposes[0]".
	Field string `json:"field"`
	// Message says what is wrong and what to write instead.
	Message string `json:"message"`
	// Origin is "law", "ours", or "city" for a rule of the city's own.
	Origin string `json:"origin"`
	// Citation of the law and its article if Origin is "law".
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
type Guard struct {
	shipped rego.PreparedEvalQuery
	city    []*CityRules
}

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
	return &Guard{shipped: q}, nil
}

// With gives the guardrails with rules of a city's own beside them. They add findings and take none away.
func (g *Guard) With(city ...*CityRules) *Guard { return &Guard{shipped: g.shipped, city: city} }

// Check gives the rules that an agreement breaks, sorted by field, rule and message; none means that it passes. An error
// means that no answer could be had, and the agreement must not come into force.
func (g *Guard) Check(ctx context.Context, in GuardInput) ([]Violation, error) {
	in = in.withoutNil()
	found, err := evaluate(ctx, g.shipped, in)
	if err != nil {
		return nil, fmt.Errorf("guardrails for agreement %s: %w", in.Agreement.Name, err)
	}
	for _, rules := range g.city {
		more, err := rules.check(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("guardrails for agreement %s: %w", in.Agreement.Name, err)
		}
		found = append(found, more...)
	}
	slices.SortFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	return found, nil
}

// evaluate gives the findings of a prepared query for a set of them.
func evaluate(ctx context.Context, q rego.PreparedEvalQuery, in GuardInput) ([]Violation, error) {
	results, err := q.Eval(ctx, rego.EvalInput(in))
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return nil, errors.New("no answer")
	}
	raw, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return nil, err
	}
	decode := json.NewDecoder(bytes.NewReader(raw))
	decode.DisallowUnknownFields()
	var found []Violation
	if err := decode.Decode(&found); err != nil {
		return nil, fmt.Errorf("a finding has rule, origin, citation, field and message, all of them text: %w", err)
	}
	return found, nil
}
