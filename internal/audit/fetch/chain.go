package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

const (
	// batch is how many lines are read at once: a line names 1,000 subjects at most.
	batch = 500
	// fileBytes is the size from which on a file of lines is followed by another.
	fileBytes = 64 << 20
)

var nameOK = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// isName says whether a chain's name can be that of a folder beside policy/ and the keys.
func isName(name string) bool {
	return nameOK.MatchString(name) && name != audit.PolicyDir && !strings.HasSuffix(name, ".pem")
}

// line is a row of the store.
type line struct {
	Seq         int64
	Kind        string
	Header      string
	Body        []byte
	SubjectList *string
	ErasedAt    *time.Time
	ErasedBy    *string
}

// chain writes one chain into a folder of its name.
func (f *fetcher) chain(ctx context.Context, tx pgx.Tx, s span) error {
	c := Chain{Instance: s.instance}
	var erased []audit.Erased
	var last contract.PolicyRef
	for at := s.from; at < s.to; {
		rows, err := tx.Query(ctx, `SELECT seq, kind, header, body, subject_list, erased_at, erased_by::text FROM audit.gateway_lines
			WHERE instance = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4`, s.instance, at, s.to, batch)
		if err != nil {
			return err
		}
		lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[line])
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			break
		}
		lists, parts := map[string]bool{}, map[string]string{}
		for _, l := range lines {
			if err := f.out.line(s.instance, l.Seq, join(l)); err != nil {
				return err
			}
			if l.ErasedAt != nil {
				c.Erased++
			}
			if l.ErasedBy != nil && l.ErasedAt != nil {
				erased = append(erased, audit.Erased{Instance: s.instance, Sequence: l.Seq, At: l.ErasedAt.UTC(), Receipt: *l.ErasedBy})
			}
			if l.SubjectList != nil {
				lists[*l.SubjectList] = true
			}
			if ref := policyOf(l); ref != last {
				last = ref
				want(parts, ref)
			}
			if c.Lines++; c.Lines == 1 {
				c.First = l.Seq
			}
		}
		at = lines[len(lines)-1].Seq
		c.Last = at
		if err := f.lists(ctx, tx, s.instance, lists); err != nil {
			return err
		}
		if err := f.parts(ctx, tx, parts); err != nil {
			return err
		}
		f.progress(int64(len(lines)))
	}
	if err := f.marks(ctx, tx, s, &c); err != nil {
		return err
	}
	receipts, err := receiptsOf(ctx, tx, erased)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(audit.Fetched{From: f.o.From, AsOf: f.sum.AsOf, Erased: erased, Receipts: receipts}, "", "  ")
	if err != nil {
		return err
	}
	f.sum.Chains = append(f.sum.Chains, c)
	return f.out.file(path.Join(s.instance, audit.FetchedFile), append(raw, '\n'))
}

// receiptsOf gives the signed receipts that erased lines name.
func receiptsOf(ctx context.Context, tx pgx.Tx, erased []audit.Erased) (map[string]string, error) {
	ids := map[string]bool{}
	for _, e := range erased {
		ids[e.Receipt] = true
	}
	out := map[string]string{}
	rows, err := tx.Query(ctx, `SELECT id::text, jws FROM audit.line_receipts WHERE id = ANY ($1::uuid[])`, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return nil, err
	}
	var id, jws string
	_, err = pgx.ForEachRow(rows, []any{&id, &jws}, func() error { out[id] = jws; return nil })
	return out, err
}

// join puts a line together as it was written. What was changed in the store may be no line at all: it is written as it is.
func join(l line) []byte {
	header := []byte(l.Header)
	if !bytes.HasSuffix(header, []byte{'}'}) {
		return append(append(header, l.Body...), '\n')
	}
	return append(decisionlog.Join(header, l.Body), '\n')
}

// marks writes the checkpoints of the lines that are there, each with its receipts, in the order in which they were signed.
func (f *fetcher) marks(ctx context.Context, tx pgx.Tx, s span, c *Chain) error {
	rows, err := tx.Query(ctx, `SELECT seq, jws, receipts FROM audit.checkpoints WHERE instance = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq`, s.instance, s.from, s.to)
	if err != nil {
		return err
	}
	defer rows.Close()
	w, err := f.out.create(path.Join(s.instance, audit.MarksFile))
	if err != nil {
		return err
	}
	var same []checkpoint // of one line: a log that does not grow is signed each hour
	flush := func() error {
		slices.SortStableFunc(same, func(a, b checkpoint) int { return a.at.Compare(b.at) })
		for _, m := range same {
			c.Checkpoints, c.Receipts = c.Checkpoints+1, c.Receipts+len(m.receipts)
			if err := m.write(w); err != nil {
				return err
			}
		}
		same = same[:0]
		return nil
	}
	for rows.Next() {
		m := checkpoint{}
		if err := rows.Scan(&m.seq, &m.jws, &m.receipts); err != nil {
			return err
		}
		if signed, err := audit.OpenCheckpoint(m.jws, nil); err == nil {
			m.at = signed.At
		}
		if len(same) > 0 && same[0].seq != m.seq {
			if err := flush(); err != nil {
				return err
			}
		}
		same = append(same, m)
	}
	return errors.Join(rows.Err(), flush(), w.close())
}

// checkpoint is a row of the store.
type checkpoint struct {
	seq      int64
	at       time.Time
	jws      string
	receipts map[string]string
}

func (m checkpoint) write(w io.Writer) error {
	_, err := w.Write(audit.Mark{Checkpoint: m.jws}.Line())
	for _, witness := range slices.Sorted(maps.Keys(m.receipts)) {
		_, next := w.Write(audit.Mark{Checkpoint: m.jws, Receipt: m.receipts[witness]}.Line())
		err = errors.Join(err, next)
	}
	return err
}

func (f *fetcher) progress(n int64) {
	if f.done += n; f.o.Progress != nil {
		f.o.Progress(f.done, f.of)
	}
}
