package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/policies"
)

func TestInputValueIsTheJSONOfTheInput(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		in := withRareParts(r, randomInput(r))
		want, err := ast.InterfaceToValue(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := inputValue(in); err != nil || got.Compare(want) != 0 {
			t.Fatalf("got %s, %v, want %s", got, err, want)
		}
	}
}

// withRareParts adds what few requests have.
func withRareParts(r *rand.Rand, in contract.DecisionInput) contract.DecisionInput {
	in.Clock = pick(r, nil, &contract.Clock{}, &contract.Clock{Minute: 1439, WorkingDay: true})
	in.Aggregate = pick(r, nil, &contract.AggregateRequest{}, &contract.AggregateRequest{By: []string{"age"}, Sum: []string{"n"}})
	in.BreakGlass = pick(r, nil, &contract.BreakGlassRequest{Reason: "fire"}, &contract.BreakGlassRequest{Reason: "", Overdue: true})
	in.Filter = pick(r, nil, []contract.Requirement{}, []contract.Requirement{{Field: "age", Operator: "AtLeast", Values: []string{"80"}}})
	in.Case = pick(r, in.Case, &contract.CaseFact{Number: "C", Origin: contract.CasePlatform, Open: true, Class: "fire", Severity: contract.SeverityHigh, Community: "c", Division: "41", ClosedAt: 7})
	if in.Person != nil {
		in.Person.Issuer = pick(r, "", "city")
	}
	return in
}

// TestStoreAgreesWithStockOPA holds our store against OPA's own, fed with the same document.
func TestStoreAgreesWithStockOPA(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	worlds := 20
	if testing.Short() {
		worlds = 2
	}
	for range worlds {
		a := randomAccess(r, "x")
		p := policyOf(t, a)
		var data map[string]any
		raw, _ := json.Marshal(map[string]any{"dizuo": a})
		if err := json.Unmarshal(raw, &data); err != nil {
			t.Fatal(err)
		}
		stock, err := rego.New(rego.Query(policies.AccessEntrypoint), rego.Module("a.rego", policies.Access()["access/access.rego"]),
			rego.Store(inmem.NewFromObject(data))).PrepareForEval(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			in := randomInput(r)
			got, _, err := p.decide(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			results, err := stock.Eval(t.Context(), rego.EvalInput(in))
			if err != nil {
				t.Fatal(err)
			}
			want, err := decisionOf(results[0].Expressions[0].Value)
			if err != nil {
				t.Fatal(err)
			}
			got.Rows = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v: %s", in, diff)
			}
		}
	}
}

func TestStoreRefusesScansAndWrites(t *testing.T) {
	p := policyOf(t, contract.Access{
		Datasets: map[string]contract.Dataset{"d": testDataset("x")},
		Grants:   map[string]map[string]map[string]contract.Grant{"d": {"c": {"a": visits(), "b": visits()}}},
	})
	s := grantStore{}
	for _, path := range []string{"/", "/dizuo", "/dizuo/grants", "/dizuo/datasets", "/dizuo/grants/d"} {
		if _, err := s.Read(t.Context(), p.grants, storage.MustParsePath(path)); !errors.Is(err, errScan) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"/other", "/dizuo/access", "/dizuo/grants/d/x", "/dizuo/grants/d/c/x", "/dizuo/grants/d/c/a/none", "/dizuo/datasets/x", "/dizuo/grants/d/c/a/uid/x"} {
		if _, err := s.Read(t.Context(), p.grants, storage.MustParsePath(path)); !storage.IsNotFound(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	v, err := s.Read(t.Context(), p.grants, storage.MustParsePath("/dizuo/grants/d/c/b/fields/phone/keep"))
	if err != nil || fmt.Sprint(v) != "4" {
		t.Errorf("deep read: %v, %v", v, err)
	}
	if _, err := s.NewTransaction(t.Context(), storage.WriteParams); err == nil {
		t.Error("a write transaction was given")
	}
	if v, err := s.Read(t.Context(), p.grants, storage.MustParsePath("/dizuo/grants/d/c")); err != nil || v.(ast.Object).Len() != 2 {
		t.Errorf("agreements %v, %v", v, err)
	}
}

// manyAgreements gives n agreements over 20 datasets and n/40 consumers: two for every pair.
func manyAgreements(n int) contract.Access {
	a := contract.Access{Datasets: map[string]contract.Dataset{}, Grants: map[string]map[string]map[string]contract.Grant{}}
	for i := range n {
		d, c := fmt.Sprintf("dataset-%d", i%20), fmt.Sprintf("organization-%d", i/40)
		if a.Grants[d] == nil {
			a.Datasets[d], a.Grants[d] = testDataset("x"), map[string]map[string]contract.Grant{}
		}
		if a.Grants[d][c] == nil {
			a.Grants[d][c] = map[string]contract.Grant{}
		}
		g := visits()
		g.UID = fmt.Sprintf("6f1c1b52-0000-4000-8000-%012d", i)
		a.Grants[d][c][fmt.Sprintf("agreement-%d", i)] = g
	}
	return a
}

func manyInput(i int) contract.DecisionInput {
	return contract.DecisionInput{
		Dataset: fmt.Sprintf("dataset-%d", i%20), Consumer: fmt.Sprintf("organization-%d", i/40), Agreement: fmt.Sprintf("agreement-%d", i),
		Fields: []string{"community", "phone"}, Purpose: "HomeVisits", Person: &contract.Person{Subject: "p", Roles: []string{"GridWorker"}}, Contract: contract.ContractVersion, Clearance: "C2", Now: 1,
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := policyOf(b, manyAgreements(n))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if d, _, err := p.fresh(b.Context(), manyInput(i*7919%n)); err != nil || !d.Allow {
					b.Fatal(d, err)
				}
			}
		})
	}
}
