package intake

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// part is one decoded shard; only the field of its kind is set.
type part struct {
	digest      string
	directory   *contract.Directory
	access      *contract.Access
	grants      string
	modules     map[string]string
	rules       *contract.Rules
	fleet       *contract.Fleet
	credentials *contract.Credentials
	edgeCreds   *map[string]contract.EdgeCredential
	edges       *map[string]contract.Edge
}

// decode reads a shard into its typed document. A shard of a name that this version does not know is left alone, so that
// an older node runs under a newer control plane.
func decode(s contract.Shard, digest string) (part, error) {
	p := part{digest: digest}
	var err error
	fleet, isFleet := strings.CutPrefix(s.Name, contract.ShardFleet)
	holder, isCredentials := strings.CutPrefix(s.Name, contract.ShardCredentials)
	switch {
	case s.Name == contract.ShardDirectory:
		p.directory, err = read[contract.Directory](s, "dizuo")
	case s.Name == contract.ShardAccess:
		p.modules = s.Modules
		if p.access, err = read[contract.Access](s, "dizuo"); err == nil {
			p.access.Grants = nil // of a version that had them here: nobody reads them there
		}
	case strings.HasPrefix(s.Name, contract.ShardGrants):
		p.grants, err = readText(s, "dizuo", "grants")
	case s.Name == contract.ShardRules:
		p.rules, err = read[contract.Rules](s, "dizuo")
	case s.Name == contract.ShardEdgeCredentials:
		p.edgeCreds, err = read[map[string]contract.EdgeCredential](s, "dizuo", "edgeCredentials")
	case s.Name == contract.ShardEdges:
		p.edges, err = read[map[string]contract.Edge](s, "dizuo", "edges")
	case isFleet:
		p.fleet, err = read[contract.Fleet](s, "dizuo", "fleets", fleet)
	case isCredentials:
		p.credentials, err = read[contract.Credentials](s, "dizuo", "credentials", holder)
	}
	if err != nil {
		return part{}, fmt.Errorf("shard %s: %w", s.Name, err)
	}
	return p, nil
}

// read decodes the document at a path of a shard.
func read[T any](s contract.Shard, path ...string) (*T, error) {
	raw, err := encoded(s, path...)
	if err != nil {
		return nil, err
	}
	out := new(T)
	return out, json.Unmarshal(raw, out)
}

// readText gives the document at a path of a shard as JSON.
func readText(s contract.Shard, path ...string) (string, error) {
	raw, err := encoded(s, path...)
	return string(raw), err
}

func encoded(s contract.Shard, path ...string) ([]byte, error) {
	var node any = s.Data
	for _, key := range path {
		m, ok := node.(map[string]any)
		if !ok || m[key] == nil {
			return nil, fmt.Errorf("no document at %s", strings.Join(path, "/"))
		}
		node = m[key]
	}
	return json.Marshal(node)
}

// assemble joins decoded shards to a bundle and forgets those that the index no longer names.
func (i *Intake) assemble(lease contract.Lease, index contract.Index) (*Bundle, error) {
	b := &Bundle{Lease: lease, index: index, Fleets: map[string]contract.Fleet{}, Credentials: map[string]contract.Credentials{},
		Grants: map[string]Grants{}}
	kept := map[string]part{}
	for _, ref := range index.Shards {
		if !i.want(ref.Name) {
			continue
		}
		p, ok := i.parts[ref.Name]
		if !ok || p.digest != ref.Digest {
			return nil, fmt.Errorf("shard %s is missing", ref.Name)
		}
		kept[ref.Name] = p
		b.add(ref.Name, p)
	}
	i.parts = kept
	return b, nil
}

func (b *Bundle) add(name string, p part) {
	switch {
	case p.directory != nil:
		b.Directory = *p.directory
	case p.access != nil:
		b.Access, b.Modules = *p.access, p.modules
	case p.grants != "":
		b.Grants[name] = Grants{Digest: p.digest, JSON: p.grants}
	case p.rules != nil:
		b.Rules = *p.rules
	case p.edges != nil:
		b.Edges = *p.edges
	case p.fleet != nil:
		b.Fleets[strings.TrimPrefix(name, contract.ShardFleet)] = *p.fleet
	case p.credentials != nil:
		b.Credentials[strings.TrimPrefix(name, contract.ShardCredentials)] = *p.credentials
	case p.edgeCreds != nil:
		b.EdgeCredentials = *p.edgeCreds
	}
}
