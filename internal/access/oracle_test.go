package access

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// The oracle asks requests of a small universe on both sides, and looks whether one is answered with more than before. It shares no
// code with Diff.

type asked struct {
	dataset, consumer, agreement, field, community, grid, value, purpose, role, caseNumber string
	now                                                                                    int64
	minute                                                                                 int
	working                                                                                bool
	// compound of the row, whether the roster has the person there, and the scopes that its subject consented to.
	compound string
	onDuty   bool
	consents []string
	// counts asks for the size of a group, by field, of so many persons.
	counts bool
	group  int
	// The case that caseNumber is of; age is how long it has been closed, 0 while it is open.
	class    string
	severity contract.Severity
	age      int64
	// nth request and record of the day.
	nth int64
	// emergency breaks the glass, while an earlier use has waited so many seconds.
	emergency bool
	waited    int64
}

var hidden = contract.Mask{Method: "Drop"}

// answer gives the mask under which the request is answered; Drop where it is not.
func answer(s Side, q asked) contract.Mask {
	g, ok := s.Access.Grants[q.dataset][q.consumer][q.agreement]
	d := s.Access.Datasets[q.dataset]
	m, given := g.Fields[q.field]
	f, there := d.Fields[q.field]
	if !ok || d.Sharing == "None" || !given || !there || m.Method == "Drop" {
		return hidden
	}
	if a := g.Aggregates; q.counts && (a == nil || !slices.Contains(a.Dimensions, q.field) || q.group < a.SmallCell) || !q.counts && a != nil && a.Only {
		return hidden
	}
	person := g.PersonRequired || g.Rows.Roster || f.Personal != "None" && !q.counts
	if person && !slices.Contains(g.Roles, q.role) || g.Rows.Roster && !q.onDuty {
		return hidden
	}
	if len(g.Rows.Compounds) > 0 && !slices.Contains(g.Rows.Compounds, q.community+"/"+q.compound) {
		return hidden
	}
	for _, scope := range []string{g.ConsentScope, d.ConsentScope} {
		if scope != "" && !slices.Contains(q.consents, scope) {
			return hidden
		}
	}
	if g.RequestsPerDay > 0 && q.nth > g.RequestsPerDay || g.RecordsPerDay > 0 && q.nth > g.RecordsPerDay {
		return hidden
	}
	code := s.Directory.Communities[q.community].Division
	reached := code != "" && slices.ContainsFunc(g.Rows.Divisions, func(p string) bool { return strings.HasPrefix(code, p) })
	if !reached || len(g.Rows.Communities) > 0 && !slices.Contains(g.Rows.Communities, q.community) || len(g.Rows.Grids) > 0 && !slices.Contains(g.Rows.Grids, q.grid) {
		return hidden
	}
	for _, r := range g.Rows.Requirements {
		if slices.Contains(r.Values, q.value) != (r.Operator == "In") {
			return hidden
		}
	}
	if !slices.Contains(g.Purposes, q.purpose) || q.now < g.NotBefore || g.NotAfter != 0 && q.now >= g.NotAfter {
		return hidden
	}
	glass := g.BreakGlass
	broken := q.emergency && glass != nil && slices.Contains(glass.Roles, q.role) && slices.Contains(g.Roles, q.role) && q.waited <= glass.ReviewSeconds
	if !broken && !circumstances(g, q) {
		return hidden
	}
	return m
}

// circumstances are the hours and the case, which an emergency does without.
func circumstances(g contract.Grant, q asked) bool {
	if (g.CaseNumberRequired || g.Case != nil) && q.caseNumber == "" || g.CaseNumber != "" && q.caseNumber != g.CaseNumber {
		return false
	}
	if c := g.Case; c != nil {
		ranks := []contract.Severity{"Low", "Medium", "High", "Critical"}
		if len(c.Classes) > 0 && !slices.Contains(c.Classes, q.class) || slices.Index(ranks, q.severity) < slices.Index(ranks, c.MinSeverity) || q.age > c.GraceSeconds {
			return false
		}
	}
	if h := g.Hours; h != nil {
		open := q.minute >= h.From && q.minute < h.To
		if h.To <= h.From {
			open = q.minute >= h.From || q.minute < h.To
		}
		return open && (!h.WorkingDaysOnly || q.working)
	}
	return true
}

// shows says how much a mask shows of numbers and texts, and whether two can be compared at all.
func showsMore(is, was contract.Mask) bool {
	rank := func(m contract.Mask) int {
		return slices.Index([]string{"Drop", "Generalise Year", "Generalise Month", "Generalise Day", "KeepLast 1", "KeepLast 4", ""}, strings.TrimSpace(fmt.Sprint(m.Method, " ", m.To, strings.Trim(fmt.Sprint(m.Keep), "0"))))
	}
	return rank(is) > rank(was)
}

