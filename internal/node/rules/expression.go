package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// costLimit of one evaluation, in CEL's units: a comparison is about 2.
	costLimit = 10_000
	// maxExpression bounds the length of an expression in code points.
	maxExpression = 4096
)

// tri is the answer of a condition. A condition over a field that the message does not carry is unknown.
type tri uint8

const (
	unknown tri = iota
	no
	yes
)

// expression is a compiled CEL expression.
type expression struct {
	program cel.Program
	// native is the same without the interpreter; nil where it cannot be had.
	native native
	// requires is a field of msg without which the expression cannot be true; empty if there is none.
	requires string
	// uses lists the fields of msg that are named, facts those of context.
	uses, facts []string
	// state and baseline say that the expression looks at those.
	state, baseline bool
	// cost is the estimated cost of an evaluation at worst, in CEL's units; costLimit where the worst case goes beyond it, or is not known.
	cost uint64
}

// newEnv declares what expressions see.
func newEnv() (*cel.Env, error) {
	object := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewEnv(
		cel.Variable("msg", object),
		cel.Variable("device", object),
		cel.Variable("params", object),
		cel.Variable("context", object),
		cel.Variable("state", object),
		cel.Variable("baseline", object),
		cel.Variable("local", object),
		cel.Variable("channel", cel.StringType),
		cel.Variable("ts", cel.TimestampType),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		ext.Strings(ext.StringsVersion(2)), // later versions add format, whose cost is hard to bound
		ext.Math(),
	)
}

// compile compiles text; want is the type it must give, nil for any. An empty text gives nil.
func compile(env *cel.Env, text string, want *cel.Type, p contract.Profile) (*expression, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	checked, err := check(env, text, want, p)
	if err != nil {
		return nil, err
	}
	x := &expression{uses: fieldsOf(checked, "msg"), facts: fieldsOf(checked, "context"), requires: required(checked.NativeRep().Expr())}
	x.state, x.baseline = names(checked, "state"), names(checked, "baseline")
	for _, f := range x.uses {
		if _, ok := p.Fields[f]; !ok && f != FieldID && p.Fields != nil {
			return nil, notInProfile(checked, text, f, p)
		}
	}
	x.native = compileNative(checked.NativeRep().Expr())
	for _, f := range x.uses {
		if t := p.Fields[f].Type; t == "Time" || f == FieldID || t == "Integer" && wide(p.Fields[f]) {
			x.native = nil
		}
	}
	var opts []cel.ProgramOption
	cost, err := env.EstimateCost(checked, sizes{})
	x.cost = cost.Max
	if err != nil || cost.Max > costLimit {
		x.cost = costLimit
		opts = append(opts, cel.CostLimit(costLimit)) // counting costs time, so only where the worst case asks for it
	}
	if x.native != nil && want == cel.BoolType {
		return x, nil // a condition is only tested: it needs no program
	}
	opts = append(opts, cel.EvalOptions(cel.OptOptimize))
	if x.program, err = env.Program(checked, opts...); err != nil {
		return nil, fmt.Errorf("no valid CEL: %w", err)
	}
	return x, nil
}

// wide says whether an integer field may be too big for a float64.
func wide(f contract.Field) bool {
	return f.Min == nil || *f.Min <= -exactly || f.Max == nil || *f.Max >= exactly
}

// test evaluates a condition. A nil expression is unknown.
func (x *expression) test(in *input) (tri, error) {
	if x != nil && x.native != nil {
		if x.requires != "" {
			if _, ok := in.msg[x.requires]; !ok {
				return unknown, nil
			}
		}
		return x.native(in), nil
	}
	v, err := x.value(in)
	if v == nil || err != nil {
		return unknown, err
	}
	switch v {
	case types.True:
		return yes, nil
	case types.False:
		return no, nil
	}
	return unknown, fmt.Errorf("gives %s, want a bool", v.Type().TypeName())
}

// value evaluates an expression; nil if a field is missing.
func (x *expression) value(in *input) (ref.Val, error) {
	if x == nil {
		return nil, nil
	}
	if x.requires != "" {
		if _, ok := in.msg[x.requires]; !ok {
			return nil, nil
		}
	}
	v, _, err := x.program.Eval(in)
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			return nil, nil // a field or attribute that is not there is an answer, not a fault
		}
		return nil, err
	}
	return v, nil
}

// fieldsOf lists the fields that are selected from a variable by name, sorted.
func fieldsOf(a *cel.Ast, of string) []string {
	var names []string
	for _, e := range ast.MatchDescendants(ast.NavigateAST(a.NativeRep()), ast.KindMatcher(ast.SelectKind)) {
		if f, ok := field(e, of, true); ok && !slices.Contains(names, f) {
			names = append(names, f)
		}
	}
	slices.Sort(names)
	return names
}

