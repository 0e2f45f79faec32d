package command

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
)

// MaxTargets bounds the devices of one command of an alarm.
const MaxTargets = 500

// Codes of commands of alarms that are not given.
const (
	// DeviceGone: no row names the device.
	DeviceGone Code = "DeviceGone"
	// NotReachable: this version carries no commands to the device.
	NotReachable Code = "NotReachable"
	// AlarmTooOld: counted from the alarm, the command has expired.
	AlarmTooOld Code = "AlarmTooOld"
	// TooManyDevices: MaxTargets others come before it.
	TooManyDevices Code = "TooManyDevices"
)

// Alarm is what a scenario says of a device: an alarm, and that it was raised or cleared.
type Alarm struct {
	Scenario, Fleet, Device string
	// Scope and Place are the key that the scenario counts by, where it is not the device.
	Scope, Place string
	// Start of the alarm. With the other names it names the alarm.
	Start time.Time
	// At is when this happened, Kind that it was "Raised" or "Cleared".
	At   time.Time
	Kind string
	// Mode (平战) of the platform at that time: its variant of the commands counts.
	Mode string
}

// Target is a device that gets a command.
type Target struct{ Fleet, Device string }

// Order is a command of an alarm for one device.
type Order struct {
	ID uuid.UUID
	// Once names it; what has been given under that name is not given again.
	Once string
	Target
	// Community and Grid where the device hangs.
	Community, Grid string
	Command         string
	Arguments       map[string]any
	ExpiresAt       time.Time
}

// Key names the alarm. Of a place it is the place, whichever of its devices spoke last.
func (a Alarm) Key() string {
	if a.Scope != "" && a.Scope != "Device" {
		return strings.Join([]string{a.Scenario, a.Scope, a.Place, a.Start.UTC().Format(time.RFC3339Nano)}, separator)
	}
	return strings.Join([]string{a.Scenario, a.Fleet, a.Device, a.Start.UTC().Format(time.RFC3339Nano)}, separator)
}

// separator stands in no name of an object.
const separator = "\x1f"

// Commands gives what the scenario sends in the alarm's mode, in the community of the device: in every variant the same commands, in the same order.
func (a Alarm) Commands(r contract.Rules, fleets map[string]contract.Fleet) []contract.ScenarioCommand {
	return r.Scenarios[a.Scenario].CommandsIn(a.Mode, fleets[a.Fleet].Devices[a.Device].Community)
}

// Order gives the command at a place of the scenario's commands for one device. The code says why it is not to be given; with AlarmTooOld the
// order is whole all the same. Its time counts from the alarm, not from now: a message that was on its way for an hour must not open a door.
func (a Alarm) Order(r contract.Rules, fleets map[string]contract.Fleet, place int, to Target, now time.Time) (Order, Code) {
	k := a.Commands(r, fleets)[place]
	f := fleets[to.Fleet]
	row, ok := f.Devices[to.Device]
	declared, args, err := Check(r.Profiles[f.Profile], k.Command, k.Arguments, SenderScenario)
	switch {
	case err != nil:
		return Order{}, CodeOf(err)
	case !ok:
		return Order{}, DeviceGone
	case !Reachable(f):
		return Order{}, NotReachable
	}
	at := a.At
	if at.After(now) {
		at = now
	}
	o := Order{Target: to, Community: row.Community, Grid: row.Grid, Command: k.Command, Arguments: args, ExpiresAt: at.Add(Expiry(declared))}
	o.Once = strings.Join([]string{"alarm", a.Key(), k.At, strconv.Itoa(place), contract.DeviceID(to.Fleet, to.Device)}, separator)
	o.ID = derived(a.At.UnixMilli(), place, o.Once)
	if !o.ExpiresAt.After(now) {
		return o, AlarmTooOld
	}
	return o, ""
}

// SafeID gives the id of the safe state that follows a command of an alarm when that came to a state. Hub and edge node derive the same. It
// is above that of the command.
func SafeID(cause uuid.UUID, s State) uuid.UUID {
	ms := int64(binary.BigEndian.Uint64(cause[:8]) >> 16)
	return derived(ms+1, 0, strings.Join([]string{"safe", cause.String(), string(s)}, separator))
}

// derived gives an id of the form of a UUID of version 7 (RFC 9562, 5.7 and 6.2): 48 bits of a time in Unix milliseconds, 12 bits of a
// counter, and 62 bits of the SHA-256 of a name where others have random ones. So who derives it twice, or at two places, gets the same;
// and it sorts by its time, then by its counter. Who stores ids must still not take another name's for this one's.
func derived(ms int64, counter int, name string) (id uuid.UUID) {
	sum := sha256.Sum256([]byte(name))
	binary.BigEndian.PutUint64(id[:8], uint64(ms)<<16|0x7000|uint64(counter)&0x0fff)
	copy(id[8:], sum[:8])
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Targets lists the devices that get a command of an alarm of a device, sorted.
func Targets(fleets map[string]contract.Fleet, k contract.ScenarioCommand, from Target) (out []Target) {
	if k.Target == "Device" {
		return []Target{from}
	}
	row := fleets[from.Fleet].Devices[from.Device]
	for fleet, f := range fleets {
		if f.Profile != k.Profile {
			continue
		}
		for name, other := range f.Devices {
			if samePlace(k.Target, row, other) {
				out = append(out, Target{fleet, name})
			}
		}
	}
	slices.SortFunc(out, func(a, b Target) int {
		return strings.Compare(contract.DeviceID(a.Fleet, a.Device), contract.DeviceID(b.Fleet, b.Device))
	})
	return out
}

// samePlace says whether two devices hang in the same place of a kind. Two places are the same only if they have a name.
func samePlace(target string, a, b contract.Device) bool {
	same := func(x, y string) bool { return x != "" && x == y }
	if !same(a.Community, b.Community) {
		return false
	}
	switch target {
	case "Community":
		return true
	case "Grid":
		return same(a.Grid, b.Grid)
	case "MicroGrid":
		return same(a.Grid, b.Grid) && same(a.MicroGrid, b.MicroGrid)
	case "Compound":
		return same(a.Compound, b.Compound)
	case "Building": // a compound may be left out, but not differ
		return a.Compound == b.Compound && same(a.Building, b.Building)
	case "Household":
		return same(a.Household, b.Household)
	}
	return false
}

// Reachable says whether this version carries commands to the devices of a fleet: to all that have topics of their own. What a cloud tells
// apart by its payload has none.
func Reachable(f contract.Fleet) bool {
	return f.AccessMode != contract.AccessPlatform || f.Mapping == nil || f.Mapping.Device == ""
}

// Expiry of a command.
func Expiry(k contract.Command) time.Duration { return time.Duration(k.ExpiresSeconds) * time.Second }

// SafeState gives the arguments of the safe state of a command, and when it expires; ok is false where the profile has none.
func SafeState(p contract.Profile, name string, now time.Time) (args map[string]any, expires time.Time, ok bool) {
	k, args, err := CheckSafe(p, name, p.Commands[name].SafeState)
	if err != nil || k.SafeState == nil {
		return nil, time.Time{}, false
	}
	return args, now.Add(Expiry(k)), true
}
