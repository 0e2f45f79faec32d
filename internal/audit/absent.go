package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// LeastRetention is how long records are kept at least: the six months for which the Cybersecurity Law has network logs kept. The platform's
// store erases none that is younger by its age alone.
const LeastRetention = 180 * 24 * time.Hour

// absence is a line whose record should be here and is not.
type absence struct {
	sequence int64
	at       time.Time
}

// claims checks what an archive says of itself.
func (c *chainCheck) claims() {
	if c.excerpt == nil {
		return
	}
	if wrong := c.excerpt.claim(c.trust.UIDs); wrong != "" {
		c.problem("%s", wrong)
	}
}

// record notes a line whose record should be here and is not: of an excerpt those of its agreement, else every one.
func (c *chainCheck) record(l decisionlog.Line) {
	if e := c.excerpt; e != nil {
		ours := slices.Contains(e.UIDs, l.UID)
		if ours {
			c.out.Ours++
		}
		if l.Said != nil && l.Said.Decision != nil {
			c.named(l, ours)
		}
		if !ours {
			return
		}
	}
	if l.Said == nil {
		c.absent = append(c.absent, absence{l.Sequence, l.At})
	}
}

// named holds the agreement that a decision names against the UID under which its line is filed: another agreement's lines could else stand
// for those of this one. A refusal may name none.
func (c *chainCheck) named(l decisionlog.Line, ours bool) {
	name := l.Said.Decision.Agreement
	switch {
	case ours && name != c.excerpt.Agreement && (name != "" || l.Said.Decision.Allow):
		c.problem("line %d has UID %s, which %s gives to agreement %q, and says agreement %q", l.Sequence, l.UID, ExcerptFile, c.excerpt.Agreement, name)
	case !ours && l.UID != "" && name == c.excerpt.Agreement:
		c.problem("line %d is of agreement %q, and its UID %s is not in %s", l.Sequence, name, l.UID, ExcerptFile)
	}
}

// absences judges the records that are not here. Old ones were erased, as the law has it; a younger one needs a receipt.
func (c *chainCheck) absences() {
	if len(c.absent) == 0 {
		return
	}
	given := c.erased()
	retention := max(c.trust.Retention, LeastRetention)
	before := c.trust.Now.Add(-retention)
	var missing, unproven []int64
	why := ""
	for _, a := range c.absent {
		x, named := given[a.sequence]
		old := !c.trust.Now.IsZero() && a.at.Before(before)
		if old && c.seenBy(a.sequence, before) {
			c.out.Erased++
			continue
		}
		receipt := errors.New("no receipt shows it")
		if x.Receipt != "" {
			receipt = checkErasure(x.Receipt, c.trust.Receipts, c.out.Platform, a, c.out.Instance)
		}
		switch {
		case receipt == nil:
			c.out.Erased++
			c.out.Receipts++
		case named || old:
			unproven, why = append(unproven, a.sequence), receipt.Error()
		default:
			missing = append(missing, a.sequence)
		}
	}
	c.out.Withheld = len(missing) + len(unproven)
	days := int(retention / (24 * time.Hour))
	if c.out.Erased > 0 {
		c.note("%d records are not here: %d are older than %d days, %d were erased by a receipt", c.out.Erased, c.out.Erased-c.out.Receipts, days, c.out.Receipts)
	}
	if len(unproven) > 0 {
		c.unproven = true
		c.note("the records of %s are missing; they are said to be erased, and it is not proven: %s", linesOf(unproven), why)
	}
	if len(missing) > 0 {
		c.problem("the records of %s are missing: they are younger than %d days, and nothing says that they were erased", linesOf(missing), days)
	}
}

// seenBy says whether a witness saw a line, or one behind it, by a time: the gateway may date its lines as it likes. Where no witness is asked
// nothing is verified anyhow.
func (c *chainCheck) seenBy(sequence int64, at time.Time) bool {
	return len(c.trust.Witness) == 0 || slices.ContainsFunc(c.told, func(t timed) bool { return t.sequence >= sequence && !t.latest.After(at) })
}

// erased gives what is said to be erased, by line.
func (c *chainCheck) erased() map[int64]Erased {
	var list []Erased
	var receipts map[string]string
	if c.excerpt != nil {
		list, receipts = c.excerpt.Erased, c.excerpt.Receipts
	} else if c.fetched != nil {
		list, receipts = c.fetched.Erased, c.fetched.Receipts
	}
	out := map[int64]Erased{}
	for _, x := range list {
		if x.Instance == c.out.Instance {
			if jws, ok := receipts[x.Receipt]; ok {
				x.Receipt = jws
			}
			out[x.Sequence] = x
		}
	}
	return out
}

// maxNamed is how many lines a sentence names.
const maxNamed = 20

// linesOf names lines, runs of them together.
func linesOf(sequences []int64) string {
	var parts []string
	for i := 0; i < len(sequences); {
		j := i
		for j+1 < len(sequences) && sequences[j+1] == sequences[j]+1 {
			j++
		}
		if len(parts) == maxNamed {
			parts = append(parts, fmt.Sprintf("and %d more", len(sequences)-i))
			break
		}
		if j > i {
			parts = append(parts, fmt.Sprintf("%d to %d", sequences[i], sequences[j]))
		} else {
			parts = append(parts, fmt.Sprint(sequences[i]))
		}
		i = j + 1
	}
	if len(sequences) == 1 {
		return "line " + parts[0]
	}
	return fmt.Sprintf("%d lines (%s)", len(sequences), strings.Join(parts, ", "))
}

// succeeded says of a chain that ended within the time of an excerpt that nothing of it can be missing: the witness saw no line behind those
// that are here, and it saw, within witnessLag of the last one, the beginning of another chain of the same gateway.
func (c *chainCheck) succeeded(all []*chainCheck) {
	if c.excerpt == nil || c.ended || c.out.Witnessed == 0 || c.last > c.out.Sequence {
		return
	}
	for _, next := range all {
		if next == c || next.out.Platform != c.out.Platform || contract.LogGateway(next.out.Instance) != contract.LogGateway(c.out.Instance) || next.out.From != 0 {
			continue
		}
		if slices.ContainsFunc(next.told, func(t timed) bool {
			return t.latest.After(c.out.WitnessedAt) && !t.latest.After(c.out.WitnessedAt.Add(witnessLag))
		}) {
			c.ended = true
			c.note("the chain ends here: %s began after it", next.out.Instance)
			return
		}
	}
}
