// Package bundle turns the documents of a platform into the shards of a bundle and seals them. It is pure: the key comes in
// as a value, nothing is sent from here.
//
//	Parts -> Shards -> Seal -> Sealed (index, revision, one tarball a shard)
package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// Parts are the documents of one platform, each made from one object.
type Parts struct {
	Platform      contract.Platform
	Communities   map[string]contract.Community
	Organizations map[string]contract.Organization
	Profiles      map[string]contract.Profile
	Scenarios     map[string]contract.Scenario
	Fleets        map[string]contract.Fleet
	Credentials   map[string]contract.Credentials
	// Rows by fleet are its devices, in place of those in its document and credentials. A fleet may have none: then those are taken.
	Rows map[string]contract.DeviceRows
	// Versions by fleet: with the same version a fleet has the same document, the same credentials and the same rows. A fleet may have none.
	Versions map[string]string
	Datasets map[string]contract.Dataset
	// Agreements by name; each gives its grants by dataset.
	Agreements map[string]Agreement
	// Granted are agreements that are ordered already, beside those by name.
	Granted Granted
	// Kinds have by kind of object a version: with the same one all objects of the kind gave the same. nil if nobody counts.
	Kinds map[string]string
	// Edges and EdgeCredentials by edge node.
	Edges           map[string]contract.Edge
	EdgeCredentials map[string]contract.EdgeCredential
	// Leaving are the edge nodes from which all is taken while they send what they hold; see Cuts.
	Leaving map[string]bool
	// Modules are the Rego files of policies/access, path to text.
	Modules map[string]string
}

// NewParts gives parts with empty maps.
func NewParts() Parts {
	return Parts{
		Communities: map[string]contract.Community{}, Organizations: map[string]contract.Organization{}, Profiles: map[string]contract.Profile{},
		Scenarios: map[string]contract.Scenario{}, Fleets: map[string]contract.Fleet{}, Credentials: map[string]contract.Credentials{},
		Rows: map[string]contract.DeviceRows{}, Versions: map[string]string{}, Datasets: map[string]contract.Dataset{}, Agreements: map[string]Agreement{},
		Edges: map[string]contract.Edge{}, EdgeCredentials: map[string]contract.EdgeCredential{}, Leaving: map[string]bool{},
	}
}

// Agreement is what a DataSharingAgreement in force grants.
type Agreement struct {
	// Consumer is the organisation that may read.
	Consumer string
	// Grants by dataset.
	Grants map[string]contract.Grant
}

// shards gives the shards of the parts, unopened, sorted by name.
func shards(p Parts) []Prepared {
	out := []Prepared{
		unopened(contract.Shard{
			Name: contract.ShardAccess, Roots: []string{"dizuo/access", "dizuo/datasets"}, Modules: p.Modules,
		}, func() map[string]any { return under("datasets", nonNil(p.Datasets)) }),
		unopened(contract.Shard{Name: contract.ShardDirectory, Roots: []string{"dizuo/communities", "dizuo/organizations", "dizuo/platform"}}, func() map[string]any {
			return under("communities", nonNil(p.Communities), "organizations", nonNil(p.Organizations), "platform", p.Platform)
		}),
		unopened(contract.Shard{Name: contract.ShardRules, Roots: []string{"dizuo/profiles", "dizuo/scenarios"}}, func() map[string]any {
			return under("profiles", nonNil(p.Profiles), "scenarios", nonNil(p.Scenarios))
		}),
	}
	out = append(out, grantsShards(p)...)
	for name, f := range p.Fleets {
		out = append(out, fleetShard(name, f, func() contract.DeviceRows { return p.rows(name) }))
	}
	for name, c := range p.Credentials {
		rows := func() contract.DeviceRows { return p.rows(name) }
		if p.Fleets[name].Placement == contract.PlacementEdge { // its devices are admitted at their edge node, and nowhere else
			c.Open, rows = 0, func() contract.DeviceRows { return nil }
		}
		out = append(out, credentialsShard(name, c, rows))
	}
	if len(p.Edges) > 0 {
		out = append(out,
			unopened(contract.Shard{Name: contract.ShardEdges, Roots: []string{"dizuo/edges"}}, func() map[string]any { return under("edges", p.Edges) }),
			unopened(contract.Shard{Name: contract.ShardEdgeCredentials, Roots: []string{"dizuo/edgeCredentials"}}, func() map[string]any {
				return under("edgeCredentials", nonNil(p.EdgeCredentials))
			}))
	}
	slices.SortFunc(out, func(a, b Prepared) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// rows gives the devices of a fleet.
func (p Parts) rows(fleet string) contract.DeviceRows {
	if rows, encoded := p.Rows[fleet]; encoded {
		return rows
	}
	return contract.NewDeviceRows(p.Fleets[fleet].Devices, p.Credentials[fleet].Devices)
}

// under makes the document {"dizuo": {key: value, ...}}.
func under(pairs ...any) map[string]any {
	doc := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		doc[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return map[string]any{"dizuo": doc}
}

func nonNil[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// Names gives the names of parts, for messages.
func Names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Only gives a function that adds the documents of one object, as they are in parts, to other parts. An object that is not
// in parts adds nothing.
func Only(from Parts, kind, name string) func(*Parts) {
	return func(p *Parts) {
		switch kind {
		case "GridPlatform":
			p.Platform = from.Platform
			missing(p.Profiles, from.Profiles)
			missing(p.Scenarios, from.Scenarios)
		case "Community":
			one(p.Communities, from.Communities, name)
		case "Organization":
			one(p.Organizations, from.Organizations, name)
		case "DeviceProfile":
			one(p.Profiles, from.Profiles, name)
		case "Scenario":
			one(p.Scenarios, from.Scenarios, name)
		case "EdgeNode":
			one(p.Edges, from.Edges, name)
			one(p.EdgeCredentials, from.EdgeCredentials, name)
		case "DeviceFleet":
			one(p.Fleets, from.Fleets, name)
			one(p.Credentials, from.Credentials, name)
			delete(p.Rows, name) // they would be those of another object, and so would the version
			delete(p.Versions, name)
		}
	}
}

func one[V any](into, from map[string]V, name string) {
	if v, ok := from[name]; ok {
		into[name] = v
	}
}

func missing[V any](into, from map[string]V) {
	for name, v := range from {
		if _, have := into[name]; !have {
			into[name] = v
		}
	}
}
