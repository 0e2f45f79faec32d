package rules

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// native is a condition without CEL's interpreter: comparisons of fields and parameters with each other and with literals, joined by and, or
// and not. It gives what CEL gives, several times faster; whatever it does not know stays with CEL. An operand that is missing, or a
// comparison that CEL would not do, is unknown, as an error is there.
type native func(in *input) tri

// operand gives a value; false if it is missing.
type operand func(in *input) (any, bool)

// compileNative gives nil for an expression that it does not know in full.
func compileNative(e ast.Expr) native {
	if e.Kind() != ast.CallKind {
		if x := operandOf(e); x != nil {
			return func(in *input) tri {
				v, ok := x(in)
				if b, isBool := v.(bool); ok && isBool {
					return truth(b)
				}
				return unknown
			}
		}
		return hasField(e)
	}
	call := e.AsCall()
	args := call.Args()
	switch op := call.FunctionName(); op {
	case operators.LogicalAnd, operators.LogicalOr:
		return junction(args, op == operators.LogicalAnd)
	case operators.LogicalNot:
		x := compileNative(args[0])
		if x == nil {
			return nil
		}
		return func(in *input) tri {
			switch x(in) {
			case yes:
				return no
			case no:
				return yes
			}
			return unknown
		}
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		a, b := operandOf(args[0]), operandOf(args[1])
		if a == nil || b == nil {
			return nil
		}
		return func(in *input) tri {
			x, ok1 := a(in)
			y, ok2 := b(in)
			if !ok1 || !ok2 {
				return unknown
			}
			return compareValues(op, x, y)
		}
	}
	return nil
}

// junction is and, or: one side that decides does so whatever the other is.
func junction(args []ast.Expr, and bool) native {
	a, b := compileNative(args[0]), compileNative(args[1])
	if a == nil || b == nil {
		return nil
	}
	decides, otherwise := yes, no
	if and {
		decides, otherwise = no, yes
	}
	return func(in *input) tri {
		x := a(in)
		if x == decides {
			return x
		}
		y := b(in)
		if y == decides {
			return y
		}
		if x == otherwise && y == otherwise {
			return otherwise
		}
		return unknown
	}
}

func truth(b bool) tri {
	if b {
		return yes
	}
	return no
}

// hasField is has(msg.f).
func hasField(e ast.Expr) native {
	f, ok := msgField(e, true)
	if !ok || !e.AsSelect().IsTestOnly() {
		return nil
	}
	return func(in *input) tri {
		_, there := in.msg[f]
		return truth(there)
	}
}

// operandOf knows msg.f, params.p, and literals of bool, text and number.
func operandOf(e ast.Expr) operand {
	if f, ok := field(e, "msg", false); ok {
		return func(in *input) (any, bool) { v, there := in.msg[f]; return v, there }
	}
	if p, ok := field(e, "params", false); ok {
		return func(in *input) (any, bool) { v, there := in.plan.params[p]; return v, there }
	}
	if e.Kind() != ast.LiteralKind {
		return nil
	}
	switch v := e.AsLiteral().Value().(type) {
	case bool, string, float64, int64:
		return func(*input) (any, bool) { return v, true }
	}
	return nil
}

// compareValues compares as CEL does: numbers with numbers, texts with texts. Values of two kinds are not equal, and have no order.
func compareValues(op string, x, y any) tri {
	c, known := 0, false
	switch a := x.(type) {
	case float64, int64:
		c, known = compareNumbers(x, y)
	case string:
		b, ok := y.(string)
		known = ok
		switch {
		case a < b:
			c = -1
		case a > b:
			c = 1
		}
	case bool:
		b, ok := y.(bool)
		if known = ok; a != b {
			if c = 1; b {
				c = -1
			}
		}
	default:
		return unknown // compile leaves fields of other types to CEL
	}
	switch op {
	case operators.Equals:
		return truth(known && c == 0)
	case operators.NotEquals:
		return truth(!known || c != 0)
	}
	if !known {
		return unknown
	}
	switch op {
	case operators.Less:
		return truth(c < 0)
	case operators.LessEquals:
		return truth(c <= 0)
	case operators.Greater:
		return truth(c > 0)
	}
	return truth(c >= 0)
}

// exactly bounds the integers that a float64 holds exactly.
const exactly = 1 << 53

// compareNumbers says that it does not know where an integer is too big to be compared with a float.
func compareNumbers(x, y any) (c int, known bool) {
	if a, ok := x.(int64); ok {
		if b, ok := y.(int64); ok {
			switch {
			case a < b:
				return -1, true
			case a > b:
				return 1, true
			}
			return 0, true
		}
	}
	a, ok1 := asFloat(x)
	b, ok2 := asFloat(y)
	switch {
	case !ok1 || !ok2:
		return 0, false
	case a < b:
		return -1, true
	case a > b:
		return 1, true
	}
	return 0, true
}

func asFloat(x any) (float64, bool) {
	switch v := x.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), v > -exactly && v < exactly
	}
	return 0, false
}
