package rules

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestNativeIsCEL compares conditions with and without CEL's interpreter over random expressions and values.
func TestNativeIsCEL(t *testing.T) {
	p := contract.Profile{Fields: map[string]contract.Field{"n": numeric(), "m": numeric(), "b": boolean(), "s": {Type: "String"}, "i": {Type: "Integer", Min: ptr(-100), Max: ptr(100)}}}
	env, err := newEnv()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 5))
	operands := []string{"msg.n", "msg.m", "msg.b", "msg.s", "msg.i", "params.x", "params.none", "1.5", "2", "'a'", "true", "false"}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	var draw func(depth int) string
	draw = func(depth int) string {
		switch n := r.IntN(6); {
		case depth == 0 || n == 0:
			return fmt.Sprintf("%s %s %s", pick(operands), pick([]string{"==", "!=", "<", "<=", ">", ">="}), pick(operands))
		case n == 1:
			return "!(" + draw(depth-1) + ")"
		case n == 2:
			return pick([]string{"msg.b", "has(msg.n)", "has(msg.s)", "true"})
		case n < 5:
			return "(" + draw(depth-1) + " && " + draw(depth-1) + ")"
		}
		return "(" + draw(depth-1) + " || " + draw(depth-1) + ")"
	}
	value := func(kind string) any {
		switch kind {
		case "n", "m":
			return []any{1.5, 2.0, math.Copysign(0, -1), 0.0, 99.0, math.SmallestNonzeroFloat64}[r.IntN(6)]
		case "b":
			return r.IntN(2) == 0
		case "s":
			return []any{"a", "b", ""}[r.IntN(3)]
		}
		return int64(r.IntN(4))
	}
	tried, answers := 0, map[tri]int{}
	for range 3000 {
		text := draw(3)
		x, err := compile(env, text, nil, p)
		if err != nil {
			continue // the checker refuses it: two literals of two types
		}
		if x.native == nil {
			t.Fatalf("%s: not native", text)
		}
		slow := *x
		slow.native = nil
		for range 8 {
			in := &input{msg: map[string]any{}, plan: &plan{params: map[string]any{"x": value([]string{"n", "b", "s", "i"}[r.IntN(4)])}}}
			for f := range p.Fields {
				if r.IntN(4) > 0 {
					in.msg[f] = value(f)
				}
			}
			got, _ := x.test(in)
			want, _ := slow.test(in)
			if got != want {
				t.Fatalf("%s over %v, %v: %v, CEL says %v", text, in.msg, in.plan.params, got, want)
			}
			tried++
			answers[want]++
		}
	}
	if tried < 5000 || min(answers[yes], answers[no], answers[unknown]) < 500 {
		t.Errorf("only %d tried: %v", tried, answers)
	}
}
