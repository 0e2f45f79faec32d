package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Names that every payload may carry beside the fields of its profile.
const (
	// FieldTime is the RFC 3339 time that the message speaks of.
	FieldTime = "ts"
	// FieldID makes a resent message known as a repeat.
	FieldID = "id"
)

// maxText bounds a text field in bytes; it also bounds what an expression can cost.
const maxText = 256

// FieldProblem names a field of a payload that was left out, and why. It never repeats the value.
type FieldProblem struct {
	// Field of the profile.
	Field string
	// Reason is "WrongType", "OutOfRange", "Missing", "Unknown" or, of an expression of a mapping, "Failed".
	Reason string
}

// Payload is a decoded payload.
type Payload struct {
	// Fields that are well-formed: float64, int64, bool, string or time.Time.
	Fields map[string]any
	// Time is what the payload says, or zero.
	Time time.Time
	// ID is what the payload says, or empty.
	ID string
	// Problems with single fields; the others are used all the same.
	Problems []FieldProblem
}

// Decode reads a payload (one JSON object) against a profile. A field with the wrong type or out of range is left out and
// named in Problems; the error is for a payload that is no JSON object at all.
func Decode(p contract.Profile, raw []byte) (Payload, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var values map[string]any
	if err := d.Decode(&values); err != nil || values == nil {
		return Payload{}, errors.New("payload is no JSON object: send one object with the fields of the profile")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Payload{}, errors.New("payload goes on after its JSON object: send one object only")
	}
	out := Payload{Fields: make(map[string]any, len(values))}
	for name, v := range values {
		if f, ok := p.Fields[name]; ok {
			out.take(name, f, v)
			continue
		}
		if !out.takeCommon(name, v) {
			out.Problems = append(out.Problems, FieldProblem{unknownField, "Unknown"})
		}
	}
	for name, f := range p.Fields {
		if _, sent := values[name]; f.Required && !sent {
			out.Problems = append(out.Problems, FieldProblem{name, "Missing"})
		}
	}
	return out, nil
}

// unknownField stands for every name that is not in the profile: a device must not choose the labels of our metrics.
const unknownField = "(unknown)"

// take reads one field of the profile.
func (p *Payload) take(name string, f contract.Field, v any) {
	value, reason := convert(f, v)
	if reason != "" {
		p.Problems = append(p.Problems, FieldProblem{name, reason})
		return
	}
	p.Fields[name] = value
}

// takeCommon reads ts and id and says whether the name is one of them.
func (p *Payload) takeCommon(name string, v any) bool {
	s, isText := v.(string)
	switch name {
	case FieldTime:
		t, err := time.Parse(time.RFC3339, s)
		if !isText || err != nil {
			p.Problems = append(p.Problems, FieldProblem{FieldTime, "WrongType"})
			return true
		}
		p.Time = t
	case FieldID:
		if !isText || len(s) > maxText {
			p.Problems = append(p.Problems, FieldProblem{FieldID, "WrongType"})
			return true
		}
		p.ID = s
	default:
		return false
	}
	return true
}

// convert gives the value in the field's Go type, or the reason why it has none.
func convert(f contract.Field, v any) (value any, reason string) {
	switch f.Type {
	case "Number", "Integer":
		return convertNumber(f, v)
	case "Boolean":
		if b, ok := v.(bool); ok {
			return b, ""
		}
	case "String":
		if s, ok := v.(string); ok {
			if len(s) > maxText {
				return nil, "OutOfRange"
			}
			return s, ""
		}
	case "Enum":
		if s, ok := v.(string); ok {
			if !slices.Contains(f.Enum, s) {
				return nil, "OutOfRange"
			}
			return s, ""
		}
	case "Time":
		if s, ok := v.(string); ok {
			if t, err := time.Parse(time.RFC3339, s); err == nil {
				return t, ""
			}
		}
	}
	return nil, "WrongType"
}

func convertNumber(f contract.Field, v any) (value any, reason string) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, "WrongType"
	}
	x, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || math.IsInf(x, 0) {
		return nil, "OutOfRange"
	}
	if f.Min != nil && x < *f.Min || f.Max != nil && x > *f.Max {
		return nil, "OutOfRange"
	}
	if f.Type == "Number" {
		return x, ""
	}
	if i, err := n.Int64(); err == nil {
		return i, ""
	}
	if x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return nil, "WrongType"
	}
	return int64(x), "" // 3.0 is an integer, too
}

// String names the field and the reason.
func (p FieldProblem) String() string { return fmt.Sprintf("%s: %s", p.Field, p.Reason) }
