package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
)

// shipBatch is how many lines go in one transaction; shipEvery is how often is looked for more.
const (
	shipBatch = 500
	shipEvery = time.Second
)

// keepFiles is how long a file stays at most after its last line once it is shipped and a checkpoint covers it. Together such files take no
// more than one keepShare of what may wait to be shipped: the older ones go earlier.
const (
	keepFiles = 48 * time.Hour
	keepShare = 4
)

// shippedFile says, beside the log, how far it is shipped: so long as the store does not answer after a start.
const shippedFile = "shipped.json"

var errNotShipped = errors.New("the decision log is too far ahead of the platform's store")

// shipper copies the decision log into the platform's store: lines in their order, each after the list of subjects and the parts of
// the policy that it refers to. It never loses one: where the store is away for too long, nothing is given out.
type shipper struct {
	pool *pgxpool.Pool
	log  *decisionlog.Log
	dir  string
	// max is how many bytes may wait; 0 bounds nothing.
	max int64
	// checkpointed gives the last line that a checkpoint covers.
	checkpointed func() int64
	// trustFile holds the public keys of bundles, and checkpointKey is the gateway's own; nil without one.
	trustFile     string
	checkpointKey crypto.PublicKey
	now           func() time.Time
	out           *slog.Logger

	// cursor is the last line in the store, and at where the next one is; found says that the store has said so.
	cursor    int64
	at        place
	found     bool
	shipped   map[string]bool
	marks     int
	marksSize int64
	// trusted is the digest of the trustFile that the store knows, and keysAt when it was told.
	trusted   string
	keysAt    time.Time
	unshipped atomic.Int64
	// doneAt is when all that there was had last been shipped, in Unix time; 0 is not since the start.
	doneAt atomic.Int64
	// all says that every line was in the store when it was last looked.
	all atomic.Bool
}

// place is a file of the log, an offset in it, and the sequence of the line before.
type place struct {
	name   string
	offset int64
	last   int64
}

// beginOf gives the place of the first line of a file.
func beginOf(name string) place {
	var first int64
	_, _ = fmt.Sscanf(name, "decisions-%d", &first) // Files gives no other names
	return place{name: name, last: first - 1}
}

