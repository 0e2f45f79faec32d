package bundle

import (
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// Prepared is a shard by its content, which is made only for who asks: of a million devices a change touches one fleet.
type Prepared struct {
	contract.ShardRef
	// Open gives the shard, normalized.
	Open func() (contract.Shard, error)
}

// Memo remembers the digests of shards by the version of what they hold. It is of one platform. Its zero value remembers nothing.
type Memo struct{ known map[string]known }

type known struct{ version, digest string }

// keepsOpen is how many changed shards of grants stay open for whoever sends them. More than a few are a start, or a change of all: those
// are opened again one by one, as those of fleets are, so that they are never in memory together.
const keepsOpen = 4

// Prepare gives the shards of the parts, sorted by name.
func (m *Memo) Prepare(p Parts) ([]Prepared, error) {
	next, out, changed := map[string]known{}, shards(p), 0
	for i := range out {
		s := &out[i]
		version := versionOf(p, s.Name)
		if was := m.known[s.Name]; version != "" && was.version == version {
			s.Digest = was.digest
		} else {
			opened, err := s.identify()
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(s.Name, contract.ShardGrants) && changed < keepsOpen {
				changed++
				s.Open = func() (contract.Shard, error) { return opened, nil }
			}
		}
		next[s.Name] = known{version, s.Digest}
	}
	m.known = next
	return out, nil
}

// identify opens a shard and notes its digest.
func (s *Prepared) identify() (contract.Shard, error) {
	opened, err := s.Open()
	if err != nil {
		return opened, err
	}
	s.Digest, err = opened.ContentDigest()
	return opened, err
}

// contributing are the kinds of objects from which a shard is made, for those that are made from all objects of some kinds.
var contributing = map[string][]string{
	contract.ShardDirectory: {"GridPlatform", "Community", "Organization"},
	contract.ShardAccess:    {"Dataset"},
	contract.ShardRules:     {"GridPlatform", "DeviceProfile", "Scenario"},
}

// versionOf gives the version of what a shard holds; "" where it has none.
func versionOf(p Parts, shard string) string {
	for _, prefix := range []string{contract.ShardFleet, contract.ShardCredentials} {
		if fleet, ok := strings.CutPrefix(shard, prefix); ok {
			return p.Versions[fleet]
		}
	}
	if strings.HasPrefix(shard, contract.ShardGrants) {
		return versionOfGrants(p, shard)
	}
	kinds := contributing[shard]
	if len(kinds) == 0 || p.Kinds == nil {
		return ""
	}
	version := shard
	for _, kind := range kinds {
		version += " " + p.Kinds[kind]
	}
	if shard == contract.ShardAccess {
		modules, err := digest(p.Modules)
		if err != nil {
			return ""
		}
		version += " " + modules
	}
	return version
}

// versionOfGrants gives the version of a shard of grants: of its agreements, and of which datasets there are.
func versionOfGrants(p Parts, shard string) string {
	granted := p.Granted.version(shard)
	if len(p.Agreements) > 0 || p.Kinds == nil || granted == "" {
		return ""
	}
	return granted + " " + p.Kinds["Dataset"]
}

// Index lists shards by content.
func Index(prepared []Prepared) contract.Index {
	var index contract.Index
	for _, p := range prepared {
		index.Shards = append(index.Shards, p.ShardRef)
	}
	return index
}

// unopened gives a shard whose data is made when it is opened.
func unopened(s contract.Shard, data func() map[string]any) Prepared {
	return Prepared{contract.ShardRef{Name: s.Name}, func() (contract.Shard, error) {
		s := s
		s.Data = data()
		return seal.Normalize(s)
	}}
}

// fleetShard gives the shard of a fleet with these rows, unopened.
func fleetShard(name string, f contract.Fleet, rows func() contract.DeviceRows) Prepared {
	f.Devices = nil
	return withDevices(contract.Shard{Name: contract.ShardFleet + name, Roots: []string{"dizuo/fleets/" + name}}, "fleets", name, f,
		func() any { return rows().Devices() })
}

// credentialsShard gives the shard of a fleet's credentials with these rows, unopened.
func credentialsShard(name string, c contract.Credentials, rows func() contract.DeviceRows) Prepared {
	c.Devices = nil
	return withDevices(contract.Shard{Name: contract.ShardCredentials + name, Roots: []string{"dizuo/credentials/" + name}}, "credentials", name, c,
		func() any { return rows().Credentials() })
}

// withDevices gives the shard of one document whose devices are encoded already: they are put in as they are, and not decoded for it.
func withDevices(s contract.Shard, kind, name string, doc any, devices func() any) Prepared {
	header := unopened(s, func() map[string]any { return under(kind, map[string]any{name: doc}) })
	return Prepared{header.ShardRef, func() (contract.Shard, error) {
		opened, err := header.Open()
		if err != nil {
			return opened, err
		}
		opened.Data["dizuo"].(map[string]any)[kind].(map[string]any)[name].(map[string]any)["devices"] = devices()
		return opened, nil
	}}
}
