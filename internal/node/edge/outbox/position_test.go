package outbox

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestPositionsNeverMeanTwoMessages draws stores that lose their ends, are made anew and are put back from copies, and sees that no
// sequence is ever given to two messages, that they grow, and that both directions agree.
func TestPositionsNeverMeanTwoMessages(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		created := time.Unix(int64(seed), 0)
		s := fresh(created, 0, 0)
		first, last := uint64(1), uint64(0)
		message := 0
		given := map[uint64]int{}  // position -> message, as the hub saw it
		stored := map[uint64]int{} // sequence of the stream -> message
		for range 40 {
			switch r.IntN(6) {
			case 0, 1: // devices publish
				for range r.IntN(10) {
					last++
					message++
					stored[last] = message
				}
			case 2: // a batch is sent, and the hub commits it
				for q := max(first, s.inStream(s.Mark)+1); q <= last; q++ {
					p := s.position(q)
					if was, ok := given[p]; ok && was != stored[q] {
						t.Fatalf("seed %d: position %d means message %d and %d: %+v", seed, p, was, stored[q], s)
					}
					if got := s.inStream(p); got != q {
						t.Fatalf("seed %d: position %d of %d leads to %d: %+v", seed, p, q, got, s)
					}
					given[p] = stored[q]
				}
				s.Sent = max(s.Sent, s.end(last))
				if r.IntN(2) == 0 {
					s.Mark = s.end(last)
				}
			case 3: // checkpoint, purge
				s.Seen = max(s.Seen, s.end(last))
				first = max(first, s.inStream(s.Mark)+1)
				s.trim(first - 1)
			case 4: // the end is lost
				for range r.IntN(5) {
					if last >= first {
						delete(stored, last)
						last--
					}
				}
				s.reopen(created, first, last)
			case 5:
				if r.IntN(4) > 0 {
					continue
				}
				created = created.Add(time.Hour) // another stream in its place
				first, last = 1, 0
				clear(stored)
				s.reopen(created, 1, 0)
			}
			if s.end(last) < s.Mark {
				t.Fatalf("seed %d: the end %d is below the mark: %+v", seed, s.end(last), s)
			}
		}
	}
}

// TestJumpGivesNewPositions: the hub is ahead of an outbox that was put back from a copy.
func TestJumpGivesNewPositions(t *testing.T) {
	s := fresh(time.Now(), 0, 0)
	s.Sent, s.Seen, s.Mark = 90, 90, 85
	s.shiftAfter(40, 3)
	s.jump(100)
	at := s.inStream(100)
	if got := s.position(at + 1); at != 82 || got != 101 {
		t.Errorf("behind %d comes %d, want 82 and 101: %+v", at, got, s)
	}
	if s.position(82) > 85 || s.end(95) != 113 {
		t.Errorf("%d, end %d", s.position(82), s.end(95))
	}
}
