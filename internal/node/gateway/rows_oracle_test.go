package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/test/postgres"
)

// The evaluator of rows looks at one row at a time, in Go, and knows nothing of SQL. It takes what a row scope says from the words of the
// design, and the world from the tables below.

// fact is a row as the evaluator knows it; nil is NULL.
type fact struct {
	id int
	// Where the row is, and whose it is.
	division, community, grid, compound, subject *string
	// values of fields as text: numbers as written, dates as YYYY-MM-DD, times in RFC 3339.
	values map[string]*string
}

// town is a community of the world: its present code, former ones, by name.
type town struct {
	name  string
	codes []string
}

var towns = []town{
	{"jinghu", []string{"410702001001", "410702001099"}}, {"east", []string{"410703001001"}},
	{"o'hara", []string{"410702002001", "410703001001"}}, {"老街", []string{"410800001001"}},
}

type given struct {
	subject, scope               string
	purposes                     []string
	from                         time.Time
	withdrawn, expires           *time.Time
	organization, person, role   string
	onDutyCommunity, onDutyGrids string
}

// question is a selection in the evaluator's words.
type question struct {
	divisions, communities, grids, compounds []string
	roster                                   bool
	organization, person                     string
	roles                                    []string
	conditions                               []contract.Requirement
	scopes                                   []string
	purpose                                  string
	hasDivision, hasCommunity                bool
}

// kinds of the fields, and their columns: names that want quotes.
var (
	oracleKinds = map[string]string{"phone": "text", "name": "text", "code": "char", "level": "whole", "score": "decimal", "ratio": "decimal",
		"born": "date", "seen": "time", "local": "local", "alive": "boolean"}
	oracleColumns = map[string]string{"phone": `pho"ne`, "name": "full name", "code": "$1", "level": "Level", "score": "sco're", "ratio": "ratio", "born": "出生",
		"seen": "seen; --", "local": "lo%cal", "alive": "select"}
)

