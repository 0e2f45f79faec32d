package rules

import (
	"fmt"
	"slices"
	"strings"

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
	// requires is a field of msg without which the expression cannot be true; empty if there is none.
	requires string
	// uses lists the fields of msg that are named.
	uses []string
}

// newEnv declares what expressions see.
func newEnv() (*cel.Env, error) {
	object := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewEnv(
		cel.Variable("msg", object),
		cel.Variable("device", object),
		cel.Variable("params", object),
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
	x := &expression{uses: fieldsOf(checked), requires: required(checked.NativeRep().Expr())}
	for _, f := range x.uses {
		if _, ok := p.Fields[f]; !ok && f != FieldID {
			return nil, notInProfile(checked, text, f, p)
		}
	}
	var opts []cel.ProgramOption
	cost, err := env.EstimateCost(checked, sizes{})
	if err != nil || cost.Max > costLimit {
		opts = append(opts, cel.CostLimit(costLimit)) // counting costs time, so only where the worst case asks for it
	}
	opts = append(opts, cel.EvalOptions(cel.OptOptimize))
	if x.program, err = env.Program(checked, opts...); err != nil {
		return nil, fmt.Errorf("no valid CEL: %w", err)
	}
	return x, nil
}

// test evaluates a condition. A nil expression is unknown.
func (x *expression) test(in *input) (tri, error) {
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

// fieldsOf lists the fields that are selected from msg by name, sorted.
func fieldsOf(a *cel.Ast) []string {
	var names []string
	for _, e := range ast.MatchDescendants(ast.NavigateAST(a.NativeRep()), ast.KindMatcher(ast.SelectKind)) {
		if f, ok := msgField(e, true); ok && !slices.Contains(names, f) {
			names = append(names, f)
		}
	}
	slices.Sort(names)
	return names
}

// msgField reads "msg.f", and "has(msg.f)" where tests are wanted too.
func msgField(e ast.Expr, tests bool) (string, bool) {
	if e.Kind() != ast.SelectKind {
		return "", false
	}
	s := e.AsSelect()
	if s.IsTestOnly() && !tests || s.Operand().Kind() != ast.IdentKind || s.Operand().AsIdent() != "msg" {
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
	params  map[string]any
	channel string
	ts      any
	fleet   string
	name    string
	row     *contract.Device
	device  map[string]any // made when first asked for
}

// ResolveName gives a variable's value.
func (in *input) ResolveName(name string) (any, bool) {
	switch name {
	case "msg":
		return in.msg, true
	case "device":
		if in.device == nil {
			in.device = deviceMap(in.fleet, in.name, in.row)
		}
		return in.device, true
	case "params":
		return in.params, true
	case "channel":
		return in.channel, true
	case "ts":
		return in.ts, true
	}
	return nil, false
}

// Parent gives nil: there is no outer scope.
func (in *input) Parent() cel.Activation { return nil }

func deviceMap(fleet, name string, row *contract.Device) map[string]any {
	attributes := row.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	return map[string]any{
		"fleet": fleet, "name": name, "community": row.Community, "grid": row.Grid, "compound": row.Compound,
		"building": row.Building, "unit": row.Unit, "household": row.Household, "via": row.Via, "attributes": attributes,
	}
}
