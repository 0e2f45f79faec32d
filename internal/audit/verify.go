package audit

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// Verdict of a check.
type Verdict string

// Verdicts, best first.
const (
	// Verified: the chain is whole, and a witness saw its end.
	Verified Verdict = "Verified"
	// ConsistentOnly: the chain is whole in itself; nobody outside says that its end was not cut off.
	ConsistentOnly Verdict = "InternallyConsistentOnly"
	// Broken: something is not as it was written.
	Broken Verdict = "Broken"
)

func worse(a, b Verdict) Verdict {
	order := []Verdict{Verified, ConsistentOnly, Broken}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// Trust is what an auditor brings along.
type Trust struct {
	// Audit are the keys by which gateways sign checkpoints; nil checks no such signature.
	Audit Keys
	// Witness are the keys of witnesses, and Seen what the witnesses themselves gave out. Without them nothing says that the
	// end was not cut off.
	Witness Keys
	Seen    []Mark
	// Now is the auditor's clock, and Retention how long the platform keeps records: what is younger must be here, or have a receipt of its
	// erasure. Without Now nothing counts as old; a Retention below LeastRetention is that.
	Now       time.Time
	Retention time.Duration
	// Receipts are the roots of certificates that sign receipts of erasures; nil takes no receipt.
	Receipts *x509.CertPool
	// AsOf is the time up to which every line is to be here: what a witness saw written after it is not missing. Zero asks for all that the
	// witness saw. It is the auditor's word: that of the folder, which whoever cut the log off can write, never makes a chain Verified.
	AsOf time.Time
	// UIDs that the agreement of an archive has, as the auditor knows them; none takes those that the archive says.
	UIDs []string
}

// ChainReport says how one chain stands.
type ChainReport struct {
	Folder   string `json:"folder"`
	Instance string `json:"instance"`
	// From is the sequence before the first line that is here.
	From     int64     `json:"from"`
	Sequence int64     `json:"sequence"`
	Hash     string    `json:"hash"`
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Lines    int       `json:"lines"`
	// Platform is namespace and name of the platform, as the checkpoints say; empty where there is none.
	Platform string `json:"platform,omitempty"`
	// Absent counts records that are not here. Of an excerpt most are of other agreements: Ours counts the lines of its own.
	Absent int `json:"absent,omitempty"`
	Ours   int `json:"ours,omitempty"`
	// Withheld counts the absent records that should be here, Erased those that are old, or have a receipt of their erasure.
	Withheld int `json:"withheld,omitempty"`
	Erased   int `json:"erased,omitempty"`
	// Receipts counts those of Erased that a receipt of the vault names.
	Receipts int `json:"erasedByReceipt,omitempty"`
	// Checkpoints counts those that lie on the chain, Checkpointed is the last line of them.
	Checkpoints  int   `json:"checkpoints"`
	Checkpointed int64 `json:"checkpointed,omitempty"`
	// Witnessed is the last line that a witness saw, at WitnessedAt by its clock.
	Witnessed   int64     `json:"witnessed,omitempty"`
	WitnessedAt time.Time `json:"witnessedAt,omitzero"`
	// AsOf is the time up to which a chain that was fetched from the platform's store has every line, as its folder says.
	AsOf     time.Time `json:"asOf,omitzero"`
	Verdict  Verdict   `json:"verdict"`
	Problems []string  `json:"problems,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
}

// Report says how all chains of a folder or archive stand.
type Report struct {
	Verdict Verdict       `json:"verdict"`
	Chains  []ChainReport `json:"chains"`
	// Problems of an archive beside its chains.
	Problems []string `json:"problems,omitempty"`
}

// Folders lists the log folders in fsys: itself, or those below.
func Folders(fsys fs.FS) ([]string, error) {
	var out []string
	err := fs.WalkDir(fsys, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		sub, err := fs.Sub(fsys, path)
		if err != nil {
			return err
		}
		names, err := decisionlog.Files(sub)
		if len(names) > 0 {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("holds no decision log: name the folder with the files decisions-*.jsonl, or the one above")
	}
	return out, nil
}

// Verify checks every chain in fsys. The error is one of reading; what is wrong with a log is in the report. visit, which may
// be nil, gets every line.
func Verify(fsys fs.FS, trust Trust, excerpt *Excerpt, visit func(folder string, l decisionlog.Line)) (Report, error) {
	folders, err := Folders(fsys)
	if err != nil {
		return Report{}, err
	}
	out := Report{Verdict: Verified}
	var checks []*chainCheck
	var byHand []decisionlog.Line
	platforms, here := map[string]bool{}, map[string]bool{}
	for _, folder := range folders {
		sub, err := fs.Sub(fsys, folder)
		if err != nil {
			return out, err
		}
		c := &chainCheck{fsys: sub, trust: trust, excerpt: excerpt, hashes: map[int64]string{}, written: map[int64]time.Time{}}
		c.out.Folder = folder
		c.run(func(l decisionlog.Line) {
			if visit != nil {
				visit(folder, l)
			}
			if excerpt != nil && handed(l, excerpt.UIDs) {
				byHand = append(byHand, l)
			}
		})
		platforms[c.out.Platform], here[c.out.Platform+"\x00"+c.out.Instance] = true, true
		checks = append(checks, c)
	}
	for _, c := range checks {
		c.succeeded(checks)
		c.out.Verdict = c.verdict()
		out.Chains = append(out.Chains, c.out)
	}
	out.Chains = append(out.Chains, missing(trust, excerpt, platforms, here)...)
	for _, c := range out.Chains {
		out.Verdict = worse(out.Verdict, c.Verdict)
	}
	if excerpt != nil {
		if out.Problems, err = checkByHand(fsys, byHand); len(out.Problems) > 0 {
			out.Verdict = Broken
		}
	}
	return out, err
}

// missing reports the chains of the platforms whose logs are here that a witness saw and that have no folder. A folder may be meant to be
// that of one gateway; an archive must hold every chain that grew in its time.
func missing(trust Trust, excerpt *Excerpt, platforms, here map[string]bool) []ChainReport {
	times := map[string][]timed{}
	last := map[string]contract.Receipt{}
	for _, m := range trust.Seen {
		c, err := OpenCheckpoint(m.Checkpoint, trust.Audit)
		if err != nil || !platforms[c.Platform] || here[chainKey(c)] {
			continue
		}
		r, err := OpenReceipt(m.Receipt, m.Checkpoint, trust.Witness)
		if err != nil || !trust.AsOf.IsZero() && timedOf(c, r).notBefore.After(trust.AsOf) {
			continue
		}
		times[chainKey(c)] = append(times[chainKey(c)], timedOf(c, r))
		if r.ReceivedAt.After(last[chainKey(c)].ReceivedAt) {
			last[chainKey(c)] = r
		}
	}
	var out []ChainReport
	for _, chain := range slices.Sorted(maps.Keys(times)) {
		if excerpt != nil && !excerpt.grew(times[chain]) {
			continue
		}
		r := last[chain]
		report := ChainReport{Instance: r.Instance, Witnessed: r.Sequence, WitnessedAt: r.ReceivedAt, Verdict: ConsistentOnly}
		text := fmt.Sprintf("MISSING: the witness saw line %d of this chain at %s, and no line of it is here", r.Sequence, r.ReceivedAt.Format(time.RFC3339))
		if excerpt != nil {
			report.Verdict, report.Problems = Broken, []string{text}
		} else {
			report.Notes = []string{text}
		}
		out = append(out, report)
	}
	return out
}

// chainCheck checks one chain in three steps: its lines, its own checkpoints, and what witnesses say.
type chainCheck struct {
	fsys    fs.FS
	trust   Trust
	excerpt *Excerpt
	out     ChainReport
	// strangers counts receipts beside the log by keys that were not given.
	strangers int
	// hashes of the lines that checkpoints speak of, from the line before the first on; written is when the line behind each was.
	hashes  map[int64]string
	written map[int64]time.Time
	// signed is when the gateway signed what the witness saw last.
	signed time.Time
	// fetched is what lies beside a chain that was taken out of the platform's store, else nil.
	fetched *Fetched
	// later is the last line that a witness saw and that was written after the time that is meant to be here.
	later int64
	// begun and ended say of an excerpt that a witness saw that no line of its time lies before its first line, or behind its last.
	begun, ended bool
	// told is what the witness saw of this chain, in the order in which it was asked; last the last line of it, here or not.
	told []timed
	last int64
	// absent are the lines without a record that should have one, unproven says that some of them may have been erased.
	absent   []absence
	unproven bool
}

func (c *chainCheck) run(visit func(decisionlog.Line)) {
	marks := c.marks()
	c.wanted(marks)
	c.fetch()
	c.claims()
	if !c.lines(visit) {
		return
	}
	for _, m := range marks {
		c.own(m)
	}
	if c.strangers > 0 {
		c.note("%d receipts beside the log are by other keys than the witness's that was given: they count for nothing here", c.strangers)
	}
	c.known(marks)
	for _, m := range c.trust.Seen {
		c.seen(m)
	}
	c.absences()
}

// fetch reads what lies beside a chain that was fetched.
func (c *chainCheck) fetch() {
	var err error
	if c.fetched, err = ReadFetched(c.fsys); err != nil {
		c.problem("%v", err)
	}
	if c.fetched != nil {
		c.out.AsOf = c.fetched.AsOf
	}
}

// after says whether a time is behind the one up to which every line is to be here.
func (c *chainCheck) after(at time.Time) bool {
	limit := c.trust.AsOf
	if limit.IsZero() {
		limit = c.out.AsOf
	}
	return !limit.IsZero() && at.After(limit)
}

func (c *chainCheck) problem(format string, args ...any) {
	c.out.Problems = append(c.out.Problems, fmt.Sprintf(format, args...))
}

func (c *chainCheck) note(format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf(format, args...))
}

// marks reads the checkpoints beside the lines.
func (c *chainCheck) marks() []Mark {
	f, err := c.fsys.Open(MarksFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer func() { _ = f.Close() }()
		var marks []Mark
		marks, err = ReadMarks(f)
		if c.excerpt == nil && errors.Is(err, errNoEnd) { // what a crash leaves; the gateway cuts it at its next start
			c.note("%s: the last line is half-written", MarksFile)
			err = nil
		}
		if err == nil {
			return marks
		}
	}
	c.problem("%s: %v", MarksFile, err)
	return nil
}

// wanted notes the lines whose hash will be asked for.
func (c *chainCheck) wanted(marks []Mark) {
	for _, m := range slices.Concat(marks, c.trust.Seen) {
		if cp, err := OpenCheckpoint(m.Checkpoint, nil); err == nil {
			c.hashes[cp.Sequence] = ""
		}
	}
}

// lines checks the chain; false says that it is broken.
func (c *chainCheck) lines(visit func(decisionlog.Line)) bool {
	first := true
	s, err := decisionlog.Verify(c.fsys, func(l decisionlog.Line) {
		if first {
			first = false
			if _, ok := c.hashes[l.Sequence-1]; ok {
				c.hashes[l.Sequence-1] = l.Previous
			}
		}
		if _, ok := c.hashes[l.Sequence]; ok {
			c.hashes[l.Sequence] = l.Hash
		}
		if _, ok := c.hashes[l.Sequence-1]; ok {
			c.written[l.Sequence-1] = l.At
		}
		c.list(l)
		c.record(l)
		visit(l)
	})
	o := &c.out
	o.Instance, o.From, o.Sequence, o.Hash = s.End.Instance, s.From, s.End.Sequence, s.End.Hash
	o.First, o.Last, o.Lines, o.Absent = s.First, s.Last, s.Records, s.Absent
	var torn *decisionlog.Error
	switch {
	case c.excerpt == nil && errors.As(err, &torn) && torn.Torn: // whether more was cut off, the witness says
		c.note("%s:%d is half-written, as when the machine dies or the copy was made meanwhile. No answer waited for it; the gateway cuts it at its next start", torn.File, torn.Line)
	case err != nil:
		c.problem("%v", err)
		return false
	}
	if o.From > 0 && c.excerpt == nil {
		c.note("lines 1 to %d are not here", o.From)
	}
	return true
}

// list holds a list of subjects against the digest in its line.
func (c *chainCheck) list(l decisionlog.Line) {
	if l.Said == nil || l.Said.SubjectList == nil {
		return
	}
	digest := l.Said.SubjectList.Digest
	raw, err := fs.ReadFile(c.fsys, decisionlog.SubjectsDir+"/"+decisionlog.ListName(digest))
	switch {
	case err != nil:
		c.problem("line %d: its list of subjects is missing: %v", l.Sequence, err)
	case contract.Digest(raw) != digest:
		c.problem("line %d: its list of subjects was changed", l.Sequence)
	}
}

// known finds out of which platform the chain is: by its own checkpoints, or by one that a witness saw of just this chain.
func (c *chainCheck) known(marks []Mark) {
	for _, m := range slices.Concat(marks, c.trust.Seen) {
		cp, err := OpenCheckpoint(m.Checkpoint, nil)
		if err == nil && cp.Instance == c.out.Instance && c.hashes[cp.Sequence] == cp.Hash {
			c.out.Platform = cp.Platform
			return
		}
	}
}

// own checks a checkpoint that lies beside the lines.
func (c *chainCheck) own(m Mark) {
	cp, err := OpenCheckpoint(m.Checkpoint, c.trust.Audit)
	if err != nil {
		c.problem("%s: %v", MarksFile, err)
		return
	}
	if cp.Instance != c.out.Instance {
		c.problem("%s: a checkpoint is of chain %q", MarksFile, cp.Instance)
		return
	}
	if m.Receipt != "" {
		keys := c.trust.Witness
		if _, ok := keys[signer(m.Receipt)]; keys != nil && !ok { // of another witness than the one that was asked
			keys = nil
			c.strangers++
		}
		if _, err := OpenReceipt(m.Receipt, m.Checkpoint, keys); err != nil {
			c.problem("%s: receipt of line %d: %v", MarksFile, cp.Sequence, err)
		}
	}
	if c.on(cp, "a checkpoint", false) && m.Receipt == "" {
		c.out.Checkpoints++
		c.out.Checkpointed = max(c.out.Checkpointed, cp.Sequence)
	}
}

// seen checks what a witness gave out. It speaks of many chains.
func (c *chainCheck) seen(m Mark) {
	cp, err := OpenCheckpoint(m.Checkpoint, nil)
	if err == nil && (cp.Instance != c.out.Instance || c.out.Platform != "" && cp.Platform != c.out.Platform) {
		return
	}
	if err == nil {
		cp, err = OpenCheckpoint(m.Checkpoint, c.trust.Audit)
	}
	if err != nil {
		c.problem("witness: %v", err)
		return
	}
	receipt, err := OpenReceipt(m.Receipt, m.Checkpoint, c.trust.Witness)
	if err != nil {
		c.problem("witness: line %d: %v", cp.Sequence, err)
		return
	}
	c.last = max(c.last, cp.Sequence)
	if from := timedOf(cp, receipt).notBefore; cp.Sequence > c.out.Sequence && c.after(from) {
		c.later = max(c.later, cp.Sequence)
		return
	}
	if !c.on(cp, "the witness", c.excerpt != nil) {
		return
	}
	c.told = append(c.told, timedOf(cp, receipt))
	if e := c.excerpt; e != nil { // the clock is the witness's: the gateway may date a checkpoint as it likes
		c.begun = c.begun || !receipt.ReceivedAt.After(e.From)
		c.ended = c.ended || !receipt.ReceivedAt.Before(e.To) && !cp.At.Before(e.To) // an old one may be shown late
	}
	if cp.Sequence > c.out.Witnessed || cp.Sequence == c.out.Witnessed && cp.At.After(c.signed) {
		c.signed = cp.At
	}
	if cp.Sequence >= c.out.Witnessed {
		c.out.Witnessed, c.out.WitnessedAt = cp.Sequence, receipt.ReceivedAt
	}
}

// unseen is how long lines were written that no witness saw: behind the last receipt, by its clock; and by the gateway's own, behind the
// checkpoint, which may be an old one that is shown late, and before it, which may leave out lines that were there.
func (c *chainCheck) unseen() time.Duration {
	o := &c.out
	if o.Witnessed == o.Sequence {
		return 0
	}
	return max(o.Last.Sub(o.WitnessedAt), o.Last.Sub(c.signed), c.signed.Sub(c.written[o.Witnessed]))
}

// on says whether a checkpoint speaks of a line that is here, and finds it wrong if it says another hash, or a line behind
// the end: but an excerpt may end before.
func (c *chainCheck) on(cp contract.Checkpoint, who string, excerpt bool) bool {
	switch {
	case cp.Sequence > c.out.Sequence && !excerpt:
		c.problem("CUT: %s saw line %d at %s, the log ends at line %d", who, cp.Sequence, cp.At.Format(time.RFC3339), c.out.Sequence)
	case cp.Sequence > c.out.Sequence || cp.Sequence < c.out.From || c.hashes[cp.Sequence] == "":
	case c.hashes[cp.Sequence] != cp.Hash:
		c.problem("FORK: %s saw line %d with hash %s, here it has %s", who, cp.Sequence, cp.Hash, c.hashes[cp.Sequence])
	default:
		return true
	}
	return false
}

// maxUnwitnessed is how many lines a busy gateway may write between two receipts.
const maxUnwitnessed = 200_000

func (c *chainCheck) verdict() Verdict {
	switch o := &c.out; {
	case len(o.Problems) > 0:
		return Broken
	case len(c.trust.Witness) == 0 || len(c.trust.Seen) == 0:
		c.note("no witness was asked: that the end was not cut off is not proven")
	case o.Witnessed == 0:
		c.note("the witness knows nothing of this chain")
	case c.unproven: // the note is there
	case c.later > 0 && c.trust.AsOf.IsZero():
		c.note("lines %d to %d, which the witness saw, are not here; the folder says that it ends before, at %s: say that time yourself, with --as-of, if it is the one that you asked for",
			o.Sequence+1, c.later, o.AsOf.Format(time.RFC3339))
	case c.excerpt != nil && !(c.ended && (c.begun || o.From == 0)):
		c.note("the witness did not see the beginning or the end of this excerpt: lines of the time asked for may be missing there")
	case c.unseen() > witnessLag || o.Sequence-o.Witnessed > maxUnwitnessed:
		c.note("lines %d to %d, of %s to %s, no witness saw: the last receipt is of %s, for a checkpoint of %s", o.Witnessed+1, o.Sequence,
			c.written[o.Witnessed].Format(time.RFC3339), o.Last.Format(time.RFC3339), o.WitnessedAt.Format(time.RFC3339), c.signed.Format(time.RFC3339))
	default:
		if c.later > 0 {
			c.note("lines %d to %d, which the witness saw, were written after %s", o.Sequence+1, c.later, c.trust.AsOf.Format(time.RFC3339))
		}
		if o.Witnessed < o.Sequence {
			c.note("lines %d to %d are younger than what the witness saw last", o.Witnessed+1, o.Sequence)
		}
		return Verified
	}
	return ConsistentOnly
}
