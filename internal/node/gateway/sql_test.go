package gateway

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

func testSelection() selection {
	return selection{
		dataset: testDataset("elders"),
		table: tableInfo{key: []string{"id"}, types: map[string]string{
			"id": "bigint", "community": "bpchar", "subject": "text", "phone": "text", "full name": "text", "born": "date",
			"seen": "timestamp with time zone", "level": "integer", "health": "text",
		}},
		fields: map[string]contract.Mask{"phone": {}}, codes: []string{jinghu}, zone: zone, maskKey: []byte("m"), subjectKey: []byte("s"), limit: 10,
	}
}

func TestBuildQuotesAndParameterises(t *testing.T) {
	s := testSelection()
	evil := `x" FROM pg_shadow; -- $1 $$`
	s.dataset.Fields["phone"] = contract.DatasetField{Column: evil}
	s.table.types[evil] = "text"
	s.rows.Requirements = []contract.Requirement{{Field: "phone", Operator: "In", Values: []string{"'; DROP TABLE x; --"}}}
	st, err := build(s)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(st.sql, `t."x"" FROM pg_shadow; -- $1 $$"`) {
		t.Errorf("identifier not quoted: %s", st.sql)
	}
	if strings.Contains(st.sql, "DROP") || strings.Contains(st.sql, jinghu) {
		t.Errorf("a value stands in the text: %s", st.sql)
	}
}

func TestBuildRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, change := range map[string]func(*selection){
		"mask":                    func(s *selection) { s.fields["phone"] = contract.Mask{Method: "Blur"} },
		"negative keep":           func(s *selection) { s.fields["phone"] = contract.Mask{Method: maskKeepLast, Keep: -2} },
		"generalise to nothing":   func(s *selection) { s.fields["level"] = contract.Mask{Method: maskGeneralise} },
		"generalise by zero":      func(s *selection) { s.fields["level"] = contract.Mask{Method: maskGeneralise, To: "0.0"} },
		"generalise by injection": func(s *selection) { s.fields["level"] = contract.Mask{Method: maskGeneralise, To: "1; SELECT"} },
		"year of a number":        func(s *selection) { s.fields["level"] = contract.Mask{Method: maskGeneralise, To: "Year"} },
		"number of a text":        func(s *selection) { s.fields["phone"] = contract.Mask{Method: maskGeneralise, To: "10"} },
		"unknown field":           func(s *selection) { s.fields["other"] = contract.Mask{} },
		"missing column":          func(s *selection) { delete(s.table.types, "phone") },
		"missing community":       func(s *selection) { delete(s.table.types, "community") },
		"missing subject":         func(s *selection) { delete(s.table.types, "subject") },
		"consent without subject": func(s *selection) { s.dataset.ConsentScope, s.dataset.Source.SubjectColumn = "x", "" },
		"operator":                func(s *selection) { s.rows.Requirements = []contract.Requirement{{Field: "phone", Operator: "Like"}} },
		"In without values":       func(s *selection) { s.rows.Requirements = []contract.Requirement{{Field: "phone", Operator: "In"}} },
		"NotIn without values":    func(s *selection) { s.rows.Requirements = []contract.Requirement{{Field: "phone", Operator: "NotIn"}} },
		"requirement on nothing":  func(s *selection) { s.rows.Requirements = []contract.Requirement{{Field: "gone", Operator: "Exists"}} },
		"cursor of another key":   func(s *selection) { s.after = &position{Key: []string{"1", "2"}} },
	} {
		s := testSelection()
		change(&s)
		if st, err := build(s); err == nil {
			t.Errorf("%s: built %s", name, st.sql)
		}
	}
	if _, err := build(testSelection()); err != nil {
		t.Errorf("the selection itself does not build: %v", err)
	}
}

// The order of records does not tell what a mask hides, and pages lose none of them.
func TestOrderTellsNoMaskedKey(t *testing.T) {
	w := newWorld(t, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		d.Source.Table += "_by_phone"
		w.exec(`CREATE TABLE datasets.` + d.Source.Table + ` (phone text PRIMARY KEY, community char(12), subject text, level int)`)
		w.exec(`INSERT INTO datasets.`+d.Source.Table+` SELECT lpad(i::text, 11, '0'), $1, 's' || i, i FROM generate_series(1, 20) i`, jinghu)
		w.bundle.Access.Datasets["elders"] = d
		g := w.bundle.Access.Grants["elders"]["town"]["a6"]
		g.Fields = map[string]contract.Mask{"level": {}, "phone": {Method: maskKeepLast}}
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	})
	read := func(fields string) (levels []int) {
		for cursor := ""; ; {
			r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&limit=3&fields="+fields+"&cursor="+cursor)
			if r.status != 200 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			for _, record := range r.Records {
				levels = append(levels, int(record["level"].(float64)))
			}
			if cursor = r.Next; cursor == "" {
				return levels
			}
		}
	}
	for _, fields := range []string{"level,phone", "level"} { // masked, and not asked for
		if levels := read(fields); slices.IsSorted(levels) || len(levels) != 20 || len(slices.Compact(slices.Sorted(slices.Values(levels)))) != 20 {
			t.Errorf("%s: levels in the order of the answer: %v", fields, levels)
		}
	}
	w.regrant(func(g *contract.Grant) { g.Fields = map[string]contract.Mask{"level": {}, "phone": {}} })
	if levels := read("level,phone"); !slices.IsSorted(levels) || len(levels) != 20 {
		t.Errorf("given as it is: %v", levels)
	}
}

