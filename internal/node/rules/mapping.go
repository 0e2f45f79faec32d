package rules

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"

	"github.com/dizuo/dizuo/internal/contract"
)

// Mapping is a compiled contract.Mapping: it turns a payload of a vendor's own form into a profile's fields. It is safe for concurrent
// use.
type Mapping struct {
	device, time cel.Program
	fields       []mappedField
	// missing are fields that the profile requires and nothing makes.
	missing []string
}

type mappedField struct {
	name  string
	field contract.Field
	// common says that the name is FieldID, and none of the profile's.
	common  bool
	program cel.Program
}

// Mapped is what a mapping made of one payload.
type Mapped struct {
	// Device that the payload speaks of; empty where the mapping does not name it, for the topic does.
	Device string
	Payload
}

// NewMapping compiles a mapping for devices of a profile. A problem's field is "device", "time" or "fields.<name>", or "fields" where
// one is missing. What has no problem is mapped all the same, for a profile may change under its fleets; only without its device
// there is no mapping.
//
// Expressions see `payload` and `topic`. payload is the JSON object or array that was sent: its numbers are doubles, but for whole
// numbers beyond 2^53, which come as text, for no digit of an id may be lost. What is neither object nor array comes as text in base64.
func NewMapping(m contract.Mapping, p contract.Profile) (*Mapping, []Problem) {
	env, err := newMappingEnv()
	if err != nil {
		panic(err) // the declarations are constant
	}
	var problems []Problem
	text := func(field, source string, kinds ...types.Kind) cel.Program {
		program, err := compileMapping(env, source, kinds)
		if err != nil {
			problems = append(problems, Problem{Field: field, Message: err.Error()})
		}
		return program
	}
	out := &Mapping{}
	if m.Device != "" {
		out.device = text("device", m.Device, types.StringKind)
	}
	if m.Time != "" {
		out.time = text("time", m.Time, types.TimestampKind, types.StringKind, types.IntKind, types.UintKind, types.DoubleKind)
	}
	for name, source := range m.Fields {
		f, ok := p.Fields[name]
		common := !ok && name == FieldID
		switch {
		case common:
			f = contract.Field{Type: "String"}
		case !ok:
			problems = append(problems, Problem{Field: "fields." + name, Message: "is not in the profile; its fields are " + fieldNames(p)})
			continue
		}
		if program := text("fields."+name, source, kindsOf[f.Type]...); program != nil {
			out.fields = append(out.fields, mappedField{name, f, common, program})
		}
	}
	for name, f := range p.Fields {
		if _, mapped := m.Fields[name]; f.Required && !mapped {
			out.missing = append(out.missing, name)
			problems = append(problems, Problem{Field: "fields", Message: "the profile requires " + name + "; write an expression for it"})
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Error(), b.Error()) })
	if m.Device != "" && out.device == nil {
		return nil, problems
	}
	return out, problems
}

// kindsOf are the types that can become a field of a profile.
var kindsOf = map[string][]types.Kind{
	"Number": {types.DoubleKind, types.IntKind, types.UintKind}, "Integer": {types.DoubleKind, types.IntKind, types.UintKind},
	"Boolean": {types.BoolKind}, "String": {types.StringKind}, "Enum": {types.StringKind}, "Time": {types.TimestampKind, types.StringKind},
}

// newMappingEnv declares what a mapping's expressions see. Carriers wrap frames in base64 and JSON in text, which CEL's own libraries
// can unwrap but not look into: at and json.decode do.
func newMappingEnv() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("payload", cel.DynType),
		cel.Variable("topic", cel.StringType),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		ext.Strings(ext.StringsVersion(5)), // from 5 on every function has a cost
		ext.Math(), ext.Encoders(), ext.Bindings(),
		cel.Function("at", cel.MemberOverload("bytes_at_int", []*cel.Type{cel.BytesType, cel.IntType}, cel.IntType, cel.BinaryBinding(byteAt))),
		cel.Function("json.decode",
			cel.Overload("json_decode_string", []*cel.Type{cel.StringType}, cel.DynType, cel.UnaryBinding(decodeJSON)),
			cel.Overload("json_decode_bytes", []*cel.Type{cel.BytesType}, cel.DynType, cel.UnaryBinding(decodeJSON))),
	)
}

