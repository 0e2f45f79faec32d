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
	name, stamp, ok := strings.Cut(user, "/")
	fleet, device, err := contract.ParseDeviceID(name)
	if !ok || err != nil {
		return false
	}
	f, no := r.lookup(fleet, device)
	if no != nil || r.checkClientID(Identity{Fleet: fleet, Device: device}, clientID) != nil {
		return false
	}
	if f.method == methodPassword {
		return stamp == r.stamp(fleet, device, noIssuer)
	}
	return slices.ContainsFunc(f.issuers, func(k issuerKey) bool { return stamp == r.stamp(fleet, device, k) })
}

// Revokes reports whether somebody whom old admits could have to go under next: only then is a sweep needed. A nil old
// admitted nobody knows whom, so it always revokes.
func Revokes(old, next *Registry) bool {
	if old == nil {
		return true
	}
	if !maps.Equal(old.bound, next.bound) || revokesEdges(old, next) {
		return true
	}
	for range Gone(old, next) {
		return true
	}
	return false
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
			all := is == nil || is.method != was.method || lost(was.issuers, is.issuers)
			for device, c := range was.devices {
				if (all || !admits(is, device, c)) && !yield(old.clientID(name, device)) {
					return
				}
			}
		}
	}
}

func admits(f *fleetEntry, device string, c contract.Credential) bool {
	now, ok := f.devices[device]
	return ok && now == c
}

func lost(was, is []issuerKey) bool {
	return slices.ContainsFunc(was, func(k issuerKey) bool { return !slices.Contains(is, k) })
}