// run ships until ctx ends.
func (s *shipper) run(ctx context.Context) error {
	tick := time.NewTicker(shipEvery)
	defer tick.Stop()
	for {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			s.out.Error("decision log is not shipped", "bytes", s.unshipped.Load(), "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// step ships all that there is, tells the log how far it is ahead, and removes files that are not needed any more.
func (s *shipper) step(ctx context.Context) error {
	err := s.lines(ctx)
	if err == nil {
		err = errors.Join(s.checkpoints(ctx), s.publicKeys(ctx))
	}
	waiting, sizeErr := s.waiting()
	s.unshipped.Store(waiting)
	s.all.Store(err == nil && waiting == 0)
	if err == nil {
		s.doneAt.Store(s.now().Unix())
	}
	if s.max > 0 && waiting > s.max {
		s.log.Hold(errNotShipped)
	} else {
		s.log.Hold(nil)
	}
	if err == nil {
		err = s.prune()
	}
	return errors.Join(err, sizeErr)
}

func (s *shipper) lines(ctx context.Context) error {
	if !s.found {
		if err := s.find(ctx); err != nil {
			return err
		}
	}
	for {
		batch, next, err := s.read()
		if err != nil || len(batch) == 0 {
			return err
		}
		if err := s.send(ctx, batch); err != nil {
			return err
		}
		s.cursor, s.at = batch[len(batch)-1].Sequence, next
		if err := s.remember(); err != nil {
			return err
		}
	}
}

// remembered is what shippedFile holds.
type remembered struct {
	Instance string `json:"instance"`
	File     string `json:"file"`
	Offset   int64  `json:"offset"`
}

func (s *shipper) remember() error {
	raw, err := json.Marshal(remembered{s.log.End().Instance, s.at.name, s.at.offset})
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(s.dir, shippedFile), raw)
}

// recall takes from shippedFile what does not wait any more. Without it, or with one of another chain, all lines wait until the store says
// what it has.
func (s *shipper) recall(instance string) {
	raw, err := os.ReadFile(filepath.Join(s.dir, shippedFile))
	if err != nil {
		return
	}
	var r remembered
	if err := json.Unmarshal(raw, &r); err == nil && r.Instance == instance && chain.IsFile(r.File) {
		s.at = place{name: r.File, offset: r.Offset}
	}
}

// find asks the store for its last line of this chain, and looks where the log goes on behind it. A store that knows another line, or
// one that the log does not have, is told: then one of the two was changed.
func (s *shipper) find(ctx context.Context) error {
	end := s.log.End()
	var header string
	err := s.pool.QueryRow(ctx, `SELECT seq, header FROM audit.lines WHERE instance = $1 ORDER BY seq DESC LIMIT 1`, end.Instance).Scan(&s.cursor, &header)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if s.cursor > end.Sequence {
		return fmt.Errorf("the store has line %d of chain %s, the log ends at %d: the log was put back", s.cursor, end.Instance, end.Sequence)
	}
	names, err := chain.Files(os.DirFS(s.dir))
	if err != nil || len(names) == 0 {
		return err
	}
	s.at = beginOf(names[0])
	for _, name := range names {
		if name <= chain.FileName(max(s.cursor, 1)) {
			s.at = beginOf(name)
		}
	}
	s.found = true
	for s.cursor > 0 {
		batch, next, err := s.upTo(s.cursor)
		if err != nil {
			return err
		}
		if len(batch) == 0 { // the file with that line is gone
			return nil
		}
		s.at = next
		if last := batch[len(batch)-1]; last.Sequence == s.cursor {
			if string(last.Header) != header {
				s.found = false
				return fmt.Errorf("the store has another line %d of chain %s than the log", s.cursor, end.Instance)
			}
			return nil
		}
	}
	return nil
}

// read gives the next lines of what is synced, and where they end.
func (s *shipper) read() ([]chain.Line, place, error) { return s.upTo(s.log.End().Sequence) }

// upTo gives at most shipBatch lines from s.at on, none behind the line of a sequence. It goes on to another file only where that begins
// with the very next line: a file that still grows is not left.
func (s *shipper) upTo(last int64) ([]chain.Line, place, error) {
	at := s.at
	var out []chain.Line
	for len(out) < shipBatch {
		lines, end, err := readFile(s.dir, at, last, shipBatch-len(out))
		if err != nil {
			return nil, at, err
		}
		out, at = append(out, lines...), end
		if len(lines) > 0 {
			continue
		}
		next := chain.FileName(at.last + 1)
		if _, err := os.Stat(filepath.Join(s.dir, next)); err != nil || next == at.name {
			return out, at, nil
		}
		at = beginOf(next)
	}
	return out, at, nil
}

func readFile(dir string, at place, last int64, limit int) ([]chain.Line, place, error) {
	f, err := os.Open(filepath.Join(dir, at.name))
	if err != nil {
		return nil, at, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		return nil, at, err
	}
	in, out := bufio.NewReaderSize(f, 1<<16), []chain.Line{}
	for len(out) < limit {
		raw, err := in.ReadBytes('\n')
		if err != nil { // the end, or a line that is being written
			break
		}
		l, err := chain.Parse(bytes.TrimSuffix(raw, []byte{'\n'}))
		if err != nil {
			return nil, at, fmt.Errorf("%s: %w", at.name, err)
		}
		if l.Sequence > last {
			break
		}
		out, at.offset, at.last = append(out, l), at.offset+int64(len(raw)), l.Sequence
	}
	return out, at, nil
}

// send puts lines into the store, in one transaction with what they refer to. A line that is there stays as it is; one that is there and says
// something else was not ours, and stops the shipping.
func (s *shipper) send(ctx context.Context, batch []chain.Line) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		var known []chain.Line
		for _, l := range batch {
			if err := s.queue(b, l, &known); err != nil {
				return err
			}
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		return s.same(ctx, tx, known)
	})
	if err != nil {
		clear(s.shipped) // what was noted may not have arrived
	}
	return err
}

