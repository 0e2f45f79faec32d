package gather

import (
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/dizuo/dizuo/internal/compile"
)

// A release that adds a key meets Secrets that stand: the key is made up, and nothing that stands changes.
func TestFillKeepsWhatStands(t *testing.T) {
	stands := map[string][]byte{"owner": []byte("o"), "grid": []byte("g"), "theirs": []byte("t")}
	got, err := fill(compile.SecretDatabase, stands, []string{"owner", "grid", "audit", "vault"})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range stands {
		if string(got[name]) != string(value) {
			t.Errorf("%s is %q, was %q", name, got[name], value)
		}
	}
	if len(got["audit"]) < 43 || len(got["vault"]) < 43 || string(got["audit"]) == string(got["vault"]) {
		t.Errorf("audit %d and vault %d characters, want 256 random bits each", len(got["audit"]), len(got["vault"]))
	}
	if len(stands) != 3 {
		t.Error("the Secret as it was read has changed")
	}
	if fresh, err := fill(compile.SecretPseudonym, nil, []string{"key"}); err != nil || len(fresh["key"]) < 43 {
		t.Errorf("a Secret that is not there: %d bytes, %v", len(fresh["key"]), err)
	}
}

// Half a pair is no pair.
func TestFillMakesTheCalloutsPairWhole(t *testing.T) {
	names := []string{"seed", "public"}
	whole, err := fill(compile.SecretCallout, nil, names)
	if err != nil {
		t.Fatal(err)
	}
	again, err := fill(compile.SecretCallout, whole, names)
	if err != nil || string(again["seed"]) != string(whole["seed"]) {
		t.Errorf("a whole pair was made anew, or %v", err)
	}
	delete(again, "public")
	repaired, err := fill(compile.SecretCallout, again, names)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromSeed(repaired["seed"])
	if err != nil {
		t.Fatal(err)
	}
	if public, err := pair.PublicKey(); err != nil || public != string(repaired["public"]) {
		t.Errorf("public key %s is not that of the seed, or %v", repaired["public"], err)
	}
}
