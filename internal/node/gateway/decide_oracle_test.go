package gateway

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/oracle"
)

// limitsOf adds to the grants of a world, here and there, what limits who reads and when.
func limitsOf(r *rand.Rand, a contract.Access) {
	for name, d := range a.Datasets {
		d.Category = pick(r, "Ordinary", "Ordinary", "Ordinary", "Ordinary", "Health", "KeyPopulation", "Unheard")
		d.ConsentScope = pick(r, "", "", "", "visits")
		d.Source.GridColumn = pick(r, "", "grid", "grid")
		d.Source.CompoundColumn = pick(r, "", "compound", "compound")
		if d.Source.DivisionColumn == "" && r.IntN(2) == 0 {
			d.Source.CommunityColumn = "c"
		}
		if f, ok := d.Fields["level"]; ok && r.IntN(8) == 0 {
			f.Personal = pick(r, "", "Biometric")
			d.Fields["level"] = f
		}
		a.Datasets[name] = d
	}
	for _, consumers := range a.Grants {
		for _, agreements := range consumers {
			for _, name := range sortedKeys(agreements) {
				g := agreements[name]
				if r.IntN(5) == 0 {
					g.Hours = &contract.Hours{From: r.IntN(6) * 240, To: r.IntN(6) * 240, WorkingDaysOnly: r.IntN(2) == 0}
				}
				if r.IntN(5) == 0 {
					g.Case = &contract.CaseCondition{Classes: pick(r, nil, []string{"fire"}, []string{"fire", "fall"}), MinSeverity: pick(r, contract.SeverityLow, contract.SeverityHigh), GraceSeconds: pick[int64](r, 0, 20)}
				}
				if r.IntN(10) == 0 {
					g.CaseNumber = pick(r, "A-1", "20260301-000001")
				}
				if r.IntN(3) == 0 {
					g.BreakGlass = &contract.BreakGlass{Roles: some(r, "GridWorker", "Doctor"), Reviewer: "office", ReviewSeconds: 60}
				}
				if r.IntN(3) == 0 {
					g.Aggregates = &contract.Aggregates{Only: r.IntN(3) == 0, SmallCell: pick(r, 10, 10, 10, 1), Dimensions: some(r, "community", "health"), Measures: some(r, "level")}
				}
				g.ConsentScope = pick(r, "", "", "", name)
				if r.IntN(8) == 0 {
					g.Rows.Grids = []string{"g"}
				}
				if r.IntN(8) == 0 {
					g.Rows.Compounds = []string{"jinghu/c"}
				}
				g.Rows.Roster = r.IntN(8) == 0
				if f, ok := g.Fields["community"]; ok && r.IntN(4) == 0 {
					f.Method = maskKeepLast
					g.Fields["community"] = f
				}
				agreements[name] = g
			}
		}
	}
}

// factsOf adds to a request, here and there, the facts that such limits look at.
func factsOf(r *rand.Rand, in contract.DecisionInput) contract.DecisionInput {
	in.Clearance = pick(r, "C2", "C2", "C3", "C3", "C3", "C1", "C0", "")
	if r.IntN(12) > 0 {
		in.Clock = &contract.Clock{Minute: pick(r, r.IntN(1440), r.IntN(6)*240, (r.IntN(6)*240+1439)%1440), WorkingDay: r.IntN(4) > 0}
	}
	if r.IntN(4) > 0 {
		in.Case = &contract.CaseFact{
			Number: pick(r, "A-1", "A-1", "20260301-000001", "20260301-000001", " ", "Z"), Origin: pick(r, contract.CasePlatform, contract.CasePlatform, contract.CasePlatform, contract.CaseForeign, contract.CaseForeign, ""),
			Open: r.IntN(3) > 0, Class: pick(r, "fire", "fire", "fall", ""), Severity: pick(r, contract.SeverityCritical, contract.SeverityHigh, contract.SeverityLow, ""),
			Community: pick(r, "jinghu", "jinghu", "east", ""), Division: pick(r, jinghu, jinghu, east, ""),
		}
		if !in.Case.Open {
			in.Case.ClosedAt = in.Now - pick[int64](r, 19, 20, 21, 0)
		}
	}
	if r.IntN(3) == 0 {
		in.BreakGlass = &contract.BreakGlassRequest{Reason: pick(r, "fall", "fall", "fall", " "), Overdue: r.IntN(4) == 0}
	}
	if r.IntN(5) == 0 {
		in.Aggregate = &contract.AggregateRequest{By: some(r, "community", pick(r, "health", "phone")), Sum: some(r, pick(r, "level", "level", "born"))}
	}
	if r.IntN(5) == 0 {
		in.Filter = []contract.Requirement{{Field: pick(r, "community", "community", "level", "phone", "gone"), Operator: pick(r, "In", "In", "In", "AtLeast"), Values: []string{"1"}}}
	}
	return in
}

