package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// Names in an archive beside the folders of logs.
const (
	ExcerptFile  = "excerpt.json"
	ManifestFile = "manifest.json"
	ReadmeFile   = "README.md"
	LogDir       = "log"
	KeysDir      = "keys"
	BundleKeys   = KeysDir + "/bundle.pem"
	ReplayDir    = "replay"
)

// Export gives the files of an archive, by name, of all that the logs say of one agreement between two times: every line of the time,
// from the last checkpoint before it to the first behind it, so that nothing can be left out unseen; but the records of its lines alone.
// extra are further files, such as keys and the agreement's text. A line of format 1 has no record apart: it goes along whole.
func Export(logs []fs.FS, e Excerpt, extra map[string][]byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, data := range extra {
		files[name] = data
	}
	x := exporter{files: files, excerpt: &e}
	// Twice over all logs: a request may be decided long before the time, and only decisions name the agreement.
	for _, step := range []func(fs.FS) error{x.uids, x.chain} {
		for _, log := range logs {
			folders, err := Folders(log)
			if err != nil {
				return nil, err
			}
			for _, folder := range folders {
				sub, err := fs.Sub(log, folder)
				if err == nil {
					x.root = log
					err = step(sub)
				}
				if err != nil {
					return nil, err
				}
			}
		}
	}
	if len(e.UIDs) == 0 {
		return nil, fmt.Errorf("no line of the logs is of agreement %q", e.Agreement)
	}
	raw, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return nil, err
	}
	files[ExcerptFile] = append(raw, '\n')
	files[ReadmeFile] = []byte(readme)
	return files, Seal(files)
}

type exporter struct {
	files   map[string][]byte
	excerpt *Excerpt
	// root is the folder above the chain: where it was fetched from the platform's store, the policy lies there.
	root fs.FS
}

// wholeLines verifies a log. Half a line at its end does not count: the log may have been copied while it grew.
func wholeLines(fsys fs.FS, visit func(decisionlog.Line)) (decisionlog.Summary, error) {
	s, err := decisionlog.Verify(fsys, visit)
	if torn := (*decisionlog.Error)(nil); errors.As(err, &torn) && torn.Torn {
		err = nil
	}
	return s, err
}

// uids collects the agreement's UIDs.
func (x *exporter) uids(fsys fs.FS) error {
	_, err := wholeLines(fsys, func(l decisionlog.Line) {
		if l.Said != nil && l.UID != "" && l.Said.Decision != nil && l.Said.Decision.Agreement == x.excerpt.Agreement && !slices.Contains(x.excerpt.UIDs, l.UID) {
			x.excerpt.UIDs = append(x.excerpt.UIDs, l.UID)
		}
	})
	if err != nil {
		return fmt.Errorf("the log is broken and is not exported: %w", err)
	}
	return nil
}

// decided gives the line before the first one that goes along, so that the decision of every release of the agreement does.
func (x *exporter) decided(all []decisionlog.Line, from, to int64) int64 {
	decision, first := map[string]int64{}, from
	for _, l := range all {
		if !slices.Contains(x.excerpt.UIDs, l.UID) {
			continue
		}
		at, known := decision[l.Request]
		switch {
		case l.Kind == contract.LogDecision && l.Sequence <= from:
			decision[l.Request] = l.Sequence // the last one before the time is what its releases in the time rest on
		case l.Kind == contract.LogRelease && known && l.Sequence > from && l.Sequence <= to:
			first = min(first, at-1)
		}
	}
	return first
}

// chain adds one chain.
func (x *exporter) chain(fsys fs.FS) error {
	var all []decisionlog.Line
	s, err := wholeLines(fsys, func(l decisionlog.Line) { all = append(all, l) })
	if err != nil {
		return fmt.Errorf("the log is broken and is not exported: %w", err)
	}
	marks, err := marksOf(fsys)
	if err != nil {
		return err
	}
	fetched, err := ReadFetched(fsys)
	if err != nil {
		return err
	}
	from, to := x.span(marks, s)
	from = x.decided(all, from, to)
	folder := path.Join(LogDir, s.End.Instance)
	var lines bytes.Buffer
	for _, l := range all {
		if l.Sequence <= from || l.Sequence > to {
			continue
		}
		x.erased(l, fetched)
		if err := x.line(fsys, folder, l, &lines); err != nil {
			return err
		}
	}
	if lines.Len() == 0 {
		return nil
	}
	x.files[path.Join(folder, decisionlog.FileName(from+1))] = lines.Bytes()
	var kept bytes.Buffer
	for _, m := range marks {
		if c, err := OpenCheckpoint(m.Checkpoint, nil); err == nil && c.Sequence >= from && c.Sequence <= to {
			kept.Write(m.Line())
		}
	}
	x.files[path.Join(folder, MarksFile)] = kept.Bytes()
	return nil
}

// erased says of a line of the agreement whose record the log does not have that it was erased, with the receipt if there is one.
func (x *exporter) erased(l decisionlog.Line, fetched *Fetched) {
	if l.Said != nil || !slices.Contains(x.excerpt.UIDs, l.UID) {
		return
	}
	e := Erased{Instance: l.Instance, Sequence: l.Sequence}
	if fetched != nil {
		for _, known := range fetched.Erased {
			if known.Instance == l.Instance && known.Sequence == l.Sequence {
				e = known
				if jws, ok := fetched.Receipts[known.Receipt]; ok {
					if x.excerpt.Receipts == nil {
						x.excerpt.Receipts = map[string]string{}
					}
					x.excerpt.Receipts[known.Receipt] = jws
				}
			}
		}
	}
	x.excerpt.Erased = append(x.excerpt.Erased, e)
}

