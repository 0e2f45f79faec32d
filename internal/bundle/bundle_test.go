package bundle_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
)

// parts gives the parts of a small platform, new each time.
func parts() bundle.Parts {
	p := bundle.NewParts()
	p.Platform = contract.Platform{Name: "henan", Namespace: "henan"}
	p.Communities["jinghu"] = contract.Community{Division: "410103014006"}
	p.Organizations["fire"] = contract.Organization{Type: "Fire"}
	p.Profiles["smoke-detector"], p.Profiles["local"] = contract.Profile{HeartbeatSeconds: 1}, contract.Profile{HeartbeatSeconds: 2}
	p.Scenarios["s10"] = contract.Scenario{Profile: "smoke-detector"}
	p.Fleets["smoke"] = contract.Fleet{Namespace: "vendor", Devices: map[string]contract.Device{"d": {Community: "jinghu"}}}
	p.Credentials["smoke"] = contract.Credentials{Method: "Password", Devices: map[string]contract.Credential{"d": {PasswordHash: "sha256:a:b"}}}
	p.Datasets["visits"] = contract.Dataset{Provider: "health"}
	p.Agreements["a"] = bundle.Agreement{Consumer: "fire", Grants: map[string]contract.Grant{"visits": {UID: "1"}, "gone": {UID: "1"}}}
	p.Agreements["b"] = bundle.Agreement{Consumer: "fire", Grants: map[string]contract.Grant{"visits": {UID: "2"}}}
	p.Modules = map[string]string{"policies/access.rego": "package dizuo.access\n"}
	return p
}

func shards(t *testing.T, p bundle.Parts) map[string]contract.Shard {
	t.Helper()
	out := map[string]contract.Shard{}
	for _, s := range prepare(t, &bundle.Memo{}, p) {
		shard, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		if digest, err := shard.ContentDigest(); err != nil || digest != s.Digest || shard.Name != s.Name {
			t.Errorf("%s opens as %s with digest %s, want %s: %v", s.Name, shard.Name, digest, s.Digest, err)
		}
		out[s.Name] = shard
	}
	return out
}

func prepare(t *testing.T, m *bundle.Memo, p bundle.Parts) []bundle.Prepared {
	t.Helper()
	list, err := m.Prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(list, func(a, b bundle.Prepared) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("shards are not sorted by name")
	}
	return list
}

func index(t *testing.T, p bundle.Parts) contract.Index {
	t.Helper()
	return bundle.Index(prepare(t, &bundle.Memo{}, p))
}

