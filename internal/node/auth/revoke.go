package auth

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// Stays reports whether a connection with this user name (see Identity.User) and client id would be admitted as it is by
// the registry: same credential, an issuer that is still listed, same client id, same prefixes.
func (r *Registry) Stays(user, clientID string) bool {
	if rest, ok := strings.CutPrefix(user, edgeUser); ok {
		return r.edgeStays(rest)
	}
	if rest, ok := strings.CutPrefix(user, organizationUser); ok {
		return r.organizationStays(rest, clientID)
	}
	name, stamp, ok := strings.Cut(user, "/")
	fleet, device, err := contract.ParseDeviceID(name)
	if !ok || err != nil {
		return false
	}
	_, _, no := r.lookup(fleet, device)
	if no != nil || r.checkClientID(Identity{Fleet: fleet, Device: device}, clientID) != nil {
		return false
	}
	return slices.Contains(r.stamps(fleet, device), stamp)
}

// Revokes reports whether somebody whom old admits could have to go under next: only then is a sweep needed. A nil old
// admitted nobody knows whom, so it always revokes.
func Revokes(old, next *Registry) bool {
	if old == nil {
		return true
	}
	if !maps.Equal(old.bound, next.bound) || revokesEdges(old, next) || revokesOrganizations(old, next) {
		return true
	}
	for range Gone(old, next) {
		return true
	}
	for name, was := range old.fleets {
		if was.Open > 0 && closed(was, next.fleets[name]) {
			return true // Gone cannot name whom no row names
		}
	}
	return false
}

// closed reports whether devices that no row names may have lost their way in.
func closed(was, is *fleetEntry) bool {
	return is == nil || is.Open == 0 || changed(was, is)
}

// changed reports whether every connection of a fleet rests on something that is gone.
func changed(was, is *fleetEntry) bool {
	return is.Method != was.Method || is.AccessMode != was.AccessMode || is.Rule != was.Rule || lost(was.issuers.Keys, is.issuers.Keys)
}

// Gone gives the client ids of the devices that old admits and next does not, or not so. A device that comes back under another
// credential loses its present connection, and is let in again by the new one.
func Gone(old, next *Registry) iter.Seq[string] {
	return func(yield func(string) bool) {
		if old == nil {
			return
		}
		for name, was := range old.fleets {
			is := next.fleets[name]
			all := is == nil || changed(was, is)
			for device := range was.connecting() {
				id := contract.DeviceID(name, device)
				if (all || !admits(was, is, device) || !slices.Equal(old.via[id], next.via[id])) && !yield(old.clientID(name, device)) {
					return
				}
			}
			if was.Open == 0 || is == nil {
				continue
			}
			for device, c := range is.Devices { // it may have come in before a row named it
				if _, named := was.Devices[device]; !named && c.Stored && !yield(old.clientID(name, device)) {
					return
				}
			}
		}
	}
}

// connecting gives the devices of a fleet that have a connection of their own.
func (f *fleetEntry) connecting() iter.Seq[string] {
	return func(yield func(string) bool) {
		if f.AccessMode == contract.AccessPlatform {
			yield(contract.PlatformDevice)
			return
		}
		for device, c := range f.Devices {
			if c.Via == "" && !c.Stored && !yield(device) {
				return
			}
		}
	}
}

// admits reports whether every way in that a device had is there still.
func admits(was, is *fleetEntry, device string) bool {
	before, _ := was.credential(device)
	now, ok := is.credential(device)
	return ok && now.ClientID == before.ClientID && !lost(hashes(before), hashes(now))
}

func lost[T comparable](was, is []T) bool {
	return slices.ContainsFunc(was, func(k T) bool { return !slices.Contains(is, k) })
}
