package grid

import (
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// presence remembers when each device was last heard. It is filled from the database when a session begins.
type presence struct {
	mu   sync.Mutex
	seen map[string]map[string]int64 // fleet, device: Unix milliseconds
}

func (p *presence) reset(seen map[string]map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = seen
}

// heard notes devices that were heard.
func (p *presence) heard(batch map[device]time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d, t := range batch {
		if p.seen == nil {
			p.seen = map[string]map[string]int64{}
		}
		if p.seen[d.fleet] == nil {
			p.seen[d.fleet] = map[string]int64{}
		}
		p.seen[d.fleet][d.name] = max(p.seen[d.fleet][d.name], t.UnixMilli())
	}
}

// count fills the counts of a report. A device that missed three heartbeats is offline. Before a session ran here, nothing
// is known and nothing is said.
func (p *presence) count(b *intake.Bundle, now time.Time, r *contract.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil || b == nil {
		return
	}
	if r.Fleets == nil {
		r.Fleets = map[string]contract.FleetReport{}
	}
	for name, f := range b.Fleets {
		alive := 3 * b.Rules.Profiles[f.Profile].HeartbeatSeconds * 1000
		out := r.Fleets[name]
		for d := range f.Devices {
			switch last, ok := p.seen[name][d]; {
			case !ok:
				out.NeverSeen++
			case alive > 0 && now.UnixMilli()-last > alive:
				out.Offline++
			default:
				out.Online++
			}
		}
		r.Fleets[name] = out
	}
}
