package publication

import (
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/test/pki"
)

// A new key is trusted before it signs; it signs when every node has it, or after ten minutes; the former is trusted for as long as a
// lease lives that it signed.
func TestKeyringTurns(t *testing.T) {
	old, issued := pki.Signer(t), pki.Signer(t)
	start := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	const life = 4 * time.Hour
	var ring keyring
	look := func(after time.Duration, held, known bool) (changed bool, due time.Time) {
		t.Helper()
		s := issued
		if after < 0 {
			s = old
		}
		var err error
		ring, changed, due, err = ring.turn(s, held, known, life, start.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return changed, due
	}
	trusts := func(ids ...string) {
		t.Helper()
		var have []string
		for _, k := range ring.keys {
			have = append(have, k.ID)
		}
		if !slices.Equal(have, ids) {
			t.Errorf("trusted are %v, want %v", have, ids)
		}
	}
	if changed, due := look(-time.Hour, false, false); !changed || !due.IsZero() || ring.signing != old.KeyID {
		t.Fatal("the first key does not sign at once")
	}
	if changed, _ := look(-time.Minute, true, true); changed {
		t.Error("nothing happened and the ring changed")
	}
	changed, due := look(0, true, true) // known is of the ring before
	if !changed || ring.signing != old.KeyID || due.After(start.Add(trustWait)) {
		t.Errorf("a new key signs before nodes trust it: %+v", ring)
	}
	trusts(old.KeyID, issued.KeyID)
	if look(time.Minute, true, false); ring.signing != old.KeyID {
		t.Error("a late node would refuse what the new key signs")
	}
	if changed, due = look(2*time.Minute, true, true); !changed || ring.signing != issued.KeyID || !due.Equal(start.Add(2*time.Minute+life)) {
		t.Errorf("all trust it and it does not sign, or the former ends at %s", due)
	}
	trusts(old.KeyID, issued.KeyID)
	if changed, _ = look(life, true, true); changed {
		t.Error("the former key is gone while a lease may live that it signed")
	}
	if changed, _ = look(2*time.Minute+life, true, true); !changed {
		t.Error("the former key stays for ever")
	}
	trusts(issued.KeyID)
}

// A node that says nothing of keys holds up a rotation for ten minutes; an operator that has lost the former key does not wait at all.
func TestKeyringDoesNotWaitForEver(t *testing.T) {
	old, issued := pki.Signer(t), pki.Signer(t)
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	begun, _, _, err := keyring{}.turn(old, false, false, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	waits, _, _, _ := begun.turn(issued, true, false, time.Hour, now)
	if late, _, _, _ := waits.turn(issued, true, false, time.Hour, now.Add(trustWait)); late.signing != issued.KeyID {
		t.Error("it still waits after ten minutes")
	}
	if lost, _, _, _ := begun.turn(issued, false, false, time.Hour, now); lost.signing != issued.KeyID || len(lost.keys) != 2 {
		t.Errorf("without the former key: %+v", lost)
	}
}

// A key that was put back before it signed, or while another one waits, is trusted for one more lease and not for ever; one that comes again
// is not taken away while it is the issued one.
func TestKeyringForgetsAKeyThatWasPutBack(t *testing.T) {
	old, leaked := pki.Signer(t), pki.Signer(t)
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	const life = 4 * time.Hour
	var ring keyring
	turn := func(s *seal.Signer, known bool, after time.Duration) (due time.Time) {
		t.Helper()
		var err error
		if ring, _, due, err = ring.turn(s, true, known, life, now.Add(after)); err != nil {
			t.Fatal(err)
		}
		return due
	}
	turn(old, true, 0)
	turn(leaked, true, time.Minute)
	if due := turn(old, true, 2*time.Minute); ring.signing != old.KeyID || !due.Equal(now.Add(2*time.Minute+life)) {
		t.Errorf("after it was put back: due %s, %+v", due, ring)
	}
	turn(leaked, false, 3*time.Minute)
	if i := slices.IndexFunc(ring.keys, func(k v1alpha1.BundleKey) bool { return k.ID == leaked.KeyID }); i < 0 || ring.keys[i].NotAfter != nil {
		t.Errorf("it is issued again and its end stands: %+v", ring)
	}
	turn(old, true, 4*time.Minute)
	turn(old, true, 4*time.Minute+life)
	if len(ring.keys) != 1 || ring.keys[0].ID != old.KeyID {
		t.Errorf("keys %+v, want the one that signs", ring.keys)
	}
}

// The key that signed until now names the next one before that one signs, once; without it nobody is named. A node that trusts the first
// finds the last.
func TestKeysNameTheirSuccessors(t *testing.T) {
	const platform = "city/henan"
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	first := pki.Signer(t)
	var ring keyring
	at := first
	for range seal.MaxSuccessions + 2 {
		next := pki.Signer(t)
		for _, want := range []bool{true, false} {
			if got, err := ring.succeed(platform, at, next, now); err != nil || got != want {
				t.Fatalf("named anew: %v, %v; want %v", got, err, want)
			}
		}
		if got, err := ring.succeed(platform, nil, pki.Signer(t), now); err != nil || got {
			t.Fatalf("without the former key: %v, %v", got, err)
		}
		if len(ring.successions) == 2 {
			public, err := first.Public()
			if err != nil {
				t.Fatal(err)
			}
			trust, err := seal.NewTrust(public)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := trust.Successor(platform, next.KeyID, []byte(ring.successions[1]+"\n"+ring.successions[0])); err != nil {
				t.Error(err)
			}
		}
		at = next
	}
	if len(ring.successions) != seal.MaxSuccessions || seal.SuccessionTo(ring.successions, first.KeyID, at.KeyID) {
		t.Errorf("%d successions", len(ring.successions))
	}
}
