// Package check asks the access policy a question without a gateway, and says the answer so that whoever wrote the YAML, and the lawyer
// beside them, can follow it: the decision, the rules and the agreement that made it, masks, and the rows. It is pure: the policy that it
// runs is the very text that the gateway runs.
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/policies"
)

// World is what a decision rests on beside the request.
type World struct {
	Access    contract.Access
	Directory contract.Directory
	// Modules of the access policy, path to text.
	Modules map[string]string
	// Asleep has the agreements that grant nothing, by name.
	Asleep map[string]Sleeping
}

// Sleeping is an agreement that grants nothing, and why.
type Sleeping struct {
	Consumer string
	Datasets []string
	// Phase as the controller would write it; Pending names the organisations whose approval is missing.
	Phase   string
	Pending []string
	// Wrong says that the agreement does not compile for another cause than missing approvals.
	Wrong bool
}

// Question is a request, and where the asker looks.
type Question struct {
	contract.DecisionInput
	// Community narrows the question to rows of one Community; empty asks about none in particular.
	Community string
}

// Rule of the policy that held.
type Rule struct {
	// Code of the reason; empty for a sentence that was proven.
	Code string `json:"code,omitempty"`
	// Rule by its name, Title as its METADATA has it, and where it stands.
	Rule  string `json:"rule"`
	Title string `json:"title"`
	File  string `json:"file"`
	Line  int    `json:"line"`
}

