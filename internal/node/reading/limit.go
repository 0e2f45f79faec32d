package reading

import "time"

const (
	// maxLimited bounds how many devices are remembered, so that memory is bounded whatever comes. A device is remembered while it has sent
	// more than its share, so a platform of a million devices stays far below.
	maxLimited = 1 << 17
	// DeviceBurst and cloudBurst are how much may come at once. A device that has much to say for once is heard: what is dropped was acknowledged,
	// so a limit is for what never ends. A cloud is held shorter, for its payloads cost an expression each.
	DeviceBurst, cloudBurst = time.Hour, time.Minute
)

// device names one; of a whole fleet name is empty.
type device struct{ fleet, name string }

// limiter lets each device send so many messages a minute on average, and those of a burst at once (the generic cell rate algorithm of
// ITU-T I.371). It goes by the time of arrival: a backlog is judged as if it had been worked off as it came. Times of arrival may go back,
// as where an edge node's clock was set, or what comes now is taken among what waited: then the device goes on from there with what it had
// left, for what it was told is kept may not be dropped because of another's clock.
type limiter struct {
	paces map[device]pace
	swept int64
}

// pace of a device, in Unix nanoseconds.
type pace struct {
	// next is when a device that sends evenly would send next, last when its last message arrived, both by the clock of who took them.
	next, last int64
	// heard is when that was, by our own clock.
	heard int64
}

// allow says whether a message that arrived at a time is within the limit, and counts it if it is. now is our own clock's. No limit is 0.
func (l *limiter) allow(d device, perMinute int64, burst time.Duration, at, now time.Time) bool {
	if perMinute <= 0 {
		return true
	}
	l.sweep(now.UnixNano())
	arrived, every := at.UnixNano(), max(1, int64(time.Minute)/perMinute)
	p := l.paces[d]
	p.next = max(p.next-max(0, p.last-arrived), arrived)
	p.last, p.heard = arrived, now.UnixNano()
	ok := p.next-arrived <= int64(burst)-every
	if ok {
		p.next += every
	}
	l.paces[d] = p
	return ok
}

// sweep forgets who is within the limit again. If too many are left it forgets everybody: who was limited then begins anew.
func (l *limiter) sweep(now int64) {
	if now-l.swept < int64(time.Minute) && len(l.paces) < maxLimited {
		return
	}
	l.swept = now
	for d, p := range l.paces {
		if p.next-p.last <= now-p.heard {
			delete(l.paces, d)
		}
	}
	if l.paces == nil || len(l.paces) > maxLimited/2 { // half is free, or the next message would sweep again
		l.paces = map[device]pace{}
	}
}
