package password

import (
	"crypto/rand"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	generated, err := Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(generated) != 22 {
		t.Errorf("generated password has %d characters, want 22 (128 bits)", len(generated))
	}
	for name, tc := range map[string]struct {
		hash     func(string) (string, error)
		password string
		costly   bool
	}{
		"generated": {func(p string) (string, error) { return HashGenerated(p, rand.Reader) }, generated, false},
		"chosen":    {func(p string) (string, error) { return HashChosen(p, rand.Reader) }, "红旗2024", true},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := tc.hash(tc.password)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := tc.hash(tc.password)
			if again == encoded {
				t.Error("two hashes of one password are equal: no salt")
			}
			h, err := Parse(encoded)
			if err != nil {
				t.Fatal(err)
			}
			if h.Costly() != tc.costly {
				t.Errorf("Costly = %v, want %v", h.Costly(), tc.costly)
			}
			if !h.Verify(tc.password) {
				t.Error("the right password was refused")
			}
			for _, wrong := range []string{"", tc.password + "x", tc.password[1:], strings.Repeat("a", 2000)} {
				if h.Verify(wrong) {
					t.Errorf("the wrong password %.20q was taken", wrong)
				}
			}
		})
	}
	if (Hash{}).Verify("") {
		t.Error("the zero hash took a password")
	}
}

func TestParseRefuses(t *testing.T) {
	salt, sum := "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for name, encoded := range map[string]string{
		"empty":           "",
		"plain":           "secret",
		"two parts":       "sha256:" + salt,
		"short salt":      "sha256:AAAA:" + sum,
		"short hash":      "sha256:" + salt + ":AAAA",
		"padding":         "sha256:" + salt + "==:" + sum,
		"argon2i":         "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		"old version":     "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum,
		"too much memory": "$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + sum,
		"too many passes": "$argon2id$v=19$m=64,t=1000,p=1$" + salt + "$" + sum,
		"no lanes":        "$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + sum,
		"trailing cost":   "$argon2id$v=19$m=64,t=1,p=1,x=1$" + salt + "$" + sum,
		"empty hash":      "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
	} {
		if _, err := Parse(encoded); err == nil {
			t.Errorf("%s: %q was taken", name, encoded)
		} else if encoded != "" && strings.Contains(err.Error(), sum) {
			t.Errorf("%s: the error repeats the hash: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("sha256:a:b")
	f.Add("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := Parse(s); err == nil && !h.Costly() && h.Verify("") && s == "" {
			t.Fatal("empty hash verified")
		}
	})
}

func TestHashRefusesEmpty(t *testing.T) {
	if _, err := HashGenerated("", rand.Reader); err == nil {
		t.Error("an empty password was hashed")
	}
	if _, err := HashChosen(strings.Repeat("x", 5000), rand.Reader); err == nil {
		t.Error("an endless password was hashed")
	}
}
