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

// The oracle asks every request of a small universe on both sides, and looks whether one is answered with more than before. It shares no
// code with Diff.

type asked struct {
	dataset, consumer, agreement, field, community, grid, value, purpose, role, caseNumber string
	now                                                                                    int64
	minute                                                                                 int
	working                                                                                bool
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
	if f.Personal != "None" && !slices.Contains(g.Roles, q.role) {
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
	if !slices.Contains(g.Purposes, q.purpose) || g.CaseNumberRequired && q.caseNumber == "" || q.now < g.NotBefore || g.NotAfter != 0 && q.now >= g.NotAfter {
		return hidden
	}
	if h := g.Hours; h != nil {
		open := q.minute >= h.From && q.minute < h.To
		if h.To <= h.From {
			open = q.minute >= h.From || q.minute < h.To
		}
		if !open || h.WorkingDaysOnly && !q.working {
			return hidden
		}
	}
	return m
}

// shows says how much a mask shows of numbers and texts, and whether two can be compared at all.
func showsMore(is, was contract.Mask) bool {
	rank := func(m contract.Mask) int {
		return slices.Index([]string{"Drop", "Generalise Year", "Generalise Month", "Generalise Day", "KeepLast 1", "KeepLast 4", ""}, strings.TrimSpace(fmt.Sprint(m.Method, " ", m.To, strings.Trim(fmt.Sprint(m.Keep), "0"))))
	}
	return rank(is) > rank(was)
}

func universe() (out []asked) {
	for _, field := range []string{"phone", "born", "level"} {
		for _, community := range []string{"c1", "c2", "c3"} {
			for _, purpose := range []string{"A", "B"} {
				for _, role := range []string{"", "Doctor", "Officer"} {
					for _, now := range []int64{50, 150, 250} {
						for _, minute := range []int{100, 600, 1300} {
							for i := range 8 {
								out = append(out, asked{
									dataset: "d", consumer: "org", agreement: "a", field: field, community: community, purpose: purpose, role: role, now: now, minute: minute,
									working: i&1 == 0, value: []string{"v", "w"}[i>>1&1], grid: []string{"g1", "g2"}[(i>>2)&1], caseNumber: []string{"", "C-1"}[i&1^(i>>2)&1],
								})
							}
						}
					}
				}
			}
		}
	}
	return out
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
	d := contract.Dataset{Sharing: oneOf(r, "Conditional", "Conditional", "None"), Fields: map[string]contract.DatasetField{}}
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

// mutate gives the side with one to three axes of another.
func mutate(r *rand.Rand, s, other Side) Side {
	a, okA := s.Access.Grants["d"]["org"]["a"]
	b, okB := other.Access.Grants["d"]["org"]["a"]
	if !okA || !okB {
		return other
	}
	for range 1 + r.IntN(3) {
		switch r.IntN(10) {
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
			a.CaseNumberRequired = b.CaseNumberRequired
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
	requests := universe()
	for i := range rounds {
		was := randomSide(r)
		is := mutate(r, was, randomSide(r))
		opens := slices.ContainsFunc(requests, func(q asked) bool { return showsMore(answer(is, q), answer(was, q)) })
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
