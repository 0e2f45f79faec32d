// Package reading says what a device's message is: whose, whether within the limits of its fleet, which fields of its profile, of what
// time. The grid service and an edge node read alike, so that the scenario engine gives the same alarms at both.
//
//	Reader.Read      subject and payload -> Reading, or why it goes no further
//	Reading.Message  -> what the engine takes
//	limit.go         so many messages a minute
//
// The package is pure but for what a Reader remembers: mappings that were compiled, and how much each device sent. It reads no clock.
package reading

import (
	"reflect"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

const (
	// clockSkew is by how much a clock may be ahead of the reader's before the reader's is taken instead.
	clockSkew = 5 * time.Minute
	// oldest is how far back a message may be dated.
	oldest = 30 * 24 * time.Hour
)

// Refusal is why a message goes no further. Refusals are stable: metrics bear them.
type Refusal string

// Refusals; empty is none.
const (
	// Unplaced: of a device that its fleet's CA lets in and no row names.
	Unplaced Refusal = "unplaced"
	// Unregistered: of nobody's device, or on no topic of a device.
	Unregistered Refusal = "unregistered"
	// TooLarge: more bytes than the fleet allows.
	TooLarge Refusal = "too_large"
	// Limited: more messages than the fleet allows.
	Limited Refusal = "limited"
	// Malformed: no JSON object, or nothing that the fleet's mapping can read.
	Malformed Refusal = "malformed"
)

// Reading is a message of a registered device in the terms of its profile.
type Reading struct {
	Fleet, Device string
	Row           contract.Device
	Profile       string
	Channel       contract.Channel
	// Payload is empty on the channel of acks, which has a form of its own.
	Payload rules.Payload
}

// Reader reads messages under one bundle after the other. It is not safe for concurrent use. Its zero value knows no fleet.
type Reader struct {
	// Burst is how long a device may send at once what its limit gives for that time; 0 is DeviceBurst.
	Burst time.Duration
	// Compiled hears of each mapping that is compiled, and what does not fit the profile; it may be nil.
	Compiled func(fleet, profile string, problems []rules.Problem)

	profiles map[string]contract.Profile
	fleets   map[string]contract.Fleet
	// generation counts bundles.
	generation int
	mappings   map[string]compiled
	// limits of devices, and of the signals that they send.
	limits, signals limiter
}

// Update takes another bundle's profiles and fleets, and drops the mappings of fleets that have none any more.
func (r *Reader) Update(profiles map[string]contract.Profile, fleets map[string]contract.Fleet) {
	r.profiles, r.fleets = profiles, fleets
	r.generation++
	for fleet := range r.mappings {
		if fleets[fleet].Mapping == nil {
			delete(r.mappings, fleet)
		}
	}
}

// Read finds out whose message it is and reads it. arrived is when it came, paced the same by the clock of who took it, wrong as that may
// be: limits go by it; now is the reader's own time. Where a message is refused, the Reading names the device if one was heard: a device
// that was heard was heard even if what it said is refused.
func (r *Reader) Read(subject string, raw []byte, arrived, paced, now time.Time) (Reading, Refusal) {
	if fleet, channel, err := contract.ParsePlatformSubject(subject); err == nil {
		return r.fromCloud(fleet, channel, raw, arrived, now)
	}
	fleet, name, channel, err := contract.ParseDeviceSubject(subject)
	f := r.fleets[fleet]
	row, ok := f.Devices[name]
	switch up := err == nil && slices.Contains(contract.UpChannels(), channel); {
	case up && !ok && f.Open: // let in by the fleet's CA; it is heard when a row says where it hangs
		return Reading{}, Unplaced
	case !up || !ok:
		return Reading{Fleet: fleet}, Unregistered
	}
	in := Reading{Fleet: fleet, Device: name, Row: row, Profile: f.Profile, Channel: channel}
	switch {
	case tooLarge(f, raw):
		return in, TooLarge
	case !r.limiterOf(channel).allow(device{fleet, name}, int64(f.Limits.MessagesPerMinute), r.burst(), paced, now):
		return in, Limited
	}
	if channel == contract.ChannelAck { // it has our own form whoever sends it, and no field of the profile
		return in, ""
	}
	if f.Mapping != nil {
		m := r.mapping(fleet)
		if m == nil {
			return in, Malformed
		}
		got, err := m.Apply(contract.DeviceTopic(fleet, name, channel), raw)
		if err != nil {
			return in, Malformed
		}
		in.Payload = got.Payload
		return in, ""
	}
	if in.Payload, err = rules.Decode(r.profiles[f.Profile], raw); err != nil {
		return in, Malformed
	}
	return in, ""
}

// fromCloud reads what a cloud sent for one of the fleet's devices. The payload names the device, which is looked for in that fleet and
// in no other: a cloud says what it likes.
func (r *Reader) fromCloud(fleet string, channel contract.PlatformChannel, raw []byte, arrived, now time.Time) (Reading, Refusal) {
	f, nobody := r.fleets[fleet], Reading{Fleet: fleet}
	if f.AccessMode != contract.AccessPlatform || channel != contract.PlatformUp {
		return nobody, Unregistered
	}
	if tooLarge(f, raw) {
		return nobody, TooLarge
	}
	// The whole fleet first: an expression costs time, and who floods us need not name a device.
	perMinute := int64(f.Limits.MessagesPerMinute)
	if !r.limits.allow(device{fleet: fleet}, perMinute*int64(max(1, len(f.Devices))), cloudBurst, arrived, now) {
		return nobody, Limited
	}
	if f.Mapping == nil || f.Mapping.Device == "" {
		return nobody, Malformed
	}
	m := r.mapping(fleet)
	if m == nil {
		return nobody, Malformed
	}
	got, err := m.Apply(contract.PlatformTopic(fleet, channel), raw)
	if err != nil {
		return nobody, Malformed
	}
	row, ok := f.Devices[got.Device]
	if !ok {
		return nobody, Unregistered
	}
	in := Reading{Fleet: fleet, Device: got.Device, Row: row, Profile: f.Profile, Channel: contract.ChannelTelemetry, Payload: got.Payload}
	if !r.limits.allow(device{fleet, got.Device}, perMinute, r.burst(), arrived, now) {
		return in, Limited
	}
	return in, ""
}

// Message gives what the engine takes. arrived is when the message came, id names it where the payload does not.
func (in Reading) Message(raw []byte, arrived time.Time, id string) rules.Message {
	at, p := arrived, in.Payload
	if !p.Time.IsZero() && p.Time.Before(arrived.Add(clockSkew)) && p.Time.After(arrived.Add(-oldest)) {
		at, id = p.Time, contract.Digest(raw) // the same words about the same time are the same message
	}
	if p.ID != "" {
		id = "id " + p.ID
	}
	return rules.Message{Time: at, ID: id, Fleet: in.Fleet, Device: in.Device, Row: in.Row, Profile: in.Profile, Channel: in.Channel, Payload: p.Fields}
}

// Arrival gives when a message came of which an edge node's outbox says at, in Unix milliseconds; now where that is not believed.
func Arrival(at int64, now time.Time) time.Time {
	if !Believed(at, now) {
		return now
	}
	return time.UnixMilli(at).UTC()
}

// Believed says whether a message can have come at a time that an edge node's outbox says, in Unix milliseconds. A clock that is far off is not
// believed: then nobody knows how old the message is.
func Believed(at int64, now time.Time) bool {
	t := time.UnixMilli(at)
	return !t.After(now.Add(clockSkew)) && !t.Before(now.Add(-oldest))
}

// maxPaced bounds a time by an edge node's clock that limits go by, in Unix milliseconds: the year 2255, which fits nanoseconds.
const maxPaced = 9_000_000_000_000

// Paced gives the time that limits go by for a message of which an edge node's outbox says at, in Unix milliseconds.
func Paced(at int64) time.Time { return time.UnixMilli(min(max(at, 0), maxPaced)) }

// limiterOf gives the limiter of a channel. Signals have one of their own: readings without end must not silence an alarm.
func (r *Reader) limiterOf(channel contract.Channel) *limiter {
	if channel == contract.ChannelSignal {
		return &r.signals
	}
	return &r.limits
}

func (r *Reader) burst() time.Duration {
	if r.Burst == 0 {
		return DeviceBurst
	}
	return r.Burst
}

func tooLarge(f contract.Fleet, raw []byte) bool {
	return f.Limits.PayloadBytes > 0 && len(raw) > int(f.Limits.PayloadBytes)
}

// compiled is a mapping, and what it was made from.
type compiled struct {
	document contract.Mapping
	profile  contract.Profile
	// generation in which that was seen last.
	generation int
	mapping    *rules.Mapping
}

// mapping gives the compiled mapping of a fleet that has one; nil if it names no device. It is compiled when what it says changes, or
// the profile does, and not with every bundle.
func (r *Reader) mapping(fleet string) *rules.Mapping {
	was, ok := r.mappings[fleet]
	if ok && was.generation == r.generation {
		return was.mapping
	}
	f := r.fleets[fleet]
	is := compiled{*f.Mapping, r.profiles[f.Profile], r.generation, was.mapping}
	if !ok || !reflect.DeepEqual(was.document, is.document) || !reflect.DeepEqual(was.profile, is.profile) {
		var problems []rules.Problem
		is.mapping, problems = rules.NewMapping(is.document, is.profile)
		if r.Compiled != nil {
			r.Compiled(fleet, f.Profile, problems)
		}
	}
	if r.mappings == nil {
		r.mappings = map[string]compiled{}
	}
	r.mappings[fleet] = is
	return is.mapping
}
