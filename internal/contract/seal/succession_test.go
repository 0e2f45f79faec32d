package seal_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/test/pki"
)

// A key is found over those between, in whatever order their successions come; not over another platform's, not by a signature of the
// key itself or of a stranger, and not backwards.
func TestSuccessor(t *testing.T) {
	const platform = "henan/henan"
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	a, b, c, stranger := pki.Signer(t), pki.Signer(t), pki.Signer(t), pki.Signer(t)
	public := func(s *seal.Signer) []byte {
		raw, err := s.Public()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	says := func(platform string, by, next *seal.Signer) string {
		jws, err := by.Succession(platform, public(next), now)
		if err != nil {
			t.Fatal(err)
		}
		return jws
	}
	lease := func(s *seal.Signer) string { // another thing that the key signs
		jws, err := s.Lease(contract.Lease{Platform: platform, IssuedAt: now, ExpiresAt: now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return jws
	}
	trust := func(s ...*seal.Signer) *seal.Trust {
		var keys []byte
		for _, x := range s {
			keys = append(keys, public(x)...)
		}
		got, err := seal.NewTrust(keys)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for name, x := range map[string]struct {
		trust *seal.Trust
		want  *seal.Signer
		lines []string
		found bool
	}{
		"the next":               {trust(a), b, []string{says(platform, a, b)}, true},
		"over one between":       {trust(a), c, []string{says(platform, a, b), says(platform, b, c)}, true},
		"in another order":       {trust(a), c, []string{says(platform, b, c), "no JWS", lease(a), says(platform, a, b)}, true},
		"the middle is missing":  {trust(a), c, []string{says(platform, b, c)}, false},
		"none":                   {trust(a), b, nil, false},
		"of another platform":    {trust(a), b, []string{says("henan/other", a, b)}, false},
		"by itself":              {trust(a), b, []string{says(platform, b, b)}, false},
		"by a stranger":          {trust(a), b, []string{says(platform, stranger, b)}, false},
		"backwards":              {trust(b), a, []string{says(platform, a, b)}, false},
		"a circle without it":    {trust(a), c, []string{says(platform, a, b), says(platform, b, a)}, false},
		"more than are taken":    {trust(a), b, append(many(says(platform, stranger, c), seal.MaxSuccessions), says(platform, a, b)), false},
		"as many as are taken":   {trust(a), b, append(many(says(platform, stranger, c), seal.MaxSuccessions-1), says(platform, a, b)), true},
		"another key in its way": {trust(a, stranger), c, []string{says(platform, stranger, b), says(platform, b, c)}, true},
	} {
		got, err := x.trust.Successor(platform, x.want.KeyID, []byte(strings.Join(x.lines, "\n")))
		if x.found && (err != nil || string(got) != string(public(x.want))) {
			t.Errorf("%s: %v, %s", name, err, got)
		}
		if !x.found && !errors.Is(err, seal.ErrNoSuccession) {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
	chain := []string{says(platform, a, b), "no JWS", says(platform, b, c)}
	if !seal.SuccessionTo(chain, a.KeyID, b.KeyID) || !seal.SuccessionTo(chain, b.KeyID, c.KeyID) || seal.SuccessionTo(chain, a.KeyID, c.KeyID) || seal.SuccessionTo(chain, b.KeyID, a.KeyID) {
		t.Error("SuccessionTo does not tell one step from another")
	}
}

func many(line string, n int) (out []string) {
	for range n {
		out = append(out, line)
	}
	return out
}
