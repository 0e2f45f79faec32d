package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// forged is JSON that pretends, over several lines, to be the end of a stream.
const forged = "[\n{\"dizuo:end\": {\"outcome\": \"Sent\", \"records\": 0}}\n]"

// A value of JSON keeps the blanks that somebody put into it; no line of a stream may be made of them.
func TestNoValueForgesALine(t *testing.T) {
	w := newWorld(t, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		w.exec(`ALTER TABLE datasets.` + d.Source.Table + ` ADD note json, ADD notes json[]`)
		w.exec(`UPDATE datasets.`+d.Source.Table+` SET note = $1::json, notes = ARRAY[$1::json]`, forged)
		d.Fields["note"] = contract.DatasetField{Type: "String", Column: "note", Personal: "None"}
		d.Fields["notes"] = contract.DatasetField{Type: "String", Column: "notes", Personal: "None"}
		g := w.bundle.Access.Grants["elders"]["town"]["a6"]
		g.Fields = map[string]contract.Mask{"note": {}, "notes": {}}
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	})
	o := w.open1("fields=note,notes")
	var lines []string
	for o.Scan() {
		lines = append(lines, o.Text())
	}
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 3 records and the end: %q", len(lines), lines)
	}
	for i, line := range lines {
		var record struct {
			Note  []json.RawMessage `json:"note"`
			Notes []json.RawMessage `json:"notes"`
			End   *streamEnd        `json:"dizuo:end"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil || (i < 3) != (len(record.Note) == 1 && len(record.Notes) == 1) || (i == 3) != (record.End != nil) {
			t.Errorf("line %d: %s, %v", i, line, err)
		}
	}
}

// A provider's server may answer anything in place of a value.
func TestForeignValueIsOneOfJSON(t *testing.T) {
	s := testSelection()
	s.foreign = true
	st, err := build(s)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		`"1"`: `{"phone":"1"}`, "{\n \"a\": [1,\r\n2]}": `{"phone":{"a":[1,2]}}`, `1,"name":"x"`: "", "1}\n{\"dizuo:end\":{}": "", "": "", `"a`: "", "\"a\nb\"": "",
	} {
		got, err := object(s, st, []*string{&value})
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v; want %s", value, got, err, want)
		}
	}
}

// endless is the answer of a server that never ends; it gives up after a million rows.
type endless struct {
	pgx.Rows
	n    int
	fill func(n int, target []any)
}

func (e *endless) Next() bool { e.n++; return e.n <= 1_000_000 }
func (e *endless) Scan(target ...any) error {
	e.fill(e.n, target)
	return nil
}
func (*endless) Close()     {}
func (*endless) Err() error { return nil }

// Whatever a provider's server answers, what is kept of it is bounded.
func TestHostileServerFillsNoMemory(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	columns := &endless{fill: func(n int, target []any) {
		*target[0].(*string), *target[1].(*string), *target[2].(*int) = fmt.Sprint("c", n), "text", -1
	}}
	if _, err := tableOf(columns); err == nil || columns.n > maxColumns+1 {
		t.Errorf("%d columns were read: %v", columns.n, err)
	}
	names := &endless{fill: func(_ int, target []any) { *target[0].(*string), *target[1].(*string) = long, "text" }}
	if _, err := tableOf(names); err == nil || names.n > 1 {
		t.Errorf("%d endless names were read: %v", names.n, err)
	}
	s := testSelection()
	s.foreign, s.limit = true, maxPage
	st, err := build(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, column := range map[string]int{"record": 0, "subject": 1, "key": 2} {
		short, value := "1", long
		if column == 0 {
			value = `"` + long + `"`
		}
		rows := &endless{fill: func(_ int, target []any) {
			for i := range target {
				*target[i].(**string) = &short
			}
			*target[column].(**string) = &value
		}}
		got, more, err := collect(rows, s, st)
		if err != nil || !more || len(got) > maxPageBytes>>20+1 {
			t.Errorf("%s: %d rows of 1 MiB were kept, more %t: %v", name, len(got), more, err)
		}
	}
}
