package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// Kinds of output that are of single messages.
const (
	// KindAct: a scenario acts on a case.
	KindAct = "act"
	// KindLedger: an entry in a ledger.
	KindLedger = "ledger"
)

// changed is a change of a case, as a line has it: the fields that scenarios see, and where the case is.
type changed struct {
	fields map[string]any
	row    contract.Device
	// derived says that a scenario opened the case upon changes of cases.
	derived bool
}

// readChange reads {"number": ..., "event": ..., "community": ..., "grid": ...}.
func readChange(raw json.RawMessage) (*changed, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("case: %w", err)
	}
	out := &changed{}
	for name, to := range map[string]any{"community": &out.row.Community, "grid": &out.row.Grid, "compound": &out.row.Compound, "building": &out.row.Building,
		"household": &out.row.Household, "derived": &out.derived} {
		if v, there := all[name]; there {
			if err := json.Unmarshal(v, to); err != nil {
				return nil, fmt.Errorf("case.%s: %w", name, err)
			}
			delete(all, name)
		}
	}
	rest, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("case: %w", err)
	}
	fields, err := fieldsOf(contract.CaseProfile, rest)
	if err != nil {
		return nil, fmt.Errorf("case: %w", err)
	}
	if out.fields = fields; fields["number"] == nil || fields["event"] == nil {
		return nil, errors.New(`case: write the number of the case and the event, such as {"number": "20260301-000001", "event": "ResolveOverdue"}`)
	}
	return out, nil
}

// fieldsOf reads the fields of what is no device; the error names one that is wrong.
func fieldsOf(profile string, raw json.RawMessage) (map[string]any, error) {
	p, _ := contract.InputProfile(profile)
	in, err := rules.Decode(p, raw)
	if err != nil {
		return nil, err
	}
	for _, x := range in.Problems {
		return nil, fmt.Errorf("%s; fields are %s", x, strings.Join(slices.Sorted(maps.Keys(p.Fields)), ", "))
	}
	return in.Fields, nil
}

// message writes a change as the engine reads it from the feed.
func (c *changed) message(l Line) rules.Message {
	number, _ := c.fields["number"].(string)
	return rules.Message{Time: l.At, ID: fmt.Sprint("line ", l.Number), Fleet: contract.CaseFleet, Device: number, Row: c.row, Profile: contract.CaseProfile, Payload: c.fields, Derived: c.derived}
}

// answer is what became of a command: its fields, and the device.
type answer struct {
	fleet, device string
	fields        map[string]any
}

// readAnswer reads {"device": "<fleet>/<device>", "command": ..., "state": ...}.
func readAnswer(raw json.RawMessage) (*answer, error) {
	var all map[string]json.RawMessage
	var device string
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if err := json.Unmarshal(all["device"], &device); err != nil || strings.Count(device, "/") != 1 {
		return nil, errors.New("answer.device: write <fleet>/<device>")
	}
	delete(all, "device")
	rest, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	out := &answer{}
	out.fleet, out.device, _ = strings.Cut(device, "/")
	if out.fields, err = fieldsOf(contract.CommandProfile, rest); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if out.fields["command"] == nil || out.fields["state"] == nil {
		return nil, errors.New(`answer: write the command and its state, such as {"device": "valves/v-1", "command": "closeValve", "state": "Failed"}`)
	}
	return out, nil
}

// answer takes what became of a command to the engine.
func (p *player) answer(l Line) error {
	a := l.Answer
	if _, _, ok := p.lookup(a.fleet, a.device); !ok {
		if err := p.world.put(a.fleet, a.device, contract.Device{}, &p.reader); err != nil {
			return err
		}
	}
	row, _, _ := p.lookup(a.fleet, a.device)
	p.heed(rules.Message{Time: l.At, ID: fmt.Sprint("line ", l.Number), Fleet: a.fleet, Device: a.device, Row: row, Profile: contract.CommandProfile, Payload: a.fields})
	return nil
}

// did is what single messages did, by its name, once.
type did map[string]done

// done is what a message did, and the community that it is of.
type done struct {
	rules.Event
	community string
}

func (d did) take(events []rules.Event, community string) {
	for _, e := range events {
		if e.Effect != nil {
			d[e.Scenario+"|"+e.ID+"|"+e.Effect.Once] = done{e, community}
		}
	}
}

// effects gives the lines of what single messages did up to the end: entries as far as the cap of the day leaves room, in order of time.
func (p *player) effects(end time.Time) (out []Output) {
	all := slices.SortedFunc(maps.Values(p.did), func(a, b done) int { return a.At.Compare(b.At) })
	sums := map[string]float64{}
	for _, e := range all {
		if e.At.After(end) {
			continue
		}
		s := p.world.Rules.Scenarios[e.Scenario]
		o := Output{TS: e.At.In(p.zone()), Scenario: e.Scenario, Community: e.community}
		if e.Kind == rules.Acted {
			o.Kind, o.Act, o.Case = KindAct, s.Act, e.Device
			out = append(out, o)
			continue
		}
		day := s.Ledger.Name + "|" + e.Effect.Subject + "|" + o.TS.Format(time.DateOnly)
		amount := rules.Capped(s.Ledger.DailyCap, sums[day], e.Effect.Amount)
		if amount == 0 {
			continue
		}
		sums[day] += amount
		o.Kind, o.Device, o.Ledger, o.Subject, o.Amount = KindLedger, e.ID, s.Ledger.Name, e.Effect.Subject, amount
		out = append(out, o)
	}
	return out
}
