package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dizuo/dizuo/internal/contract"
)

// Senders of a command, as profiles name them.
const (
	SenderScenario = "Scenario"
	SenderOperator = "Operator"
	SenderVendor   = "Vendor"
)

// Code says what is wrong with a command. Codes are stable: callers and metrics rely on them.
type Code string

// Codes of a Problem.
const (
	// UndeclaredCommand: the profile has no command of the name.
	UndeclaredCommand Code = "UndeclaredCommand"
	// SenderNotAllowed: the command's senders do not hold the sender.
	SenderNotAllowed Code = "SenderNotAllowed"
	// MissingArgument: an argument of the command is not given.
	MissingArgument Code = "MissingArgument"
	// UnknownArgument: an argument is given that the command does not have.
	UnknownArgument Code = "UnknownArgument"
	// WrongType: an argument is not of its type.
	WrongType Code = "WrongType"
	// OutOfRange: an argument is of its type, and not among the values allowed.
	OutOfRange Code = "OutOfRange"
)

// Problem is why a command may not be sent. Its message says what to write instead, and never repeats a value.
type Problem struct {
	Code Code
	// Argument by name; empty if the problem is with the whole command.
	Argument string
	Message  string
}

// Error implements error.
func (p *Problem) Error() string {
	if p.Argument == "" {
		return p.Message
	}
	return "argument " + p.Argument + ": " + p.Message
}

// CodeOf gives the code of an error of this package.
func CodeOf(err error) Code {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return "Unknown"
}

const (
	// maxText bounds an argument of type String, in bytes; fields of messages have the same bound.
	maxText = 256
	// maxInteger is the largest number that every JSON reader holds exactly (RFC 8259, 6).
	maxInteger = 1 << 53
)

// Check holds a command against a profile and gives what the profile says of it and the arguments in the types of the profile: float64,
// int64, bool or string. The error is a *Problem. sender is one of SenderScenario, SenderOperator and SenderVendor.
func Check(p contract.Profile, name string, args map[string]any, sender string) (contract.Command, map[string]any, error) {
	c, err := declared(p, name)
	if err != nil {
		return c, nil, err
	}
	if !slices.Contains(c.Senders, sender) {
		return c, nil, &Problem{SenderNotAllowed, "", fmt.Sprintf("command %s may be sent by %s, not by %s", name, strings.Join(c.Senders, ", "), sender)}
	}
	out, err := Arguments(c, args)
	return c, out, err
}

// CheckDesired is Check for arguments that a device is to keep: it refuses a command that is no state.
func CheckDesired(p contract.Profile, name string, args map[string]any, sender string) (contract.Command, map[string]any, error) {
	c, out, err := Check(p, name, args, sender)
	if err == nil && !c.Desired {
		return c, nil, &Problem{UndeclaredCommand, "", fmt.Sprintf("command %s is no state that a device keeps; send it as a command, or write desired: true in the profile", name)}
	}
	return c, out, err
}

// CheckSafe is Check for the safe state of a command, which the platform sends by itself: nobody asked for it, so no sender is asked about.
func CheckSafe(p contract.Profile, name string, args map[string]any) (contract.Command, map[string]any, error) {
	c, err := declared(p, name)
	if err != nil {
		return c, nil, err
	}
	out, err := Arguments(c, args)
	return c, out, err
}

func declared(p contract.Profile, name string) (contract.Command, error) {
	c, ok := p.Commands[name]
	if ok {
		return c, nil
	}
	known := "it declares none"
	if len(p.Commands) > 0 {
		known = "it declares " + strings.Join(slices.Sorted(maps.Keys(p.Commands)), ", ")
	}
	return c, &Problem{UndeclaredCommand, "", fmt.Sprintf("the device's profile declares no command %.64q; %s", name, known)}
}

