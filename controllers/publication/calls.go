package publication

import (
	"time"

	"github.com/dizuo/dizuo/internal/shelf"
)

// calm is the least time between two calls of one object for counts: devices come and go all the time, and a status that follows each
// of them would be written without end.
const calm = 20 * time.Second

// calls paces the calls of objects whose counts changed: the first at once, further ones when calm has passed.
type calls struct {
	last    map[shelf.Key]time.Time
	waiting map[shelf.Key]bool
}

func newCalls() calls {
	return calls{last: map[shelf.Key]time.Time{}, waiting: map[shelf.Key]bool{}}
}

// now gives which of the objects are to be called at once. The others wait for due.
func (c calls) now(keys []shelf.Key, at time.Time) (call []shelf.Key) {
	for _, k := range keys {
		if last, called := c.last[k]; called && at.Sub(last) < calm {
			c.waiting[k] = true
			continue
		}
		c.last[k] = at
		delete(c.waiting, k)
		call = append(call, k)
	}
	return call
}

// due gives the objects that have waited long enough, and forgets those of which nothing was heard for as long.
func (c calls) due(at time.Time) (call []shelf.Key) {
	for k, last := range c.last {
		switch {
		case at.Sub(last) < calm:
		case c.waiting[k]:
			c.last[k] = at
			delete(c.waiting, k)
			call = append(call, k)
		default:
			delete(c.last, k)
		}
	}
	return call
}
