package grid

import "time"

// maxLimited bounds how many devices are remembered, so that memory is bounded whatever comes. A device is remembered while it has sent
// more than its share, a minute at most, so a platform of a million devices stays far below.
const maxLimited = 1 << 17

// limiter lets each device send so many messages a minute on average, and a whole minute's at once (the generic cell rate algorithm of
// ITU-T I.371). It goes by the time of arrival: a backlog is judged as if it had been worked off as it came.
type limiter struct {
	// next is when a device that sends evenly would send next, in Unix nanoseconds.
	next  map[device]int64
	swept int64
}

// allow says whether a message that arrived then is within the limit, and counts it if it is. No limit is 0.
func (l *limiter) allow(d device, perMinute int64, at time.Time) bool {
	if perMinute <= 0 {
		return true
	}
	now, every := at.UnixNano(), max(1, int64(time.Minute)/perMinute)
	l.sweep(now)
	next := max(l.next[d], now)
	if next-now > int64(time.Minute)-every {
		return false
	}
	l.next[d] = next + every
	return true
}

// sweep forgets who is within the limit again. Beyond the bound it forgets everybody: who was limited then gets a new minute.
func (l *limiter) sweep(now int64) {
	if now-l.swept < int64(time.Minute) && len(l.next) < maxLimited {
		return
	}
	l.swept = max(l.swept, now)
	for d, next := range l.next {
		if next <= now {
			delete(l.next, d)
		}
	}
	if l.next == nil || len(l.next) >= maxLimited {
		l.next = map[device]int64{}
	}
}