// Arguments gives a command's arguments in their types. Each must be there, in its range, and no other.
func Arguments(c contract.Command, args map[string]any) (map[string]any, error) {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if _, ok := c.Arguments[name]; !ok {
			return nil, &Problem{UnknownArgument, fmt.Sprintf("%.64q", name), "the command does not have it; leave it out"}
		}
	}
	out := make(map[string]any, len(args))
	for _, name := range slices.Sorted(maps.Keys(c.Arguments)) {
		v, given := args[name]
		if !given {
			return nil, &Problem{MissingArgument, name, "is not given; write " + wanted(c.Arguments[name])}
		}
		value, problem := Value(c.Arguments[name], v)
		if problem != nil {
			problem.Argument = name
			return nil, problem
		}
		out[name] = value
	}
	return out, nil
}

// Value gives a value in the Go type of an argument: float64, int64, bool or string. A time stays as it is written.
func Value(f contract.Field, v any) (any, *Problem) {
	switch f.Type {
	case "Number", "Integer":
		return number(f, v)
	case "Boolean":
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case "String", "Enum", "Time":
		if s, ok := v.(string); ok {
			return text(f, s)
		}
	}
	return nil, &Problem{Code: WrongType, Message: "is of another type; write " + wanted(f)}
}

// Parse reads a value that is written as text, as profiles and scenarios do.
func Parse(f contract.Field, s string) (any, *Problem) {
	switch f.Type {
	case "Number", "Integer":
		return Value(f, json.Number(s))
	case "Boolean":
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, &Problem{Code: WrongType, Message: "is of another type; write " + wanted(f)}
	}
	return Value(f, s)
}

func number(f contract.Field, v any) (any, *Problem) {
	var x float64
	switch n := v.(type) {
	case json.Number:
		parsed, err := strconv.ParseFloat(n.String(), 64)
		if err != nil {
			return nil, &Problem{Code: WrongType, Message: "is no number; write " + wanted(f)}
		}
		x = parsed
	case float64:
		x = n
	case int64:
		x = float64(n)
	default:
		return nil, &Problem{Code: WrongType, Message: "is of another type; write " + wanted(f)}
	}
	if f.Min == nil || f.Max == nil { // a device obeys, so a number that nobody bounded is not sent
		return nil, &Problem{Code: OutOfRange, Message: "has no range in the profile; write min and max there"}
	}
	if !(x >= *f.Min && x <= *f.Max) { // also for NaN
		return nil, &Problem{Code: OutOfRange, Message: "is out of range; write " + wanted(f)}
	}
	if f.Type == "Number" {
		return x, nil
	}
	if x != math.Trunc(x) || math.Abs(x) > maxInteger {
		return nil, &Problem{Code: WrongType, Message: "is no integer; write " + wanted(f)}
	}
	return int64(x), nil
}

func text(f contract.Field, s string) (any, *Problem) {
	switch f.Type {
	case "Enum":
		if !slices.Contains(f.Enum, s) {
			return nil, &Problem{Code: OutOfRange, Message: "is not among its values; write " + wanted(f)}
		}
	case "Time":
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return nil, &Problem{Code: WrongType, Message: "is no time; write " + wanted(f)}
		}
	}
	if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return nil, &Problem{Code: OutOfRange, Message: "is too long or holds control characters; write " + wanted(f)}
	}
	return s, nil
}

// wanted says what a value of the field looks like.
func wanted(f contract.Field) string {
	bounds := ""
	if f.Min != nil && f.Max != nil {
		bounds = fmt.Sprintf(" from %v to %v", strconv.FormatFloat(*f.Min, 'f', -1, 64), strconv.FormatFloat(*f.Max, 'f', -1, 64))
		if f.Unit != "" {
			bounds += " (" + f.Unit + ")"
		}
	}
	switch f.Type {
	case "Number":
		return "a number" + bounds
	case "Integer":
		return "an integer" + bounds
	case "Boolean":
		return "true or false"
	case "Enum":
		return "one of " + strings.Join(f.Enum, ", ")
	case "Time":
		return "a time such as 2026-01-01T08:00:00+08:00"
	}
	return fmt.Sprintf("text of at most %d bytes", maxText)
}
