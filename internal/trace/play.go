package trace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/reading"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// Played is what became of a trace.
type Played struct {
	// Lines that come out, in order.
	Outputs []Output
	// Notes say what was wrong with a line of the trace, such as a field of another type: the rest of it counts.
	Notes []Note
}

// Note is what is to be said of a line of the trace.
type Note struct {
	Line int
	Text string
}

// Play plays a trace. until is the end of the trace's clock; zero is the last line. The engine waits for late evidence as it does in
// service, and what comes out is the settled list: alarms as all evidence up to the end leaves them. An error is one of a line that names
// no device of the world.
func Play(w World, lines []Line, until time.Time) (Played, error) {
	p := player{}
	return p.play(w, lines, until)
}

func (p *player) play(w World, lines []Line, until time.Time) (Played, error) {
	p.world = w
	p.world.Fleets = maps.Clone(w.Fleets)
	if p.world.Fleets == nil {
		p.world.Fleets = map[string]contract.Fleet{}
	}
	p.did, p.cases = did{}, map[string]contract.Device{}
	p.reader.Update(p.world.Rules.Profiles, p.world.Fleets)
	if err := p.begin(); err != nil {
		return Played{}, err
	}
	for _, l := range lines {
		if !until.IsZero() && l.At.After(until) {
			break
		}
		p.tick(l.At)
		if err := p.take(l); err != nil {
			return Played{}, fmt.Errorf("line %d: %w", l.Number, err)
		}
		if p.each == nil {
			continue
		}
		if err := p.each(p); err != nil {
			return Played{}, err
		}
	}
	end := lines[len(lines)-1].At
	if !until.IsZero() {
		end = until
	}
	p.tick(end.Add(patience))
	return Played{Outputs: p.outputs(end), Notes: p.out.Notes}, nil
}

// patience is what the engine waits for late evidence at most before it fires by time: the longest lateness that a scenario may have.
const patience = 24 * time.Hour

type player struct {
	world   World
	reader  reading.Reader
	engine  *rules.Engine
	settled rules.Settled
	did     did
	// cases are where cases are, by number.
	cases map[string]contract.Device
	out   Played
	// said are the facts, and switched the switches of the mode so far: an engine that takes over is told of them.
	said     []rules.Fact
	switched []contract.ModeSwitch
	// line that is played now.
	line int
	// each is called after each line; nil is not.
	each func(*player) error
}

func (p *player) begin() error {
	engine, problems := rules.New(p.world.Rules, rules.Options{
		Zone:      p.world.Zone,
		Rows:      p.lookup,
		OnError:   func(scenario, part string, err error) { p.note("scenario %s: %s: %v", scenario, part, err) },
		OnTooLate: func(scenario string) { p.note("too late for scenario %s, whose lateness is over", scenario) },
		OnUnplaced: func(scenario string) {
			p.note("the device's row does not say the place that scenario %s is about", scenario)
		},
	})
	for _, x := range problems {
		return fmt.Errorf("scenario %s: %s: %s", x.Scenario, x.Field, x.Message)
	}
	p.engine = engine
	for _, f := range p.said {
		p.engine.Know(f)
	}
	for _, m := range p.switched {
		p.engine.SetMode(m.Mode, m.Since)
	}
	return nil
}

func (p *player) note(format string, args ...any) {
	n := Note{p.line, fmt.Sprintf(format, args...)}
	if !slices.Contains(p.out.Notes, n) {
		p.out.Notes = append(p.out.Notes, n)
	}
}

// heed takes what a message does.
func (p *player) heed(m rules.Message) {
	events := p.engine.Step(m)
	p.did.take(events, m.Row.Community)
	p.settled.Take(events)
}

func (p *player) tick(now time.Time) { p.settled.Take(p.engine.Tick(now, p.lookup)) }

func (p *player) lookup(fleet, device string) (contract.Device, string, bool) {
	if fleet == contract.CaseFleet {
		row, ok := p.cases[device]
		return row, contract.CaseProfile, ok
	}
	f, ok := p.world.Fleets[fleet]
	if !ok {
		return contract.Device{}, "", false
	}
	row, ok := f.Devices[device]
	return row, f.Profile, ok
}

func (p *player) take(l Line) error {
	p.line = l.Number
	switch {
	case l.Topic != "":
		return p.message(l)
	case l.Change != nil:
		m := l.Change.message(l)
		p.cases[m.Device] = m.Row
		p.heed(m)
	case l.Answer != nil:
		return p.answer(l)
	case l.Row != nil:
		fleet, device, _ := strings.Cut(l.Device, "/")
		return p.world.put(fleet, device, *l.Row, &p.reader)
	case l.Mode != nil:
		p.switched = append(p.switched, contract.ModeSwitch{Mode: *l.Mode, Since: l.At})
		p.engine.SetMode(*l.Mode, l.At)
	default:
		for _, name := range slices.Sorted(maps.Keys(l.Context)) {
			p.fact(l, name, l.Context[name])
		}
	}
	return nil
}

// fact says one fact; an object is a set.
func (p *player) fact(l Line, name string, value any) {
	f := rules.Fact{Scope: l.Scope, ID: l.ID, Name: name, Value: value, Since: l.At}
	if f.Scope == "" {
		f.Scope = rules.ScopePlatform
	}
	members, isSet := value.(map[string]any)
	if !isSet {
		p.say(f)
		return
	}
	for _, member := range slices.Sorted(maps.Keys(members)) {
		f.Member, f.Value = member, members[member]
		p.say(f)
	}
}

func (p *player) say(f rules.Fact) {
	p.said = append(p.said, f)
	p.settled.Take(p.engine.SetFact(f, p.lookup))
}

// message takes one message as the grid service does.
func (p *player) message(l Line) error {
	subject, err := p.world.register(l.Topic, &p.reader)
	if err != nil {
		return err
	}
	in, refused := p.reader.Read(subject, l.Payload, l.At, l.At, l.At)
	if refused != "" {
		p.note("%s: not taken: %s", l.Topic, words[refused])
		return nil
	}
	for _, x := range in.Payload.Problems {
		p.note("%s: field %s: %s", l.Topic, x.Field, x.Reason)
	}
	if in.Channel != contract.ChannelAck {
		p.heed(in.Message(l.Payload, l.At, fmt.Sprint("line ", l.Number)))
	}
	return nil
}

// words say what a refusal means.
var words = map[reading.Refusal]string{
	reading.Unplaced: "no row of the fleet names the device", reading.Unregistered: "the fleet has no such device, or devices do not send on this topic",
	reading.TooLarge: "larger than the fleet allows", reading.Limited: "more messages a minute than the fleet allows", reading.Malformed: "not what the profile or the mapping can read",
}