func text(t *testing.T, s contract.Shard) string {
	t.Helper()
	raw, err := json.Marshal(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestGrantsAreOrderedForALookup(t *testing.T) {
	var got struct {
		Dizuo contract.Access `json:"dizuo"`
	}
	if err := json.Unmarshal([]byte(text(t, shards(t, parts())[contract.GrantsShard("fire")])), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]map[string]contract.Grant{"visits": {"fire": {"a": {UID: "1"}, "b": {UID: "2"}}}}
	if diff := cmp.Diff(want, got.Dizuo.Grants); diff != "" { // of the dataset that is gone there is nothing
		t.Error(diff)
	}
}

// Password hashes stand in the credentials of their fleet and nowhere else: other roles never see them.
func TestSecretsStandInCredentialsOnly(t *testing.T) {
	for name, s := range shards(t, parts()) {
		if has := strings.Contains(text(t, s), "sha256:a:b"); has != (name == contract.ShardCredentials+"smoke") {
			t.Errorf("shard %s holds a hash: %v", name, has)
		}
	}
}

// No two shards share a root, or lie below one another's: plain opa refuses that.
func TestRootsAreDisjoint(t *testing.T) {
	p := parts()
	p.Fleets["smoke-2"] = contract.Fleet{}
	var roots []string
	for _, s := range shards(t, p) {
		roots = append(roots, s.Roots...)
	}
	for i, a := range roots {
		for j, b := range roots {
			if i != j && (a == b || strings.HasPrefix(a, b+"/")) {
				t.Errorf("roots %s and %s overlap", a, b)
			}
		}
	}
}

func TestAChangeShipsWhatChanged(t *testing.T) {
	was := index(t, parts())
	if diff := cmp.Diff(was, index(t, parts())); diff != "" {
		t.Fatalf("the same parts give another index:\n%s", diff)
	}
	for name, c := range map[string]struct {
		change func(*bundle.Parts)
		want   []string
	}{
		"a device moves": {func(p *bundle.Parts) { p.Fleets["smoke"].Devices["d"] = contract.Device{Community: "other"} }, []string{"fleet.smoke"}},
		"a password":     {func(p *bundle.Parts) { p.Credentials["smoke"].Devices["d"] = contract.Credential{} }, []string{"credentials.smoke"}},
		"a revocation":   {func(p *bundle.Parts) { delete(p.Agreements, "a") }, []string{contract.GrantsShard("fire")}},
		"a community":    {func(p *bundle.Parts) { delete(p.Communities, "jinghu") }, []string{"directory"}},
		"a scenario":     {func(p *bundle.Parts) { delete(p.Scenarios, "s10") }, []string{"rules"}},
		"the policy":     {func(p *bundle.Parts) { p.Modules["policies/access.rego"] += "# changed\n" }, []string{"access"}},
		"a fleet goes":   {func(p *bundle.Parts) { delete(p.Fleets, "smoke"); delete(p.Credentials, "smoke") }, []string{"credentials.smoke", "fleet.smoke"}},
	} {
		p := parts()
		c.change(&p)
		now := index(t, p)
		var changed []string
		for _, ref := range was.Shards {
			if !slices.Contains(now.Shards, ref) {
				changed = append(changed, ref.Name)
			}
		}
		if !slices.Equal(changed, c.want) || now.Revision() == was.Revision() {
			t.Errorf("%s: changes %v, want %v", name, changed, c.want)
		}
	}
}

// Empty parts give empty documents, never null: policy and nodes read maps.
func TestNothingIsNull(t *testing.T) {
	for name, s := range shards(t, bundle.Parts{}) {
		if strings.Contains(text(t, s), ":null") && name != contract.ShardDirectory { // the platform's own SLA may be empty
			t.Errorf("shard %s: %s", name, text(t, s))
		}
	}
}

// Only takes the documents of one object and nothing of its neighbours.
func TestOnly(t *testing.T) {
	for _, c := range []struct {
		kind, name string
		want       func(*bundle.Parts)
	}{
		{"Community", "jinghu", func(p *bundle.Parts) { p.Communities = parts().Communities }},
		{"Community", "unknown", func(*bundle.Parts) {}},
		{"Organization", "fire", func(p *bundle.Parts) { p.Organizations = parts().Organizations }},
		{"DeviceProfile", "local", func(p *bundle.Parts) { p.Profiles["local"] = parts().Profiles["local"] }},
		{"Scenario", "s10", func(p *bundle.Parts) { p.Scenarios = parts().Scenarios }},
		{"DeviceFleet", "smoke", func(p *bundle.Parts) { p.Fleets, p.Credentials = parts().Fleets, parts().Credentials }},
		{"GridPlatform", "henan", func(p *bundle.Parts) {
			p.Platform, p.Profiles, p.Scenarios = parts().Platform, parts().Profiles, parts().Scenarios
		}},
		{"DataSharingAgreement", "a", func(*bundle.Parts) {}}, // access to data is never kept without being looked at
	} {
		got, want := bundle.NewParts(), bundle.NewParts()
		bundle.Only(parts(), c.kind, c.name)(&got)
		c.want(&want)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(bundle.Granted{})); diff != "" {
			t.Errorf("%s/%s: -want +got:\n%s", c.kind, c.name, diff)
		}
	}
}
