package grid

import (
	"reflect"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// received is a message of a registered device, read in the terms of its profile.
type received struct {
	device
	row     contract.Device
	profile string
	channel contract.Channel
	payload rules.Payload
}

// receive finds out whose message it is and reads it. What it refuses it counts, by result and for the fleet; a device that was heard was
// heard even if what it said is refused. paced is the time of arrival by the clock of who took it, wrong as that may be: limits go by it.
func (b *batch) receive(subject string, raw []byte, arrived, paced time.Time) (received, bool) {
	if fleet, channel, err := contract.ParsePlatformSubject(subject); err == nil {
		return b.fromCloud(fleet, channel, raw, arrived)
	}
	fleet, name, channel, err := contract.ParseDeviceSubject(subject)
	f := b.s.bundle.Fleets[fleet]
	row, ok := f.Devices[name]
	switch up := err == nil && slices.Contains(contract.UpChannels(), channel); {
	case up && !ok && f.Open: // let in by the fleet's CA; it is heard when a row says where it hangs
		b.s.w.metrics.messages.WithLabelValues("unplaced").Inc()
		return received{}, false
	case !up || !ok:
		return b.refuse(fleet, "unregistered")
	}
	d := device{fleet, name}
	b.heard(d, arrived)
	switch {
	case tooLarge(f, raw):
		return b.refuse(fleet, "too_large")
	case !b.s.limiterOf(channel).allow(d, int64(f.Limits.MessagesPerMinute), b.s.w.burst, paced, b.now):
		return b.refuse(fleet, "limited")
	}
	if channel == contract.ChannelAck { // it has our own form whoever sends it, and no field of the profile
		return received{d, row, f.Profile, channel, rules.Payload{}}, true
	}
	if f.Mapping != nil {
		m := b.s.mapping(fleet)
		if m == nil {
			return b.refuse(fleet, "malformed")
		}
		got, err := m.Apply(contract.DeviceTopic(fleet, name, channel), raw)
		if err != nil {
			return b.refuse(fleet, "malformed")
		}
		return received{d, row, f.Profile, channel, got.Payload}, true
	}
	p, err := rules.Decode(b.s.bundle.Rules.Profiles[f.Profile], raw)
	if err != nil {
		return b.refuse(fleet, "malformed")
	}
	return received{d, row, f.Profile, channel, p}, true
}

// fromCloud reads what a cloud sent for one of the fleet's devices. The payload names the device, which is looked for in that fleet and
// in no other: a cloud says what it likes.
func (b *batch) fromCloud(fleet string, channel contract.PlatformChannel, raw []byte, arrived time.Time) (received, bool) {
	f := b.s.bundle.Fleets[fleet]
	if f.AccessMode != contract.AccessPlatform || channel != contract.PlatformUp {
		return b.refuse(fleet, "unregistered")
	}
	if tooLarge(f, raw) {
		return b.refuse(fleet, "too_large")
	}
	// The whole fleet first: an expression costs time, and who floods us need not name a device.
	perMinute := int64(f.Limits.MessagesPerMinute)
	if !b.s.limits.allow(device{fleet: fleet}, perMinute*int64(max(1, len(f.Devices))), cloudBurst, arrived, b.now) {
		return b.refuse(fleet, "limited")
	}
	if f.Mapping == nil || f.Mapping.Device == "" {
		return b.refuse(fleet, "malformed")
	}
	m := b.s.mapping(fleet)
	if m == nil {
		return b.refuse(fleet, "malformed")
	}
	got, err := m.Apply(contract.PlatformTopic(fleet, channel), raw)
	if err != nil {
		return b.refuse(fleet, "malformed")
	}
	row, ok := f.Devices[got.Device]
	if !ok {
		return b.refuse(fleet, "unregistered")
	}
	d := device{fleet, got.Device}
	b.heard(d, arrived)
	if !b.s.limits.allow(d, perMinute, b.s.w.burst, arrived, b.now) {
		return b.refuse(fleet, "limited")
	}
	return received{d, row, f.Profile, contract.ChannelTelemetry, got.Payload}, true
}

// limiterOf gives the limiter of a channel. Signals have one of their own: readings without end must not silence an alarm.
func (s *session) limiterOf(channel contract.Channel) *limiter {
	if channel == contract.ChannelSignal {
		return &s.signals
	}
	return &s.limits
}

func tooLarge(f contract.Fleet, raw []byte) bool {
	return f.Limits.PayloadBytes > 0 && len(raw) > int(f.Limits.PayloadBytes)
}

// heard notes that a device is there.
func (b *batch) heard(d device, at time.Time) { b.seen[d] = later(b.seen[d], at) }

// refuse counts a message that goes no further.
func (b *batch) refuse(fleet, result string) (received, bool) {
	b.s.w.metrics.messages.WithLabelValues(result).Inc()
	if _, ok := b.s.bundle.Fleets[fleet]; ok {
		b.invalid(fleet)
	}
	return received{}, false
}

// invalid counts a message that did not fit the profile of its fleet, or its limits.
func (b *batch) invalid(fleet string) {
	if b.misfits == nil {
		b.misfits = map[string]int64{}
	}
	b.misfits[fleet]++
}

// compiled is a mapping, and what it was made from.
type compiled struct {
	document contract.Mapping
	profile  contract.Profile
	// bundle in which that was seen last.
	bundle  *intake.Bundle
	mapping *rules.Mapping
}

// mapping gives the compiled mapping of a fleet that has one; nil if it names no device. It is compiled when what it says changes, or
// the profile does, and not with every bundle.
func (s *session) mapping(fleet string) *rules.Mapping {
	was, ok := s.mappings[fleet]
	if ok && was.bundle == s.bundle {
		return was.mapping
	}
	f := s.bundle.Fleets[fleet]
	is := compiled{*f.Mapping, s.bundle.Rules.Profiles[f.Profile], s.bundle, was.mapping}
	if !ok || !reflect.DeepEqual(was.document, is.document) || !reflect.DeepEqual(was.profile, is.profile) {
		var problems []rules.Problem
		is.mapping, problems = rules.NewMapping(is.document, is.profile)
		s.w.metrics.compiled.Inc()
		for _, p := range problems {
			s.w.log.Error("mapping does not fit its profile", "fleet", fleet, "profile", f.Profile, "field", p.Field, "problem", p.Message)
		}
	}
	s.mappings[fleet] = is
	return is.mapping
}

// forget drops the mappings of fleets that have none any more.
func (s *session) forget() {
	for fleet := range s.mappings {
		if s.bundle.Fleets[fleet].Mapping == nil {
			delete(s.mappings, fleet)
		}
	}
}
