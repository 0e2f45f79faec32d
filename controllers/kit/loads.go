package kit

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/shelf"
)

// Loads holds what the devices of fleets may send to edge nodes, as the fleets compile. An edge node's outbox is measured by it, without
// a look at the rows of every fleet. It is safe for use by many goroutines; its zero value is empty.
type Loads struct {
	mu     sync.Mutex
	fleets map[shelf.Key]load
}

type load struct {
	platform types.NamespacedName
	places   map[string]compile.EdgeLoad
}

// Set records the loads of a fleet, by community, and gives the communities for which they are new or other than before.
func (l *Loads) Set(platform types.NamespacedName, fleet shelf.Key, places map[string]compile.EdgeLoad) (changed []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fleets == nil {
		l.fleets = map[shelf.Key]load{}
	}
	was := l.fleets[fleet]
	l.fleets[fleet] = load{platform, places}
	return differ(was.places, places)
}

// Drop forgets a fleet and gives the communities that it had devices in.
func (l *Loads) Drop(fleet shelf.Key) (changed []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.fleets[fleet]
	delete(l.fleets, fleet)
	return differ(was.places, nil)
}

// Of gives the loads at communities of a platform, in no order.
func (l *Loads) Of(platform types.NamespacedName, communities []string) []compile.EdgeLoad {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []compile.EdgeLoad
	for _, f := range l.fleets {
		if f.platform != platform {
			continue
		}
		for _, c := range communities {
			if place, ok := f.places[c]; ok {
				out = append(out, place)
			}
		}
	}
	return out
}

// Knows reports whether a fleet has been recorded.
func (l *Loads) Knows(fleet shelf.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.fleets[fleet]
	return ok
}

// differ gives the keys whose values differ between two maps, sorted.
func differ(a, b map[string]compile.EdgeLoad) []string {
	out := map[string]bool{}
	for k := range a {
		out[k] = a[k] != b[k]
	}
	for k := range b {
		out[k] = a[k] != b[k]
	}
	maps.DeleteFunc(out, func(_ string, other bool) bool { return !other })
	return slices.Sorted(maps.Keys(out))
}