// byteAt gives a byte as a number.
func byteAt(b, index ref.Val) ref.Val {
	raw, i := b.(types.Bytes), index.(types.Int)
	if i < 0 || int64(i) >= int64(len(raw)) {
		return types.NewErr("no byte %d in %d", i, len(raw))
	}
	return types.Int(raw[i])
}

// decodeJSON reads JSON that stands in a text.
func decodeJSON(v ref.Val) ref.Val {
	var raw []byte
	switch v := v.(type) {
	case types.String:
		raw = []byte(v)
	case types.Bytes:
		raw = v
	}
	value, ok := readJSON(raw)
	if !ok {
		return types.NewErr("no JSON")
	}
	return types.DefaultTypeAdapter.NativeToValue(value)
}

// jsonCost charges decodeJSON by the length of its text.
func jsonCost(args []ref.Val, _ ref.Val) *uint64 {
	cost := uint64(1)
	if s, ok := args[0].(interface{ Size() ref.Val }); ok {
		if n, ok := s.Size().(types.Int); ok {
			cost += uint64(n) / 10 //nolint:gosec // a length
		}
	}
	return &cost
}

// compileMapping compiles one expression, which must give one of kinds.
func compileMapping(env *cel.Env, text string, kinds []types.Kind) (cel.Program, error) {
	checked, iss := env.Compile(text)
	if iss.Err() != nil {
		return nil, fmt.Errorf("no valid CEL: %w", iss.Err())
	}
	out := checked.OutputType()
	if k := out.Kind(); k != types.DynKind && k != types.NullTypeKind && !slices.Contains(kinds, k) {
		return nil, fmt.Errorf("gives %s; write an expression that gives %s", out, kindNames(kinds))
	}
	if err := bounded(checked); err != nil {
		return nil, err
	}
	// Payloads are long and of any shape, so no estimate bounds the worst case: cost is counted always.
	program, err := env.Program(checked, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize), cel.CostTrackerOptions(
		interpreter.OverloadCostTracker("json_decode_string", jsonCost), interpreter.OverloadCostTracker("json_decode_bytes", jsonCost)))
	if err != nil {
		return nil, fmt.Errorf("no valid CEL: %w", err)
	}
	return program, nil
}

// bounded refuses calls whose one result can be larger than the payload by far: cost is charged when they are done, and the memory
// would be gone by then.
func bounded(a *cel.Ast) error {
	for _, e := range ast.MatchDescendants(ast.NavigateAST(a.NativeRep()), ast.KindMatcher(ast.CallKind)) {
		call := e.AsCall()
		switch call.FunctionName() {
		case "join", "format", "json.encode":
			return fmt.Errorf("calls %s, whose result has no bound; leave it out", call.FunctionName())
		case "replace":
			if args := call.Args(); len(args) < 2 || !shortens(args[0], args[1]) {
				return errors.New("calls replace with what may make the text longer; write two texts in quotes, the second no longer than the first")
			}
		}
	}
	return nil
}

// shortens says that both are written out, and that to is no longer than from.
func shortens(from, to ast.Expr) bool {
	if from.Kind() != ast.LiteralKind || to.Kind() != ast.LiteralKind {
		return false
	}
	f, ok := from.AsLiteral().(types.String)
	t, also := to.AsLiteral().(types.String)
	return ok && also && len(f) > 0 && len(t) <= len(f)
}

func kindNames(kinds []types.Kind) string {
	names := map[types.Kind]string{types.DoubleKind: "double", types.IntKind: "int", types.UintKind: "uint", types.BoolKind: "bool",
		types.StringKind: "string", types.TimestampKind: "timestamp"}
	var out []string
	for _, k := range kinds {
		out = append(out, names[k])
	}
	return strings.Join(out, " or ")
}

