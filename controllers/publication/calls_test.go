package publication

import (
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/shelf"
)

// The first change is shown at once, a flood of them once per calm, and the last one always.
func TestCallsArePaced(t *testing.T) {
	c, at, fleet := newCalls(), time.Unix(1000, 0), shelf.Key{Kind: "DeviceFleet", Name: "f"}
	if got := c.now([]shelf.Key{fleet}, at); !slices.Equal(got, []shelf.Key{fleet}) {
		t.Fatalf("the first change calls %v", got)
	}
	called := 0
	for range 600 { // a change a second, a look every five
		at = at.Add(time.Second)
		called += len(c.now([]shelf.Key{fleet}, at))
		if at.Unix()%5 == 0 {
			called += len(c.due(at))
		}
	}
	if most := int(600 * time.Second / calm); called > most || called < most/2 {
		t.Errorf("600 changes in 600 s make %d calls, want at most %d", called, most)
	}
	c.now([]shelf.Key{fleet}, at.Add(time.Second))
	at = at.Add(time.Second + calm)
	if c.waiting[fleet] && !slices.Equal(c.due(at), []shelf.Key{fleet}) {
		t.Error("the last change is never shown")
	}
	at = at.Add(2 * calm)
	if got := c.due(at); len(got) > 0 || len(c.last)+len(c.waiting) > 0 {
		t.Errorf("a quiet object is called (%v) or remembered (%v)", got, c.last)
	}
	if got := c.now([]shelf.Key{fleet}, at); len(got) != 1 {
		t.Error("after quiet a change is not shown at once")
	}
}
