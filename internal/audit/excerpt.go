package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Excerpt says what an archive is to hold: every line of one agreement between two times.
type Excerpt struct {
	Agreement string `json:"agreement"`
	// UIDs that the agreement of that name had.
	UIDs []string  `json:"uids"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Erased lists lines whose record is not in the platform's store any more.
	Erased []Erased `json:"erased,omitempty"`
	// Receipts are those that Erased names by their IDs: signed, as compact JWS.
	Receipts map[string]string `json:"receipts,omitempty"`
}

// Erased is a line whose record was erased: by its age, or by a receipt of the vault.
type Erased struct {
	Instance string `json:"instance"`
	Sequence int64  `json:"sequence"`
	// At is when it was erased, where that is known.
	At time.Time `json:"at,omitzero"`
	// Receipt is the ID of the receipt of an erasure that names the line, or the receipt itself (compact JWS).
	Receipt string `json:"receipt,omitempty"`
}

// claim says what is wrong with what an archive says of itself, held against the UIDs that the auditor knows.
func (e *Excerpt) claim(known []string) string {
	given := slices.Sorted(slices.Values(e.UIDs))
	switch {
	case len(given) == 0 || given[0] == "":
		return fmt.Sprintf("%s names no UID of the agreement: of no line can be told whether it should have its record", ExcerptFile)
	case len(known) > 0 && !slices.Equal(slices.Compact(given), slices.Compact(slices.Sorted(slices.Values(known)))):
		return fmt.Sprintf("%s has the records of UIDs %s, the agreement has %s", ExcerptFile, strings.Join(given, ", "), strings.Join(known, ", "))
	}
	return ""
}

// grew says of a chain that is not here whether it may have lines of the time. It has none if it was last seen before, first seen well
// behind, or had the same end at the beginning and at the end.
func (e *Excerpt) grew(times []timed) bool {
	var before, last int64
	behind, first, latest := int64(-1), times[0].latest, times[0].latest
	for _, t := range times {
		if !t.latest.After(e.From) {
			before = max(before, t.sequence)
		}
		if !t.notBefore.Before(e.To) && (behind < 0 || t.sequence < behind) {
			behind = t.sequence
		}
		last = max(last, t.sequence)
		if t.latest.Before(first) {
			first = t.latest
		}
		if t.latest.After(latest) {
			latest = t.latest
		}
	}
	return latest.After(e.From) && !first.After(e.To.Add(witnessLag)) && (behind < 0 && before < last || behind > before)
}

// witnessLag is how long a witness may be behind a log that grows: a checkpoint is signed each minute.
const witnessLag = 10 * time.Minute
