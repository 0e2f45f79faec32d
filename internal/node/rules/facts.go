package rules

import (
	"cmp"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// maxVersions bounds what is known of one fact's past, maxMembers the members of a set.
	maxVersions, maxMembers = 8, 4096
	// Facts that stand for a scenario's registers and consent.
	factRegisters, factConsents = "registers", "consents"
)

// Fact is something that somebody said of a place, such as "away" of a household. In CEL it is context.<Name>.
type Fact struct {
	// Scope and ID are the place, as Place names it.
	Scope Scope
	ID    string
	Name  string
	// Member makes the fact a set; Value then only says whether the member is in it.
	Member string
	// Value is a bool, number or text; nil takes the fact back.
	Value any
	// Since is from when it holds, Until when it ends by itself; zero is never.
	Since, Until time.Time
}

// version is the value of a fact, or of one of its members, from a time on, and until one if it ends by itself (0: it does not); nil is none.
type version struct {
	since, until int64
	member       string
	value        any
}

type placeKey struct {
	scope Scope
	id    string
}

// facts are all that is known, by place and name. A version holds until the next one, so their order of arrival does not matter.
type facts map[placeKey]map[string][]version

func (f facts) set(x Fact) {
	k := placeKey{x.Scope, x.ID}
	if f[k] == nil {
		f[k] = map[string][]version{}
	}
	list := f[k][x.Name]
	value := x.Value
	if b, ok := value.(bool); ok && !b && x.Member != "" {
		value = nil
	}
	v := version{since: x.Since.UnixMilli(), member: x.Member, value: value}
	if !x.Until.IsZero() {
		v.until = x.Until.UnixMilli()
	}
	f[k][x.Name] = insertVersion(list, v)
}

func insertVersion(list []version, v version) []version {
	at, same := slices.BinarySearchFunc(list, v, func(a, b version) int {
		return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.since, b.since))
	})
	if same {
		list[at] = v
		return list
	}
	if list = slices.Insert(list, at, v); len(list) > maxMembers*maxVersions {
		return slices.Delete(list, 0, 1)
	}
	first := at
	for first > 0 && list[first-1].member == v.member {
		first--
	}
	last := at
	for last+1 < len(list) && list[last+1].member == v.member {
		last++
	}
	if last-first >= maxVersions {
		list = slices.Delete(list, first, first+1)
	}
	return list
}

// valueAt gives the value of a fact at a time.
func valueAt(list []version, t int64) (any, bool) {
	var members []string
	for i, v := range list {
		if v.since > t || i+1 < len(list) && list[i+1].member == v.member && list[i+1].since <= t || v.until != 0 && v.until <= t || v.value == nil {
			continue
		}
		if v.member == "" {
			return v.value, true
		}
		members = append(members, v.member)
	}
	return members, members != nil
}

// context gives the facts by name of which a device at a place knows, at a time: the narrowest scope counts.
func (f facts) context(names []string, fleet, device string, row *contract.Device, t int64) map[string]any {
	out := map[string]any{}
	if len(f) == 0 {
		return out
	}
	for _, s := range scopes {
		id, ok := Place(s, fleet, device, row)
		if !ok {
			continue
		}
		known := f[placeKey{s, id}]
		for _, n := range names {
			if v, ok := valueAt(known[n], t); ok {
				out[n] = v
			}
		}
	}
	return out
}