// span gives the line before the first and the last line of a chain that go along. Where there are receipts, the archive reaches from what
// every witness had seen by the beginning to what each has seen since the end, so that whichever is asked can say so.
func (x *exporter) span(marks []Mark, s decisionlog.Summary) (from, to int64) {
	seen, own := timesOf(marks)
	var froms, tos []int64
	for _, times := range seen {
		if f, t, ended := x.within(times, s); ended { // else that witness cannot say anything of the end
			froms, tos = append(froms, f), append(tos, t)
		}
	}
	if len(froms) == 0 {
		from, to, _ = x.within(own, s)
		return from, to
	}
	return slices.Min(froms), slices.Max(tos)
}

// timed is a line, and when it was there for sure: at the latest, and not before.
type timed struct {
	sequence          int64
	latest, notBefore time.Time
}

// timedOf gives what a witness says: an old checkpoint may be shown late.
func timedOf(c contract.Checkpoint, r contract.Receipt) timed {
	at := r.ReceivedAt
	if c.At.Before(at) {
		at = c.At
	}
	return timed{c.Sequence, r.ReceivedAt, at}
}

// timesOf gives what marks say, in order: by witness, and of the checkpoints alone. A time that is later than one behind it is left out: the
// checkpoint was dated ahead.
func timesOf(marks []Mark) (seen map[string][]timed, own []timed) {
	seen = map[string][]timed{}
	for _, m := range marks {
		c, err := OpenCheckpoint(m.Checkpoint, nil)
		if err != nil {
			continue
		}
		if m.Receipt == "" {
			own = append(own, timed{c.Sequence, c.At, c.At})
		} else if r, err := OpenReceipt(m.Receipt, m.Checkpoint, nil); err == nil {
			seen[r.Witness] = append(seen[r.Witness], timedOf(c, r))
		}
	}
	for name, times := range seen {
		seen[name] = monotonic(times)
	}
	return seen, monotonic(own)
}

func monotonic(times []timed) []timed {
	var out []timed
	for i := len(times) - 1; i >= 0; i-- {
		if len(out) == 0 || !times[i].notBefore.After(out[len(out)-1].notBefore) {
			out = append(out, times[i])
		}
	}
	slices.Reverse(out)
	return out
}

// within gives the line before the first and the last line by some times; ended says that one of them lies behind the end.
func (x *exporter) within(times []timed, s decisionlog.Summary) (from, to int64, ended bool) {
	from, to = s.From, s.End.Sequence
	for _, t := range times {
		if !t.latest.After(x.excerpt.From) {
			from = max(from, t.sequence)
		}
		if !t.notBefore.Before(x.excerpt.To) {
			to, ended = min(to, t.sequence), true
		}
	}
	return from, to, ended
}

func marksOf(fsys fs.FS) ([]Mark, error) {
	raw, err := fs.ReadFile(fsys, MarksFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	marks, err := ReadMarks(bytes.NewReader(raw))
	if errors.Is(err, errNoEnd) { // copied while it was written
		err = nil
	}
	return marks, err
}

// line adds a line, and what it refers to if it is of the agreement.
func (x *exporter) line(fsys fs.FS, folder string, l decisionlog.Line, out *bytes.Buffer) error {
	ours := slices.Contains(x.excerpt.UIDs, l.UID)
	var body []byte
	if ours {
		body = l.Record
	}
	out.Write(append(decisionlog.Join(l.Header, body), '\n'))
	if !ours || l.Said == nil {
		return nil
	}
	if list := l.Said.SubjectList; list != nil {
		name := path.Join(decisionlog.SubjectsDir, decisionlog.ListName(list.Digest))
		if err := x.take(fsys, name, path.Join(folder, name)); err != nil {
			return fmt.Errorf("line %d: %w", l.Sequence, err)
		}
	}
	if !handed(l, x.excerpt.UIDs) {
		return nil
	}
	ref := l.Said.Policy
	for _, name := range []string{PartName(ref.Access), PartName(ref.Grants), RevisionName(ref.Revision)} {
		name = path.Join(PolicyDir, name)
		if err := x.take(fsys, name, name); err != nil && !errors.Is(err, fs.ErrNotExist) { // replay says which is missing
			return err
		}
	}
	return x.replay(l)
}

// replay adds input and decision of a line as files of their own, for whoever decides again by hand.
func (x *exporter) replay(l decisionlog.Line) error {
	name, files, err := byHandOf(l)
	if err != nil {
		return fmt.Errorf("line %d: %w", l.Sequence, err)
	}
	x.files[name+inputSuffix], x.files[name+expectedSuffix] = files.input, files.expected
	return nil
}

func (x *exporter) take(fsys fs.FS, name, as string) error {
	if _, ok := x.files[as]; ok {
		return nil
	}
	raw, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = fs.ReadFile(x.root, name)
	}
	if err == nil {
		x.files[as] = raw
	}
	return err
}
