package publication

import (
	"fmt"
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
	if _, waits := c.waiting[fleet]; waits && !slices.Equal(c.due(at), []shelf.Key{fleet}) {
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

// However many objects change at once, as many are called between two looks as the API server takes easily, each in its turn.
func TestCallsOfManyObjectsAreBounded(t *testing.T) {
	c, at := newCalls(), time.Unix(1000, 0)
	var all []shelf.Key
	for i := range 2000 {
		all = append(all, shelf.Key{Kind: "Community", Name: fmt.Sprint("c", i)})
	}
	all = append(all, shelf.Key{Kind: "GridPlatform", Name: "p"})
	if got := c.now(all, at); len(got) != most {
		t.Fatalf("%d of %d are called at once, want %d", len(got), len(all), most)
	}
	called := map[shelf.Key]int{}
	for looks := range len(all)/most + 1 {
		at = at.Add(look)
		for _, k := range c.due(at) {
			called[k]++
		}
		if looks == 0 && called[shelf.Key{Kind: "GridPlatform", Name: "p"}] != 1 {
			t.Error("the platform waits behind its communities")
		}
		if got := c.now(all[most:most+1], at); len(got) > 0 {
			t.Errorf("%v is called beyond the bound", got)
		}
		if n := len(called); n > (looks+1)*most {
			t.Fatalf("%d are called after %d looks", n, looks+1)
		}
	}
	for _, k := range all[most:] {
		if called[k] == 0 {
			t.Errorf("%v is never called", k)
		}
	}
}