// fitting changes a request so that some agreement is likely to allow it, or to refuse it for one reason.
func fitting(r *rand.Rand, a contract.Access, in contract.DecisionInput) contract.DecisionInput {
	var names []string
	if len(a.Grants) == 0 {
		return in
	}
	for range 8 { // most worlds have few agreements that anybody could read under
		in.Dataset = pick(r, sortedKeys(a.Grants)...)
		consumers := sortedKeys(a.Grants[in.Dataset])
		if d, ok := a.Datasets[in.Dataset]; len(consumers) == 0 || (!ok || d.Sharing == "None") && r.IntN(8) > 0 {
			continue
		}
		in.Consumer = pick(r, consumers...)
		if names = sortedKeys(a.Grants[in.Dataset][in.Consumer]); len(names) > 0 {
			break
		}
	}
	if len(names) == 0 {
		return in
	}
	name := pick(r, names...)
	g := a.Grants[in.Dataset][in.Consumer][name]
	mostly := func() bool { return r.IntN(10) > 0 }
	if in.Agreement = name; r.IntN(6) == 0 {
		in.Agreement = ""
	}
	if mostly() {
		in.Contract, in.Clearance = contract.ContractVersion, pick(r, "C2", "C3", "C3")
	}
	if mostly() && len(g.Purposes) > 0 {
		in.Purpose = pick(r, g.Purposes...)
	}
	if mostly() {
		in.Now = max(g.NotBefore, 149)
	}
	if in.Fields = nil; r.IntN(2) == 0 {
		in.Fields = some(r, sortedKeys(g.Fields)...)
	}
	if mostly() {
		roles := g.Roles
		if g.BreakGlass != nil && len(g.BreakGlass.Roles) > 0 && r.IntN(2) == 0 {
			roles = g.BreakGlass.Roles
		}
		in.Person = &contract.Person{Subject: "p", Roles: append([]string{"Nobody"}, roles...)}
	}
	if g.Hours != nil && r.IntN(3) > 0 {
		in.Clock = &contract.Clock{Minute: g.Hours.From, WorkingDay: true}
	}
	if in.Aggregate = nil; g.Aggregates != nil && (g.Aggregates.Only && mostly() || r.IntN(4) == 0) {
		in.Aggregate = &contract.AggregateRequest{By: some(r, g.Aggregates.Dimensions...), Sum: some(r, g.Aggregates.Measures...)}
	}
	if in.Aggregate != nil && r.IntN(8) == 0 {
		in.Aggregate.Sum = []string{"level", "born"}
	}
	if mostly() {
		in.Filter = nil
	}
	if g.BreakGlass != nil && r.IntN(2) == 0 {
		in.BreakGlass, in.Filter = &contract.BreakGlassRequest{Reason: "fall"}, nil
		if g.Hours != nil {
			in.Clock = &contract.Clock{Minute: (g.Hours.To + 1) % 1440, WorkingDay: true}
		}
	}
	if in.Case != nil && in.Case.Origin == contract.CasePlatform && mostly() {
		in.Case.Open, in.Case.Class, in.Case.Severity, in.Case.Community = true, "fire", contract.SeverityCritical, "jinghu"
		if len(g.Rows.Communities) > 0 {
			in.Case.Community = g.Rows.Communities[0]
		}
		if len(g.Rows.Divisions) > 0 {
			in.Case.Division = g.Rows.Divisions[0] + "000"
		}
		if g.CaseNumber != "" {
			in.Case.Number = g.CaseNumber
		}
		if g.Case != nil && r.IntN(4) == 0 { // closed about as long ago as reading goes on
			in.Case.Open, in.Case.ClosedAt = false, in.Now-g.Case.GraceSeconds+pick[int64](r, -1, 0, 1)
		}
	}
	return in
}