// likely gives a request that a side would rather answer: most parts are of its own grant.
func likely(r *rand.Rand, s Side) asked {
	g := s.Access.Grants["d"]["org"]["a"]
	own := func(values []string, others ...string) string {
		if len(values) > 0 && r.IntN(8) > 0 {
			return values[r.IntN(len(values))]
		}
		return others[r.IntN(len(others))]
	}
	q := asked{
		dataset: "d", consumer: "org", agreement: "a", field: oneOf(r, "phone", "born", "level"), community: oneOf(r, "c1", "c2", "c3"), purpose: own(g.Purposes, "A", "B"),
		role: own(g.Roles, "", "Doctor", "Officer"), now: oneOf[int64](r, 50, 150, 150, 250), minute: oneOf(r, 100, 600, 1300), working: r.IntN(3) > 0, value: oneOf(r, "v", "w"),
		grid: oneOf(r, "g1", "g2"), caseNumber: oneOf(r, "", "C-1", "C-1", "C-2"), compound: oneOf(r, "east", "west"), onDuty: r.IntN(4) > 0,
		consents: oneOf(r, nil, []string{"k1"}, []string{"k2"}, []string{"k1", "k2"}, []string{"k1", "k2"}), class: oneOf(r, "fire", "gas"), severity: oneOf[contract.Severity](r, "Low", "High", "Critical"),
		age: oneOf[int64](r, 0, 0, 100, 5000), nth: oneOf[int64](r, 1, 1, 15, 150), waited: oneOf[int64](r, 0, 0, 200, 2000), group: oneOf(r, 7, 12, 100),
	}
	q.counts = r.IntN(4) == 0 || g.Aggregates != nil && g.Aggregates.Only && r.IntN(8) > 0
	q.emergency = g.BreakGlass != nil && r.IntN(3) == 0
	return q
}

