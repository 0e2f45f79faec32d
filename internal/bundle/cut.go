package bundle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// Cut is the bundle of one edge node: of the platform's documents only what concerns its communities. It has no grants, no datasets, no
// organisations, no keys of anybody but its own devices.
//
//	directory    the platform, its communities
//	rules        the profiles of its fleets, the scenarios on them without whom they call
//	edges        itself
//	fleet.<f>, credentials.<f>   of fleets placed at edge nodes, the rows in its communities, without exact places
type Cut struct {
	Edge  string
	Index contract.Index
	// Shards in the order of the index.
	Shards []Prepared
	// Fresh says that the cut was made in this pass; else it is the one of the pass before.
	Fresh bool
}

// Cuts makes the cuts of a platform's edge nodes and remembers them, so that a change makes anew those that it touches and no others. Its
// zero value remembers nothing.
type Cuts struct {
	fleets map[string]partition
	edges  map[string]remembered
}

// partition is a fleet by community.
type partition struct {
	version string
	// header is the digest of what all devices of the fleet share.
	header string
	places map[string]place
}

// place is what a fleet has in a community.
type place struct {
	rows   contract.DeviceRows
	digest string
}

type remembered struct {
	version string
	index   contract.Index
}

// Make gives the cuts of the edge nodes in the parts, sorted by name. One that no key was approved for has none.
func (c *Cuts) Make(p Parts) ([]Cut, error) {
	if err := c.part(p); err != nil {
		return nil, err
	}
	shared, err := digest(p.Platform, p.Profiles, p.Scenarios)
	if err != nil {
		return nil, err
	}
	edges := map[string]remembered{}
	var out []Cut
	for _, name := range Names(p.Edges) {
		if len(p.EdgeCredentials[name].KeyDigests) == 0 {
			continue
		}
		version, err := c.version(p, name, shared)
		if err != nil {
			return nil, err
		}
		prepared, fresh := c.shards(p, name), c.edges[name].version != version
		index := c.edges[name].index
		if fresh {
			if index, err = digests(prepared); err != nil {
				return nil, err
			}
		}
		for i := range prepared {
			prepared[i].ShardRef = index.Shards[i]
		}
		edges[name] = remembered{version, index}
		out = append(out, Cut{Edge: name, Index: index, Shards: prepared, Fresh: fresh})
	}
	c.edges = edges
	return out, nil
}

// part orders the fleets that are placed at edge nodes by community.
func (c *Cuts) part(p Parts) error {
	next := map[string]partition{}
	for name, f := range p.Fleets {
		if f.Placement != contract.PlacementEdge {
			continue
		}
		version := p.Versions[name]
		if was, ok := c.fleets[name]; ok && version != "" && was.version == version {
			next[name] = was
			continue
		}
		made, err := partitioned(f, p.Credentials[name], p.rows(name))
		if err != nil {
			return fmt.Errorf("fleet %s: %w", name, err)
		}
		made.version = version
		next[name] = made
	}
	c.fleets = next
	return nil
}

func partitioned(f contract.Fleet, credentials contract.Credentials, rows contract.DeviceRows) (partition, error) {
	out := partition{places: map[string]place{}}
	f.Devices, credentials.Devices = nil, nil
	var err error
	if out.header, err = digest(f, credentials); err != nil {
		return out, err
	}
	for _, row := range rows {
		if row.Community == "" {
			continue
		}
		if row.Device, err = rough(row.Device); err != nil {
			return out, fmt.Errorf("device %s: %w", row.Name, err)
		}
		at := out.places[row.Community]
		at.rows = append(at.rows, row)
		out.places[row.Community] = at
	}
	for community, at := range out.places {
		at.digest = at.rows.Digest()
		out.places[community] = at
	}
	return out, nil
}

// rough takes from a device what no expression of a scenario sees: its exact place, and who looks after it.
func rough(device json.RawMessage) (json.RawMessage, error) {
	var d contract.Device
	if err := json.Unmarshal(device, &d); err != nil {
		return nil, err
	}
	d.Longitude, d.Latitude, d.CRS, d.Maintainer, d.InstalledAt = "", "", "", "", ""
	return contract.EncodeDevice(d), nil
}

