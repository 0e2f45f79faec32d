package bundle_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
)

// county gives a platform with three communities, two edge nodes and two fleets, one of them at the centre.
func county() bundle.Parts {
	p := bundle.NewParts()
	p.Platform = contract.Platform{Name: "p", Namespace: "p", TimeZone: "Zone/Here"}
	for _, c := range []string{"a", "b", "c"} {
		p.Communities[c] = contract.Community{Division: "41010301400" + c}
	}
	p.Organizations["org"] = contract.Organization{KeyDigests: []string{"secret-key"}}
	p.Datasets["secret-set"] = contract.Dataset{}
	p.Profiles["smoke"], p.Profiles["door"] = contract.Profile{}, contract.Profile{HeartbeatSeconds: 1}
	p.Scenarios["fire"], p.Scenarios["open"] = contract.Scenario{Profile: "smoke", Responders: []contract.Responder{{Duty: "secret-duty"}}}, contract.Scenario{Profile: "door"}
	fire, held := p.Scenarios["fire"], int64(987654)
	fire.Raise = []contract.Raise{{Name: "second", Responders: []contract.Responder{{Duty: "secret-duty"}}}}
	fire.Variants = map[string]contract.Variant{"/a": {Params: map[string]any{"here": "at-a"}, AfterSeconds: &held, Raise: fire.Raise}, "Emergency/b": {Params: map[string]any{"here": "at-b"}}, "Emergency/": {Params: map[string]any{"mode": "anywhere"}}}
	p.Scenarios["fire"] = fire
	p.Fleets["smoke"] = contract.Fleet{Profile: "smoke", Placement: "Edge", Devices: map[string]contract.Device{}}
	p.Credentials["smoke"] = contract.Credentials{Method: "Password", Devices: map[string]contract.Credential{}}
	for _, d := range []string{"a1", "a2", "b1", "c1"} {
		p.Fleets["smoke"].Devices[d] = contract.Device{Community: d[:1], Longitude: "secret-place", Maintainer: "secret-org"}
		p.Credentials["smoke"].Devices[d] = contract.Credential{PasswordHash: "hash-of-" + d}
	}
	p.Fleets["smoke"].Devices["store"] = contract.Device{}
	p.Fleets["central"] = contract.Fleet{Profile: "door", Devices: map[string]contract.Device{"a9": {Community: "a"}}}
	p.Credentials["central"] = contract.Credentials{Devices: map[string]contract.Credential{"a9": {PasswordHash: "hash-of-a9"}}}
	for name, communities := range map[string][]string{"one": {"a"}, "two": {"b", "c"}, "unapproved": {}} {
		p.Edges[name] = contract.Edge{Communities: communities, AutonomySeconds: 3600}
		p.EdgeCredentials[name] = contract.EdgeCredential{KeyDigests: []string{"sha256:key-of-" + name}, TokenHash: "token-of-" + name}
	}
	p.EdgeCredentials["unapproved"] = contract.EdgeCredential{TokenHash: "token-of-unapproved"}
	return p
}

// whole opens every shard of a cut and gives all of it.
func whole(t *testing.T, c bundle.Cut) string {
	t.Helper()
	var out strings.Builder
	for i, s := range c.Shards {
		shard, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := shard.ContentDigest()
		if err != nil || digest != c.Index.Shards[i].Digest || shard.Name != c.Index.Shards[i].Name {
			t.Errorf("%s: %s is %s in the index (%v)", c.Edge, shard.Name, c.Index.Shards[i].Digest, err)
		}
		raw, err := json.Marshal(shard)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(raw)
	}
	return out.String()
}

func made(t *testing.T, cuts *bundle.Cuts, p bundle.Parts) map[string]bundle.Cut {
	t.Helper()
	list, err := cuts.Make(p)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bundle.Cut{}
	for _, c := range list {
		out[c.Edge] = c
	}
	return out
}

// An edge node gets what concerns its communities, and nothing else that is anybody's.
func TestCutHoldsWhatConcernsTheNode(t *testing.T) {
	var cuts bundle.Cuts
	got := made(t, &cuts, county())
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"one", "two"}) {
		t.Fatalf("cuts of %v", names)
	}
	for edge, c := range map[string]struct{ has, lacks []string }{
		"one": {[]string{"a1", "a2", "hash-of-a1", `"fire"`, `"smoke"`, `"second"`, "at-a", "anywhere", `"timeZone":"Zone/Here"`}, []string{"at-b", "987654", "b1", "c1", "store", "a9", "hash-of-b1", "hash-of-a9", "secret", "token-of", "key-of", `"open"`, `"door"`, `"two"`}},
		"two": {[]string{"b1", "c1", "hash-of-b1", "at-b", "anywhere"}, []string{"at-a", "a1", "a2", "store", "hash-of-a1", "secret", "token-of", `"one"`}},
	} {
		said := whole(t, got[edge])
		for _, want := range c.has {
			if !strings.Contains(said, want) {
				t.Errorf("%s lacks %s", edge, want)
			}
		}
		for _, no := range c.lacks {
			if strings.Contains(said, no) {
				t.Errorf("%s has %s: %s", edge, no, said)
			}
		}
	}
	leaving := county()
	leaving.Leaving["one"] = true
	if said := whole(t, made(t, &cuts, leaving)["one"]); strings.Contains(said, "a1") || strings.Contains(said, "410103") {
		t.Errorf("one that leaves keeps %s", said)
	}
}