// names says whether an expression looks at a variable.
func names(a *cel.Ast, variable string) bool {
	for _, e := range ast.MatchDescendants(ast.NavigateAST(a.NativeRep()), ast.KindMatcher(ast.IdentKind)) {
		if e.AsIdent() == variable {
			return true
		}
	}
	return false
}

// msgField reads "msg.f", and "has(msg.f)" where tests are wanted too.
func msgField(e ast.Expr, tests bool) (string, bool) { return field(e, "msg", tests) }

func field(e ast.Expr, of string, tests bool) (string, bool) {
	if e.Kind() != ast.SelectKind {
		return "", false
	}
	s := e.AsSelect()
	if s.IsTestOnly() && !tests || s.Operand().Kind() != ast.IdentKind || s.Operand().AsIdent() != of {
		return "", false
	}
	return s.FieldName(), true
}

// required finds a field of msg without which the expression cannot be true: it is an argument of a strict function, and
// an error in one part of a conjunction never becomes true.
func required(e ast.Expr) string {
	if f, ok := msgField(e, true); ok {
		return f
	}
	if e.Kind() != ast.CallKind {
		return ""
	}
	call := e.AsCall()
	switch call.FunctionName() {
	case operators.LogicalOr, operators.Conditional, operators.NotStrictlyFalse, operators.LogicalNot:
		// !has(msg.f) is true without f; the others are not strict.
		return ""
	case operators.LogicalAnd:
		for _, a := range call.Args() {
			if f := required(a); f != "" {
				return f
			}
		}
		return ""
	}
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	for _, a := range args {
		if f, ok := msgField(a, false); ok {
			return f
		}
	}
	return ""
}

func fieldNames(p contract.Profile) string {
	names := make([]string, 0, len(p.Fields))
	for f := range p.Fields {
		names = append(names, f)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// sizes tells the cost estimator how big values can be: Decode bounds texts, rows are small.
type sizes struct{}

// EstimateSize bounds every value that the estimator asks for.
func (sizes) EstimateSize(checker.AstNode) *checker.SizeEstimate {
	return &checker.SizeEstimate{Min: 0, Max: maxText}
}

// EstimateCallCost leaves the cost of functions to the library.
func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// input is what expressions see of one message. It is used again for the next one.
type input struct {
	msg     map[string]any
	channel string
	at      int64
	fleet   string
	name    string
	profile string
	row     *contract.Device
	facts   facts

	rule *rule
	plan *plan
	// state and days are those of the key, before the message.
	state map[string]any
	days  []history

	device map[string]any // made when first asked for
}

// ResolveName gives a variable's value.
func (in *input) ResolveName(name string) (any, bool) {
	switch name {
	case "msg":
		return in.msg, true
	case "device":
		if in.device == nil {
			in.device = deviceMap(in)
		}
		return in.device, true
	case "params":
		return in.plan.params, true
	case "channel":
		return in.channel, true
	case "ts":
		return time.UnixMilli(in.at).UTC(), true
	case "context":
		return in.facts.context(in.rule.facts, in.fleet, in.name, in.row, in.at), true
	case "state":
		if in.state == nil {
			return map[string]any{"first": map[string]any{}, "open": false}, true
		}
		return in.state, true
	case "baseline":
		return in.baselines(), true
	case "local":
		return localMap(in.at, in.rule.zone), true
	}
	return nil, false
}

// baselines gives the figures that have enough days behind them.
func (in *input) baselines() map[string]any {
	out := map[string]any{}
	for i, b := range in.rule.baselines {
		if i >= len(in.days) {
			break
		}
		above := 0.0
		if b.above != nil {
			v, err := b.above.value(in)
			if v == nil || err != nil {
				continue
			}
			above, _ = number(v)
		}
		if x, ok := b.figure(in.days[i], in.at, in.rule.late, above); ok {
			out[b.name] = x
		}
	}
	return out
}

// number reads a CEL number.
func number(v ref.Val) (float64, bool) {
	switch x := v.Value().(type) {
	case float64:
		return x, true
	case int64:
		return float64(x), true
	case uint64:
		return float64(x), true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// Parent gives nil: there is no outer scope.
func (in *input) Parent() cel.Activation { return nil }

func localMap(at int64, zone *time.Location) map[string]any {
	l := time.UnixMilli(at).In(zone)
	return map[string]any{
		"hour": int64(l.Hour()), "minute": int64(l.Minute()), "weekday": int64(l.Weekday()), "date": l.Format(time.DateOnly),
		"minuteOfDay": int64(l.Hour()*60 + l.Minute()),
	}
}

func deviceMap(in *input) map[string]any {
	row, attributes := in.row, in.row.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	return map[string]any{
		"id": in.fleet + "/" + in.name, "fleet": in.fleet, "name": in.name, "profile": in.profile,
		"community": row.Community, "grid": row.Grid, "microGrid": row.MicroGrid, "compound": row.Compound,
		"building": row.Building, "unit": row.Unit, "household": row.Household, "via": row.Via, "attributes": attributes,
	}
}