// version names all that a cut is made from.
func (c *Cuts) version(p Parts, edge, shared string) (string, error) {
	doc := p.Edges[edge]
	content := []any{shared, doc, p.Leaving[edge]}
	for _, community := range doc.Communities {
		content = append(content, p.Communities[community])
		for _, fleet := range Names(c.fleets) {
			if at, ok := c.fleets[fleet].places[community]; ok {
				content = append(content, fleet, c.fleets[fleet].header, at.digest)
			}
		}
	}
	return digest(content...)
}

// shards gives the shards of an edge node, unopened, sorted by name.
func (c *Cuts) shards(p Parts, edge string) []Prepared {
	doc := p.Edges[edge]
	if p.Leaving[edge] {
		doc.Communities = nil
	}
	fleets := map[string][]place{}
	for _, community := range doc.Communities {
		for fleet, f := range c.fleets {
			if at, ok := f.places[community]; ok {
				fleets[fleet] = append(fleets[fleet], at)
			}
		}
	}
	out := []Prepared{
		unopened(contract.Shard{Name: contract.ShardDirectory, Roots: []string{"dizuo/communities", "dizuo/organizations", "dizuo/platform"}}, func() map[string]any {
			return under("communities", only(p.Communities, doc.Communities), "organizations", map[string]any{}, "platform", p.Platform)
		}),
		unopened(contract.Shard{Name: contract.ShardEdges, Roots: []string{"dizuo/edges"}}, func() map[string]any {
			return under("edges", map[string]contract.Edge{edge: {Communities: append([]string{}, doc.Communities...), AutonomySeconds: doc.AutonomySeconds}})
		}),
		unopened(contract.Shard{Name: contract.ShardRules, Roots: []string{"dizuo/profiles", "dizuo/scenarios", "dizuo/timeZone"}}, func() map[string]any {
			return rules(p, slices.Collect(maps.Keys(fleets)), doc.Communities)
		}),
	}
	for fleet, places := range fleets {
		there := func() contract.DeviceRows { return rows(places) }
		out = append(out, fleetShard(fleet, p.Fleets[fleet], there), credentialsShard(fleet, p.Credentials[fleet], there))
	}
	slices.SortFunc(out, func(a, b Prepared) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// rules gives the profiles of some fleets and the scenarios on them, with what is other in some communities.
func rules(p Parts, fleets, communities []string) map[string]any {
	profiles, scenarios := map[string]contract.Profile{}, map[string]contract.Scenario{}
	for _, f := range fleets {
		if profile, ok := p.Profiles[p.Fleets[f].Profile]; ok {
			profiles[p.Fleets[f].Profile] = profile
		}
	}
	for name, s := range p.Scenarios {
		if _, used := profiles[s.Profile]; used {
			scenarios[name] = engineOnly(s, communities)
		}
	}
	return under("profiles", profiles, "scenarios", scenarios, "timeZone", p.Platform.TimeZone)
}

// engineOnly leaves of a scenario what an engine needs in some communities: who is called, and when, is the hub's business.
func engineOnly(s contract.Scenario, communities []string) contract.Scenario {
	s.Responders, s.AfterSeconds, s.Raise = nil, 0, uncalled(s.Raise)
	variants := s.Variants
	s.Variants = nil
	for key, v := range variants {
		if _, community, _ := strings.Cut(key, "/"); community != "" && !slices.Contains(communities, community) {
			continue
		}
		if s.Variants == nil {
			s.Variants = map[string]contract.Variant{}
		}
		v.AfterSeconds, v.Raise = nil, uncalled(v.Raise)
		s.Variants[key] = v
	}
	return s
}

func uncalled(list []contract.Raise) []contract.Raise {
	list = slices.Clone(list)
	for i := range list {
		list[i].Responders = nil
	}
	return list
}

// rows gives those of all places.
func rows(places []place) contract.DeviceRows {
	var out contract.DeviceRows
	for _, at := range places {
		out = append(out, at.rows...)
	}
	out.Sort()
	return out
}

// only gives the entries of a map that are named.
func only[V any](from map[string]V, names []string) map[string]V {
	out := make(map[string]V, len(names))
	for _, name := range names {
		if v, ok := from[name]; ok {
			out[name] = v
		}
	}
	return out
}

// digests opens shards one after the other and lists them by content.
func digests(shards []Prepared) (contract.Index, error) {
	for i := range shards {
		if _, err := shards[i].identify(); err != nil {
			return contract.Index{}, err
		}
	}
	return Index(shards), nil
}

func digest(content ...any) (string, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	return contract.Digest(raw), nil
}
