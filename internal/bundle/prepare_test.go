package bundle_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
)

// However parts change, what is remembered gives the same index as looking at everything, as long as versions tell the truth.
func TestAMemoGivesWhatAFreshLookGives(t *testing.T) {
	memo, random := &bundle.Memo{}, rand.New(rand.NewPCG(1, 2))
	devices := map[string]int{} // of each fleet
	for step := range 300 {
		name := fmt.Sprint("f", random.IntN(6))
		if random.IntN(5) == 0 {
			delete(devices, name)
		} else {
			devices[name] = random.IntN(4)
		}
		p := parts()
		for fleet, n := range devices {
			f, c := contract.Fleet{Devices: map[string]contract.Device{}}, contract.Credentials{Devices: map[string]contract.Credential{}}
			for i := range n {
				f.Devices[fmt.Sprint("d", i)], c.Devices[fmt.Sprint("d", i)] = contract.Device{Community: "c"}, contract.Credential{}
			}
			p.Fleets[fleet], p.Credentials[fleet] = f, c
			if random.IntN(3) > 0 { // some have none
				p.Versions[fleet] = fmt.Sprint(n)
			}
		}
		got := prepare(t, memo, p)
		if want := index(t, p); !slices.Equal(bundle.Index(got).Shards, want.Shards) {
			t.Fatalf("step %d: %v, want %v", step, bundle.Index(got), want)
		}
		for _, s := range got {
			shard, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			if digest, err := shard.ContentDigest(); err != nil || digest != s.Digest {
				t.Fatalf("step %d: %s opens with digest %s, want %s: %v", step, s.Name, digest, s.Digest, err)
			}
		}
	}
}

// What is remembered is not looked at again: that is the point of it.
func TestAMemoTrustsVersions(t *testing.T) {
	memo, p := &bundle.Memo{}, parts()
	p.Fleets["f"], p.Versions["f"] = contract.Fleet{Profile: "one"}, "v1"
	before := bundle.Index(prepare(t, memo, p))
	p.Fleets["f"] = contract.Fleet{Profile: "another"}
	if after := bundle.Index(prepare(t, memo, p)); !slices.Equal(before.Shards, after.Shards) {
		t.Error("a fleet of the same version was looked at")
	}
	p.Versions["f"] = "v2"
	if after := bundle.Index(prepare(t, memo, p)); slices.Equal(before.Shards, after.Shards) {
		t.Error("a fleet of another version was not looked at")
	}
	// Documents of the bundle in force have no version, and take the one of another object away.
	bundle.Only(p, "DeviceFleet", "f")(&p)
	if p.Versions["f"] != "" {
		t.Error("documents of one object have the version of another")
	}
}

// A change of a few agreements makes each shard once, for the digest and for whoever sends it; a change of all keeps few of them in memory.
func TestFewChangedGrantsStayOpen(t *testing.T) {
	for _, c := range []struct{ consumers, want int }{{1, 1}, {2, 2}, {40, 4}} {
		memo, p := &bundle.Memo{}, parts()
		clear(p.Agreements)
		for i := range c.consumers {
			name := fmt.Sprint("consumer-", i)
			p.Agreements[name] = bundle.Agreement{Consumer: name, Grants: map[string]contract.Grant{"d": {UID: name}}}
		}
		kept := 0
		for _, s := range prepare(t, memo, p) {
			one, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			other, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			if reflect.ValueOf(one.Data).Pointer() == reflect.ValueOf(other.Data).Pointer() {
				kept++
			}
		}
		if kept != c.want {
			t.Errorf("of %d consumers' shards %d stay open, want %d", c.consumers, kept, c.want)
		}
	}
}
