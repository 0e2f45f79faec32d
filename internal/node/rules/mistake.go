package rules

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"

	"github.com/dizuo/dizuo/internal/contract"
)

// CheckExpression says what is wrong with an expression of a scenario whatever the profile is: its syntax, the variables and functions that it
// names, its types. condition asks for one that is true or false. An empty text is none, and right.
func CheckExpression(text string, condition bool) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	env, err := newEnv()
	if err != nil {
		return err
	}
	var want *cel.Type
	if condition {
		want = cel.BoolType
	}
	_, err = check(env, text, want, contract.Profile{})
	return err
}

// check parses an expression and checks its types; want is the type it must give, nil for any.
func check(env *cel.Env, text string, want *cel.Type, p contract.Profile) (*cel.Ast, error) {
	checked, iss := env.Compile(text)
	if found := iss.Errors(); len(found) > 0 {
		first := slices.MinFunc(found, func(a, b *common.Error) int {
			return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
		})
		return nil, errors.New("no valid CEL: " + pointed(text, first.Location, readable(first.Message)+instead(env, text, first, p)))
	}
	if out := checked.OutputType(); want != nil && !out.IsExactType(want) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("gives %s; write an expression that gives %s", out, want)
	}
	return checked, nil
}

// notInProfile says that the profile has no field f, and where the expression names it.
func notInProfile(checked *cel.Ast, text, f string, p contract.Profile) error {
	message := fmt.Sprintf("field msg.%s is not in the profile; its fields are %s", f, fieldNames(p))
	for _, e := range ast.MatchDescendants(ast.NavigateAST(checked.NativeRep()), ast.KindMatcher(ast.SelectKind)) {
		if s := e.AsSelect(); s.FieldName() == f && s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == "msg" {
			return errors.New(pointed(text, checked.NativeRep().SourceInfo().GetStartLocation(s.Operand().ID()), message))
		}
	}
	return errors.New(message)
}

// pointed puts the place before a message, and the line with a caret under the place below it.
func pointed(text string, at common.Location, message string) string {
	shown := (&common.Error{Location: at}).ToDisplayString(common.NewTextSource(text))
	_, below, _ := strings.Cut(shown, "\n")
	place := fmt.Sprintf("column %d: ", at.Column()+1)
	if strings.Contains(strings.TrimSpace(text), "\n") {
		place = fmt.Sprintf("line %d, column %d: ", at.Line(), at.Column()+1)
	}
	return strings.TrimSuffix(place+message+"\n"+below, "\n")
}

// What CEL's messages say that helps nobody who writes a scenario.
var (
	container = regexp.MustCompile(` \(in container '.*'\)$`)
	expecting = regexp.MustCompile(`^Syntax error: mismatched input '<EOF>' expecting \{.*$`)
)

func readable(message string) string {
	return expecting.ReplaceAllString(container.ReplaceAllString(message, ""), "the expression ends too early")
}

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	overload   = regexp.MustCompile(`^found no matching overload for '.*' applied to '\((.*)\)'$`)
	// word is a logical operator as other languages write it.
	word = regexp.MustCompile(`(?i)^(and|or|not)\b`)
)

// instead says what to write, after "; ", where that can be told.
func instead(env *cel.Env, text string, e *common.Error, p contract.Profile) string {
	line, _ := common.NewTextSource(text).Snippet(e.Location.Line())
	runes := []rune(line)
	at := min(max(e.Location.Column(), 0), len(runes))
	before, rest := strings.TrimSpace(string(runes[:at])), string(runes[at:])
	switch name := undeclared.FindStringSubmatch(e.Message); {
	case name != nil && strings.HasPrefix(rest, "("):
		return "; there is no function " + name[1] + " here"
	case name != nil:
		return "; " + variable(env, name[1], p)
	case overload.MatchString(e.Message):
		return "; write both sides in one type: numbers bare, texts in '...'"
	case strings.HasSuffix(e.Message, "token recognition error at: '= '") || strings.HasPrefix(rest, "=") && !strings.HasPrefix(rest, "=="):
		return "; write == to compare"
	case strings.HasPrefix(rest, "“") || strings.HasPrefix(rest, "”") || strings.HasPrefix(rest, "‘") || strings.HasPrefix(rest, "’"):
		return "; write straight quotes: '...'"
	case word.MatchString(rest) || word.MatchString(before):
		return "; write && for and, || for or, ! for not"
	case strings.HasPrefix(rest, "'") || strings.HasPrefix(rest, `"`):
		return "; close the quote"
	case strings.Contains(e.Message, "missing ')'"):
		return "; close the bracket"
	case strings.HasPrefix(e.Message, "Syntax error: token recognition error"):
		return "; names are of letters A to Z, digits and _: write msg['...'] for others"
	}
	return ""
}

// variable says what to write in place of a name that nothing declares.
func variable(env *cel.Env, name string, p contract.Profile) string {
	if _, ok := p.Fields[name]; ok {
		return "write msg." + name
	}
	var known []string
	for _, v := range env.Variables() {
		if n := v.Name(); slices.Contains(variables, n) {
			known = append(known, n)
		}
	}
	slices.Sort(known)
	hint := "write one of " + strings.Join(known, ", ") + "; texts stand in '...'"
	if len(p.Fields) > 0 {
		hint += "; fields of the profile are msg." + strings.ReplaceAll(fieldNames(p), ", ", ", msg.")
	}
	return hint
}

// variables of scenarios; the environment has others, which are names of types.
var variables = []string{"baseline", "channel", "context", "device", "local", "msg", "params", "state", "ts"}
