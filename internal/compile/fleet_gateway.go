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
	return gatewaysIn(sources(&problems{}, s, o))
}

// gatewaysIn gives the names of the fleets that rows name as gateways, each once, in order.
func gatewaysIn(list []*Source) []string {
	seen := map[string]bool{}
	for _, source := range list {
		for _, fleet := range source.gateways {
			seen[fleet] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// gateway is a fleet whose devices may speak for rows.
type gateway struct {
	fleet string
	// may says that there is such a fleet and that it may be named.
	may bool
	// sources are what its devices stand in; unread says what is not there of them.
	sources []*Source
	unread  Problem
	// devices of the sources, once they were asked for.
	devices map[string]bool
}

func (g *gateway) same(other *gateway) bool {
	return g.fleet == other.fleet && g.may == other.may && g.unread == other.unread && slices.EqualFunc(g.sources, other.sources, (*Source).same)
}

// has reports whether the fleet has a device of that name.
func (g *gateway) has(device string) bool {
	if g.devices == nil {
		g.devices = map[string]bool{}
		v := newInventory(func(r *row) fault {
			g.devices[r.device] = r.at != nil
			return fault{}
		})
		v.read(g.sources)
	}
	return g.devices[device]
}

// speakers finds who speaks for the rows of one fleet.
type speakers struct {
	terms
	s        *Snapshot
	gateways map[string]*gateway
	// rows counts those of each speaker.
	rows map[string]int
	// unread are gateway fleets that were asked for and whose inventories are not all there: which devices they have is not known.
	unread map[string]Problem
}

func newSpeakers(s *Snapshot, t terms) *speakers {
	return &speakers{t, s, map[string]*gateway{}, map[string]int{}, map[string]Problem{}}
}

// named gives the fleets that rows name as gateways.
func (v *speakers) named(list []*Source) []*gateway {
	if v.mode != v1alpha1.AccessGateway {
		return nil
	}
	var out []*gateway
	for _, fleet := range gatewaysIn(list) {
		out = append(out, v.gatewayOf(fleet))
	}
	return out
}

// waits makes the fleet wait for the inventories of its gateways: without them rows that are good would lose their speaker.
func waits(c *problems, unread map[string]Problem) {
	for _, fleet := range slices.Sorted(maps.Keys(unread)) {
		p := unread[fleet]
		c.waiting(p.Condition, p.Reason, "spec.inventory", "the gateways of DeviceFleet "+fleet+" are not known: "+p.Text())
	}
}

// of gives the device whose connection speaks for a row: empty where it speaks for itself, or the topic of its cloud names it.
func (v *speakers) of(r proof) (via string, f fault) {
	switch v.mode {
	case v1alpha1.AccessGateway:
		if via, f = r.via, v.gateway(r.via); f.code != "" {
			return "", f
		}
	case v1alpha1.AccessPlatform:
		if v.inPayload {
			return "", alone(r)
		}
		via = contract.DeviceID(v.fleet.Name, contract.PlatformDevice)
	default:
		if r.via != "" {
			return "", malformed("via: is for accessMode Gateway; leave it out")
		}
		return "", fault{}
	}
	if f := alone(r); f.code != "" {
		return "", f
	}
	if v.rows[via] == contract.MaxVia {
		if v.mode == v1alpha1.AccessPlatform {
			return "", fault{v1alpha1.RowLimitExceeded, fmt.Sprintf("the fleet has more than %d devices on topics of their own; write spec.mapping.device, and the cloud sends all to one topic", contract.MaxVia)}
		}
		return "", fault{v1alpha1.RowLimitExceeded, fmt.Sprintf("via: a gateway speaks for at most %d devices; share them among more gateways", contract.MaxVia)}
	}
	v.rows[via]++
	return via, fault{}
}

// alone refuses what is of a connection in a row that has none.
func alone(r proof) fault {
	switch {
	case r.clientID != "":
		return fault{v1alpha1.RowCredential, "clientID: the device has no connection, another speaks for it; leave it out"}
	case r.passwordHash != "" || r.previousPasswordHash != "":
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
	g := v.gatewayOf(fleet)
	switch {
	case g.unread != Problem{}: // waits says so
		v.unread[fleet] = g.unread
	case !g.may:
		return fault{v1alpha1.RowUnknownGateway, "via: no DeviceFleet " + quoted(fleet) + " with accessMode Device in namespace " + v.fleet.Namespace}
	case !g.has(device):
		return fault{v1alpha1.RowUnknownGateway, "via: DeviceFleet " + fleet + " has no device of that name"}
	}
	return fault{}
}

func (v *speakers) gatewayOf(fleet string) *gateway {
	if g := v.gateways[fleet]; g != nil {
		return g
	}
	g := &gateway{fleet: fleet}
	v.gateways[fleet] = g
	f, ok := v.s.Fleets.Get(fleet)
	if !ok || f.Namespace != v.fleet.Namespace || (f.Spec.AccessMode != v1alpha1.AccessDevice && f.Spec.AccessMode != "") {
		return g
	}
	var c problems
	g.may, g.sources = true, sources(&c, v.s, f)
	if len(c.list) > 0 {
		g.unread = c.list[0]
	}
	return g
}