func startsWithAny(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// lies says whether a row lies in the scope, and in which communities it may be.
func (q question) lies(f fact) (in bool, of []string) {
	may := func(t town) bool { return len(q.communities) == 0 || slices.Contains(q.communities, t.name) }
	if q.hasDivision {
		if f.division == nil {
			return false, nil
		}
		for _, t := range towns {
			if may(t) && slices.Contains(t.codes, *f.division) && startsWithAny(*f.division, q.divisions) {
				of = append(of, t.name)
			}
		}
		if len(of) == 0 {
			return false, nil
		}
	}
	if q.hasCommunity {
		if f.community == nil {
			return false, nil
		}
		found := slices.ContainsFunc(towns, func(t town) bool {
			return t.name == *f.community && may(t) && startsWithAny(t.codes[0], q.divisions)
		})
		return found, []string{*f.community}
	}
	return true, of
}

// reached says whether a row is one of the selection.
func (q question) reached(f fact, all []given, now time.Time) bool {
	in, of := q.lies(f)
	if !in {
		return false
	}
	if len(q.grids) > 0 && (f.grid == nil || !slices.Contains(q.grids, *f.grid)) {
		return false
	}
	if len(q.compounds) > 0 && (f.compound == nil || !slices.ContainsFunc(of, func(c string) bool { return slices.Contains(q.compounds, c+"/"+*f.compound) })) {
		return false
	}
	if q.roster && !slices.ContainsFunc(all, func(g given) bool {
		return g.role != "" && g.organization == q.organization && g.person == q.person && slices.Contains(q.roles, g.role) && slices.Contains(of, g.onDutyCommunity) &&
			(g.onDutyGrids == "" || f.grid != nil && g.onDutyGrids == *f.grid)
	}) {
		return false
	}
	for _, scope := range q.scopes {
		if f.subject == nil || !slices.ContainsFunc(all, func(g given) bool {
			return g.role == "" && g.subject == *f.subject && g.scope == scope && slices.Contains(g.purposes, q.purpose) && !g.from.After(now) &&
				(g.withdrawn == nil || g.withdrawn.After(now)) && (g.expires == nil || g.expires.After(now))
		}) {
			return false
		}
	}
	for _, c := range q.conditions {
		if !holds(c, oracleKinds[c.Field], f.values[c.Field]) {
			return false
		}
	}
	return true
}

func holds(c contract.Requirement, kind string, v *string) bool {
	switch c.Operator {
	case "Exists":
		return v != nil
	case "DoesNotExist":
		return v == nil
	}
	if v == nil {
		return false
	}
	among := slices.ContainsFunc(c.Values, func(w string) bool { return order(kind, *v, w) == 0 })
	switch c.Operator {
	case "In":
		return among
	case "NotIn":
		return !among
	case "AtLeast":
		return *v != "NaN" && order(kind, *v, c.Values[0]) >= 0
	case "AtMost":
		return *v != "NaN" && order(kind, *v, c.Values[0]) <= 0
	}
	panic(c.Operator)
}

// order compares two texts as values of a kind.
func order(kind, a, b string) int {
	switch kind {
	case "whole", "decimal":
		if a == "NaN" {
			return 9
		}
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		return x.Cmp(y)
	case "time":
		x, _ := time.Parse(time.RFC3339Nano, a)
		y, _ := time.Parse(time.RFC3339Nano, b)
		return x.Compare(y)
	case "local": // the row has no zone: it is of the platform's
		shanghai := time.FixedZone("", 8*3600)
		x, _ := time.ParseInLocation("2006-01-02T15:04:05", a, shanghai)
		y, _ := time.Parse(time.RFC3339Nano, b)
		return x.Compare(y)
	case "char":
		return strings.Compare(strings.TrimRight(a, " "), strings.TrimRight(b, " "))
	}
	return strings.Compare(a, b)
}

// hostile are texts that a careless query would trip over: quotes, wildcards, two forms of one letter (NFC and NFD), injections.
var hostile = append(slices.Clone(nasty), "é", "e\u0301", "Å", "\u212b", "a\u0000b"[:1], "' UNION SELECT NULL --", "x'); DELETE FROM grid.consents; --", "\\'", "\n", "ａ", "𠮷")

func randomValue(r *rand.Rand, kind string) string {
	switch kind {
	case "text":
		return pick(r, hostile...)
	case "char":
		return pick(r, "a", "b", "a'", "é", "", "a ", "b\"")
	case "whole":
		return strconv.Itoa(r.IntN(7) - 3)
	case "decimal":
		return pick(r, "0", "0.50", "-1.25", "3", "1000000", "0.5", "-0")
	case "date":
		return pick(r, "1941-05-06", "1941-05-07", "0001-01-01", "2024-02-29", "9999-12-31")
	case "time":
		return pick(r, "2026-03-01T17:00:00Z", "2026-03-02T01:00:00+08:00", "2026-03-01T17:00:00.000001Z", "1970-01-01T00:00:00Z", "2026-03-01T16:59:59.999999Z")
	case "local":
		return pick(r, "2026-03-02T01:00:00", "2026-03-01T17:00:00", "2026-03-02T00:59:59")
	}
	return pick(r, "true", "false")
}

// randomBound gives a value of a request, which has a zone where the column has none.
func randomBound(r *rand.Rand, kind string) string {
	if kind == "local" {
		return pick(r, "2026-03-01T17:00:00Z", "2026-03-02T01:00:00+08:00", "2026-03-02T00:59:59+08:00", "2026-03-01T09:00:00Z")
	}
	return randomValue(r, kind)
}

func randomConditions(r *rand.Rand, n int) (out []contract.Requirement) {
	for range n {
		field := pick(r, sortedKeys(oracleKinds)...)
		kind := oracleKinds[field]
		c := contract.Requirement{Field: field, Operator: pick(r, "In", "NotIn", "NotIn", "Exists", "DoesNotExist", "AtLeast", "AtMost", "AtLeast")}
		switch c.Operator {
		case "AtLeast", "AtMost":
			if kind == "text" || kind == "char" || kind == "boolean" {
				c.Operator = "In"
			}
			c.Values = []string{randomBound(r, kind)}
		case "In", "NotIn":
			for range 1 + r.IntN(5) {
				c.Values = append(c.Values, randomBound(r, kind))
			}
		}
		out = append(out, c)
	}
	return out
}

func insertFacts(t *testing.T, conn *pgx.Conn, r *rand.Rand, table string, n int) (rows []fact) {
	t.Helper()
	names := sortedKeys(oracleKinds)
	columns, places := []string{"id", "division", "community", "grid", "compound", "subject"}, "$1,$2,$3,$4,$5,$6"
	types := map[string]string{"text": "text", "char": "char(4)", "whole": "int", "decimal": "numeric", "date": "date", "time": "timestamptz", "local": "timestamp", "boolean": "boolean"}
	for i, name := range names {
		columns = append(columns, pgx.Identifier{oracleColumns[name]}.Sanitize())
		kind := types[oracleKinds[name]]
		if name == "ratio" {
			kind = "double precision"
		}
		places += fmt.Sprintf(",($%d::text)::%s", i+7, kind)
	}
	for i := range n {
		f := fact{
			id: i, division: maybe(r, pick(r, "410702001001", "410702001099", "410703001001", "410702002001", "410800001001", "999999999999")),
			community: maybe(r, pick(r, "jinghu", "east", "o'hara", "老街", "gone")), grid: maybe(r, pick(r, "g1", "g2", "g'3")),
			compound: maybe(r, pick(r, "garden", "花园", "a/b")), subject: maybe(r, fmt.Sprintf("s%d", r.IntN(30))), values: map[string]*string{},
		}
		args := []any{f.id, f.division, f.community, f.grid, f.compound, f.subject}
		for _, name := range names {
			v := maybe(r, randomValue(r, oracleKinds[name]))
			if (name == "score" || name == "ratio") && r.IntN(10) == 0 {
				v = new(string)
				*v = "NaN"
			}
			f.values[name] = v
			args = append(args, v)
		}
		if _, err := conn.Exec(t.Context(), `INSERT INTO datasets.`+table+` (`+strings.Join(columns, ",")+`) VALUES (`+places+`)`, args...); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, f)
	}
	return rows
}