// Which keys are ordered as they are: those that the answer tells, and those of the platform's own tables that no field names.
func TestHiddenKeys(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *selection)
		want   bool
	}{
		"given as it is": {func(s *selection) { s.table.key = []string{"phone"} }, false},
		"masked": {func(s *selection) {
			s.table.key, s.fields["phone"] = []string{"phone"}, contract.Mask{Method: maskPseudonym}
		}, true},
		"masked, of nobody": {func(s *selection) {
			s.table.key = []string{"level"}
			s.fields["level"] = contract.Mask{Method: maskGeneralise, To: "2"}
		}, true},
		"of nobody, given":          {func(s *selection) { s.table.key, s.fields["level"] = []string{"level"}, contract.Mask{} }, false},
		"of nobody, not asked for":  {func(s *selection) { s.table.key = []string{"level"} }, true},
		"named by no field":         {func(s *selection) { s.table.key = []string{"id"} }, true},
		"the same, of the platform": {func(s *selection) { s.table.key, s.dataset.Source.Type = []string{"id"}, "Cases" }, false},
		"of the platform, masked": {func(s *selection) {
			s.table.key, s.dataset.Source.Type, s.fields["phone"] = []string{"phone"}, "Cases", contract.Mask{Method: maskPseudonym}
		}, true},
		"keyColumn without a key": {func(s *selection) { s.table.key, s.dataset.Source.KeyColumn = nil, "id" }, true},
		"masked in somebody else's": {func(s *selection) {
			s.foreign, s.table.key, s.fields["phone"] = true, []string{"phone"}, contract.Mask{Method: maskPseudonym}
		}, true},
		"a number in somebody else's": {func(s *selection) { s.foreign, s.table.key = true, []string{"id"} }, true},
	} {
		s := testSelection()
		s.orderKey = []byte("the key of the order")
		c.change(&s)
		st, err := build(s)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, order, _ := strings.Cut(st.sql, " ORDER BY ")
		inner, _ := hmacPads(s.orderKey)
		sent := slices.ContainsFunc(st.args, func(a any) bool { raw, is := a.([]byte); return is && bytes.Equal(raw, inner) })
		if got := strings.Contains(order, "convert_to(t."); got != c.want || sent != c.want {
			t.Errorf("%s: hidden %v, key sent %v, want %v: ORDER BY %s", name, got, sent, c.want, order)
		}
		if s.foreign && slices.ContainsFunc(st.args, func(a any) bool {
			raw, is := a.([]byte)
			mask, _ := hmacPads(s.maskKey)
			return is && bytes.Equal(raw, mask)
		}) {
			t.Errorf("%s: the key of pseudonyms goes to somebody else's database", name)
		}
	}
}

func TestHMACPads(t *testing.T) {
	key := []byte("a key of any length up to sixty-four")
	inner, outer := hmacPads(key)
	in := sha256.Sum256(append(inner, "老人"...))
	out := sha256.Sum256(append(outer, in[:]...))
	h := hmac.New(sha256.New, key)
	h.Write([]byte("老人"))
	if got, want := hex.EncodeToString(out[:]), hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if pseudonym(key, "老人") != hex.EncodeToString(out[:pseudonymBytes]) {
		t.Error("pseudonym differs")
	}
}

func TestKeysAndCursors(t *testing.T) {
	if _, err := newKeys(make([]byte, 31)); err == nil {
		t.Error("a short key was taken")
	}
	k, err := newKeys([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	if string(k.mask("a")) == string(k.mask("b")) || string(k.mask("a")) == string(k.subject) {
		t.Error("two uses share a key")
	}
	sealed, err := k.seal(position{Key: []string{"13800000001"}, Seen: 2}, "d", "c", "u")
	if err != nil || strings.Contains(sealed, "138") {
		t.Fatalf("%q, %v", sealed, err)
	}
	if p, err := k.open(sealed, "d", "c", "u"); err != nil || p.Key[0] != "13800000001" || p.Seen != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []struct{ cursor, uid string }{{sealed, "v"}, {sealed[:len(sealed)-2], "u"}, {"AA", "u"}, {"?", "u"}} {
		if _, err := k.open(bad.cursor, "d", "c", bad.uid); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
