package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/policies"
)

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func some[T any](r *rand.Rand, from ...T) []T {
	var out []T
	for _, v := range from {
		if r.IntN(2) == 0 {
			out = append(out, v)
		}
	}
	return out
}

var randomFields = []string{"community", "level", "phone", "name", "born", "health"}

func randomGrant(r *rand.Rand, uid string) contract.Grant {
	g := contract.Grant{
		UID: uid, Fields: map[string]contract.Mask{}, Purposes: some(r, "HomeVisits", "Statistics", "PublicSafety"),
		Roles: some(r, "GridWorker", "Doctor"), PersonRequired: r.IntN(4) == 0, CaseNumberRequired: r.IntN(4) == 0,
		NotBefore: pick[int64](r, 0, 0, 100, 200), NotAfter: pick[int64](r, 0, 0, 150, 300),
		Rows: contract.Rows{Divisions: some(r, "41", "4107", "410702", "410703", "4108"), Communities: pick(r, nil, nil, []string{"jinghu"}, []string{"east", "gone"})},
	}
	for _, f := range append(some(r, randomFields...), pick(r, "community", "gone")) {
		g.Fields[f] = contract.Mask{Method: pick(r, "", "", maskDrop)}
	}
	if r.IntN(3) == 0 {
		g.Rows.Requirements = append(g.Rows.Requirements, contract.Requirement{Field: "health", Operator: pick(r, "Exists", "DoesNotExist")})
	}
	if r.IntN(3) == 0 {
		g.Rows.Requirements = append(g.Rows.Requirements, contract.Requirement{
			Field: pick(r, "phone", "level", "name"), Operator: pick(r, "In", "NotIn"), Values: append(some(r, nasty...), "1"),
		})
	}
	return g
}

// nasty are values that a careless query would trip over.
var nasty = []string{"1", "2", "", "'", "' OR '1'='1", "\"; DROP TABLE x; --", "$1", "$$", "%", "老人", "🙂", "\\", "null", "NULL", "{a,b}", "e\u0301"}

func randomAccess(r *rand.Rand, table string) contract.Access {
	a := contract.Access{Datasets: map[string]contract.Dataset{}, Grants: map[string]map[string]map[string]contract.Grant{}}
	for _, name := range []string{"d1", "d2", "d3"} {
		d := testDataset(table)
		delete(d.Fields, "seen")
		d.Sharing = pick(r, "Conditional", "Conditional", "Unconditional", "None")
		if r.IntN(5) == 0 {
			d.Source.DivisionColumn = ""
		}
		if r.IntN(5) == 0 {
			d.Source.SubjectColumn = ""
		}
		if r.IntN(3) == 0 {
			delete(d.Fields, pick(r, randomFields[1:]...))
		}
		if r.IntN(12) > 0 {
			a.Datasets[name] = d
		}
		a.Grants[name] = map[string]map[string]contract.Grant{}
		for _, consumer := range some(r, "town", "health", "property") {
			a.Grants[name][consumer] = map[string]contract.Grant{}
			for i := range r.IntN(4) {
				a.Grants[name][consumer][fmt.Sprintf("a%d", i)] = randomGrant(r, fmt.Sprintf("%s-%s-%d", name, consumer, i))
			}
		}
	}
	return a
}

func randomInput(r *rand.Rand) contract.DecisionInput {
	in := contract.DecisionInput{
		Dataset: pick(r, "d1", "d2", "d3", "d1", "d2", "nothing"), Consumer: pick(r, "town", "town", "health", "property"),
		Agreement: pick(r, "", "", "a0", "a1", "a2", "zz"), Purpose: pick(r, "HomeVisits", "Statistics", "PublicSafety", ""),
		Clearance: pick(r, "C2", "C3"), Contract: pick(r, 3, 3, 3, 3, 3, 3, 3, 4, 0, 2), Case: pick(r, nil, &contract.CaseFact{}, &contract.CaseFact{Number: "C-1"}), Now: pick[int64](r, 50, 99, 100, 149, 150, 250, 299, 300, 1000),
	}
	if r.IntN(2) == 0 {
		in.Fields = slices.Compact(slices.Sorted(slices.Values(some(r, append(randomFields, "gone")...))))
	}
	if r.IntN(3) > 0 {
		in.Person = &contract.Person{Subject: pick(r, "p", "p", ""), Roles: pick(r, nil, []string{"GridWorker"}, []string{"Nobody", "Doctor"}, []string{"Nobody"})}
	}
	return in
}

func policyOf(t testing.TB, a contract.Access) *policy {
	t.Helper()
	b := sealed(t, intake.Bundle{Directory: testDirectory(), Modules: policies.Access(), Access: a})
	p, err := newPolicy(t.Context(), &b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func asJSON(v any) string { raw, _ := json.Marshal(v); return string(raw) }

func maybe[T any](r *rand.Rand, v T) *T {
	if r.IntN(4) == 0 {
		return nil
	}
	return &v
}