// outcomes counts what decisions came to.
type outcomes struct {
	allowed, emergencies int
	reasons              map[string]int
}

// TestDecisionsAgainstOracle holds random requests under random agreements against the oracle: no wrong allow, no wrong deny.
// DIZUO_PAIRS says how many; each core asks a part of them.
func TestDecisionsAgainstOracle(t *testing.T) {
	seed, pairs, workers := uint64(time.Now().UnixNano()), 30_000, runtime.GOMAXPROCS(0)
	if text := os.Getenv("DIZUO_PAIRS"); text != "" {
		var err error
		if pairs, err = strconv.Atoi(text); err != nil || pairs < 500 {
			t.Fatalf("DIZUO_PAIRS is %q; write a number of pairs, at least 500", text)
		}
	}
	parts := make([]outcomes, workers)
	if !t.Run("parts", func(t *testing.T) {
		for i := range workers {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				parts[i] = compared(t, seed, uint64(i)+1, (pairs+workers-1)/workers)
			})
		}
	}) {
		return
	}
	all := outcomes{reasons: map[string]int{}}
	for _, o := range parts {
		all.allowed, all.emergencies = all.allowed+o.allowed, all.emergencies+o.emergencies
		for reason, n := range o.reasons {
			all.reasons[reason] += n
		}
	}
	t.Logf("%d decisions, %d allowed, %d of them emergencies, 0 wrong (seed %d); reasons %v", pairs, all.allowed, all.emergencies, seed, all.reasons)
	if all.allowed < pairs/20 || all.emergencies < pairs/1000 {
		t.Errorf("%d allowed, %d emergencies: the test proves little", all.allowed, all.emergencies)
	}
	for _, reason := range policyReasons(t) {
		if n := all.reasons[reason]; reason != "PolicyError" && n < max(1, pairs/1000) {
			t.Errorf("reason %s was given %d times, want at least %d", reason, n, max(1, pairs/1000))
		}
	}
}

// compared asks policy and oracle about at least so many pairs, 500 requests under each set of agreements, and fails where they differ.
func compared(t *testing.T, seed, part uint64, pairs int) outcomes {
	r, out := rand.New(rand.NewPCG(seed, part)), outcomes{reasons: map[string]int{}}
	for asked := 0; asked < pairs; {
		a := randomAccess(r, "x")
		limitsOf(r, a)
		p, rules := policyOf(t, a), codeOf(t, a)
		for ; asked < pairs; asked++ {
			in := factsOf(r, randomInput(r))
			if r.IntN(4) > 0 {
				in = fitting(r, a, in)
			}
			raw, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			want, err := rules.Decide(raw)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.answer(t.Context(), in)
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, raw, err)
			}
			for _, reason := range got.Reasons {
				out.reasons[reason]++
			}
			verdict := oracle.Verdict{Allow: got.Allow}
			if got.Allow {
				out.allowed++
				if got.BreakGlass {
					out.emergencies++
				}
				verdict = oracle.Verdict{Allow: true, Agreement: got.Agreement, Role: got.Role, ConsentScope: got.ConsentScope, Fields: append([]string{}, leaving(got.Fields)...), BreakGlass: got.BreakGlass, SmallCell: got.SmallCell}
			}
			if diff := cmp.Diff(want, verdict); diff != "" {
				t.Fatalf("seed %d, part %d: oracle - policy + %s\nreasons %v\nrequest %s\ngrants %s\ndataset %s", seed, part, diff, got.Reasons, raw, asJSON(a.Grants[in.Dataset][in.Consumer]), asJSON(a.Datasets[in.Dataset]))
			}
			if asked%500 == 499 { // the next set of agreements
				asked++
				break
			}
		}
	}
	return out
}

func codeOf(t *testing.T, a contract.Access) oracle.World {
	t.Helper()
	w, err := oracle.Parse([]byte(asJSON(a)))
	if err != nil {
		t.Fatal(err)
	}
	return w
}
