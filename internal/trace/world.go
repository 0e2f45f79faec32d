package trace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/reading"
)

// World is what a trace is played against.
type World struct {
	Rules contract.Rules
	// Fleets by name, with their devices. A fleet that no file has may be named in a trace after its profile: its devices are then those
	// that speak.
	Fleets map[string]contract.Fleet
	// Communities by name, for titles.
	Communities map[string]contract.Community
	// Zone of the platform; nil is UTC.
	Zone *time.Location
}

// register finds the device of a topic, and makes one where the fleet is only named. It gives the subject that the broker has for the topic.
func (w *World) register(topic string, reader *reading.Reader) (string, error) {
	subject := strings.ReplaceAll(topic, "/", ".")
	if _, _, err := contract.ParsePlatformSubject(subject); err == nil {
		return subject, nil // a cloud's: its payload names the device
	}
	fleet, device, _, err := contract.ParseDeviceSubject(subject)
	if err != nil {
		return "", fmt.Errorf("topic %q: %w; devices send on dizuo/v1/d/<fleet>/<device>/{telemetry,signal,state}", topic, err)
	}
	if _, there := w.Fleets[fleet].Devices[device]; there {
		return subject, nil
	}
	if f, known := w.Fleets[fleet]; known && !named(f) {
		return subject, nil // the inventory does not have it, and so it is told
	}
	return subject, w.put(fleet, device, contract.Device{}, reader)
}

// put writes a row of the registry.
func (w *World) put(fleet, device string, row contract.Device, reader *reading.Reader) error {
	f, known := w.Fleets[fleet]
	if !known {
		profile, err := w.profileOf(fleet)
		if err != nil {
			return err
		}
		f = contract.Fleet{Profile: profile, AccessMode: "Device"}
	}
	f.Devices = maps.Clone(f.Devices)
	if f.Devices == nil {
		f.Devices = map[string]contract.Device{}
	}
	f.Devices[device] = row
	w.Fleets[fleet] = f
	reader.Update(w.Rules.Profiles, w.Fleets)
	return nil
}

// named says of a fleet that no file has it.
func named(f contract.Fleet) bool { return f.Namespace == "" }

// profileOf gives the profile of a fleet that is only named: the profile of that name, or the only one that scenarios listen to.
func (w *World) profileOf(fleet string) (string, error) {
	if _, ok := w.Rules.Profiles[fleet]; ok {
		return fleet, nil
	}
	heard := map[string]bool{}
	for _, s := range w.Rules.Scenarios {
		if _, none := contract.InputProfile(s.Profile); s.Profile != "" && !none {
			heard[s.Profile] = true
		}
	}
	names := slices.Sorted(maps.Keys(heard))
	if len(names) == 1 {
		return names[0], nil
	}
	return "", fmt.Errorf("fleet %q is in no file, or is refused there; add its DeviceFleet, or name the fleet after its profile, such as dizuo/v1/d/%s/<device>/signal (the scenarios listen to %s)", fleet, first(names), strings.Join(names, ", "))
}

func first(names []string) string {
	if len(names) == 0 {
		return "<profile>"
	}
	return names[0]
}
