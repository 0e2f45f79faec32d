package reading

import (
	"fmt"
	"testing"
	"time"
)

// live is a limiter that hears of messages as they arrive.
type live struct{ limiter }

func (l *live) allow(d device, perMinute int64, at time.Time) bool {
	return l.limiter.allow(d, perMinute, time.Minute, at, at)
}

func TestLimiter(t *testing.T) {
	var l live
	at := time.Unix(1_800_000_000, 0)
	d := device{"f", "d"}
	for i := range 60 {
		if !l.allow(d, 60, at) {
			t.Fatalf("message %d of a minute is refused", i)
		}
	}
	if l.allow(d, 60, at) || l.allow(d, 60, at.Add(999*time.Millisecond)) {
		t.Error("one more is let through")
	}
	if !l.allow(d, 60, at.Add(time.Second)) || l.allow(d, 60, at.Add(time.Second)) {
		t.Error("a second gives one message")
	}
	if !l.allow(device{"f", "e"}, 60, at) || !l.allow(d, 0, at) {
		t.Error("another device, or no limit")
	}
	passed := 0
	for s := range 3600 {
		for range 5 {
			if l.allow(d, 60, at.Add(time.Duration(120+s)*time.Second)) {
				passed++
			}
		}
	}
	if passed < 3600 || passed > 3660 {
		t.Errorf("%d messages in an hour, want 60 a minute", passed)
	}
	for i := range 3 * maxLimited {
		l.allow(device{"f", fmt.Sprint(i)}, 60, at.Add(2*time.Hour))
	}
	if len(l.paces) > maxLimited {
		t.Errorf("remembers %d devices", len(l.paces))
	}
	l.allow(d, 60, at.Add(3*time.Hour))
	if len(l.paces) != 1 {
		t.Errorf("remembers %d devices that are within the limit", len(l.paces)-1)
	}
}

// A limit goes by the time of arrival, and that may go back: who sends evenly within it loses nothing.
func TestLimiterWhoseClocksGoBack(t *testing.T) {
	now, d := time.Unix(1_800_000_000, 0), device{"f", "d"}
	for what, begin := range map[string]time.Time{
		"an edge node's clock that was ahead": now.Add(2 * time.Hour), "a message of now among what waited": now, "a clock that begins in 1970": time.Unix(0, 0),
	} {
		var l limiter
		if !l.allow(d, 2, time.Minute, begin, now) {
			t.Fatal("the first is refused")
		}
		for i := range 120 {
			if at := now.Add(-3*time.Hour + time.Duration(i)*time.Minute); !l.allow(d, 2, time.Minute, at, now) {
				t.Errorf("%s: message %d, one a minute, is refused", what, i)
				break
			}
		}
	}
	var l limiter
	for i := range 4 {
		if at := now.Add(-time.Duration(i) * time.Hour); l.allow(d, 2, time.Minute, at, now) != (i < 2) {
			t.Errorf("message %d: going back alone gives nothing", i)
		}
	}
	for i := range 3 { // no clock of an edge node makes others' limits be forgotten
		e := device{"f", "e"}
		if l.allow(e, 2, time.Minute, now, now) != (i < 2) {
			t.Errorf("message %d of a minute of two", i)
		}
		l.allow(d, 2, time.Minute, time.UnixMilli(maxPaced), now)
	}
}
