package rules

import (
	"strings"
	"testing"

	"cel.dev/cel-go/cel"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestMistakesArePointedAt: every kind of mistake has its place, what to write instead, and a caret under it.
func TestMistakesArePointedAt(t *testing.T) {
	profile := contract.Profile{Fields: map[string]contract.Field{"smoke": {Type: "Boolean"}, "level": {Type: "Number"}}}
	env, err := newEnv()
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, name := range []string{"baseline", "channel", "context", "device", "local", "msg", "params", "state", "ts"} {
		if _, iss := env.Compile(name); iss.Err() == nil {
			there = append(there, name)
		}
	}
	known := "write one of " + strings.Join(there, ", ") + "; texts stand in '...'; fields of the profile are msg.level, msg.smoke"
	for text, want := range map[string]string{
		"mgs.smoke == true":      "no valid CEL: column 1: undeclared reference to 'mgs'; " + known + "\n | mgs.smoke == true\n | ^",
		"smoke == true":          "no valid CEL: column 1: undeclared reference to 'smoke'; write msg.smoke\n | smoke == true\n | ^",
		"msg.smoke == yes":       "no valid CEL: column 14: undeclared reference to 'yes'; " + known + "\n | msg.smoke == yes\n | .............^",
		"msg.smoke = true":       "no valid CEL: column 11: Syntax error: token recognition error at: '= '; write == to compare\n | msg.smoke = true\n | ..........^",
		"msg.smoke and msg.x":    "no valid CEL: column 11: Syntax error: mismatched input 'and' expecting <EOF>; write && for and, || for or, ! for not\n | msg.smoke and msg.x\n | ..........^",
		"not msg.smoke":          "no valid CEL: column 5: Syntax error: mismatched input 'msg' expecting <EOF>; write && for and, || for or, ! for not\n | not msg.smoke\n | ....^",
		"msg.smoke ==":           "no valid CEL: column 13: the expression ends too early\n | msg.smoke ==\n | ............^",
		"msg.smoke == 'a":        "no valid CEL: column 14: Syntax error: token recognition error at: ''a'; close the quote\n | msg.smoke == 'a\n | .............^",
		"(msg.smoke":             "no valid CEL: column 11: Syntax error: missing ')' at '<EOF>'; close the bracket\n | (msg.smoke\n | ..........^",
		"true &&\n  mgs.x":       "no valid CEL: line 2, column 3: undeclared reference to 'mgs'; " + known + "\n |   mgs.x\n | ..^",
		"channel == 5":           "no valid CEL: column 9: found no matching overload for '_==_' applied to '(string, int)'; write both sides in one type: numbers bare, texts in '...'\n | channel == 5\n | ........^",
		"params.x > foo()":       "no valid CEL: column 15: undeclared reference to 'foo'; there is no function foo here\n | params.x > foo()\n | ..............^",
		"channel == “a”":         "no valid CEL: column 12: Syntax error: token recognition error at: '“'; write straight quotes: '...'\n | channel == “a”\n | ...........＾",
		"msg.级 == 1":             "no valid CEL: column 5: Syntax error: token recognition error at: '级'; names are of letters A to Z, digits and _: write msg['...'] for others\n | msg.级 == 1\n | ....＾",
		"msg.level > 3 + 4 - 1u": "no valid CEL: column 19: found no matching overload for '_-_' applied to '(int, uint)'; write both sides in one type: numbers bare, texts in '...'\n | msg.level > 3 + 4 - 1u\n | ..................^",
		"3 + 4":                  "gives int; write an expression that gives bool",
		"has(msg.smok) && true":  "column 5: field msg.smok is not in the profile; its fields are level, smoke\n | has(msg.smok) && true\n | ....^",
	} {
		if _, err := compile(env, text, cel.BoolType, profile); err == nil || err.Error() != want {
			t.Errorf("%s\nsays %v\nwant %s", text, err, want)
		}
	}
}

// TestExpressionsAreCheckedWithoutProfile: what needs no profile is found without one, and fields are left to whoever has it.
func TestExpressionsAreCheckedWithoutProfile(t *testing.T) {
	for text, right := range map[string]bool{"": true, "msg.anything > 3": true, "msg.x >": false, "mgs.x": false, "1 + 2": false} {
		if err := CheckExpression(text, true); (err == nil) != right {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := CheckExpression("1 + 2", false); err != nil {
		t.Errorf("a value: %v", err)
	}
}