// insertGiven fills roster and consents: those of another time, scope and purpose too.
func insertGiven(t *testing.T, exec func(string, ...any), r *rand.Rand, prefix string, now time.Time) (all []given) {
	t.Helper()
	hours := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour).UTC().Truncate(time.Second) }
	for range 60 {
		g := given{subject: fmt.Sprintf("s%d", r.IntN(30)), scope: prefix + pick(r, "care", "heat'"), purposes: append(some(r, "Statistics"), pick(r, "HomeVisits", "HomeVisits", "Research")), from: hours(pick(r, -48, -24, -1, 1, 24))}
		g.withdrawn, g.expires = pick(r, nil, nil, new(time.Time)), pick(r, nil, nil, new(time.Time))
		if g.withdrawn != nil {
			*g.withdrawn = g.from.Add(time.Duration(pick(r, 1, 30, 100)) * time.Hour)
		}
		if g.expires != nil {
			*g.expires = g.from.Add(time.Duration(pick(r, 2, 30, 100)) * time.Hour)
		}
		all = append(all, g)
		exec(`INSERT INTO grid.consents (subject, scope, purposes, given_at, withdrawn_at, expires_at) VALUES ($1,$2,$3,$4,$5,$6)`, g.subject, g.scope, notNil(g.purposes), g.from, g.withdrawn, g.expires)
	}
	for range 8 {
		g := given{organization: prefix + pick(r, "town", "health"), person: pick(r, "p1", "p'2"), role: pick(r, "GridWorker", "Doctor"),
			onDutyCommunity: pick(r, "jinghu", "east", "o'hara", "gone"), onDutyGrids: pick(r, "", "g1", "g'3")}
		all = append(all, g)
		exec(`INSERT INTO platform.roster VALUES ($1,$2,$3,$4,$5)`, g.organization, g.person, g.role, g.onDutyCommunity, g.onDutyGrids)
	}
	return all
}

func randomQuestion(r *rand.Rand, prefix string) question {
	q := question{
		divisions: some(r, "41", "4107", "410702", "410703", "410702001099", "4108"), communities: pick(r, nil, nil, []string{"jinghu"}, []string{"east", "gone"}, []string{"o'hara", "老街"}),
		organization: prefix + pick(r, "town", "health"), person: pick(r, "p1", "p'2", ""), roles: some(r, "GridWorker", "Doctor"),
		purpose: pick(r, "HomeVisits", "HomeVisits", "Statistics", ""), hasDivision: true,
	}
	switch r.IntN(4) {
	case 0:
		q.hasDivision, q.hasCommunity = false, true
	case 1:
		q.hasCommunity = true
	}
	if r.IntN(4) == 0 {
		q.grids = some(r, "g1", "g2", "g'3")
	}
	if r.IntN(4) == 0 {
		q.compounds = some(r, "jinghu/garden", "east/花园", "o'hara/garden", "jinghu/a/b", "gone/garden")
	}
	q.roster = r.IntN(5) == 0
	if r.IntN(2) == 0 {
		q.scopes = pick(r, []string{prefix + "care"}, []string{prefix + "heat'"}, []string{prefix + "care", prefix + "heat'"})
	}
	q.conditions = randomConditions(r, pick(r, 0, 1, 1, 2, 3))
	return q
}

