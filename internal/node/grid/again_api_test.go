package grid

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestAnActionThatIsSentAgain: with a key it acts once, with a version it acts on that version alone.
func TestAnActionThatIsSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &Case{Community: "jinghu", Class: "x", Severity: contract.SeverityLow, Title: "t", Source: SourceSystem, StartedAt: time.Now(), LastSignalAt: time.Now()}
	if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		return insert(t.Context(), tx, w.bundle.Directory, c, system, time.Now(), nil)
	}); err != nil {
		t.Fatal(err)
	}
	one, other := w.token("committee", "p-1", RoleDispatcher), w.token("committee", "p-2", RoleDispatcher)
	for i, tc := range []struct {
		token, action string
		headers       []string
		want          int
		state         State
		version       int
	}{
		{one, "File", []string{"If-Match", `"7"`}, 412, Reported, 1},
		{one, "File", []string{"If-Match", `"1"`, "Idempotency-Key", "key-of-one"}, 200, Filed, 2},
		{one, "File", []string{"If-Match", `"1"`, "Idempotency-Key", "key-of-one"}, 200, Filed, 2},
		{one, "Void", []string{"Idempotency-Key", "key-of-one"}, 422, Filed, 2},
		{other, "Void", []string{"If-Match", "1"}, 412, Filed, 2},
		{one, "File", nil, 409, Filed, 2},
		{one, "File", []string{"Idempotency-Key", "key-refused"}, 409, Filed, 2},
		{other, "Void", []string{"Idempotency-Key", "key-of-one", "If-Match", "*"}, 200, Void, 3}, // another's key is another key
		{one, "File", []string{"Idempotency-Key", "key-of-one"}, 200, Void, 3},
	} {
		if got := w.call("POST", "/v1/cases/"+c.ID.String()+"/actions", tc.token, map[string]any{"action": tc.action}, nil, tc.headers...); got != tc.want {
			t.Errorf("%d %s: %d, want %d", i, tc.action, got, tc.want)
		}
		var d CaseDetail
		if w.call("GET", "/v1/cases/"+c.ID.String(), one, nil, &d); d.State != tc.state || d.Version != tc.version {
			t.Errorf("%d %s: %s at %d, want %s at %d", i, tc.action, d.State, d.Version, tc.state, tc.version)
		}
	}
}
