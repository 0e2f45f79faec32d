package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
)

// policy is a bundle made ready to decide: the compiled Rego of its access shard, its grants, and who may call. It never
// changes; a new revision makes a new one.
type policy struct {
	bundle *intake.Bundle
	query  *evaluator
	// modules is the digest of what query was compiled from.
	modules string
	// decisions remembers answers; nil where the policy is not the text of which decided.bounded knows how it reads the time.
	decisions *memory[string, decided]
	// persons remembers tokens of persons that verified under the directory of this revision.
	persons *memory[shown, verified[person.Identity]]
	grants  *grants
	callers
	zone *time.Location
	// codes caches the division codes of a row scope, by scope.
	codes sync.Map
}

// decide asks OPA, or gives what it answered to the same question under the same bundle, where the time makes no difference. The grant
// is the one that the decision names, if it is there. Nobody may change what is in either. An error means that there is no decision: the
// request must be refused.
func (p *policy) decide(ctx context.Context, in contract.DecisionInput) (contract.Decision, contract.Grant, error) {
	key, ok := rememberedKey(in)
	if !ok || p.decisions == nil {
		return p.fresh(ctx, in)
	}
	if found, ok := p.decisions.get(key); ok && found.holds(in.Now) {
		return found.decision, found.grant, nil
	}
	d, grant, err := p.fresh(ctx, in)
	if err != nil {
		return d, grant, err
	}
	found := decided{decision: d, grant: grant}
	if found.bounded(grant, in.Now); in.Agreement == "" { // then each of them had its say
		for _, other := range p.grants.between(in.Dataset, in.Consumer) {
			found.bounded(other, in.Now)
		}
	}
	p.decisions.put(key, found)
	return d, grant, nil
}

// fresh asks OPA.
func (p *policy) fresh(ctx context.Context, in contract.DecisionInput) (contract.Decision, contract.Grant, error) {
	d, err := p.answer(ctx, in)
	if err != nil {
		return contract.Decision{}, contract.Grant{}, fmt.Errorf("access policy: %w", err)
	}
	grant, ok, err := p.grants.grant(in.Dataset, in.Consumer, d.Agreement)
	if err != nil {
		return contract.Decision{}, contract.Grant{}, fmt.Errorf("agreement %q: %w", d.Agreement, err)
	}
	if d.Allow && !p.sameConsumer(in.Consumer, grant) {
		return refused(reasonNoAgreement, d.Agreement), grant, nil
	}
	if d.Allow {
		if err := within(d, grant, ok); err != nil {
			return contract.Decision{}, contract.Grant{}, err
		}
		if limits := unserved(p.bundle.Access.Datasets[in.Dataset], grant); len(limits) > 0 {
			return contract.Decision{}, contract.Grant{}, fmt.Errorf("agreement %q has limits that this gateway does not enforce: %s", d.Agreement, strings.Join(limits, ", "))
		}
		if err := aggregateWithin(in, grant); err != nil {
			return contract.Decision{}, contract.Grant{}, err
		}
		d.Rows = &grant.Rows
	}
	return d, grant, nil
}

// sameConsumer says whether the organisation that asks is the one that an agreement was approved for, and not a successor to its name.
func (p *policy) sameConsumer(organization string, g contract.Grant) bool {
	is := p.bundle.Directory.Organizations[organization].Namespace
	return is == "" || g.ConsumerNamespace == "" || is == g.ConsumerNamespace
}

// answer gives what the policy says, and no more than that.
func (p *policy) answer(ctx context.Context, in contract.DecisionInput) (contract.Decision, error) {
	input, err := inputValue(in)
	if err != nil {
		return contract.Decision{}, fmt.Errorf("input: %w", err)
	}
	answer, err := p.query.ask(ctx, p.grants, input)
	if err != nil {
		return contract.Decision{}, err
	}
	return decisionOf(answer)
}

// within holds an answer of the policy against the grant it names, so that no policy text can give more than was agreed.
func within(d contract.Decision, g contract.Grant, found bool) error {
	if !found {
		return fmt.Errorf("access policy allows under agreement %q, which is not in the bundle", d.Agreement)
	}
	for name, mask := range d.Fields {
		if granted, ok := g.Fields[name]; !ok || granted != mask {
			return fmt.Errorf("access policy gives field %q with mask %+v, which agreement %q does not", name, mask, d.Agreement)
		}
	}
	return nil
}

// codesOf gives the division codes of the communities that a row scope reaches.
func (p *policy) codesOf(rows contract.Rows) []string {
	key := strings.Join(rows.Divisions, ",") + "|" + strings.Join(rows.Communities, ",")
	if codes, ok := p.codes.Load(key); ok {
		return codes.([]string)
	}
	codes := p.bundle.Directory.CodesIn(rows.Divisions, rows.Communities)
	p.codes.Store(key, codes)
	return codes
}

// dayStart gives the beginning of the day in the platform's time zone.
func (p *policy) dayStart(now time.Time) time.Time {
	y, m, d := now.In(p.zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, p.zone)
}