// selectionFor puts a question to the implementation.
func selectionFor(q question, d contract.Dataset, info tableInfo, p *policy, r *rand.Rand) selection {
	d.Source.DivisionColumn, d.Source.CommunityColumn = "", ""
	if q.hasDivision {
		d.Source.DivisionColumn = "division"
	}
	if q.hasCommunity {
		d.Source.CommunityColumn = "community"
	}
	rows := contract.Rows{Divisions: q.divisions, Communities: q.communities, Grids: q.grids, Compounds: q.compounds, Roster: q.roster}
	cut := r.IntN(len(q.conditions) + 1)
	rows.Requirements = q.conditions[:cut]
	sel := selection{
		dataset: d, table: info, fields: map[string]contract.Mask{"id": {}}, rows: rows, codes: p.codesOf(rows), places: p.placesOf(rows),
		reader: rosterEntry{q.organization, q.person, q.roles}, filter: q.conditions[cut:], purpose: q.purpose,
		zone: zone, maskKey: []byte("m"), subjectKey: []byte("s"), limit: pick(r, 1000, 1000, 37),
	}
	if len(q.scopes) > 0 {
		sel.dataset.ConsentScope = q.scopes[0]
		sel.consentScope = q.scopes[len(q.scopes)-1]
	}
	return sel
}

// readAll reads page by page and gives the ids.
func readAll(t *testing.T, db *database, sel selection) []int {
	t.Helper()
	got := []int{}
	for {
		st, err := build(sel)
		if err != nil {
			t.Fatal(err)
		}
		rows, more, err := db.read(t.Context(), sel, st)
		if err != nil {
			t.Fatalf("%s %q: %v", st.sql, st.args, err)
		}
		for _, raw := range rows {
			var record struct{ ID int }
			if err := json.Unmarshal(raw.record, &record); err != nil {
				t.Fatal(err)
			}
			got = append(got, record.ID)
		}
		if !more {
			return got
		}
		sel.after = &rows[len(rows)-1].at
	}
}

// TestRowsAgainstOracle holds random selections of 200 rows on a real PostgreSQL against an evaluation row by row.
func TestRowsAgainstOracle(t *testing.T) {
	config, exec := tables(t)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 2))
	prefix := fmt.Sprintf("o%d-", seed)
	table := fmt.Sprintf(`"oracle '%d $1"`, seed)
	exec(`CREATE TABLE datasets.` + table + ` (id int PRIMARY KEY, division char(12), community text, grid varchar, compound text, subject text, "pho""ne" text, "full name" varchar, "$1" char(4),
		"Level" int, "sco're" numeric, ratio double precision, "出生" date, "seen; --" timestamptz, "lo%cal" timestamp, "select" boolean)`)
	conn, err := pgx.Connect(t.Context(), postgres.DSN(postgres.Shared(t).Owner("postgres")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	now := time.Now()
	facts := insertFacts(t, conn, r, table, 200)
	all := insertGiven(t, exec, r, prefix, now)
	db, err := openDatabase(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	d := contract.Dataset{Fields: map[string]contract.DatasetField{"id": {Column: "id"}},
		Source: contract.Source{Schema: "datasets", Table: strings.Trim(table, `"`), GridColumn: "grid", CompoundColumn: "compound", SubjectColumn: "subject"}}
	for name, column := range oracleColumns {
		d.Fields[name] = contract.DatasetField{Column: column}
	}
	info, err := db.table(t.Context(), d.Source, now)
	if err != nil {
		t.Fatal(err)
	}
	directory := testDirectory()
	directory.Communities = map[string]contract.Community{}
	for _, c := range towns {
		directory.Communities[c.name] = contract.Community{Division: c.codes[0], FormerDivisions: c.codes[1:]}
	}
	p := &policy{bundle: &intake.Bundle{Directory: directory}}
	n, notEmpty, rows := 10_000, 0, 0
	if testing.Short() {
		n = 1000
	}
	for range n {
		q := randomQuestion(r, prefix)
		want := []int{}
		for _, f := range facts {
			if q.reached(f, all, now) {
				want = append(want, f.id)
			}
		}
		if diff := cmp.Diff(want, readAll(t, db, selectionFor(q, d, info, p, r))); diff != "" {
			t.Fatalf("seed %d: %+v: %s", seed, q, diff)
		}
		notEmpty, rows = notEmpty+min(len(want), 1), rows+len(want)
	}
	t.Logf("%d selections of %d rows, %d of them not empty, %d rows given, 0 wrong (seed %d)", n, len(facts), notEmpty, rows, seed)
	if notEmpty < n/10 {
		t.Errorf("only %d selections reach a row: the test proves little", notEmpty)
	}
}
