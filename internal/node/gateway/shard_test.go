package gateway

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/policies"
)

// Every grant of a document is found in its shard, as it was; and nothing else is.
func TestShardsHoldEveryGrant(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 50 {
		a := randomAccess(r, "x")
		hostile := "a\"b\\u0041\n"
		a.Grants["elders"] = map[string]map[string]contract.Grant{"c": {hostile: visits(), "": visits(), "z": visits()}}
		b := sealed(t, intake.Bundle{Access: a})
		g, err := newGrants(&b, nil)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for dataset, consumers := range a.Grants {
			for consumer, agreements := range consumers {
				between := maps.Collect(g.between(dataset, consumer))
				if diff := cmp.Diff(asJSON(agreements), asJSON(between)); diff != "" {
					t.Fatalf("%s %s: %s", dataset, consumer, diff)
				}
				for name, want := range agreements {
					got, ok, err := g.grant(dataset, consumer, name)
					if err != nil || !ok || asJSON(got) != asJSON(want) {
						t.Fatalf("%s %s %q: %v %v", dataset, consumer, name, ok, err)
					}
					found++
				}
			}
		}
		held := 0
		for _, s := range g.shards {
			held += len(s.entries)
		}
		if held != found {
			t.Fatalf("shards hold %d grants, the document %d", held, found)
		}
		if _, ok, _ := g.grant("elders", "c", "y"); ok {
			t.Fatal("a grant that is not there was found")
		}
	}
}

// A grant that lies in the shard of other consumers is not found: each consumer is looked up in one shard only.
func TestAGrantInAStrangersShardIsNone(t *testing.T) {
	raw, _ := json.Marshal(map[string]any{"d": map[string]any{"c": map[string]any{"a": visits()}}})
	for _, name := range []string{"grants.00", "grants.01", "grants.ff", contract.GrantsShard("c")} {
		b := intake.Bundle{Grants: map[string]intake.Grants{name: {Digest: "x", JSON: string(raw)}}}
		g, err := newGrants(&b, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, _ := g.grant("d", "c", "a"); ok != (name == contract.GrantsShard("c")) {
			t.Errorf("shard %s: found %t", name, ok)
		}
	}
}

// What stayed the same is taken over from the revision before, and a shard that cannot be read makes no policy: the one before stays.
func TestARevisionTakesOverWhatStayed(t *testing.T) {
	grants := func(uid string) intake.Grants {
		g := visits()
		g.UID = uid
		raw := asJSON(map[string]any{"d": map[string]any{"c": map[string]any{"a": g}}})
		return intake.Grants{Digest: contract.Digest([]byte(raw)), JSON: raw}
	}
	first := intake.Bundle{Directory: testDirectory(), Modules: policies.Access(), Grants: map[string]intake.Grants{"grants.00": grants("1"), "grants.01": grants("2")}}
	p, err := newPolicy(t.Context(), &first, nil)
	if err != nil {
		t.Fatal(err)
	}
	second := first
	second.Grants = map[string]intake.Grants{"grants.00": grants("1"), "grants.01": grants("3")}
	next, err := newPolicy(t.Context(), &second, p)
	if err != nil {
		t.Fatal(err)
	}
	if next.grants.shards["grants.00"] != p.grants.shards["grants.00"] || next.grants.shards["grants.01"] == p.grants.shards["grants.01"] {
		t.Error("one shard changed, and not that one was read anew")
	}
	for _, bad := range []string{"", "null", "[]", `{"d":1}`, `{"d":{"c":{"a":{}}}`, `{"d":{"c":[]}}`, `{"d":{"c":{"a":`, `{"d":null}`} {
		third := first
		third.Grants = map[string]intake.Grants{"grants.00": {Digest: "bad", JSON: bad}}
		if _, err := newPolicy(t.Context(), &third, p); err == nil {
			t.Errorf("%q made a policy", bad)
		}
	}
	fourth := first
	fourth.Modules = map[string]string{"access/access.rego": "package dizuo.access\n\ndefault decision := {\"allow\": false, \"reasons\": [\"Closed\"]}\n"}
	closed, err := newPolicy(t.Context(), &fourth, p)
	if err != nil {
		t.Fatal(err)
	}
	if d, _, err := closed.decide(t.Context(), contract.DecisionInput{Dataset: "d", Consumer: "c", Agreement: "a"}); err != nil || len(d.Reasons) != 1 || d.Reasons[0] != "Closed" {
		t.Errorf("changed Rego was not compiled: %+v, %v", d, err)
	}
}
