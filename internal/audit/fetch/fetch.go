package fetch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say what is taken.
type Options struct {
	// From and To bound the time of the lines; zero bounds nothing. Lines around it go along, so that checkpoints and decisions do that what is
	// between them rests on.
	From, To time.Time
	// Instances are the chains; none takes those of all gateways.
	Instances []string
	// Progress is told how many lines of how many are written; it may be nil.
	Progress func(done, of int64)
}

// Summary says what was taken.
type Summary struct {
	// AsOf is the time up to which all lines are here.
	AsOf   time.Time `json:"asOf"`
	Chains []Chain   `json:"chains"`
	// SubjectLists and PolicyParts count files.
	SubjectLists int `json:"subjectLists"`
	PolicyParts  int `json:"policyParts"`
	// MissingParts are digests that decisions name and the store does not have: those cannot be made again.
	MissingParts []string `json:"missingParts,omitempty"`
	Keys         []Key    `json:"keys"`
}

// Chain says what was taken of one chain.
type Chain struct {
	Instance string `json:"instance"`
	// First and Last are sequences.
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	Lines int64 `json:"lines"`
	// Erased counts lines whose record is not in the store any more.
	Erased      int64 `json:"erased,omitempty"`
	Checkpoints int   `json:"checkpoints"`
	Receipts    int   `json:"receipts"`
}

const (
	// settling is how long the store may be behind a log that grows: what is younger is here, and not promised to be whole.
	settling = 2 * time.Minute
	// around is how much is taken on both sides of a time that is asked for: a checkpoint with a receipt lies in it, and clocks that were set.
	around = time.Hour
)

// Fetch writes into the folder dir, which must not be there or be empty: whole or not at all. It reads one snapshot of the store.
func Fetch(ctx context.Context, conn *pgx.Conn, dir string, o Options) (Summary, error) {
	f := &fetcher{o: o, missing: map[string]bool{}}
	out, err := newFolder(dir)
	if err != nil {
		return f.sum, err
	}
	defer out.discard()
	f.out = out
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	if err := pgx.BeginTxFunc(ctx, conn, snapshot, func(tx pgx.Tx) error { return f.all(ctx, tx) }); err != nil {
		return f.sum, err
	}
	return f.sum, out.publish()
}

type fetcher struct {
	o   Options
	out *folder
	sum Summary
	// missing are parts of the policy that the store does not have.
	missing map[string]bool
	// done and of count lines, of all chains.
	done, of int64
}

// span is what is taken of a chain: the lines behind from up to to.
type span struct {
	instance string
	from, to int64
}

func (f *fetcher) all(ctx context.Context, tx pgx.Tx) error {
	var now time.Time
	if err := tx.QueryRow(ctx, "SELECT now()").Scan(&now); err != nil {
		return err
	}
	if f.sum.AsOf = now.Add(-settling).UTC().Truncate(time.Second); !f.o.To.IsZero() && f.o.To.Before(f.sum.AsOf) {
		f.sum.AsOf = f.o.To.UTC()
	}
	spans, err := f.spans(ctx, tx)
	if err != nil {
		return err
	}
	for _, s := range spans {
		f.of += s.to - s.from
	}
	for _, s := range spans {
		if err := f.chain(ctx, tx, s); err != nil {
			return fmt.Errorf("chain %s: %w", s.instance, err)
		}
	}
	f.sum.MissingParts = slices.Sorted(maps.Keys(f.missing))
	return f.keys(ctx, tx)
}

// spans finds what is to be taken.
func (f *fetcher) spans(ctx context.Context, tx pgx.Tx) ([]span, error) {
	// A skip scan: one probe of the index a chain, however long the chains are.
	rows, err := tx.Query(ctx, `WITH RECURSIVE chains AS (
			(SELECT instance FROM audit.gateway_lines ORDER BY instance LIMIT 1)
			UNION ALL
			SELECT (SELECT l.instance FROM audit.gateway_lines l WHERE l.instance > c.instance ORDER BY l.instance LIMIT 1) FROM chains c WHERE c.instance IS NOT NULL
		) SELECT instance FROM chains WHERE instance IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, name := range f.o.Instances {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("the store has no chain %q; it has %q", name, all)
		}
	}
	var out []span
	for _, name := range all {
		if len(f.o.Instances) > 0 && !slices.Contains(f.o.Instances, name) {
			continue
		}
		if !isName(name) {
			return nil, fmt.Errorf("the store has a chain named %q, which is no name of a folder: no gateway wrote it", name)
		}
		s, err := f.span(ctx, tx, name)
		if err != nil {
			return nil, fmt.Errorf("chain %s: %w", name, err)
		}
		if s.to > s.from {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the store has no line of that time")
	}
	return out, nil
}

// span bounds a chain by time. Of one that ended before the last lines are taken, so that the folder shows how it ended.
func (f *fetcher) span(ctx context.Context, tx pgx.Tx, instance string) (span, error) {
	s := span{instance: instance}
	var first int64
	if err := tx.QueryRow(ctx, `SELECT (SELECT seq FROM audit.gateway_lines WHERE instance = $1 ORDER BY seq LIMIT 1), (SELECT seq FROM audit.gateway_lines WHERE instance = $1 ORDER BY seq DESC LIMIT 1)`,
		instance).Scan(&first, &s.to); err != nil {
		return s, err
	}
	s.from = first - 1
	var err error
	if !f.o.To.IsZero() {
		if s.to, err = before(ctx, tx, instance, s.from, s.to, f.o.To.Add(around)); err != nil {
			return s, err
		}
	}
	if f.o.From.IsZero() || s.to == s.from {
		return s, nil
	}
	begin, err := before(ctx, tx, instance, s.from, s.to, f.o.From.Add(-around))
	if err != nil {
		return s, err
	}
	// Back to the decision that a release rests on, and to the line of a checkpoint: it goes along also where there are none behind it.
	err = tx.QueryRow(ctx, `SELECT greatest($2, least($3, (SELECT min(d.seq) - 1 FROM audit.gateway_lines r CROSS JOIN LATERAL (
			SELECT d.seq FROM audit.gateway_lines d WHERE d.request = r.request AND d.kind = 'decision' AND d.instance = r.instance AND d.seq < r.seq ORDER BY d.seq DESC LIMIT 1) d
			WHERE r.instance = $1 AND r.seq > $3 AND r.seq <= $4 AND r.kind = 'release')))`, instance, s.from, begin, s.to).Scan(&begin)
	if err != nil {
		return s, err
	}
	err = tx.QueryRow(ctx, `SELECT greatest($2, coalesce((SELECT seq FROM audit.checkpoints WHERE instance = $1 AND seq <= $3 ORDER BY seq DESC LIMIT 1), $2) - 1)`,
		instance, s.from, begin).Scan(&s.from)
	return s, err
}

// before gives the last line of a chain that was written before a time, by bisection: lines have no index by chain and time, and no gateway's clock
// goes back for longer than `around`. from says that there is none.
func before(ctx context.Context, tx pgx.Tx, instance string, from, to int64, at time.Time) (int64, error) {
	for from < to {
		middle := from + (to-from+1)/2
		var there time.Time
		if err := tx.QueryRow(ctx, `SELECT at FROM audit.gateway_lines WHERE instance = $1 AND seq >= $2 ORDER BY seq LIMIT 1`, instance, middle).Scan(&there); err != nil {
			return 0, err
		}
		if there.Before(at) {
			from = middle
		} else {
			to = middle - 1
		}
	}
	return from, nil
}
