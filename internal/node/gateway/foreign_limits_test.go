package gateway

import (
	"context"
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
	raw, err := os.ReadFile(filepath.Join(w.config.SourceDir, "elders"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "://")
	name, _, _ := strings.Cut(rest, ":")
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
	if !w.server.lists.TryAcquire(listsAtOnce) {
		t.Fatal("lists are held")
	}
	if status, reason := count(); status != 503 || reason != reasonSourceBusy {
		t.Errorf("no room for a list: %d %s", status, reason)
	}
	w.server.lists.Release(listsAtOnce)
}