// inputValue writes the input as JSON would, without the detour over JSON for what every request has.
func inputValue(in contract.DecisionInput) (ast.Value, error) {
	object := ast.NewObject(
		pairOf("dataset", in.Dataset), pairOf("consumer", in.Consumer), pairOf("purpose", in.Purpose),
		[2]*ast.Term{ast.InternedTerm("now"), ast.IntNumberTerm(int(in.Now))},
		[2]*ast.Term{ast.InternedTerm("contract"), ast.InternedTerm(in.Contract)},
	)
	if in.Clearance != "" {
		object.Insert(ast.InternedTerm("clearance"), ast.InternedTerm(in.Clearance))
	}
	if in.Agreement != "" {
		object.Insert(ast.InternedTerm("agreement"), ast.StringTerm(in.Agreement))
	}
	if len(in.Fields) > 0 {
		object.Insert(ast.InternedTerm("fields"), textsTerm(in.Fields))
	}
	if p := in.Person; p != nil {
		who := ast.NewObject(pairOf("subject", p.Subject), [2]*ast.Term{ast.InternedTerm("roles"), textsTerm(p.Roles)})
		if p.Issuer != "" {
			who.Insert(ast.InternedTerm("issuer"), ast.StringTerm(p.Issuer))
		}
		object.Insert(ast.InternedTerm("person"), ast.NewTerm(who))
	}
	if c := in.Clock; c != nil {
		object.Insert(ast.InternedTerm("clock"), ast.ObjectTerm([2]*ast.Term{ast.InternedTerm("minute"), ast.InternedTerm(c.Minute)},
			[2]*ast.Term{ast.InternedTerm("workingDay"), ast.InternedTerm(c.WorkingDay)}))
	}
	return object, errors.Join(insert(object, "case", in.Case), insert(object, "aggregate", in.Aggregate),
		insert(object, "breakGlass", in.BreakGlass), insertList(object, "filter", in.Filter))
}

// insert puts what few requests have, over JSON.
func insert[T any](object ast.Object, key string, part *T) error {
	if part == nil {
		return nil
	}
	v, err := ast.InterfaceToValue(part)
	if err == nil {
		object.Insert(ast.InternedTerm(key), ast.NewTerm(v))
	}
	return err
}

func insertList[T any](object ast.Object, key string, list []T) error {
	if len(list) == 0 {
		return nil
	}
	return insert(object, key, &list)
}

// textsTerm writes a list as JSON would: one that is not there is null.
func textsTerm(list []string) *ast.Term {
	if list == nil {
		return ast.InternedNullTerm
	}
	terms := make([]*ast.Term, len(list))
	for i, text := range list {
		terms[i] = ast.StringTerm(text)
	}
	return ast.ArrayTerm(terms...)
}

func pairOf(key, value string) [2]*ast.Term {
	return [2]*ast.Term{ast.InternedTerm(key), ast.StringTerm(value)}
}

// decisionOf reads an answer of the policy strictly. Rows are left out: they are taken from the grant.
func decisionOf(v any) (contract.Decision, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return contract.Decision{}, fmt.Errorf("the answer is a %T, want an object", v)
	}
	var d contract.Decision
	var err error
	if d.Allow, ok = object["allow"].(bool); !ok {
		return contract.Decision{}, errors.New("the answer has no allow")
	}
	d.Agreement, _ = object["agreement"].(string)
	if d.Reasons, err = stringsOf(object["reasons"]); err != nil {
		return contract.Decision{}, err
	}
	if d.Allow != (len(d.Reasons) == 0) {
		return contract.Decision{}, fmt.Errorf("the answer has allow %t and reasons %q", d.Allow, d.Reasons)
	}
	if !d.Allow {
		return d, nil
	}
	if d.Fields, err = masksOf(object["fields"]); err != nil {
		return contract.Decision{}, err
	}
	return d, termsOf(object, &d)
}

// termsOf reads what an answer that allows says beside fields. A part that is missing or of another kind is an error: none of them may
// be taken for "nothing was agreed".
func termsOf(object map[string]any, d *contract.Decision) error {
	var ok [4]bool
	d.Role, ok[0] = object["role"].(string)
	d.ConsentScope, ok[1] = object["consentScope"].(string)
	d.BreakGlass, ok[2] = object["breakGlass"].(bool)
	n, isNumber := object["smallCell"].(json.Number)
	cell, err := n.Int64()
	d.SmallCell, ok[3] = int(cell), isNumber && err == nil
	if ok != [4]bool{true, true, true, true} {
		return errors.New("the answer allows and lacks one of role, consentScope, breakGlass and smallCell")
	}
	if len(d.Fields) == 0 && d.SmallCell == 0 {
		return errors.New("the answer allows and has no fields")
	}
	return nil
}

func stringsOf(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("the answer has no reasons")
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("reason %v is not a text", item)
		}
		out = append(out, text)
	}
	return out, nil
}

func masksOf(v any) (map[string]contract.Mask, error) {
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the answer allows and has no fields")
	}
	out := make(map[string]contract.Mask, len(fields))
	for name, item := range fields {
		mask, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("mask of field %q is not an object", name)
		}
		var m contract.Mask
		m.Method, _ = mask["method"].(string)
		m.To, _ = mask["to"].(string)
		if n, ok := mask["keep"]; ok {
			if _, err := fmt.Sscan(fmt.Sprint(n), &m.Keep); err != nil {
				return nil, fmt.Errorf("mask of field %q: keep %v is not a number", name, n)
			}
		}
		out[name] = m
	}
	return out, nil
}

// leaving lists the fields of which something leaves, sorted.
func leaving(fields map[string]contract.Mask) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if fields[name].Method != maskDrop {
			names = append(names, name)
		}
	}
	return names
}
