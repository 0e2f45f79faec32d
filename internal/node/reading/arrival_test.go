package reading

import (
	"testing"
	"time"
)

// TestArrival: a node's time is taken from thirty days back to five minutes ahead, and the reader's own otherwise.
func TestArrival(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for off, believed := range map[time.Duration]bool{
		0: true, 5 * time.Minute: true, 5*time.Minute + time.Millisecond: false,
		-720 * time.Hour: true, -720*time.Hour - time.Millisecond: false,
	} {
		at, want := now.Add(off), now
		if believed {
			want = at
		}
		if got := Arrival(at.UnixMilli(), now); !got.Equal(want) || Believed(at.UnixMilli(), now) != believed {
			t.Errorf("%s: %s, want %s", off, got, want)
		}
	}
}
