package rules

import (
	"cmp"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Standing is an alarm as all evidence has it.
type Standing struct {
	Scenario      string
	Scope         Scope
	ID            string
	Fleet, Device string
	// Start is its name, Began when its trigger came true; both are the same unless late evidence moved it.
	Start, Began time.Time
	// Cleared is zero while it is open.
	Cleared  time.Time
	Severity contract.Severity
	With     []string
	// Mode of the platform in which it was raised.
	Mode string
}

// Settled collects what an engine tells into the settled list: the alarms that were not taken back, as late evidence left them. It is a
// function of the messages, whatever order they came in.
type Settled struct{ alarms map[settledKey]*Standing }

type settledKey struct {
	scenario string
	scope    Scope
	id       string
	start    int64
}

// Take takes events.
func (s *Settled) Take(events []Event) {
	if s.alarms == nil {
		s.alarms = map[settledKey]*Standing{}
	}
	for _, e := range events {
		k := settledKey{e.Scenario, e.Scope, e.ID, e.Start.UnixMilli()}
		if e.Kind == Retracted {
			delete(s.alarms, k)
			continue
		}
		a := s.alarms[k]
		if a == nil {
			if e.Kind != Raised {
				continue
			}
			a = &Standing{Scenario: e.Scenario, Scope: e.Scope, ID: e.ID, Fleet: e.Fleet, Device: e.Device, Start: e.Start, Began: e.Began, Severity: e.Severity, Mode: e.Mode}
			s.alarms[k] = a
		}
		a.take(e)
	}
}

func (a *Standing) take(e Event) {
	switch e.Kind {
	case Moved:
		if Graver(a.Severity, e.Severity) { // what made it graver stands no more
			a.With = slices.Clone(e.With)
		}
		a.Began, a.Severity = e.Began, e.Severity
	case Joined:
		a.Cleared = time.Time{}
	case Cleared:
		a.Cleared = e.At
	case Worse:
		if Graver(e.Severity, a.Severity) {
			a.Severity = e.Severity
		}
		for _, w := range e.With {
			if !slices.Contains(a.With, w) {
				a.With = append(a.With, w)
			}
		}
	}
}

// List gives the alarms by beginning, scenario and key.
func (s *Settled) List() []Standing {
	out := make([]Standing, 0, len(s.alarms))
	for _, a := range s.alarms {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b Standing) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.ID, b.ID))
	})
	return out
}

var gravity = map[contract.Severity]int{contract.SeverityLow: 1, contract.SeverityMedium: 2, contract.SeverityHigh: 3, contract.SeverityCritical: 4}

// Graver says whether a is graver than b.
func Graver(a, b contract.Severity) bool { return gravity[a] > gravity[b] }
