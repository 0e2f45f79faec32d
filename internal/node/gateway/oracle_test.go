package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/postgres"
)

// The oracle is written from the words of the design and shares no code with the policy or the query builder. It is slow
// and simple on purpose.

type oracleAnswer struct {
	allow  bool
	fields []string
	grant  contract.Grant
}

// oracle decides by looking at every grant there is.
func oracle(a contract.Access, in contract.DecisionInput) oracleAnswer {
	type candidate struct {
		name string
		g    contract.Grant
	}
	var all, fit []candidate
	for dataset, consumers := range a.Grants {
		for consumer, agreements := range consumers {
			for name, g := range agreements {
				if dataset != in.Dataset || consumer != in.Consumer || in.Agreement != "" && in.Agreement != name {
					continue
				}
				c := candidate{name, g}
				all = append(all, c)
				if in.Now >= g.NotBefore && (g.NotAfter == 0 || in.Now < g.NotAfter) && slices.Contains(g.Purposes, in.Purpose) {
					fit = append(fit, c)
				}
			}
		}
	}
	d, known := a.Datasets[in.Dataset]
	if len(all) == 0 || len(fit) != 1 || !known || d.Sharing == "None" {
		return oracleAnswer{}
	}
	g := fit[0].g
	want := in.Fields
	if len(want) == 0 {
		for f := range g.Fields {
			if _, ok := d.Fields[f]; ok {
				want = append(want, f)
			}
		}
	}
	var out []string
	personal := false
	for _, f := range want {
		m, granted := g.Fields[f]
		field, there := d.Fields[f]
		if !granted || !there {
			return oracleAnswer{}
		}
		if m.Method == "Drop" {
			continue
		}
		out = append(out, f)
		if field.Personal != "None" {
			personal = true
		}
	}
	if in.Contract < 2 || len(out) == 0 || g.CaseNumberRequired && (in.Case == nil || in.Case.Number == "") {
		return oracleAnswer{}
	}
	if personal || g.PersonRequired {
		if in.Person == nil || in.Person.Subject == "" || !slices.ContainsFunc(in.Person.Roles, func(role string) bool { return slices.Contains(g.Roles, role) }) {
			return oracleAnswer{}
		}
	}
	if d.Source.DivisionColumn == "" && (personal || d.Source.SubjectColumn != "" || len(g.Rows.Communities) > 0) {
		return oracleAnswer{}
	}
	sort.Strings(out)
	return oracleAnswer{true, slices.Compact(out), g}
}

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
		Contract: pick(r, 2, 2, 2, 2, 2, 2, 2, 3, 0, 1), Case: pick(r, nil, &contract.CaseFact{}, &contract.CaseFact{Number: "C-1"}), Now: pick[int64](r, 50, 99, 100, 149, 150, 250, 299, 300, 1000),
	}
	if r.IntN(2) == 0 {
		in.Fields = slices.Compact(slices.Sorted(slices.Values(some(r, append(randomFields, "gone")...))))
	}
	if r.IntN(3) > 0 {
		in.Person = &contract.Person{Subject: pick(r, "p", "p", ""), Roles: pick(r, nil, []string{"GridWorker"}, []string{"Nobody", "Doctor"}, []string{"Nobody"})}
	}
	return in
}

