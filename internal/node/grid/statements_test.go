package grid

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// statements counts what goes to the database.
type statements struct{ n atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.n.Add(1)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// statementsOf runs f in a transaction of the database of a pool and gives how many statements that took.
func statementsOf(t *testing.T, of *pgxpool.Pool, f func(pgx.Tx) error) int64 {
	t.Helper()
	cfg, s := of.Config(), &statements{}
	cfg.ConnConfig.Tracer = s
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var n int64
	if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		before := s.n.Load()
		err := f(tx)
		n = s.n.Load() - before
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