func oneOf[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func randomSide(r *rand.Rand) Side {
	personal := oneOf(r, "None", "Ordinary")
	g := contract.Grant{
		UID: "u", Fields: map[string]contract.Mask{}, Roles: oneOf(r, nil, []string{"Doctor"}, []string{"Doctor", "Officer"}), Purposes: oneOf(r, []string{"A"}, []string{"B"}, []string{"A", "B"}),
		Rows:      contract.Rows{Divisions: oneOf(r, []string{"41"}, []string{"4101"}, []string{"4102"}), Communities: oneOf(r, nil, []string{"c1"}, []string{"c1", "c3"}), Grids: oneOf(r, nil, nil, []string{"g1"})},
		NotBefore: oneOf[int64](r, 0, 100), NotAfter: oneOf[int64](r, 0, 200), CaseNumberRequired: r.IntN(2) == 0,
		Hours: oneOf(r, nil, nil, &contract.Hours{From: 480, To: 1080}, &contract.Hours{From: 1200, To: 300}, &contract.Hours{From: 480, To: 1080, WorkingDaysOnly: true}),
	}
	randomLimits(r, &g)
	for _, f := range []string{"phone", "born", "level"} {
		if r.IntN(3) > 0 {
			g.Fields[f] = oneOf(r, contract.Mask{}, contract.Mask{Method: "KeepLast", Keep: 1}, contract.Mask{Method: "KeepLast", Keep: 4}, hidden)
			if f == "born" {
				g.Fields[f] = oneOf(r, contract.Mask{}, contract.Mask{Method: "Generalise", To: "Year"}, contract.Mask{Method: "Generalise", To: "Month"}, contract.Mask{Method: "Generalise", To: "Day"})
			}
		}
	}
	if r.IntN(2) == 0 {
		g.Rows.Requirements = []contract.Requirement{{Field: "level", Operator: oneOf(r, "In", "NotIn"), Values: []string{oneOf(r, "v", "w")}}}
	}
	d := contract.Dataset{Sharing: oneOf(r, "Conditional", "Conditional", "Conditional", "None"), ConsentScope: oneOf(r, "", "", "", "k1"), Fields: map[string]contract.DatasetField{}}
	for _, f := range []string{"phone", "born", "level"} {
		d.Fields[f] = contract.DatasetField{Column: f, Personal: personal}
	}
	s := Side{
		Platform:  "p/p",
		Access:    contract.Access{Datasets: map[string]contract.Dataset{"d": d}, Grants: map[string]map[string]map[string]contract.Grant{"d": {"org": {}}}},
		Directory: contract.Directory{Communities: map[string]contract.Community{"c1": {Division: "410101"}, "c2": {Division: "410102"}, "c3": {Division: "410201"}}},
		Residents: map[string]int64{"c1": 100, "c2": 200, "c3": 400},
	}
	if r.IntN(8) > 0 {
		s.Access.Grants["d"]["org"]["a"] = g
	}
	return s
}

// randomLimits puts limits of circumstances, rows and figures into a grant; most have none of a kind.
func randomLimits(r *rand.Rand, g *contract.Grant) {
	g.Rows.Compounds = oneOf(r, nil, nil, nil, []string{"c1/east"}, []string{"c1/east", "c3/west"})
	g.Rows.Roster = r.IntN(6) == 0
	g.PersonRequired = r.IntN(6) == 0
	g.ConsentScope = oneOf(r, "", "", "k1", "k2")
	g.CaseNumber = oneOf(r, "", "", "", "C-1")
	g.RequestsPerDay, g.RecordsPerDay = oneOf[int64](r, 0, 0, 10, 100), oneOf[int64](r, 0, 0, 10, 100)
	if r.IntN(4) == 0 {
		g.CaseNumberRequired = true // as compile has it
		g.Case = &contract.CaseCondition{Classes: oneOf(r, nil, []string{"fire"}, []string{"fire", "gas"}), MinSeverity: oneOf[contract.Severity](r, "Low", "High", "Critical"), GraceSeconds: oneOf[int64](r, 0, 1000, 10000)}
	}
	if r.IntN(4) == 0 {
		g.Aggregates = &contract.Aggregates{Only: r.IntN(2) == 0, SmallCell: oneOf(r, 5, 10, 50), Dimensions: oneOf(r, []string{"level"}, []string{"level"}, []string{"level", "born"}), Measures: []string{"level"}}
	}
	if r.IntN(4) == 0 {
		g.BreakGlass = &contract.BreakGlass{Roles: oneOf(r, []string{"Doctor"}, []string{"Doctor", "Officer"}), Reviewer: "health", ReviewSeconds: oneOf[int64](r, 100, 1000, 10000)}
	}
}

// mutate gives the side with one to three axes of another.
func mutate(r *rand.Rand, s, other Side) Side {
	a, okA := s.Access.Grants["d"]["org"]["a"]
	b, okB := other.Access.Grants["d"]["org"]["a"]
	if !okA || !okB {
		return other
	}
	for range 1 + r.IntN(3) {
		switch r.IntN(18) {
		case 0:
			a.Fields = b.Fields
		case 1:
			a.Roles = b.Roles
		case 2:
			a.Purposes = b.Purposes
		case 3:
			a.Rows.Divisions, a.Rows.Communities = b.Rows.Divisions, b.Rows.Communities
		case 4:
			a.Rows.Grids = b.Rows.Grids
		case 5:
			a.Rows.Requirements = b.Rows.Requirements
		case 6:
			a.NotBefore, a.NotAfter = b.NotBefore, b.NotAfter
		case 7:
			a.Hours = b.Hours
		case 8:
			a.CaseNumberRequired = b.CaseNumberRequired || a.Case != nil
		case 10:
			a.Rows.Compounds = b.Rows.Compounds
		case 11:
			a.Rows.Roster, a.PersonRequired = b.Rows.Roster, b.PersonRequired
		case 12:
			a.ConsentScope = b.ConsentScope
		case 13:
			a.CaseNumber = b.CaseNumber
		case 14:
			a.RequestsPerDay, a.RecordsPerDay = b.RequestsPerDay, b.RecordsPerDay
		case 15:
			a.Case, a.CaseNumberRequired = b.Case, b.CaseNumberRequired
		case 16:
			a.Aggregates = b.Aggregates
		case 17:
			a.BreakGlass = b.BreakGlass
		case 9:
			s.Access.Datasets = other.Access.Datasets
		}
	}
	s.Access.Grants = map[string]map[string]map[string]contract.Grant{"d": {"org": {"a": a}}}
	return s
}

func TestDiffSaysWhatOpens(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 7))
	rounds, opened, incomparable := 1500, 0, 0
	if testing.Short() {
		rounds = 300
	}
	for i := range rounds {
		was := randomSide(r)
		is := mutate(r, was, randomSide(r))
		opens := false
		for range 3000 {
			q := likely(r, is)
			if opens = showsMore(answer(is, q), answer(was, q)); opens {
				break
			}
		}
		changes := Diff(was, is)
		if opens {
			opened++
		}
		if opens && !Widens(changes) {
			t.Fatalf("seed %d round %d: something opens and Diff does not say so\nwas %+v\nis  %+v\n%s", seed, i, was.Access, is.Access, strings.Join(Lines(changes, English), "\n"))
		}
		if !opens && slices.ContainsFunc(changes, func(c Change) bool { return c.Effect == Other }) {
			incomparable++
		}
	}
	t.Logf("%d pairs, %d open something, %d only have what cannot be compared", rounds, opened, incomparable)
	if opened < rounds/10 || incomparable > rounds/20 {
		t.Errorf("of %d pairs %d open something, and %d that open nothing have what cannot be compared", rounds, opened, incomparable)
	}
}