// likelyInput changes an input into one that some grant may allow.
func likelyInput(r *rand.Rand, a contract.Access, in contract.DecisionInput) contract.DecisionInput {
	consumers := a.Grants[in.Dataset]
	for _, consumer := range sortedKeys(consumers) {
		for _, name := range sortedKeys(consumers[consumer]) {
			g := consumers[consumer][name]
			if r.IntN(3) > 0 || len(g.Purposes) == 0 {
				continue
			}
			in.Consumer, in.Agreement, in.Purpose, in.Case = consumer, pick(r, name, name, ""), pick(r, g.Purposes...), pick(r, &contract.CaseFact{Number: "C-1"}, &contract.CaseFact{Number: "C-1"}, nil)
			in.Now, in.Fields = pick[int64](r, 149, 149, 250), pick(r, nil, some(r, sortedKeys(g.Fields)...))
			if len(g.Roles) > 0 && r.IntN(4) > 0 {
				in.Person = &contract.Person{Subject: "p", Roles: []string{pick(r, g.Roles...)}}
			}
			return in
		}
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

// TestDecisionsAgainstOracle holds random requests under random agreements against the oracle.
func TestDecisionsAgainstOracle(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	worlds, requests := 150, 200
	if testing.Short() {
		worlds = 8
	}
	allowed := 0
	for range worlds {
		a := randomAccess(r, "x")
		p := policyOf(t, a)
		for range requests {
			in := randomInput(r)
			if r.IntN(2) == 0 {
				in = likelyInput(r, a, in)
			}
			want := oracle(a, in)
			got, _, err := p.decide(t.Context(), in)
			if err != nil {
				t.Fatalf("seed %d: %+v: %v", seed, in, err)
			}
			if got.Allow != want.allow {
				t.Fatalf("seed %d: %+v: allow %t (%v), oracle %t; grants %s", seed, in, got.Allow, got.Reasons, want.allow, asJSON(a.Grants[in.Dataset][in.Consumer]))
			}
			if got.Allow {
				allowed++
				if diff := cmp.Diff(want.fields, leaving(got.Fields)); diff != "" {
					t.Fatalf("seed %d: %+v: fields %s", seed, in, diff)
				}
			}
		}
	}
	t.Logf("%d decisions, %d allowed, 0 wrong (seed %d)", worlds*requests, allowed, seed)
	if allowed < worlds*requests/100 {
		t.Errorf("only %d allowed: the test proves little", allowed)
	}
}

func asJSON(v any) string { raw, _ := json.Marshal(v); return string(raw) }

type oracleRow struct {
	id                                      int
	community, subject, phone, name, health *string
	level                                   *int
}

// reaches says whether a row lies within rows, one row at a time. now is when the directory is asked.
func reaches(d contract.Dataset, rows contract.Rows, row oracleRow) bool {
	if d.Source.DivisionColumn != "" {
		communities := map[string]string{jinghu: "jinghu", old: "jinghu", east: "east"}
		current := map[string]string{"jinghu": jinghu, "east": east}
		if row.community == nil {
			return false
		}
		name, known := communities[*row.community]
		under := slices.ContainsFunc(rows.Divisions, func(p string) bool { return known && strings.HasPrefix(current[name], p) })
		if !under || len(rows.Communities) > 0 && !slices.Contains(rows.Communities, name) {
			return false
		}
	}
	for _, q := range rows.Requirements {
		var v *string
		switch q.Field {
		case "phone":
			v = row.phone
		case "name":
			v = row.name
		case "health":
			v = row.health
		case "level":
			if row.level != nil {
				text := fmt.Sprint(*row.level)
				v = &text
			}
		}
		ok := false
		switch q.Operator {
		case "In":
			ok = v != nil && slices.Contains(q.Values, *v)
		case "NotIn":
			ok = v != nil && !slices.Contains(q.Values, *v)
		case "Exists":
			ok = v != nil
		case "DoesNotExist":
			ok = v == nil
		}
		if !ok {
			return false
		}
	}
	return true
}

func maybe[T any](r *rand.Rand, v T) *T {
	if r.IntN(4) == 0 {
		return nil
	}
	return &v
}

// TestRowsAgainstOracle holds random row scopes, on a real PostgreSQL with NULLs, Unicode and injection attempts among the
// values, against an evaluation row by row.
func TestRowsAgainstOracle(t *testing.T) {
	config, exec := tables(t)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 2))
	table := fmt.Sprintf("oracle_%d", seed)
	exec(`CREATE TABLE datasets.` + table + ` (id int PRIMARY KEY, community char(12), subject text, phone text, "full name" text, born date, level int, health text)`)
	conn, err := pgx.Connect(t.Context(), postgres.DSN(postgres.Shared(t).Owner("postgres")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var rows []oracleRow
	for i := range 120 {
		row := oracleRow{id: i, community: maybe(r, pick(r, jinghu, old, east, "999999999999")), phone: maybe(r, pick(r, nasty...)), name: maybe(r, pick(r, nasty...)), health: maybe(r, "h"), level: maybe(r, r.IntN(4))}
		rows = append(rows, row)
		if _, err := conn.Exec(t.Context(), `INSERT INTO datasets.`+table+` VALUES ($1,$2,$3,$4,$5,NULL,$6,$7)`, row.id, row.community, row.subject, row.phone, row.name, row.level, row.health); err != nil {
			t.Fatal(err)
		}
	}
	db, err := openDatabase(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	d := testDataset(table)
	d.Fields["id"] = contract.DatasetField{Type: "Integer", Column: "id", Personal: "None"}
	info, err := db.table(t.Context(), d.Source, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n, some := 1500, 0
	if testing.Short() {
		n = 200
	}
	for range n {
		scope := randomGrant(r, "u").Rows
		want := []int{}
		for _, row := range rows {
			if reaches(d, scope, row) {
				want = append(want, row.id)
			}
		}
		sel := selection{
			dataset: d, table: info, fields: map[string]contract.Mask{"id": {}}, rows: scope, codes: testDirectory().CodesIn(scope.Divisions, scope.Communities),
			zone: zone, maskKey: []byte("m"), subjectKey: []byte("s"), limit: maxPage,
		}
		st, err := build(sel)
		if err != nil {
			t.Fatal(err)
		}
		read, err := db.read(t.Context(), sel, st)
		if err != nil {
			t.Fatalf("%s: %v", st.sql, err)
		}
		got := []int{}
		for _, raw := range read.records {
			var record struct{ ID int }
			if err := json.Unmarshal(raw, &record); err != nil {
				t.Fatal(err)
			}
			got = append(got, record.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: scope %+v: %s", seed, scope, diff)
		}
		some += min(len(want), 1)
	}
	t.Logf("%d row scopes, %d of them not empty, 0 wrong (seed %d)", n, some, seed)
	if some < n/20 {
		t.Errorf("only %d scopes reach a row: the test proves little", some)
	}
}
