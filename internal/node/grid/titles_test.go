package grid

import (
	"testing"

	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestTitleSaysWhere: a case is opened under the name that people read, whatever becomes of that name later.
func TestTitleSaysWhere(t *testing.T) {
	w := newWorldWith(t, func(b *intake.Bundle) {
		c := b.Directory.Communities["jinghu"]
		c.DisplayName = "荆胡社区"
		b.Directory.Communities["jinghu"] = c
		s := b.Rules.Scenarios["s10"]
		s.Title = "${community}烟感报警（${device}）"
		b.Rules.Scenarios["s10"] = s
	}, func(*service) {})
	w.send("s1", 1, `{"smoke":true}`)
	eventually(t, "case", func() bool { return number(t, w.pool, "SELECT count(*) FROM grid.cases") == 1 })
	var title string
	if err := w.pool.QueryRow(t.Context(), "SELECT title FROM grid.cases WHERE source = $1", SourceDevice).Scan(&title); err != nil || title != "荆胡社区烟感报警（s1）" {
		t.Errorf("%q, %v", title, err)
	}
}
