package trace

import (
	"bytes"
	"cmp"
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

// Kinds of output.
const (
	KindRaised  = "raised"
	KindCleared = "cleared"
	KindCommand = "command"
	// KindCase: an alarm stood for as long as its scenario says, and its case is opened. Other cases are opened as their alarm is raised.
	KindCase = "case"
)

// Output is one line that comes out.
type Output struct {
	TS       time.Time `json:"ts"`
	Scenario string    `json:"scenario"`
	// Community and Device that the alarm is of; an alarm of a wider place has Scope and Place instead of the device.
	Community string      `json:"community"`
	Device    string      `json:"device,omitempty"`
	Scope     rules.Scope `json:"scope,omitempty"`
	Place     string      `json:"place,omitempty"`
	// Kind is raised, cleared, command, case, act or ledger. Severity is what it came to in the end.
	Kind     string            `json:"kind"`
	Severity contract.Severity `json:"severity,omitempty"`
	Title    string            `json:"title,omitempty"`
	// With are the scenarios and raises that made it graver.
	With []string `json:"with,omitempty"`
	// Command and Target of a command.
	Command string `json:"command,omitempty"`
	Target  string `json:"target,omitempty"`
	// Case by number, and Act, of an act; Ledger, Subject and Amount of an entry.
	Case    string  `json:"case,omitempty"`
	Act     string  `json:"act,omitempty"`
	Ledger  string  `json:"ledger,omitempty"`
	Subject string  `json:"subject,omitempty"`
	Amount  float64 `json:"amount,omitempty"`
}

// Text gives the line.
func (o Output) Text() string {
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err) // a plain value
	}
	return string(raw)
}

// outputs gives the settled list as lines. What would only happen after the end of the clock is left out.
func (p *player) outputs(end time.Time) []Output {
	var out []Output
	for _, a := range p.settled.List() {
		if a.Began.After(end) {
			continue
		}
		s := p.world.Rules.Scenarios[a.Scenario]
		o := p.about(a, s)
		raised := o
		raised.Kind, raised.TS, raised.With = KindRaised, a.Began.In(p.zone()), slices.Sorted(slices.Values(a.With))
		out = append(append(out, raised), commands(s, o, a.Began.In(p.zone()), string(rules.Raised))...)
		row, _, _ := p.lookup(a.Fleet, a.Device)
		after := s.AfterIn(a.Mode, row.Community)
		if at := a.Began.Add(time.Duration(after) * time.Second); after > 0 && !at.After(end) && (a.Cleared.IsZero() || a.Cleared.After(at)) {
			o.Kind, o.TS = KindCase, at.In(p.zone())
			out = append(out, o)
		}
		if a.Cleared.IsZero() || a.Cleared.After(end) {
			continue
		}
		o.Kind, o.TS = KindCleared, a.Cleared.In(p.zone())
		out = append(append(out, o), commands(s, o, a.Cleared.In(p.zone()), string(rules.Cleared))...)
	}
	out = append(out, p.effects(end)...)
	slices.SortStableFunc(out, func(a, b Output) int {
		return cmp.Or(a.TS.Compare(b.TS), cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Community, b.Community), cmp.Compare(a.Device, b.Device),
			cmp.Compare(a.Place, b.Place), -cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Command, b.Command))
	})
	return out
}

// zone is where people read the time.
func (p *player) zone() *time.Location {
	if p.world.Zone == nil {
		return time.UTC
	}
	return p.world.Zone
}

// about says what an alarm is of.
func (p *player) about(a rules.Standing, s contract.Scenario) Output {
	row, _, _ := p.lookup(a.Fleet, a.Device)
	row = within(a.Scope, row)
	o := Output{Scenario: a.Scenario, Community: row.Community, Device: a.ID, Severity: a.Severity}
	device := a.Device
	if a.Scope != rules.ScopeDevice {
		o.Device, o.Scope, o.Place, device = "", a.Scope, a.ID, ""
	}
	o.Title = contract.FillTitle(s.Title, contract.Directory{Communities: p.world.Communities}, row, device)
	return o
}

// within leaves of a row what the place has in common: which of its devices spoke first is chance.
func within(s rules.Scope, row contract.Device) contract.Device {
	switch s {
	case rules.ScopePlatform:
		return contract.Device{}
	case rules.ScopeCommunity, rules.ScopeGrid, rules.ScopeMicroGrid:
		return contract.Device{Community: row.Community}
	case rules.ScopeCompound:
		return contract.Device{Community: row.Community, Compound: row.Compound}
	}
	return row
}

func commands(s contract.Scenario, o Output, at time.Time, when string) (out []Output) {
	for _, c := range s.Commands {
		if c.At == when {
			out = append(out, Output{TS: at, Scenario: o.Scenario, Community: o.Community, Device: o.Device, Scope: o.Scope, Place: o.Place, Kind: KindCommand, Command: c.Command, Target: c.Target})
		}
	}
	return out
}

// ReadExpected reads the lines that are expected, in any order of their fields.
func ReadExpected(raw []byte, name string) ([]string, error) {
	var out []string
	n := 0
	for text := range bytes.Lines(raw) {
		n++
		if text = bytes.TrimSpace(text); len(text) == 0 || text[0] == '#' {
			continue
		}
		var o Output
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err := d.Decode(&o)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%s:%d: %w", name, n, errCutOff)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w; write the lines as `dizuo scenario test` prints them", name, n, err)
		}
		out = append(out, o.same())
	}
	return out, nil
}

// same gives a line that two outputs share if they say the same, whatever zone their time is written in.
func (o Output) same() string {
	o.TS = o.TS.UTC()
	return o.Text()
}

// Difference gives what is expected and does not come ("- "), and what comes and is not expected ("+ "), in order of time; nil is none.
func Difference(expected []string, got []Output) []string {
	left := slices.Clone(expected)
	var out []string
	for _, o := range got {
		if i := slices.Index(left, o.same()); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		out = append(out, "+ "+o.same())
	}
	for _, text := range left {
		out = append(out, "- "+text)
	}
	slices.SortStableFunc(out, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return out
}
