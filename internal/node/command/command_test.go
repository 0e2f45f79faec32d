package command

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dizuo/dizuo/internal/contract"
)

func ptr(v float64) *float64 { return &v }

var pump = contract.Profile{Commands: map[string]contract.Command{
	"run": {Senders: []string{SenderScenario, SenderVendor}, ExpiresSeconds: 90, Desired: true, Arguments: map[string]contract.Field{
		"speed": {Type: "Number", Unit: "%", Min: ptr(0), Max: ptr(99.5)}, "minutes": {Type: "Integer", Min: ptr(-1), Max: ptr(30)},
		"on": {Type: "Boolean"}, "mode": {Type: "Enum", Enum: []string{"drain", "fill"}}, "note": {Type: "String"}, "until": {Type: "Time"},
	}},
	"stop":    {Senders: []string{SenderOperator}},
	"free":    {Senders: []string{SenderOperator}, Arguments: map[string]contract.Field{"x": {Type: "Number", Min: ptr(0)}}},
	"strange": {Senders: []string{SenderOperator}, Arguments: map[string]contract.Field{"x": {Type: "Blob"}}},
}}

func run(change map[string]any) map[string]any {
	args := map[string]any{"speed": 5.5, "minutes": json.Number("3.0"), "on": true, "mode": "drain", "note": "", "until": "2026-01-01T00:00:00+08:00"}
	for name, v := range change {
		args[name] = v
		if v == nil {
			delete(args, name)
		}
	}
	return args
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		command, sender string
		args            map[string]any
		code            Code
		says            string
	}{
		"all of it":           {"run", SenderVendor, run(nil), "", ""},
		"bounds":              {"run", SenderScenario, run(map[string]any{"speed": 99.5, "minutes": int64(-1)}), "", ""},
		"no arguments":        {"stop", SenderOperator, nil, "", ""},
		"undeclared":          {"explode", SenderOperator, nil, UndeclaredCommand, "it declares free, run, stop, strange"},
		"case matters":        {"Stop", SenderOperator, nil, UndeclaredCommand, ""},
		"sender":              {"run", SenderOperator, run(nil), SenderNotAllowed, "by Scenario, Vendor, not by Operator"},
		"nobody":              {"stop", "", nil, SenderNotAllowed, ""},
		"safe state":          {"stop", "SafeState", nil, SenderNotAllowed, ""},
		"missing":             {"run", SenderVendor, run(map[string]any{"on": nil}), MissingArgument, "argument on: is not given; write true or false"},
		"unknown":             {"stop", SenderOperator, map[string]any{"force": true}, UnknownArgument, "leave it out"},
		"text for a number":   {"run", SenderVendor, run(map[string]any{"speed": "5"}), WrongType, "write a number from 0 to 99.5 (%)"},
		"number for a truth":  {"run", SenderVendor, run(map[string]any{"on": 1.0}), WrongType, ""},
		"half":                {"run", SenderVendor, run(map[string]any{"minutes": 0.5}), WrongType, "an integer from -1 to 30"},
		"above":               {"run", SenderVendor, run(map[string]any{"speed": 99.500001}), OutOfRange, "out of range"},
		"below":               {"run", SenderVendor, run(map[string]any{"minutes": json.Number("-2")}), OutOfRange, ""},
		"overflow":            {"run", SenderVendor, run(map[string]any{"speed": json.Number("1e999")}), WrongType, ""},
		"not a number":        {"run", SenderVendor, run(map[string]any{"speed": math.NaN()}), OutOfRange, ""},
		"infinite":            {"run", SenderVendor, run(map[string]any{"speed": math.Inf(1)}), OutOfRange, ""},
		"not among":           {"run", SenderVendor, run(map[string]any{"mode": "Drain"}), OutOfRange, "one of drain, fill"},
		"no time":             {"run", SenderVendor, run(map[string]any{"until": "2026-01-01"}), WrongType, ""},
		"too long":            {"run", SenderVendor, run(map[string]any{"note": strings.Repeat("x", 257)}), OutOfRange, ""},
		"NUL":                 {"run", SenderVendor, run(map[string]any{"note": "a\x00"}), OutOfRange, ""},
		"not UTF-8":           {"run", SenderVendor, run(map[string]any{"note": "\xff"}), OutOfRange, ""},
		"a list":              {"run", SenderVendor, run(map[string]any{"note": []any{"x"}}), WrongType, ""},
		"null":                {"free", SenderOperator, map[string]any{"x": nil}, WrongType, ""},
		"no range":            {"free", SenderOperator, map[string]any{"x": 1.0}, OutOfRange, "write min and max"},
		"a type of nobody's":  {"strange", SenderOperator, map[string]any{"x": "1"}, WrongType, ""},
		"a name that is long": {strings.Repeat("n", 9999), SenderOperator, nil, UndeclaredCommand, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, args, err := Check(pump, c.command, c.args, c.sender)
			if c.code == "" {
				if err != nil || args == nil {
					t.Fatalf("%v, %v", args, err)
				}
				return
			}
			var p *Problem
			if !errors.As(err, &p) || p.Code != c.code || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 400 {
				t.Errorf("%v, want %s: %s", err, c.code, c.says)
			}
		})
	}
	_, args, err := Check(pump, "run", run(nil), SenderVendor)
	if v, isInt := args["minutes"].(int64); err != nil || !isInt || v != 3 {
		t.Errorf("minutes: %T %v, %v", args["minutes"], args["minutes"], err)
	}
	if _, _, err := CheckDesired(pump, "stop", nil, SenderOperator); err == nil {
		t.Error("a command that is no state became one")
	}
	if _, _, err := CheckDesired(pump, "run", run(nil), SenderVendor); err != nil {
		t.Error(err)
	}
	if _, _, err := CheckSafe(pump, "run", run(map[string]any{"speed": 100.0})); err == nil {
		t.Error("a safe state out of range is let through")
	}
}

