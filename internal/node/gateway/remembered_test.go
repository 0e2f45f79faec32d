package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/policies"
)

// TestRememberedDecisionsAgainstOracle asks the same questions at moments on both sides of every bound, in any order, and holds what is
// remembered against the policy asked afresh.
func TestRememberedDecisionsAgainstOracle(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	worlds := 100
	if testing.Short() {
		worlds = 8
	}
	remembered, allowed, changed := 0, 0, 0
	for range worlds {
		a := randomAccess(r, "x")
		limitsOf(r, a)
		p := policyOf(t, a)
		for range 40 {
			in := factsOf(r, randomInput(r))
			if r.IntN(4) > 0 {
				in = fitting(r, a, in)
			}
			if r.IntN(4) > 0 {
				in.Case, in.BreakGlass = nil, nil
			}
			moments := []int64{0, in.Now, in.Now + 1}
			for _, g := range a.Grants[in.Dataset][in.Consumer] {
				for _, bound := range []int64{g.NotBefore, g.NotAfter} {
					moments = append(moments, bound-1, bound, bound+1)
				}
			}
			answers := map[bool]bool{}
			for range 2 * len(moments) {
				in.Now = pick(r, moments...)
				if key, ok := rememberedKey(in); ok {
					if found, ok := p.decisions.get(key); ok && found.holds(in.Now) {
						remembered++
					}
				}
				got, gotGrant, gotErr := p.decide(t.Context(), in)
				want, wantGrant, wantErr := p.fresh(t.Context(), in)
				if diff := cmp.Diff(want, got) + cmp.Diff(wantGrant, gotGrant); diff != "" || (gotErr == nil) != (wantErr == nil) {
					t.Fatalf("seed %d: fresh - remembered + %s\n%v, %v\nrequest %s", seed, diff, wantErr, gotErr, asJSON(in))
				}
				answers[got.Allow] = true
				if got.Allow {
					allowed++
				}
			}
			if len(answers) == 2 {
				changed++
			}
		}
	}
	t.Logf("%d answers from memory, %d allowed, %d requests that time opened or closed (seed %d)", remembered, allowed, changed, seed)
	if remembered < worlds*100 || allowed < worlds*10 || changed < worlds/2 {
		t.Error("the test proves little")
	}
}

// TestPolicyReadsTimeAsRemembered lists every place of the policy that looks at the time. decided.bounded knows these, and requests with
// a case are not remembered.
func TestPolicyReadsTimeAsRemembered(t *testing.T) {
	module := ast.MustParseModule(policies.Access()["access/access.rego"])
	now, places := ast.MustParseRef("input.now"), 0
	var got []string
	ast.WalkExprs(module, func(e *ast.Expr) bool {
		if slices.ContainsFunc(e.Operands(), func(o *ast.Term) bool { return now.Equal(o.Value) }) {
			got = append(got, e.String())
		}
		return false
	})
	ast.WalkRefs(module, func(ref ast.Ref) bool {
		if ref.HasPrefix(now) {
			places++
		}
		return false
	})
	slices.Sort(got)
	want := []string{
		"gte(input.now, agreed.notBefore)", "gte(input.now, candidate.notBefore)", "gte(input.now, grant.notBefore)",
		"lt(input.now, agreed.notAfter)", "lt(input.now, plus(input.case.closedAt, object.get(agreed.case, \"graceSeconds\", 0)))",
	}
	if diff := cmp.Diff(want, got); diff != "" || places != len(want) {
		t.Errorf("%d places read input.now: %s", places, diff)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var m memory[int, int]
	for i := range 10 * maxRemembered {
		m.put(i, -i)
		if v, ok := m.get(0); !ok || v != 0 {
			t.Fatalf("what is asked for always was forgotten at %d", i)
		}
		if n := len(m.newer) + len(m.old); n > maxRemembered {
			t.Fatalf("%d entries", n)
		}
	}
	if _, ok := m.get(5); ok {
		t.Error("what nobody asked for is still there")
	}
}

// TestNothingIsRememberedOfAnotherPolicy: how another text reads the time is not known.
func TestNothingIsRememberedOfAnotherPolicy(t *testing.T) {
	b := sealed(t, intake.Bundle{Directory: testDirectory(), Modules: policies.Access(), Access: manyAgreements(1)})
	b.Modules = map[string]string{"access/access.rego": policies.Access()["access/access.rego"] + "\n# another\n"}
	p, err := newPolicy(t.Context(), &b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.decisions != nil {
		t.Error("decisions are remembered")
	}
	if d, _, err := p.decide(t.Context(), manyInput(0)); err != nil || !d.Allow {
		t.Error(d, err)
	}
	if _, ok := rememberedKey(contract.DecisionInput{Case: &contract.CaseFact{}}); ok {
		t.Error("a request with a case is remembered")
	}
}

// TestVerifiedEnds: a token and a certificate that were taken a moment ago are refused once they ended, once the clock runs before the
// moment of proof, and once the directory drops whom they speak for.
func TestVerifiedEnds(t *testing.T) {
	w := newWorld(t)
	s, began := w.server, time.Now()
	token := w.token("town", "GridWorker")
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{w.certs["town"].Leaf}}
	at := func(now time.Time) caller { return caller{"town", s.policy.Load().policy, now} }
	roots := func(now time.Time) *x509.CertPool {
		pool, err := s.roots.get(now)
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	for range 2 {
		if who, err := s.person(t.Context(), at(began), token); err != nil || who.Subject != "p-1" {
			t.Fatal(who, err)
		}
		if o, err := at(began).policy.organization(state, roots(began), began); err != nil || o != "town" {
			t.Fatal(o, err)
		}
	}
	if n := len(s.policy.Load().persons.newer); n != 1 {
		t.Fatalf("%d tokens are remembered", n)
	}
	ends := began.Add(10*time.Minute + time.Second)
	for name, now := range map[string]time.Time{"expired": ends, "before it was issued": began.Add(-time.Hour)} {
		if who, err := s.person(t.Context(), at(now), token); err == nil {
			t.Errorf("token %s: taken for %+v", name, who)
		}
	}
	late := w.certs["town"].Leaf.NotAfter.Add(time.Second)
	if o, err := at(late).policy.organization(state, roots(late), late); err == nil {
		t.Errorf("an ended certificate speaks for %s", o)
	}
	if at(late).policy.stands(state.PeerCertificates, roots(late), late) {
		t.Error("the chain of an ended certificate stands")
	}
	if at(began).policy.stands(state.PeerCertificates, x509.NewCertPool(), began) {
		t.Error("the chain stands under other CAs")
	}
	o := w.bundle.Directory.Organizations["town"]
	o.URIs = nil
	w.bundle.Directory.Organizations["town"] = o
	w.next()
	if who, err := s.person(t.Context(), at(began), token); err == nil {
		t.Errorf("the certificate is no more the organisation's, and its token is taken for %+v", who)
	}
}