// Apply maps one payload that came on an MQTT topic. A field whose expression fails, or gives what does not fit the profile, is left out
// and named in Problems; one whose expression gives null is left out and no problem, unless the profile requires it. The error is for a
// payload that names no device though the mapping asks it to.
func (m *Mapping) Apply(topic string, raw []byte) (Mapped, error) {
	in := map[string]any{"payload": readPayload(raw), "topic": topic}
	out := Mapped{Payload: Payload{Fields: make(map[string]any, len(m.fields))}}
	if m.device != nil {
		v, _, err := m.device.Eval(in)
		name, ok := v.(types.String)
		if err != nil || !ok || !contract.ValidDevice(string(name)) {
			return Mapped{}, errors.New("mapping.device gives no name of a device for this payload: want text of 1 to 64 letters, digits, _ or -")
		}
		out.Device = string(name)
	}
	if m.time != nil {
		v, _, err := m.time.Eval(in)
		at, ok := timeOf(v)
		if err != nil || !ok {
			out.Problems = append(out.Problems, FieldProblem{FieldTime, failed(err)})
		}
		out.Time = at
	}
	for _, f := range m.fields {
		v, _, err := f.program.Eval(in)
		switch {
		case err != nil:
			out.Problems = append(out.Problems, FieldProblem{f.name, failed(err)})
		case v == types.NullValue && f.field.Required:
			out.Problems = append(out.Problems, FieldProblem{f.name, "Missing"})
		case v == types.NullValue:
		default:
			out.set(f, v)
		}
	}
	for _, name := range m.missing {
		out.Problems = append(out.Problems, FieldProblem{name, "Missing"})
	}
	return out, nil
}

// set takes the value of an expression as if the device had sent it.
func (p *Mapped) set(f mappedField, v ref.Val) {
	sent, reason := sentAs(v, f.field.Type)
	switch {
	case reason != "":
		p.Problems = append(p.Problems, FieldProblem{f.name, reason})
	case f.common:
		p.takeCommon(f.name, sent)
	default:
		p.take(f.name, f.field, sent)
	}
}

// failed gives the reason of an expression's error.
func failed(err error) string {
	switch {
	case err == nil:
		return "WrongType"
	case strings.Contains(err.Error(), "no such key"):
		return "Missing"
	}
	return "Failed"
}

// sentAs gives a value as JSON would have brought it for a field of that type.
func sentAs(v ref.Val, field string) (value any, reason string) {
	switch v := v.(type) {
	case types.Bool:
		return bool(v), ""
	case types.Int:
		return json.Number(strconv.FormatInt(int64(v), 10)), ""
	case types.Uint:
		return json.Number(strconv.FormatUint(uint64(v), 10)), ""
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, "OutOfRange"
		}
		return json.Number(strconv.FormatFloat(float64(v), 'g', -1, 64)), ""
	case types.String:
		return string(v), ""
	case types.Timestamp:
		if field == "Time" {
			return v.Format(time.RFC3339Nano), ""
		}
	}
	return nil, "WrongType"
}

// Bounds of a time, in Unix milliseconds: the years 1 to 9999, which RFC 3339 can write.
const (
	minMillis = -62135596800000
	maxMillis = 253402300799999
	// millisFrom is the number from which a time is in milliseconds. In seconds it would be the year 5138, in milliseconds it is 1973.
	millisFrom = 100_000_000_000
)

// timeOf reads a timestamp, a text after RFC 3339, or a number of seconds or milliseconds since 1970.
func timeOf(v ref.Val) (time.Time, bool) {
	var n float64
	switch v := v.(type) {
	case types.Timestamp:
		return v.Time, true
	case types.String:
		t, err := time.Parse(time.RFC3339, string(v))
		return t, err == nil
	case types.Int:
		n = float64(v)
	case types.Uint:
		n = float64(v)
	case types.Double:
		n = float64(v)
	default:
		return time.Time{}, false
	}
	if math.Abs(n) < millisFrom {
		n *= 1000
	}
	if !(n >= minMillis && n <= maxMillis) { // NaN is neither
		return time.Time{}, false
	}
	return time.UnixMilli(int64(n)).UTC(), true
}

// readPayload gives what expressions see as payload; see NewMapping.
func readPayload(raw []byte) any {
	if text := bytes.TrimLeft(raw, " \t\r\n"); len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		if v, ok := readJSON(raw); ok {
			return v
		}
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// readJSON reads one JSON value and nothing behind it.
func readJSON(raw []byte) (any, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return plain(v), true
}

// plain makes numbers doubles wherever none of their digits is lost.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = plain(x)
		}
	case []any:
		for i, x := range v {
			v[i] = plain(x)
		}
	case json.Number:
		x, err := strconv.ParseFloat(v.String(), 64)
		if err != nil || math.Abs(x) > 1<<53 && !strings.ContainsAny(v.String(), ".eE") {
			return v.String()
		}
		return x
	}
	return v
}