// TestWhatIsLetThroughIsValid draws commands and arguments and reads what Check lets through with a plain reading of the profile.
func TestWhatIsLetThroughIsValid(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 9))
	values := []any{nil, true, false, "", "drain", "fill", "a\nb", "2026-01-01T00:00:00Z", "\xff", strings.Repeat("é", 128), strings.Repeat("é", 129), 0.0, -1.0, 30.0, 30.5, 99.5, 100.0,
		math.NaN(), math.Inf(-1), int64(30), int64(31), json.Number("7"), json.Number("7e0"), json.Number("NaN"), json.Number("-0"), []any{}, map[string]any{}, 3}
	names := []string{"speed", "minutes", "on", "mode", "note", "until", "more"}
	passed, tries := 0, 200_000
	if testing.Short() {
		tries = 20_000
	}
	for range tries {
		args := map[string]any{}
		for _, n := range names {
			switch v := values[r.IntN(len(values))]; {
			case n == "more":
				if r.IntN(8) == 0 {
					args[n] = v
				}
			case r.IntN(4) > 0: // mostly something that fits
				args[n] = run(nil)[n]
			case r.IntN(12) > 0:
				args[n] = v
			}
		}
		name := []string{"run", "run", "run", "stop", "nope"}[r.IntN(5)]
		sender := []string{SenderScenario, SenderOperator, SenderVendor, "", "SafeState"}[r.IntN(5)]
		c, out, err := Check(pump, name, args, sender)
		if err != nil {
			continue
		}
		passed++
		if !slices.Contains(pump.Commands[name].Senders, sender) || len(out) != len(c.Arguments) || len(args) != len(out) {
			t.Fatalf("%s by %q: %v became %v", name, sender, args, out)
		}
		for n, v := range out {
			if !valid(n, v) {
				t.Fatalf("%s: %T %v let through", n, v, v)
			}
		}
		raw, err := json.Marshal(out)
		if err != nil || strings.Contains(string(raw), `\u0000`) {
			t.Fatalf("%v: %s, %v", out, raw, err)
		}
		// What comes back from a database or a bundle is the same once more.
		var back map[string]any
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if _, again, err := Check(pump, name, back, sender); err != nil || len(again) != len(out) {
			t.Fatalf("%v the second time: %v", out, err)
		}
	}
	if passed < tries/500 {
		t.Errorf("only %d were let through: the test shows nothing", passed)
	}
}

// valid reads an argument of run.
func valid(name string, v any) bool {
	switch x := v.(type) {
	case float64:
		return name == "speed" && x >= 0 && x <= 99.5
	case int64:
		return name == "minutes" && x >= -1 && x <= 30
	case bool:
		return name == "on"
	case string:
		_, err := time.Parse(time.RFC3339, x)
		return name == "mode" && (x == "drain" || x == "fill") || name == "until" && err == nil ||
			name == "note" && len(x) <= 256 && utf8.ValidString(x) && !strings.ContainsAny(x, "\x00\n")
	}
	return false
}

