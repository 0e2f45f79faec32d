package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// Line is one line of a trace: a message, a change of a case, a change of context, a row of the registry, a switch of mode, or only a time.
type Line struct {
	// Number of the line, from 1.
	Number int
	// At is when the line arrived. What a message says of its own time is in its payload.
	At time.Time
	// Topic and Payload of a message, as the broker has them.
	Topic   string
	Payload json.RawMessage
	// Change of a case; nil is none.
	Change *changed
	// Answer of a command; nil is none.
	Answer *answer
	// Context holds facts by name; a fact that is an object is a set, by member. null takes a fact back.
	Context map[string]any
	// Scope and ID are the place that the facts are about; without them, the platform.
	Scope rules.Scope
	ID    string
	// Device, as <fleet>/<device>, and Row are what the registry says of it from here on.
	Device string
	Row    *contract.Device
	// Mode (平战) that holds from here on; nil is no switch, "" the ordinary one.
	Mode *string
}

// written is a line as it is written.
type written struct {
	TS      string          `json:"ts"`
	Topic   string          `json:"topic"`
	Payload json.RawMessage `json:"payload"`
	Case    json.RawMessage `json:"case"`
	Answer  json.RawMessage `json:"answer"`
	Context map[string]any  `json:"context"`
	Scope   rules.Scope     `json:"scope"`
	ID      string          `json:"id"`
	Device  string          `json:"device"`
	Row     json.RawMessage `json:"row"`
	Mode    *string         `json:"mode"`
}

// maxLine bounds a line, in bytes: more than any message may have.
const maxLine = 1 << 20

// Read reads a trace: NDJSON, lines in the order in which they arrived. Empty lines and lines that begin with # count for nothing. The
// error names the file by name, the line, what is wrong and what to write.
func Read(r io.Reader, name string) ([]Line, error) {
	var out []Line
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		line, err := parse(text)
		if err == nil && len(out) > 0 && line.At.Before(out[len(out)-1].At) {
			last := out[len(out)-1]
			err = fmt.Errorf("ts %s lies before that of line %d: lines stand in the order in which they arrived; of a late message ts is when it arrived, and payload.ts when it was sent", line.At.Format(time.RFC3339), last.Number)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		line.Number = n
		out = append(out, line)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s:%d: the line is longer than %d bytes", name, n+1, maxLine)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf(`%s: holds no line; write {"ts":"2026-03-01T08:00:00+08:00","topic":"dizuo/v1/d/<fleet>/<device>/signal","payload":{...}}`, name)
	}
	return out, nil
}

// errCutOff is of a line that ends within its JSON, as one does that was being written when the recorder stopped.
var errCutOff = errors.New("the line is cut off; remove it or write it whole")

func parse(text []byte) (Line, error) {
	var w written
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&w)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Line{}, errCutOff
	}
	if err != nil {
		return Line{}, fmt.Errorf("%w; a line is one JSON object with ts, and topic with payload, or case, or answer, or context, or device with row, or mode", err)
	}
	if d.More() {
		return Line{}, errors.New("more than one JSON object on the line; write each on a line of its own")
	}
	at, err := time.Parse(time.RFC3339, w.TS)
	if err != nil {
		return Line{}, fmt.Errorf("ts %q is not a time; write one such as 2026-03-01T08:00:00+08:00", w.TS)
	}
	l := Line{At: at, Topic: w.Topic, Payload: w.Payload, Context: w.Context, Scope: w.Scope, ID: w.ID, Device: w.Device, Mode: w.Mode}
	if err := w.check(); err != nil {
		return l, err
	}
	if w.Case != nil {
		l.Change, err = readChange(w.Case)
	}
	if w.Answer != nil {
		l.Answer, err = readAnswer(w.Answer)
	}
	if err != nil || w.Row == nil {
		return l, err
	}
	row := json.NewDecoder(bytes.NewReader(w.Row))
	row.DisallowUnknownFields()
	if err := row.Decode(&l.Row); err != nil {
		return l, fmt.Errorf("row: %w", err)
	}
	return l, nil
}

func (w written) check() error {
	switch {
	case (w.Topic == "") != (w.Payload == nil):
		return errors.New("topic and payload go together")
	case (w.Device == "") != (w.Row == nil):
		return errors.New("device and row go together")
	case w.kinds() > 1:
		return errors.New("a line has a message, a case, an answer, a context, a row or a mode; write a line for each")
	case w.Row != nil && strings.Count(w.Device, "/") != 1:
		return fmt.Errorf("device %q: write <fleet>/<device>", w.Device)
	case w.Context == nil && (w.Scope != "" || w.ID != ""):
		return errors.New("scope and id are those of a context")
	case w.Context != nil:
		return w.place()
	}
	return nil
}

// kinds counts what the line says.
func (w written) kinds() (n int) {
	for _, is := range []bool{w.Topic != "", w.Case != nil, w.Answer != nil, w.Context != nil, w.Row != nil, w.Mode != nil} {
		if is {
			n++
		}
	}
	return n
}

// place checks where facts are said of.
func (w written) place() error {
	wide := w.Scope == "" || w.Scope == rules.ScopePlatform
	switch {
	case !wide && !slices.Contains(rules.Scopes(), w.Scope):
		return fmt.Errorf("scope %q is none; write one of %s", w.Scope, join(rules.Scopes()))
	case wide && w.ID != "":
		return errors.New(`id names a place, and scope says of which kind; write scope too, such as "Household"`)
	case !wide && w.ID == "":
		return fmt.Errorf("scope %s needs the id of the place: a household, <fleet>/<device>, or the names from the community down, such as <community>/<compound>/<building>", w.Scope)
	}
	return nil
}

func join(scopes []rules.Scope) string {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}
