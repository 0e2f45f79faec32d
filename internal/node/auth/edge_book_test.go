package auth

import (
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestARequestEndsWithItsToken: what was asked under a token is not shown once that token has been made anew, unless its key is approved.
func TestARequestEndsWithItsToken(t *testing.T) {
	now := time.Now()
	shown := func(b *edgeBook) bool {
		var r contract.Report
		b.report(&r, now)
		return r.Edges["north"].Enrolment != nil
	}
	for name, tc := range map[string]struct {
		next contract.EdgeCredential
		want bool
	}{
		"the same token":              {contract.EdgeCredential{TokenHash: "one"}, true},
		"a new token":                 {contract.EdgeCredential{TokenHash: "two"}, false},
		"a new token, approved":       {contract.EdgeCredential{TokenHash: "two", KeyDigests: []string{"k"}}, true},
		"the token is used, approved": {contract.EdgeCredential{KeyDigests: []string{"k"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := &edgeBook{pages: map[string]*edgePage{}}
			if ok, err := b.ask("north", contract.EdgeCredential{TokenHash: "one"}, "k", contract.EnrolRequest{CSR: "csr"}, now); !ok || err != nil {
				t.Fatal(ok, err)
			}
			b.follow(map[string]*edgeEntry{"north": {EdgeCredential: tc.next}})
			if shown(b) != tc.want {
				t.Errorf("shown is %v", !tc.want)
			}
		})
	}
	b := &edgeBook{pages: map[string]*edgePage{"gone": {asked: now}}}
	if b.follow(nil); len(b.pages) != 0 {
		t.Error("a node that is registered no more is remembered")
	}
}
