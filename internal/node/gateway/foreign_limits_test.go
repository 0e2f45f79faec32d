package gateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/postgres"
)

// everybody consents, or nobody.
type everybody bool

func (e everybody) consenting(_ context.Context, _ string, keys, _ []string, _ string) (map[string]string, error) {
	out := map[string]string{}
	for _, key := range keys {
		if e {
			out[key] = key
		}
	}
	return out, nil
}

// More persons than are counted by consent are refused, in scope or consenting, and so are more lists than memory has room for.
func TestForeignAggregateLimits(t *testing.T) {
	w := newWorld(t, foreign, func(w *world) {
		w.bundle.Access.Datasets["elders"].Fields["village"] = contract.DatasetField{Type: "String", Column: "village", Personal: "None"}
	})
	w.regrant(func(g *contract.Grant) {
		g.Fields["village"], g.ConsentScope, g.Aggregates = contract.Mask{}, "care", &contract.Aggregates{Dimensions: []string{"village"}, SmallCell: 5}
	})
	name := w.sourceName()
	count := func() (int, string) {
		w.regrant(func(g *contract.Grant) { g.Generation++ }) // no answer is remembered
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.http.URL+"/v1/datasets/elders/aggregate?purpose=HomeVisits&by=village", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Dizuo-Person", w.token("town", "GridWorker"))
		r, err := send(w.client("town"), req)
		if err != nil {
			t.Fatal(err)
		}
		return r.status, strings.Join(r.problem.Reasons, " ")
	}
	for _, c := range []struct {
		what   string
		rows   int
		vault  everybody
		status int
		reason string
	}{
		{"as many as may consent", maxConsenting, true, 200, ""},
		{"one more consents", maxConsenting + 1, true, 422, reasonSubjectsTooMany},
		{"they are in scope, and do not consent", maxConsenting + 1, false, 200, ""},
		{"one more than may be in scope", maxInScope + 1, false, 422, reasonSubjectsTooMany},
	} {
		w.server.subjects = c.vault
		postgres.Shared(t).Exec(t, name, `TRUNCATE public.people`)
		postgres.Shared(t).Exec(t, name, `INSERT INTO public.people SELECT i, 'jinghu', 'k' || i FROM generate_series(1, $1::int) i`, c.rows)
		if status, reason := count(); status != c.status || reason != c.reason {
			t.Errorf("%s: %d %s, want %d %s", c.what, status, reason, c.status, c.reason)
		}
	}
	w.server.subjects = everybody(false)
	postgres.Shared(t).Exec(t, name, `TRUNCATE public.people`)
	postgres.Shared(t).Exec(t, name, `INSERT INTO public.people SELECT i, 'jinghu', repeat('k', 1 << 20) || i FROM generate_series(1, $1::int) i`, maxListBytes>>20+1)
	if status, reason := count(); status != 422 || reason != reasonSubjectsTooMany {
		t.Errorf("names longer than memory has room for: %d %s", status, reason)
	}
	if !w.server.lists.TryAcquire(listsAtOnce) {
		t.Fatal("lists are held")
	}
	if status, reason := count(); status != 503 || reason != reasonSourceBusy {
		t.Errorf("no room for a list: %d %s", status, reason)
	}
	w.server.lists.Release(listsAtOnce)
}

// A row that is longer than is taken makes its own page fail, and others are read on.
func TestForeignRowThatIsTooLong(t *testing.T) {
	w := newWorld(t, foreign)
	postgres.Shared(t).Exec(t, w.sourceName(), `UPDATE public.people SET phone = repeat('1', $1::int) WHERE id = 3`, foreignMessage+1)
	read := func(query string) reply {
		return w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&"+query)
	}
	if r := read("where=phone:In:1381"); r.status != 200 || len(r.Records) != 1 {
		t.Errorf("another row: %d %.300s", r.status, r.raw)
	}
	if r := read(""); r.status != 503 || r.problem.Reasons[0] != reasonSourceUnavailable {
		t.Errorf("the row: %d %.300s", r.status, r.raw)
	}
	if r := read("where=phone:In:1382"); r.status != 200 || len(r.Records) != 1 {
		t.Errorf("another row afterwards: %d %.300s", r.status, r.raw)
	}
}

// Where nearly nobody consents a page ends after some rounds, with a cursor that goes on behind what was looked through.
func TestForeignPageOfNobody(t *testing.T) {
	w := newWorld(t, foreign)
	const many = refills*maxPage + 1
	postgres.Shared(t).Exec(t, w.sourceName(), `TRUNCATE public.people`)
	postgres.Shared(t).Exec(t, w.sourceName(), `INSERT INTO public.people SELECT i, 'jinghu', 'k' || i, '138' || i FROM generate_series(1, $1::int) i`, many)
	w.regrant(func(g *contract.Grant) { g.ConsentScope = "care" })
	w.server.subjects = stubVault{fmt.Sprintf("k%d", many): "subject-last"}
	cursor, found, pages := "", 0, 0
	for {
		r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&limit=50&cursor="+cursor)
		if r.status != 200 {
			t.Fatalf("page %d: %d %.300s", pages+1, r.status, r.raw)
		}
		pages, found, cursor = pages+1, found+len(r.Records), r.Next
		if cursor == "" || pages > 10 {
			break
		}
	}
	if found != 1 || pages != 2 {
		t.Errorf("%d records on %d pages, want 1 on 2", found, pages)
	}
}

// sourceName is the provider's database, and its user.
func (w *world) sourceName() string {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.config.SourceDir, "elders"))
	if err != nil {
		w.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "://")
	name, _, _ := strings.Cut(rest, ":")
	return name
}
