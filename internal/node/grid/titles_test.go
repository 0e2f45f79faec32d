package grid

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestTitleSaysWhere: a case is opened under the name that people read, whatever becomes of that name later.
func TestTitleSaysWhere(t *testing.T) {
	w := newWorldWith(t, func(b *intake.Bundle) {
		c := b.Directory.Communities["jinghu"]
		c.DisplayName = "荆胡社区"
		b.Directory.Communities["jinghu"] = c
		s := b.Rules.Scenarios["s10"]
		s.Title, s.TitleEN = "${community}烟感报警（${device}）", "Smoke in ${community} (${device})"
		s.GBClass = &contract.GBClass{Part: 2, Year: 2013, Code: "0301"}
		b.Rules.Scenarios["s10"] = s
	}, func(*service) {})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return number(t, w.pool, "SELECT count(*) FROM grid.cases") == 1 })
	var title string
	if err := w.pool.QueryRow(t.Context(), "SELECT title FROM grid.cases WHERE source = $1", SourceDevice).Scan(&title); err != nil || title != "荆胡社区烟感报警（s1）" {
		t.Errorf("%q, %v", title, err)
	}
	var list CaseList
	if code := w.call("GET", "/v1/cases", w.token("fire-xinxiang", "p-1", RoleDispatcher), nil, &list); code != 200 || len(list.Cases) != 1 {
		t.Fatalf("%d, %+v", code, list)
	}
	class := &contract.GBClass{Part: 2, Year: 2013, Code: "0301"}
	if c := list.Cases[0]; c.TitleEN != "Smoke in 荆胡社区 (s1)" || !cmp.Equal(c.GBClass, class) {
		t.Errorf("the case has %q and %+v", c.TitleEN, c.GBClass)
	}
	var raw []byte
	if err := w.pool.QueryRow(t.Context(), "SELECT payload FROM grid.dispatch_outbox WHERE organization = 'fire-xinxiang'").Scan(&raw); err != nil {
		t.Fatal(err)
	}
	var event struct{ Data DispatchedCase }
	if err := json.Unmarshal(raw, &event); err != nil || event.Data.TitleEN != "Smoke in 荆胡社区 (s1)" || !cmp.Equal(event.Data.GBClass, class) {
		t.Errorf("%s, %v", raw, err)
	}
}