// same compares lines that were in the store before with those of the log.
func (s *shipper) same(ctx context.Context, tx pgx.Tx, known []chain.Line) error {
	for _, l := range known {
		var same bool
		err := tx.QueryRow(ctx, `SELECT header = $3 AND at = $4 AND kind = $5 AND request = $6 AND uid = $7 AND (erased_at IS NOT NULL OR body IS NOT DISTINCT FROM $8)
			FROM audit.lines WHERE instance = $1 AND seq = $2`, l.Instance, l.Sequence, string(l.Header), l.At, l.Kind, l.Request, l.UID, bodyOf(l)).Scan(&same)
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("the store has another line %d of chain %s than the log: somebody else wrote it", l.Sequence, l.Instance)
		}
	}
	return nil
}

// bodyOf gives the bytes that the header has the digest of; none of a line of format 1.
func bodyOf(l chain.Line) []byte {
	if l.V != contract.LogFormat {
		return nil
	}
	return l.Record
}

// queue queues a line, and notes it in known if it turns out to be there already.
func (s *shipper) queue(b *pgx.Batch, l chain.Line, known *[]chain.Line) error {
	subjects, err := s.refersTo(b, l)
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO audit.lines (instance, seq, at, kind, request, uid, header, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		l.Instance, l.Sequence, l.At, l.Kind, l.Request, l.UID, string(l.Header), bodyOf(l)).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() == 0 {
			*known = append(*known, l)
		}
		return nil
	})
	if len(subjects) > 0 {
		b.Queue(`INSERT INTO audit.line_subjects (subject, instance, seq) SELECT DISTINCT s, $2, $3::bigint FROM unnest($1::text[]) s ON CONFLICT DO NOTHING`,
			subjects, l.Instance, l.Sequence)
	}
	return nil
}

// refersTo queues what must stand before a line, and gives the subjects of the line.
func (s *shipper) refersTo(b *pgx.Batch, l chain.Line) ([]string, error) {
	if l.Said == nil {
		return nil, nil
	}
	if ref := l.Said.Policy; ref != nil && l.V == contract.LogFormat {
		if err := s.policy(b, *ref); err != nil {
			return nil, err
		}
	}
	if l.Said.SubjectList == nil {
		return l.Said.Subjects, nil
	}
	subjects, err := s.log.List(l.Said.SubjectList.Digest)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", l.Sequence, err)
	}
	b.Queue(`INSERT INTO audit.subject_lists (digest, subjects) VALUES ($1, $2) ON CONFLICT DO NOTHING`, l.Said.SubjectList.Digest, subjects)
	return subjects, nil
}

