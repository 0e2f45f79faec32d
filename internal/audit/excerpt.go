package audit

import (
	"slices"
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
}

// Erased is a line whose record was erased: by its age, or by a receipt of the vault.
type Erased struct {
	Instance string    `json:"instance"`
	Sequence int64     `json:"sequence"`
	At       time.Time `json:"at"`
	Receipt  string    `json:"receipt,omitempty"`
}

func (e *Excerpt) erased(instance string, sequence int64) bool {
	return slices.ContainsFunc(e.Erased, func(x Erased) bool { return x.Instance == instance && x.Sequence == sequence })
}
