package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// The oracle of aggregates knows nothing of how they are made. It asks every question there is about a small random table, and again with
// one small cell changed. What an answer hangs on it learns from that; then it solves the system of equations, and looks whether a small
// cell comes out, or is confined to less than what "too small" means.

// oracleTable counts people by two dimensions. Only the world it lives in knows it.
type oracleTable struct {
	a, b  []string
	count map[[2]string]int
}

func (o oracleTable) cells() (out [][2]string) {
	for _, a := range o.a {
		for _, b := range o.b {
			out = append(out, [2]string{a, b})
		}
	}
	return out
}

func (o oracleTable) with(cell [2]string, n int) oracleTable {
	count := map[[2]string]int{}
	for c, was := range o.count {
		count[c] = was
	}
	count[cell] = n
	return oracleTable{o.a, o.b, count}
}

type tableQuestion struct {
	by    []string
	where []contract.Requirement
}

// questions gives every one: each way to group, under each choice of values.
func (o oracleTable) questions() []tableQuestion {
	choices := func(field string, values []string) (out [][]contract.Requirement) {
		out = append(out, nil)
		for set := 1; set < 1<<len(values); set++ {
			var chosen []string
			for i, v := range values {
				if set&(1<<i) != 0 {
					chosen = append(chosen, v)
				}
			}
			out = append(out, []contract.Requirement{{Field: field, Operator: "In", Values: chosen}})
		}
		return out
	}
	var out []tableQuestion
	for _, by := range [][]string{nil, {"a"}, {"b"}, {"a", "b"}} {
		for _, wa := range choices("a", o.a) {
			for _, wb := range choices("b", o.b) {
				out = append(out, tableQuestion{by, slices.Concat(wa, wb)})
			}
		}
	}
	return out
}

// asker answers every question about a table, as texts by question and group.
type asker func(o oracleTable) map[string]string

// leaks says what can be told of small cells; empty is good.
func leaks(o oracleTable, smallest int, ask asker) []string {
	cells := o.cells()
	base := ask(o)
	depends := map[string][]bool{} // by answer and cell
	note := func(i int, changed map[string]string) (same bool) {
		same = true
		for key := range changed {
			if base[key] != changed[key] {
				same = false
			}
		}
		for key := range base {
			if base[key] != changed[key] {
				same = false
				if depends[key] == nil {
					depends[key] = make([]bool, len(cells))
				}
				depends[key][i] = true
			}
		}
		return same
	}
	var out []string
	for i, c := range cells {
		if o.count[c] >= smallest {
			note(i, ask(o.with(c, o.count[c]+100)))
			continue
		}
		for _, n := range []int{0, 1, smallest / 2, smallest - 1} {
			if n != o.count[c] && !note(i, ask(o.with(c, n))) {
				out = append(out, fmt.Sprintf("cell %v of %d: the answers show that it is not %d", c, o.count[c], n))
			}
		}
	}
	var rows [][]*big.Rat
	for _, on := range depends {
		row := make([]*big.Rat, len(cells))
		for i := range row {
			row[i] = new(big.Rat)
			if on[i] {
				row[i].SetInt64(1)
			}
		}
		rows = append(rows, row)
	}
	for _, i := range determined(rows, len(cells)) {
		if o.count[cells[i]] < smallest {
			out = append(out, fmt.Sprintf("cell %v of %d: the equations determine it", cells[i], o.count[cells[i]]))
		}
	}
	return out
}

// determined gives the unknowns that a linear system pins down, by Gauss-Jordan elimination.
func determined(rows [][]*big.Rat, unknowns int) (out []int) {
	top := 0
	for col := 0; col < unknowns && top < len(rows); col++ {
		pivot := -1
		for r := top; r < len(rows); r++ {
			if rows[r][col].Sign() != 0 {
				pivot = r
				break
			}
		}
		if pivot < 0 {
			continue
		}
		rows[top], rows[pivot] = rows[pivot], rows[top]
		scale := new(big.Rat).Inv(rows[top][col])
		for i := range rows[top] {
			rows[top][i].Mul(rows[top][i], scale)
		}
		for r := range rows {
			if r == top || rows[r][col].Sign() == 0 {
				continue
			}
			factor := new(big.Rat).Set(rows[r][col])
			for i := range rows[r] {
				rows[r][i].Sub(rows[r][i], new(big.Rat).Mul(factor, rows[top][i]))
			}
		}
		top++
	}
	for _, row := range rows[:top] {
		at := -1
		for i, v := range row {
			if v.Sign() == 0 {
				continue
			}
			if at >= 0 {
				at = -1
				break
			}
			at = i
		}
		if at >= 0 {
			out = append(out, at)
		}
	}
	return out
}