// policy queues the signed parts that a decision names. One that is not here, from a version that kept none, is left out.
func (s *shipper) policy(b *pgx.Batch, ref contract.PolicyRef) error {
	const insert = `INSERT INTO audit.policy_objects (digest, name, sealed, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	folder := filepath.Join(s.dir, audit.PolicyDir)
	for name, digest := range map[string]string{contract.ShardAccess: ref.Access, "grants": ref.Grants, contract.ShardDirectory: ref.Directory} {
		if digest == "" || s.shipped[digest] {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(folder, audit.PartName(digest)))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		b.Queue(insert, digest, name, raw, s.now())
		s.shipped[digest] = true
	}
	if s.shipped[ref.Revision] {
		return nil
	}
	revision, err := readRevision(filepath.Join(folder, audit.RevisionName(ref.Revision)))
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			s.out.Warn("parts of a bundle are not in the store", "err", err) // the next start keeps those of the bundle in force anew
		}
		return nil //nolint:nilerr // lines do not wait for it
	}
	raw, err := json.Marshal(revision)
	if err != nil {
		return err
	}
	sequence, err := sequenceOf(revision.Lease)
	if err != nil {
		return err
	}
	b.Queue(insert, ref.Revision, "revision", raw, s.now())
	b.Queue(`INSERT INTO audit.leases (sequence, jws) VALUES ($1, $2) ON CONFLICT DO NOTHING`, sequence, revision.Lease)
	s.shipped[ref.Revision] = true
	return nil
}

// sequenceOf gives the sequence that a signed lease says: the decision may have been made under a later one of the same revision. The lease was
// verified when it came.
func sequenceOf(lease string) (int64, error) {
	jws, err := jose.ParseSignedCompact(lease, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return 0, fmt.Errorf("lease: %w", err)
	}
	var l contract.Lease
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &l); err != nil {
		return 0, fmt.Errorf("lease: %w", err)
	}
	return l.Sequence, nil
}

// checkpoints puts new checkpoints and receipts into the store.
func (s *shipper) checkpoints(ctx context.Context) error {
	f, err := os.Open(filepath.Join(s.dir, audit.MarksFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || info.Size() == s.marksSize {
		return err
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	marks, _ := audit.ReadMarks(bytes.NewReader(raw)) // a line that is being written comes the next time
	if len(marks) < s.marks {
		s.marks = 0 // old ones went; what is there is not doubled
	}
	b := &pgx.Batch{}
	whole := true
	for i, m := range marks[min(s.marks, len(marks)):] {
		c, err := audit.OpenCheckpoint(m.Checkpoint, nil)
		if err != nil {
			return err
		}
		if c.Sequence > s.cursor { // the store never has a checkpoint of a line that it does not have
			marks, whole = marks[:min(s.marks, len(marks))+i], false
			break
		}
		if m.Receipt == "" {
			b.Queue(`INSERT INTO audit.checkpoints (instance, seq, jws) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, c.Instance, c.Sequence, m.Checkpoint)
			continue
		}
		r, err := audit.OpenReceipt(m.Receipt, m.Checkpoint, nil)
		if err != nil {
			return err
		}
		b.Queue(`UPDATE audit.checkpoints SET receipts = receipts || jsonb_build_object($4::text, $5::text) WHERE instance = $1 AND seq = $2 AND jws = $3`,
			c.Instance, c.Sequence, m.Checkpoint, r.Witness, m.Receipt)
	}
	if b.Len() > 0 {
		if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
	}
	if s.marks = len(marks); whole {
		s.marksSize = int64(len(raw))
	}
	return nil
}

// settled says whether all lines are in the store.
func (s *shipper) settled() bool { return s.all.Load() }

// waiting gives how many bytes of lines are not in the store.
func (s *shipper) waiting() (int64, error) {
	names, err := chain.Files(os.DirFS(s.dir))
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, name := range names {
		if name < s.at.name { // of no name while nothing is known
			continue
		}
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			return 0, err
		}
		sum += info.Size()
		if name == s.at.name {
			sum -= min(s.at.offset, info.Size())
		}
	}
	return sum, nil
}

// prune removes files whose lines are all in the store and covered by a checkpoint, and which are old or take too much; never the last one.
// What they say of quotas is put aside. With them go the lists of subjects, which are in the store too.
func (s *shipper) prune() error {
	names, err := chain.Files(os.DirFS(s.dir))
	if err != nil {
		return err
	}
	infos := make([]os.FileInfo, len(names))
	var sum int64
	for i, name := range names {
		if infos[i], err = os.Stat(filepath.Join(s.dir, name)); err != nil {
			return err
		}
		sum += infos[i].Size()
	}
	covered := min(s.cursor, s.checkpointed())
	for i, info := range infos {
		old, much := s.now().Sub(info.ModTime()) >= keepFiles, s.max > 0 && sum > s.max/keepShare
		if i == len(names)-1 || names[i+1] > chain.FileName(covered+1) || !old && !much {
			return nil
		}
		if err := putAside(s.dir, names[i], s.now()); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(s.dir, names[i])); err != nil {
			return err
		}
		sum -= info.Size()
		s.out.Info("decision log: removed a file that is in the store", "file", names[i])
		if err := s.pruneLists(info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// pruneLists removes lists of subjects that are older than the last line of a file that was removed.
func (s *shipper) pruneLists(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(s.dir, chain.SubjectsDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		info, infoErr := e.Info()
		if infoErr == nil && info.ModTime().Before(before) && !strings.HasPrefix(e.Name(), ".") {
			err = errors.Join(err, os.Remove(filepath.Join(s.dir, chain.SubjectsDir, e.Name())))
		}
	}
	return err
}
