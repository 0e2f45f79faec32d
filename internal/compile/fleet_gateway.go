package compile

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// GatewaysNamed gives the names of the fleets that a fleet's rows name as gateways, each once, for gather to read.
func GatewaysNamed(s *Snapshot, o *v1alpha1.DeviceFleet) []string {
	if o.Spec.AccessMode != v1alpha1.AccessGateway {
		return nil
	}
	seen := map[string]bool{}
	newInventory(func(r row) fault {
		if fleet, _, err := contract.ParseDeviceID(r.Via); err == nil {
			seen[fleet] = true
		}
		return fault{}
	}).read(&problems{}, s, o)
	return slices.Sorted(maps.Keys(seen))
}

// speakers finds who speaks for the rows of one fleet.
type speakers struct {
	s *Snapshot
	o *v1alpha1.DeviceFleet
	// devices by gateway fleet; a fleet that may not be named has none.
	devices map[string]map[string]bool
	// rows counts those of each speaker.
	rows map[string]int
	// unread are gateway fleets whose inventories are not all there: which devices they have is not known.
	unread map[string]Problem
}

func newSpeakers(s *Snapshot, o *v1alpha1.DeviceFleet) *speakers {
	return &speakers{s, o, map[string]map[string]bool{}, map[string]int{}, map[string]Problem{}}
}

// waits makes the fleet wait for the inventories of its gateways: without them rows that are good would lose their speaker.
func (v *speakers) waits(c *problems) {
	for _, fleet := range slices.Sorted(maps.Keys(v.unread)) {
		p := v.unread[fleet]
		c.waiting(p.Condition, p.Reason, "spec.inventory", "the gateways of DeviceFleet "+fleet+" are not known: "+p.Text())
	}
}

// of gives the device whose connection speaks for a row: empty where it speaks for itself, or the topic of its cloud names it.
func (v *speakers) of(r row) (via string, f fault) {
	switch v.o.Spec.AccessMode {
	case v1alpha1.AccessGateway:
		if via, f = r.Via, v.gateway(r.Via); f.code != "" {
			return "", f
		}
	case v1alpha1.AccessPlatform:
		if m := v.o.Spec.Mapping; m != nil && m.Device != "" {
			return "", alone(r)
		}
		via = contract.DeviceID(v.o.Name, contract.PlatformDevice)
	default:
		if r.Via != "" {
			return "", malformed("via: is for accessMode Gateway; leave it out")
		}
		return "", fault{}
	}
	if f := alone(r); f.code != "" {
		return "", f
	}
	if v.rows[via] == contract.MaxVia {
		if v.o.Spec.AccessMode == v1alpha1.AccessPlatform {
			return "", fault{v1alpha1.RowLimitExceeded, fmt.Sprintf("the fleet has more than %d devices on topics of their own; write spec.mapping.device, and the cloud sends all to one topic", contract.MaxVia)}
		}
		return "", fault{v1alpha1.RowLimitExceeded, fmt.Sprintf("via: a gateway speaks for at most %d devices; share them among more gateways", contract.MaxVia)}
	}
	v.rows[via]++
	return via, fault{}
}

// alone refuses what is of a connection in a row that has none.
func alone(r row) fault {
	switch {
	case r.ClientID != "":
		return fault{v1alpha1.RowCredential, "clientID: the device has no connection, another speaks for it; leave it out"}
	case r.PasswordHash != "" || r.PreviousPasswordHash != "":
		return fault{v1alpha1.RowCredential, "passwordHash: the device has no connection, another speaks for it; leave it out"}
	}
	return fault{}
}

// gateway says why a row may not be spoken for by a device, or nothing. Only a fleet of the same namespace may be named: who adds a row
// makes the gateway connect anew, and gives it a voice.
func (v *speakers) gateway(id string) fault {
	fleet, device, err := contract.ParseDeviceID(id)
	if err != nil {
		return malformed("via: want <fleet>.<device>, the gateway that speaks for this device")
	}
	devices, known := v.devices[fleet]
	if !known {
		devices = v.gateways(fleet)
		v.devices[fleet] = devices
	}
	_, unread := v.unread[fleet]
	switch {
	case unread: // waits says so
	case devices == nil:
		return fault{v1alpha1.RowUnknownGateway, "via: no DeviceFleet " + quoted(fleet) + " with accessMode Device in namespace " + v.o.Namespace}
	case !devices[device]:
		return fault{v1alpha1.RowUnknownGateway, "via: DeviceFleet " + fleet + " has no device of that name"}
	}
	return fault{}
}

func (v *speakers) gateways(fleet string) map[string]bool {
	f, ok := v.s.Fleets.Get(fleet)
	if !ok || f.Namespace != v.o.Namespace || (f.Spec.AccessMode != v1alpha1.AccessDevice && f.Spec.AccessMode != "") {
		return nil
	}
	out, c := map[string]bool{}, problems{}
	newInventory(func(r row) fault {
		out[r.Device] = true
		return fault{}
	}).read(&c, v.s, f)
	if len(c.list) > 0 {
		v.unread[fleet] = c.list[0]
	}
	return out
}