// What is remembered gives the same cuts as what is made from nothing, whatever changes; and a change makes anew no cut but those that
// are other than before.
func TestCutsRememberRightly(t *testing.T) {
	var cuts bundle.Cuts
	p, random := county(), rand.New(rand.NewPCG(1, 2))
	p.Versions["smoke"] = "first"
	before := made(t, &cuts, p)
	steps := 300
	if testing.Short() {
		steps = 60
	}
	for step := range steps {
		next := county()
		next.Fleets["smoke"] = p.Fleets["smoke"]
		next.Credentials["smoke"] = p.Credentials["smoke"]
		next.Versions["smoke"] = p.Versions["smoke"]
		switch random.IntN(6) {
		case 0:
			next.Leaving["one"] = true
		case 1:
			next.Communities["b"] = contract.Community{Division: fmt.Sprint(step)}
		case 2:
			next.Scenarios["fire"] = contract.Scenario{Profile: "smoke", Title: fmt.Sprint(step % 3)}
		default: // a row comes, moves, or changes its credential
			rows, keys := maps.Clone(p.Fleets["smoke"].Devices), maps.Clone(p.Credentials["smoke"].Devices)
			device := fmt.Sprint("d", random.IntN(5))
			rows[device] = contract.Device{Community: []string{"a", "b", "c", ""}[random.IntN(4)]}
			keys[device] = contract.Credential{PasswordHash: fmt.Sprint(random.IntN(2))}
			f, k := p.Fleets["smoke"], p.Credentials["smoke"]
			f.Devices, k.Devices = rows, keys
			next.Fleets["smoke"], next.Credentials["smoke"], next.Versions["smoke"] = f, k, fmt.Sprint(step)
		}
		var anew bundle.Cuts
		got, want := made(t, &cuts, next), made(t, &anew, next)
		for edge, c := range want {
			if got[edge].Index.Revision() != c.Index.Revision() {
				t.Fatalf("step %d: %s is remembered wrongly", step, edge)
			}
			if same := got[edge].Index.Revision() == before[edge].Index.Revision(); !same && !got[edge].Fresh {
				t.Fatalf("step %d: %s changed, and is said not to be made anew", step, edge)
			}
			whole(t, got[edge])
		}
		p, before = next, got
	}
	again := made(t, &cuts, p)
	moved := p
	f := moved.Fleets["smoke"]
	f.Devices = maps.Clone(f.Devices)
	f.Devices["c1"] = contract.Device{Community: "c", Building: "new"}
	moved.Fleets = maps.Clone(p.Fleets)
	moved.Fleets["smoke"] = f
	moved.Versions = map[string]string{"smoke": "moved"}
	got := made(t, &cuts, moved)
	if got["one"].Fresh || !got["two"].Fresh || got["one"].Index.Revision() != again["one"].Index.Revision() {
		t.Errorf("a row of another node's community: one made anew %t, two %t", got["one"].Fresh, got["two"].Fresh)
	}
}

// At the centre the devices of a fleet at edge nodes are known, and not admitted.
func TestDevicesAtEdgeNodesAreNotAdmittedAtTheCentre(t *testing.T) {
	var memo bundle.Memo
	p := county()
	open := p.Credentials["smoke"]
	open.Open = 777
	p.Credentials["smoke"] = open
	prepared, err := memo.Prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, s := range prepared {
		shard, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(shard.Data)
		switch s.Name {
		case "credentials.smoke":
			seen++
			if strings.Contains(string(raw), "hash-of") || strings.Contains(string(raw), "777") {
				t.Errorf("credentials at the centre: %s", raw)
			}
		case "fleet.smoke", "credentials.central", "edges", "edge-credentials":
			seen++
			if !strings.Contains(string(raw), "a") || len(raw) < 60 {
				t.Errorf("%s: %s", s.Name, raw)
			}
		}
	}
	if seen != 5 {
		t.Errorf("%d shards seen", seen)
	}
}