func TestParse(t *testing.T) {
	a := pump.Commands["run"].Arguments
	for _, c := range []struct {
		name, text string
		want       any
	}{
		{"speed", "0.5", 0.5}, {"minutes", "30", int64(30)}, {"on", "true", true}, {"on", "TRUE", nil}, {"on", "1", nil}, {"on", "", nil},
		{"minutes", "31", nil}, {"minutes", "", nil}, {"minutes", "x", nil}, {"speed", "NaN", nil}, {"mode", "fill", "fill"}, {"mode", "", nil}, {"note", "", ""}, {"until", "now", nil},
	} {
		if got, problem := Parse(a[c.name], c.text); got != c.want || (problem == nil) != (c.want != nil) {
			t.Errorf("%s %q: %v, %v", c.name, c.text, got, problem)
		}
	}
}

func TestParseAck(t *testing.T) {
	const id = "0197a1b2-0000-7000-8000-000000000001"
	for _, c := range []struct {
		raw, detail string
		result      Result
	}{
		{`{"id":"` + id + `","result":"Done"}`, "", Done},
		{`{"id":"` + id + `","result":"Received","detail":" on\nmy\u0000way ","battery":3}`, "on my way", Received},
		{`{"id":"` + id + `","result":"Failed","detail":"` + strings.Repeat("é", 300) + `"}`, strings.Repeat("é", 128), Failed},
		{`{"id":"` + id + `","result":"Failed","detail":"a` + strings.Repeat("é", 300) + `"}`, "a" + strings.Repeat("é", 127), Failed},
		{`{"id":"` + id + `","result":"done"}`, "", ""},
		{`{"id":"` + id + `"}`, "", ""},
		{`{"id":"7","result":"Done"}`, "", ""},
		{`{"id":7,"result":"Done"}`, "", ""},
		{`{"result":"Done"}`, "", ""},
		{`[]`, "", ""}, {``, "", ""}, {`null`, "", ""},
		{`{"id":"` + id + `","result":"Done","x":"` + strings.Repeat("x", maxAck) + `"}`, "", ""},
	} {
		a, err := ParseAck([]byte(c.raw))
		if (err == nil) != (c.result != "") || a.Result != c.result || a.Detail != c.detail || err == nil && a.ID.String() != id {
			t.Errorf("%.80s: %+v, %v", c.raw, a, err)
		}
	}
	if _, err := ParseAck([]byte(`{"id":"` + id + `","result":"Maybe"}`)); !errors.Is(err, ErrResult) {
		t.Errorf("a result of nobody's: %v", err)
	}
}

func FuzzParseAck(f *testing.F) {
	f.Add([]byte(`{"id":"0197a1b2-0000-7000-8000-000000000001","result":"Done","detail":"\ud800 \u0000é"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := ParseAck(raw)
		if err == nil && (len(a.Detail) > maxDetail || !utf8.ValidString(a.Detail) || strings.ContainsAny(a.Detail, "\x00\n\r\t") || a.Result == "") {
			t.Errorf("%q: %+v", raw, a)
		}
	})
}

func TestAfter(t *testing.T) {
	for _, c := range []struct {
		from State
		says Result
		to   State
	}{
		{Pending, Received, StateReceived}, {Pending, Done, StateDone}, {Pending, Failed, StateFailed}, {StateReceived, Done, StateDone}, {StateReceived, Failed, StateFailed},
		{StateReceived, Received, ""}, {StateDone, Failed, ""}, {StateDone, Received, ""}, {StateFailed, Done, ""}, {Expired, Done, ""}, {Withdrawn, Done, ""}, {Superseded, Done, ""}, {Void, Done, ""}, {Pending, "Maybe", ""},
	} {
		to, moved := After(c.from, c.says)
		if moved != (c.to != "") || moved && to != c.to || !moved && to != c.from {
			t.Errorf("%s, %s: %s, %v", c.from, c.says, to, moved)
		}
	}
}

func TestPause(t *testing.T) {
	var got []time.Duration
	for sent := 1; sent <= 6; sent++ {
		got = append(got, Pause(sent, 30*time.Second))
	}
	if want := []time.Duration{2e9, 4e9, 8e9, 16e9, 30e9, 30e9}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Pause(1<<30, time.Hour); got != time.Hour {
		t.Errorf("%v", got)
	}
}
