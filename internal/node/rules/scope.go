package rules

import (
	"cmp"
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
)

// Scope is how far signals belong together.
type Scope string

// Scopes, the widest first.
const (
	ScopePlatform  Scope = "Platform"
	ScopeCommunity Scope = "Community"
	ScopeCompound  Scope = "Compound"
	ScopeGrid      Scope = "Grid"
	ScopeMicroGrid Scope = "MicroGrid"
	ScopeBuilding  Scope = "Building"
	ScopeHousehold Scope = "Household"
	ScopeDevice    Scope = "Device"
)

// ScopeSubject is whom a device is about. No key is of it, and nothing but consents is said of it.
const ScopeSubject Scope = "Subject"

// AttributeSubject is the attribute of a device's row that names the subject whom it is about, as the vault does; without it that is the household.
const AttributeSubject = "subject"

// scopes are all of them: a fact of a later one overlays one of an earlier one.
var scopes = []Scope{ScopePlatform, ScopeCommunity, ScopeCompound, ScopeGrid, ScopeMicroGrid, ScopeBuilding, ScopeHousehold, ScopeDevice}

// Place names the place of a device in a scope: "<fleet>/<device>", the household, or the names from the community down, such as
// "<community>/<compound>/<building>". It is false where the row does not say.
func Place(s Scope, fleet, device string, row *contract.Device) (id string, ok bool) {
	switch s {
	case ScopePlatform:
		return "", true
	case ScopeCommunity:
		return row.Community, row.Community != ""
	case ScopeCompound:
		return row.Community + "/" + row.Compound, row.Compound != ""
	case ScopeGrid:
		return row.Community + "/" + row.Grid, row.Grid != ""
	case ScopeMicroGrid:
		return row.Community + "/" + row.Grid + "/" + row.MicroGrid, row.MicroGrid != ""
	case ScopeBuilding:
		return row.Community + "/" + row.Compound + "/" + row.Building, row.Building != ""
	case ScopeHousehold:
		return row.Household, row.Household != ""
	case ScopeDevice:
		return fleet + "/" + device, true
	case ScopeSubject:
		id = cmp.Or(row.Attributes[AttributeSubject], row.Household)
		return id, id != ""
	}
	return "", false
}

// Scopes gives all scopes, the widest first.
func Scopes() []Scope { return slices.Clone(scopes) }

// Contains says whether every place of the inner scope lies in one of the outer: a building in its compound, a micro-grid in its grid. Compounds
// and grids cut a community each in their own way.
func Contains(outer, inner Scope) bool {
	if outer == ScopeCompound && (inner == ScopeGrid || inner == ScopeMicroGrid) {
		return false
	}
	return slices.Index(scopes, outer) <= slices.Index(scopes, inner)
}

// holders gives the scopes that contain one, the widest first.
func holders(inner Scope) []Scope {
	return slices.DeleteFunc(Scopes(), func(outer Scope) bool { return !Contains(outer, inner) })
}
