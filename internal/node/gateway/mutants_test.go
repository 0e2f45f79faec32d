package gateway

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/policies"
)

// mutants are changes of the policy, each of which opens or closes something.
var mutants = [][2]string{
	{"input.now < agreed.notAfter", "input.now <= agreed.notAfter"},
	{"\tinput.now >= agreed.notBefore\n", ""},
	{"\tinput.purpose in agreed.purposes\n\n", "\n"},
	{"input.clock.minute < hours.to\n}", "input.clock.minute <= hours.to\n}"},
	{"\ton_working_day(agreed.hours)\n", ""},
	{`not mask.method == "Drop"}`, `not mask.method == "KeepLast"}`},
	{"object.keys(fields) == wanted", "count(fields) >= 0"},
	{`"C2": {"None", "Ordinary", "Sensitive"}`, `"C2": {"None", "Ordinary"}`},
	{`"Financial", "Location"}`, `"Financial", "Location", "KeyPopulation"}`},
	{"\tscope_enforceable(agreed, about, leaving)\n", ""},
	{"else := consent_scope(agreed, about) if {\n\tabout.source.subjectColumn != \"\"\n}", "else := consent_scope(agreed, about)"},
	{"\tleaving != set()\n", "\tleaving >= set()\n"},
	{"\trecords_given(agreed)\n\tfilter", "\tagreed\n\tfilter"},
	{"\tfilter_given(fields)\n", "\tcount(fields) >= 0\n"},
	{"\tinput.person.subject != \"\"\n} else", "\tinput.person\n} else"},
	{"\tnot needs_person(agreed, about, leaving)\n", "\tcount([agreed, about, leaving]) == 3\n"},
	{"needs_person(agreed, _, _) if agreed.rows.roster", "needs_person(agreed, _, _) if agreed.rows.rosters"},
	{"; r in agreed.breakGlass.roles}", "}"},
	{"reviewed if object.get(input.breakGlass, \"overdue\", false) == false", "reviewed if input.breakGlass"},
	{"\treason_given\n\treviewed\n", "\treviewed\n"},
	{"input.now < input.case.closedAt", "input.now <= input.case.closedAt"},
	{"\tcase_covered(agreed)\n}", "}"},
	{"\tcase_number_right(agreed)\n\tcase_found", "\tcase_found"},
	{"startswith(input.case.division, division)", "division"},
	{"agreed.aggregates.smallCell > 1", "agreed.aggregates.smallCell > 0"},
	{"\tmeasures_given(agreed)\n}", "}"},
	{"\tinput.contract >= 3 #", "\tinput.contract >= 0 #"},
	{`about.sharing in {"Unconditional", "Conditional"}`, "about.sharing"},
}

// TestOracleFindsMutants changes one sentence of the policy at a time: the oracle must find each change, or the test against it proves
// nothing.
func TestOracleFindsMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	const path = "access/access.rego"
	text := policies.Access()[path]
	for _, m := range mutants {
		if strings.Count(text, m[0]) == 0 {
			t.Errorf("%q is not in the policy", m[0])
			continue
		}
		changed := strings.Replace(text, m[0], m[1], 1)
		if n := pairsUntilFound(t, map[string]string{path: changed}); n < 0 {
			t.Errorf("nobody noticed %q instead of %q", m[1], m[0])
		} else {
			t.Logf("%q found after %d pairs", m[0], n)
		}
	}
}

// pairsUntilFound gives after how many pairs a policy and the oracle disagree; -1 if they do not.
func pairsUntilFound(t *testing.T, modules map[string]string) int {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 8))
	for n := 0; n < 60_000; {
		a := randomAccess(r, "x")
		limitsOf(r, a)
		b := sealed(t, intake.Bundle{Directory: testDirectory(), Modules: modules, Access: a})
		p, err := newPolicy(t.Context(), &b, nil)
		if err != nil {
			t.Errorf("%v", err)
			return 0
		}
		rules := codeOf(t, a)
		for range 500 {
			n++
			in := fitting(r, a, factsOf(r, randomInput(r)))
			raw, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			want, err := rules.Decide(raw)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.answer(t.Context(), in)
			if err != nil || got.Allow != want.Allow || got.Allow && (got.Role != want.Role || got.BreakGlass != want.BreakGlass || !cmp.Equal(append([]string{}, leaving(got.Fields)...), want.Fields)) {
				return n
			}
		}
	}
	return -1
}
