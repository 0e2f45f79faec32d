package publication

import (
	"cmp"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/shelf"
)

const (
	// calm is the least time between two calls of one object for counts: devices come and go all the time, and a status that follows
	// each of them would be written without end.
	calm = 20 * time.Second
	// look is how often waiting objects are looked at.
	look = 5 * time.Second
	// most is how many objects of one platform are called for counts between two looks. Ten writes a second are little for an API
	// server, however many communities a platform has; two thousand of them are up to date within 200 s.
	most = 50
)

// calls paces the calls of a platform's objects whose counts changed: the first at once, further ones when calm has passed, and no
// more than most between two looks; who waits longest comes first.
type calls struct {
	last map[shelf.Key]time.Time
	// waiting says since when.
	waiting map[shelf.Key]time.Time
	left    int
}

func newCalls() calls {
	return calls{last: map[shelf.Key]time.Time{}, waiting: map[shelf.Key]time.Time{}, left: most}
}

// now gives which of the objects are to be called at once. The others wait for due.
func (c *calls) now(keys []shelf.Key, at time.Time) (call []shelf.Key) {
	for _, k := range keys {
		if _, waits := c.waiting[k]; waits {
			continue
		}
		if last, called := c.last[k]; c.left == 0 || called && at.Sub(last) < calm {
			c.waiting[k] = at
			continue
		}
		call = append(call, c.call(k, at))
	}
	return call
}

func (c *calls) call(k shelf.Key, at time.Time) shelf.Key {
	c.last[k] = at
	delete(c.waiting, k)
	c.left--
	return k
}

// due gives the objects that have waited long enough, and forgets those of which nothing was heard for as long.
func (c *calls) due(at time.Time) (call []shelf.Key) {
	c.left = most
	for k, last := range c.last {
		if _, waits := c.waiting[k]; !waits && at.Sub(last) >= calm {
			delete(c.last, k)
		}
	}
	var ready []shelf.Key
	for k := range c.waiting {
		if last, called := c.last[k]; !called || at.Sub(last) >= calm {
			ready = append(ready, k)
		}
	}
	slices.SortFunc(ready, func(a, b shelf.Key) int {
		return cmp.Or(c.waiting[a].Compare(c.waiting[b]), cmp.Compare(order[a.Kind], order[b.Kind]), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
	})
	for _, k := range ready[:min(len(ready), c.left)] {
		call = append(call, c.call(k, at))
	}
	return call
}

// order is that of objects which wait equally long: those come first of which there are few and that sum the others up.
var order = map[string]int{"GridPlatform": 0, "DeviceFleet": 1, "Organization": 2, "Scenario": 3, "DataSharingAgreement": 4, "Community": 5, "Dataset": 6}
