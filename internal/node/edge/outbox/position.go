package outbox

import (
	"crypto/rand"
	"time"
)

// shift says that sequences of the stream above After are After+By and so on for the hub. The sequences that it leaves out are lost.
type shift struct {
	After uint64 `json:"after"`
	By    uint64 `json:"by"`
}

// fresh begins an incarnation over a stream with these sequences.
func fresh(created time.Time, first, last uint64) state {
	base := last
	if first > 0 && first <= last {
		base = first - 1
	}
	return state{Incarnation: rand.Text(), Base: base, Created: created, Sent: base, Seen: last, Mark: base}
}

// reopen holds the state against the stream as it is now, and gives how many sequences are gone from its end.
func (s *state) reopen(created time.Time, first, last uint64) (lost uint64) {
	high := max(s.Sent, s.Seen, s.Mark)
	if !s.Created.Equal(created) {
		before := last
		if first > 0 && first <= last {
			before = first - 1
		}
		s.Created, s.Shifts = created, nil
		if high > before {
			s.Shifts = []shift{{before, high - before}}
		}
		return high - s.Mark
	}
	end := s.end(last)
	if end >= high {
		return 0
	}
	s.shiftAfter(last, high-last)
	return high - end
}

// jump begins anew above sequence with what lies behind the mark.
func (s *state) jump(sequence uint64) {
	at := s.inStream(s.Mark)
	kept := s.Shifts[:0:0]
	for _, x := range s.Shifts {
		if x.After < at {
			kept = append(kept, x)
		}
	}
	s.Shifts = kept
	s.shiftAfter(at, sequence-at)
	s.Sent, s.Mark = sequence, sequence
}

func (s *state) shiftAfter(after, by uint64) {
	kept := s.Shifts[:0:0]
	for _, x := range s.Shifts {
		if x.After < after {
			kept = append(kept, x)
		}
	}
	s.Shifts = append(kept, shift{after, by})
}

// position gives the sequence for the hub of one in the stream.
func (s *state) position(sequence uint64) uint64 {
	var by uint64
	for _, x := range s.Shifts {
		if sequence > x.After {
			by = x.By
		}
	}
	return sequence + by
}

// end gives the last sequence for the hub when last is the last of the stream: the one before what comes next.
func (s *state) end(last uint64) uint64 { return s.position(last+1) - 1 }

// inStream gives the highest sequence of the stream whose position is not above one.
func (s *state) inStream(position uint64) uint64 {
	limit := position
	for i := len(s.Shifts) - 1; i >= 0; i-- {
		x := s.Shifts[i]
		if position > x.After+x.By {
			return min(position-x.By, limit)
		}
		limit = x.After
	}
	return min(position, limit)
}

// trim drops shifts that nothing needs any more, once the stream holds nothing at or below sequence.
func (s *state) trim(sequence uint64) {
	for len(s.Shifts) > 1 && s.Shifts[1].After <= sequence {
		s.Shifts = s.Shifts[1:]
	}
}