// Answer to a Question.
type Answer struct {
	Allow bool `json:"allow"`
	// Reasons of a refusal, those of the policy and ReasonCommunity.
	Reasons []string `json:"reasons"`
	// Rules that made the decision: those that refuse, or all sentences that were proven.
	Rules     []Rule `json:"rules"`
	Agreement string `json:"agreement,omitempty"`
	// Why says of an agreement that grants nothing why not, in English.
	Why string `json:"why,omitempty"`
	// Hints say of a reason what may be asked for instead.
	Hints map[string]Hint `json:"hints,omitempty"`
	// Purposes and Roles of the agreement that was used, and its validity in Unix seconds; 0 is unbounded.
	Purposes  []string `json:"purposes,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	NotBefore int64    `json:"notBefore,omitempty"`
	NotAfter  int64    `json:"notAfter,omitempty"`
	// Decision as the policy gave it, and the request as it was asked.
	Decision contract.Decision      `json:"decision"`
	Input    contract.DecisionInput `json:"input"`
	// Communities that the rows reach, by name.
	Communities []string `json:"communities,omitempty"`
	// Obligations that come with the data.
	NoOnward         bool  `json:"noOnward,omitempty"`
	RetentionSeconds int64 `json:"retentionSeconds,omitempty"`

	organization, dataset string
	sleeping              []string
	world                 World
}

// ReasonCommunity is given where the policy allows, and no row of the Community that was asked about is in the agreement's rows.
const ReasonCommunity = "CommunityNotReached"

// Ask decides.
func Ask(ctx context.Context, w World, q Question) (Answer, error) {
	if q.Community != "" {
		if _, ok := w.Directory.Communities[q.Community]; !ok {
			return Answer{}, fmt.Errorf("community %q is not there; write one of %s", q.Community, strings.Join(slices.Sorted(maps.Keys(w.Directory.Communities)), ", "))
		}
	}
	q.Contract = contract.ContractVersion
	d, rules, err := decide(ctx, w, q.DecisionInput)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{
		Allow: d.Allow, Reasons: append([]string{}, d.Reasons...), Agreement: d.Agreement, Decision: d, Input: q.DecisionInput, Rules: rules,
		organization: named(w.Directory.Organizations[q.Consumer].DisplayName, q.Consumer), dataset: named(w.Access.Datasets[q.Dataset].DisplayName, q.Dataset),
	}
	g, ok := w.Access.Grants[q.Dataset][q.Consumer][d.Agreement]
	a.NoOnward, a.RetentionSeconds = g.NoOnward, g.RetentionSeconds
	a.Purposes, a.Roles, a.NotBefore, a.NotAfter = g.Purposes, g.Roles, g.NotBefore, g.NotAfter
	a.world, a.Hints = w, hints(w, q, d, g)
	if !ok {
		a.sleeping = asleep(w, q, d.Agreement)
		a.Why = a.why(languages[English])
	}
	if !a.Allow {
		return a, nil
	}
	for name, c := range w.Directory.Communities {
		if len(w.Directory.CodesIn(g.Rows.Divisions, g.Rows.Communities)) > 0 && reaches(c, g.Rows, name) {
			a.Communities = append(a.Communities, name)
		}
	}
	slices.Sort(a.Communities)
	if q.Community != "" && !slices.Contains(a.Communities, q.Community) {
		a.Allow, a.Reasons, a.Rules = false, []string{ReasonCommunity}, []Rule{}
	}
	return a, nil
}

// reaches says whether rows of a community are in a scope.
func reaches(c contract.Community, r contract.Rows, name string) bool {
	if len(r.Communities) > 0 && !slices.Contains(r.Communities, name) {
		return false
	}
	if len(r.Compounds) > 0 && !slices.ContainsFunc(r.Compounds, func(s string) bool { return strings.HasPrefix(s, name+"/") }) {
		return false
	}
	return slices.ContainsFunc(c.Codes(), func(code string) bool {
		return slices.ContainsFunc(r.Divisions, func(p string) bool { return strings.HasPrefix(code, p) })
	})
}

// asleep names the agreements without a grant that may have been meant: the one that is named, else those of this consumer on this dataset.
func asleep(w World, q Question, agreement string) []string {
	if agreement == "" {
		agreement = q.Agreement
	}
	if _, ok := w.Asleep[agreement]; ok {
		return []string{agreement}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(w.Asleep)) {
		if s := w.Asleep[name]; s.Consumer == q.Consumer && slices.Contains(s.Datasets, q.Dataset) {
			out = append(out, name)
		}
	}
	return out
}

// decide runs the policy and gives the rules that held.
func decide(ctx context.Context, w World, in contract.DecisionInput) (contract.Decision, []Rule, error) {
	compiler, err := policies.Compile(w.Modules)
	if err != nil {
		return contract.Decision{}, nil, err
	}
	data, err := plain(map[string]any{"dizuo": w.Access})
	if err != nil {
		return contract.Decision{}, nil, err
	}
	input, err := plain(in)
	if err != nil {
		return contract.Decision{}, nil, err
	}
	trace := topdown.NewBufferTracer()
	results, err := rego.New(rego.Query(policies.AccessEntrypoint), rego.Compiler(compiler), rego.Store(inmem.NewFromObject(data)),
		rego.Input(input), rego.QueryTracer(trace)).Eval(ctx)
	if err != nil {
		return contract.Decision{}, nil, fmt.Errorf("access policy: %w", err)
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return contract.Decision{}, nil, errors.New("access policy: no answer")
	}
	raw, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return contract.Decision{}, nil, fmt.Errorf("access policy: %w", err)
	}
	var d contract.Decision
	if err := json.Unmarshal(raw, &d); err != nil {
		return contract.Decision{}, nil, fmt.Errorf("access policy: %w", err)
	}
	return d, held(compiler, *trace, d), nil
}

// sentence says whether a rule states something that holds or not, rather than naming a thing.
func sentence(r *ast.Rule) bool {
	return r.Head.Key == nil && r.Head.Value != nil && r.Head.Value.Value.Compare(ast.Boolean(true)) == 0
}

// held gives the rules whose body was true: of a refusal those that give its reasons, else the sentences that were proven.
func held(compiler *ast.Compiler, trace []*topdown.Event, d contract.Decision) []Rule {
	seen := map[*ast.Rule]bool{}
	out := []Rule{}
	for _, e := range trace {
		rule, ok := e.Node.(*ast.Rule)
		if e.Op != topdown.ExitOp || !ok || seen[rule] || rule.Default {
			continue
		}
		seen[rule] = true
		r := Rule{Rule: rule.Head.Name.String(), File: rule.Location.File, Line: rule.Location.Row}
		if r.Rule == "" {
			r.Rule = rule.Head.Ref().String()
		}
		for _, a := range compiler.GetAnnotationSet().Chain(rule) {
			if a.Annotations != nil && a.Annotations.Title != "" && a.Annotations.Scope == "rule" {
				r.Title = a.Annotations.Title
				break
			}
		}
		if rule.Head.Key != nil {
			if code, ok := rule.Head.Key.Value.(ast.String); ok {
				r.Code = string(code)
			}
		}
		if d.Allow && sentence(rule) && r.Title != "" || !d.Allow && slices.Contains(d.Reasons, r.Code) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Rule) int { return strings.Compare(place(a), place(b)) })
	return out
}

func place(r Rule) string { return fmt.Sprintf("%s:%06d", r.File, r.Line) }

func plain(v any) (out map[string]any, err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("access policy: %w", err)
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	return out, d.Decode(&out)
}

func named(display, name string) string {
	if display == "" {
		return name
	}
	return display + " (" + name + ")"
}