// random gives a table with small and large cells.
func randomTable(r *rand.Rand, smallest int) oracleTable {
	o := oracleTable{a: []string{"u", "v", "w"}[:2+r.IntN(2)], b: []string{"x", "y", "z"}[:2+r.IntN(2)], count: map[[2]string]int{}}
	for _, c := range o.cells() {
		o.count[c] = r.IntN(smallest)
		if r.IntN(2) == 0 {
			o.count[c] = smallest + r.IntN(20)
		}
	}
	return o
}

// worldsTable holds many tables beside one another; rows of one are told by a requirement.
type worldsTable struct {
	w     *world
	table string
	next  int
}

func newWorldsTable(t *testing.T) *worldsTable {
	w := newWorld(t)
	wt := &worldsTable{w: w, table: fmt.Sprintf("worlds_%d", time.Now().UnixNano())}
	w.exec(`CREATE TABLE datasets.` + wt.table + ` (world text, id text, a text, b text, money numeric, PRIMARY KEY (world, id))`)
	return wt
}

// ask reads the table through PostgreSQL. Money differs from world to world, so that sums are asked about too.
func (wt *worldsTable) ask(t *testing.T, smallest int, o oracleTable) map[string]string {
	t.Helper()
	wt.next++
	name := fmt.Sprint(wt.next)
	var inserts []string
	for _, c := range o.cells() {
		if n := o.count[c]; n > 0 {
			// What the people of a large cell have is the same in every world; what those of a small one have is not.
			money := "i * 10"
			if n < smallest {
				money = "i * " + name
			}
			inserts = append(inserts, fmt.Sprintf("SELECT '%s', '%s%s' || i, '%[2]s', '%[3]s', %[4]s FROM generate_series(1, %[5]d) i", name, c[0], c[1], money, n))
		}
	}
	if len(inserts) > 0 {
		wt.w.exec("INSERT INTO datasets." + wt.table + " " + strings.Join(inserts, " UNION ALL "))
	}
	field := func(column, kind string) contract.DatasetField {
		return contract.DatasetField{Type: kind, Column: column, Personal: "None"}
	}
	d := contract.Dataset{
		Fields: map[string]contract.DatasetField{"world": field("world", "String"), "a": field("a", "String"), "b": field("b", "String"), "money": field("money", "Number")},
		Source: contract.Source{Schema: "datasets", Table: wt.table, SubjectColumn: "id"},
	}
	info, err := wt.w.server.db.table(t.Context(), d.Source, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	made, err := wt.w.server.db.tabulate(t.Context(), tableSelection{
		selection: selection{
			dataset: d, table: info, fields: map[string]contract.Mask{"a": {}, "b": {}, "money": {}}, limit: maxGroups,
			rows: contract.Rows{Requirements: []contract.Requirement{{Field: "world", Operator: "In", Values: []string{name}}}},
		},
		dimensions: []string{"a", "b"}, measures: []string{"money"}, smallest: smallest,
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for i, q := range o.questions() {
		for _, g := range made.answer(q.by, []string{"money"}, q.where) {
			raw, err := json.Marshal(g.By)
			if err != nil {
				t.Fatal(err)
			}
			figures, err := json.Marshal([]any{g.Count, g.Sums})
			if err != nil {
				t.Fatal(err)
			}
			out[fmt.Sprint(i, string(raw))] = string(figures)
		}
	}
	return out
}

func TestNoQuestionsTellASmallCell(t *testing.T) {
	wt := newWorldsTable(t)
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	small := 0
	for range rounds {
		smallest := 5 + r.IntN(8)
		o := randomTable(r, smallest)
		for _, n := range o.count {
			if n < smallest {
				small++
			}
		}
		for _, leak := range leaks(o, smallest, func(o oracleTable) map[string]string { return wt.ask(t, smallest, o) }) {
			t.Errorf("seed %d, small is below %d, table %v: %s", seed, smallest, o.count, leak)
		}
	}
	t.Logf("%d tables with %d small cells, %d reads", rounds, small, wt.next)
	if small < rounds {
		t.Errorf("%d small cells in %d tables: the test asks for too little", small, rounds)
	}
}

// The oracle finds what is wrong with the usual way, which leaves out small groups of each answer by itself.
func TestOracleOfAggregatesFindsLeaks(t *testing.T) {
	naive := func(o oracleTable) map[string]string {
		out := map[string]string{}
		for i, q := range o.questions() {
			groups := map[string]int{}
			for c, n := range o.count {
				in := !slices.ContainsFunc(q.where, func(w contract.Requirement) bool {
					return !slices.Contains(w.Values, c[map[string]int{"a": 0, "b": 1}[w.Field]])
				})
				key := ""
				for _, by := range q.by {
					key += c[map[string]int{"a": 0, "b": 1}[by]]
				}
				if in {
					groups[key] += n
				}
			}
			for key, n := range groups {
				if n >= 10 {
					out[fmt.Sprint(i, key)] = fmt.Sprint(n)
				}
			}
		}
		return out
	}
	o := oracleTable{a: []string{"u", "v"}, b: []string{"x", "y"}, count: map[[2]string]int{{"u", "x"}: 20, {"u", "y"}: 3, {"v", "x"}: 30, {"v", "y"}: 40}}
	text := strings.Join(leaks(o, 10, naive), "\n")
	for _, want := range []string{"is not 0", "the equations determine it"} {
		if !strings.Contains(text, want) {
			t.Errorf("the oracle does not find %q: %s", want, text)
		}
	}
}

func TestRounding(t *testing.T) {
	for _, c := range []struct{ count, largest, want int64 }{{10, 1, 10}, {14, 1, 10}, {15, 5, 15}, {19, 6, 10}, {1234, 10, 1230}, {1234, 11, 1200}, {4, 1, 0}} {
		if got := roundDown(c.count, c.largest); got != c.want {
			t.Errorf("count %d, largest %d: %d, want %d", c.count, c.largest, got, c.want)
		}
	}
	for _, c := range []struct{ sum, largest, want string }{
		{"276", "23", "200"}, {"55", "10", "50"}, {"55.5", "1", "55"}, {"0.0567", "0.01", "0.05"}, {"0.0567", "0.011", "0"}, {"-276", "23", "-300"},
		{"0", "0", "0"}, {"1e30", "1e29", "1000000000000000000000000000000"}, {"99", "100", "0"},
	} {
		sum, _ := new(big.Rat).SetString(c.sum)
		largest, _ := new(big.Rat).SetString(c.largest)
		if got := decimalOf(roundSum(sum, largest)); string(got) != c.want {
			t.Errorf("sum %s, largest %s: %s, want %s", c.sum, c.largest, got, c.want)
		}
	}
}

func TestTablesAreBounded(t *testing.T) {
	c, reads := newTableCache(), 0
	read := func(cells int) func() (*table, error) {
		return func() (*table, error) { reads++; return &table{cells: make([]cell, cells)}, nil }
	}
	get := func(uid, rule string, at int64, cells int) {
		t.Helper()
		if _, err := c.get(t.Context(), tableKey{uid: uid}, rule, time.Unix(at, 0), func(context.Context) (*table, error) { return read(cells)() }); err != nil {
			t.Fatal(err)
		}
	}
	get("a", "day 1", 1, maxCells/2)
	get("b", "day 1", 2, maxCells/4)
	get("a", "day 1", 3, maxCells/2)
	if reads != 2 {
		t.Errorf("%d reads, want 2: a table is kept", reads)
	}
	get("c", "day 1", 4, maxCells/2) // b was asked longest ago, but is not enough: a goes too
	if len(c.kept) != 1 || c.cells != maxCells/2+1 {
		t.Errorf("%d tables, %d cells", len(c.kept), c.cells)
	}
	get("c", "day 2", 5, 10)
	if len(c.kept) != 1 || c.cells != 11 {
		t.Errorf("the table of another day stays: %d tables, %d cells", len(c.kept), c.cells)
	}
}
