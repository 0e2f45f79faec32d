package access

import (
	"strings"
	"testing"
	"time"
)

// TestHTMLHoldsNoScript: what a provider writes into YAML is text on the page, and the page runs nothing.
func TestHTMLHoldsNoScript(t *testing.T) {
	evil := `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`
	cells := []Cell{{Platform: "p/p", Dataset: evil, Field: evil, Class: `C3" onload="x`, Grade: evil, Personal: evil, Consumer: evil, Agreement: evil, Shown: "KeepLast 4", Communities: []string{evil}, Purposes: []string{evil}, Roles: []string{evil}}}
	for lang, want := range map[string]string{English: "KeepLast 4", Chinese: "保留末位 4"} {
		var b strings.Builder
		if err := WriteHTML(&b, cells, lang, time.Unix(0, 0).UTC()); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		for _, bad := range []string{"<script", "<img", `" onload="`} {
			if strings.Contains(page, bad) {
				t.Errorf("%s: %s in %s", lang, bad, page)
			}
		}
		if !strings.Contains(page, want) || !strings.Contains(page, `lang="`+lang+`"`) || strings.Count(page, "<table>") != 1 || strings.Count(page, "&lt;script&gt;") < 6 {
			t.Errorf("%s: %s", lang, page)
		}
	}
}
