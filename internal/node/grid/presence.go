package grid

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// presence knows when each device was last heard, to the second, and counts who is there. A session fills it from the database and
// tells it what it hears; between sessions it knows nothing. To count reads atomics alone: a million devices never keep a message
// waiting.
type presence struct {
	// drained says up to when everything is known of the devices that connect to the edge node of a community.
	drained atomic.Pointer[map[string]time.Time]

	// mapping is held while devices get their places.
	mapping sync.Mutex
	// rolls is nil while no session runs.
	rolls atomic.Pointer[map[string]*roll]

	mu sync.Mutex
	// absent as in memory.
	absent map[device]uint32
	// invalid counts messages that did not fit their profile, by fleet.
	invalid map[string]int64
}

// roll is a fleet: each device has a place, and those of one community lie side by side.
type roll struct {
	// rows tells whether the fleet's rows are still those that were mapped; parts of a bundle that did not change are shared.
	rows   uintptr
	places map[string]uint32
	// last is when the device at a place was last heard, in Unix seconds; 0 is never.
	last        []atomic.Uint32
	communities []stretch
}

// stretch are the places from From up to To, To left out, of the devices of a community.
type stretch struct {
	community string
	from, to  uint32
}

// rowsOf names the rows of a fleet as one value in memory.
func rowsOf(f contract.Fleet) uintptr { return reflect.ValueOf(f.Devices).Pointer() }

func newRoll(f contract.Fleet) *roll {
	size := map[string]uint32{}
	for _, d := range f.Devices {
		size[d.Community]++
	}
	r := &roll{rows: rowsOf(f), places: make(map[string]uint32, len(f.Devices)), last: make([]atomic.Uint32, len(f.Devices))}
	next, at := make(map[string]uint32, len(size)), uint32(0)
	for _, community := range slices.Sorted(maps.Keys(size)) {
		next[community] = at
		r.communities = append(r.communities, stretch{community, at, at + size[community]})
		at += size[community]
	}
	for name, d := range f.Devices {
		r.places[name] = next[d.Community]
		next[d.Community]++
	}
	return r
}

// count counts the devices of a stretch. Who was last heard at since or later is online.
func (r *roll) count(s stretch, since uint32) (out contract.PresenceReport) {
	for i := s.from; i < s.to; i++ {
		switch last := r.last[i].Load(); {
		case last == 0:
			out.NeverSeen++
		case last >= since:
			out.Online++
		default:
			out.Offline++
		}
	}
	return out
}

// seconds gives a time in Unix seconds as it is kept, never 0.
func seconds(t time.Time) uint32 { return uint32(min(max(t.Unix(), 1), math.MaxUint32)) }

// memory is who was heard when.
type memory struct {
	rolls map[string]*roll
	// absent are devices that were heard and that no row names now: a row that comes back finds when it was last heard.
	absent map[device]uint32
}

// recall gives a memory of the devices of a bundle, none of which was heard.
func recall(b *intake.Bundle) memory {
	m := memory{map[string]*roll{}, map[device]uint32{}}
	for name, f := range b.Fleets {
		m.rolls[name] = newRoll(f)
	}
	return m
}

// hear notes that a device was heard. One caller at a time.
func (m memory) hear(d device, at uint32) {
	if r := m.rolls[d.fleet]; r != nil {
		if i, ok := r.places[d.name]; ok {
			r.last[i].Store(max(r.last[i].Load(), at))
			return
		}
	}
	m.absent[d] = max(m.absent[d], at)
}

// begin begins a session with what the database holds: who was heard when, and invalid messages by fleet.
func (p *presence) begin(m memory, invalid map[string]int64) {
	p.mapping.Lock()
	defer p.mapping.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.absent, p.invalid = m.absent, invalid
	p.rolls.Store(&m.rolls)
}

// forget ends a session: another replica may hear the devices from now on.
func (p *presence) forget() {
	p.mapping.Lock()
	defer p.mapping.Unlock()
	p.rolls.Store(nil)
}

// update gives the devices of a bundle their places and returns them; nil while no session runs. A fleet whose rows are the same
// keeps its roll, so an unchanged bundle costs a comparison for each fleet.
func (p *presence) update(b *intake.Bundle) map[string]*roll {
	p.mapping.Lock()
	defer p.mapping.Unlock()
	old := p.rolls.Load()
	if old == nil || b == nil {
		return nil
	}
	fresh := map[string]*roll{}
	for name, f := range b.Fleets {
		if was := (*old)[name]; was == nil || was.rows != rowsOf(f) {
			fresh[name] = newRoll(f)
		}
	}
	if len(fresh) == 0 && len(*old) == len(b.Fleets) {
		return *old
	}
	next := make(map[string]*roll, len(b.Fleets))
	for name := range b.Fleets {
		next[name] = cmp.Or(fresh[name], (*old)[name])
	}
	p.mu.Lock() // nobody is heard between the old places and the new ones
	defer p.mu.Unlock()
	for name, was := range *old {
		if next[name] != was {
			p.leave(name, was)
		}
	}
	if len(p.absent) > 0 {
		for name, r := range fresh {
			p.arrive(name, r)
		}
	}
	p.rolls.Store(&next)
	return next
}

// leave takes the devices of a roll that was replaced aside.
func (p *presence) leave(fleet string, r *roll) {
	for name, i := range r.places {
		if last := r.last[i].Load(); last > 0 {
			p.absent[device{fleet, name}] = last
		}
	}
}

// arrive gives devices that were heard before their places.
func (p *presence) arrive(fleet string, r *roll) {
	for name, i := range r.places {
		d := device{fleet, name}
		if last, ok := p.absent[d]; ok {
			r.last[i].Store(last)
			delete(p.absent, d)
		}
	}
}

// heard notes devices that were heard, and messages that did not fit their profile, by fleet.
func (p *presence) heard(batch map[device]time.Time, invalid map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rolls := p.rolls.Load()
	if rolls == nil {
		return
	}
	m := memory{*rolls, p.absent}
	for d, t := range batch {
		m.hear(d, seconds(t))
	}
	for fleet, n := range invalid {
		p.invalid[fleet] += n
	}
}

// lastHeard gives when a device was last heard by what heard was told, in Unix seconds; 0 is never. The database knows the minute alone.
func (p *presence) lastHeard(d device) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rolls := p.rolls.Load(); rolls != nil {
		if r := (*rolls)[d.fleet]; r != nil {
			if i, ok := r.places[d.name]; ok {
				return r.last[i].Load()
			}
		}
	}
	return p.absent[d]
}

// news gives what the database does not know of a batch: devices that were not heard in that minute before. A device that sends
// all the time is written once a minute.
func (p *presence) news(batch map[device]time.Time) map[device]time.Time {
	rolls := p.rolls.Load()
	if rolls == nil {
		return batch
	}
	out := make(map[device]time.Time, len(batch))
	for d, t := range batch {
		if r := (*rolls)[d.fleet]; r != nil {
			if i, ok := r.places[d.name]; ok && minute(seconds(t)) <= minute(r.last[i].Load()) {
				continue
			}
		}
		out[d] = t
	}
	return out
}

// minute of a time in Unix seconds.
func minute(at uint32) uint32 { return at / 60 }

// edgePatience is how far behind an edge node may be before nothing is said of its devices: they may have spoken meanwhile.
const edgePatience = 2 * time.Minute

// heardEdge says whether the edge node of a community has told all that it heard until lately.
func (p *presence) heardEdge(community string, now time.Time) bool {
	drained := p.drained.Load()
	return drained != nil && now.Sub((*drained)[community]) < edgePatience
}

// census is who is there at a time.
type census struct {
	fleets      map[string]contract.FleetReport
	communities map[string]contract.PresenceReport
}

// count counts the devices of a bundle at the time now, in the communities where their rows say they are. ok is false while no
// session runs here: then nothing is known and nothing is said.
func (p *presence) count(b *intake.Bundle, now time.Time) (out census, ok bool) {
	rolls := p.update(b)
	if rolls == nil {
		return out, false
	}
	out = census{map[string]contract.FleetReport{}, map[string]contract.PresenceReport{}}
	for name, r := range rolls {
		f := b.Fleets[name]
		since, sum := onlineSince(b.Rules.Profiles[f.Profile], now), contract.PresenceReport{}
		for _, s := range r.communities {
			n := r.count(s, since)
			if f.Placement == contract.PlacementEdge && !p.heardEdge(s.community, now) {
				n = contract.PresenceReport{Unknown: int64(s.to - s.from)}
			}
			sum = plus(sum, n)
			if s.community != "" { // a device in store hangs nowhere
				out.communities[s.community] = plus(out.communities[s.community], n)
			}
		}
		out.fleets[name] = contract.FleetReport{PresenceReport: sum}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, f := range out.fleets {
		f.InvalidMessages = p.invalid[name]
		out.fleets[name] = f
	}
	return out, true
}

// onlineSince gives the time at or after which a device must have been heard to be online.
func onlineSince(profile contract.Profile, now time.Time) uint32 {
	silence := profile.OfflineSeconds()
	if silence == 0 {
		return 0
	}
	return seconds(now.Add(-time.Duration(silence) * time.Second))
}

func plus(a, b contract.PresenceReport) contract.PresenceReport {
	return contract.PresenceReport{Online: a.Online + b.Online, Offline: a.Offline + b.Offline, NeverSeen: a.NeverSeen + b.NeverSeen, Unknown: a.Unknown + b.Unknown}
}

// report adds the counts to a report.
func (p *presence) report(b *intake.Bundle, now time.Time, r *contract.Report) {
	c, ok := p.count(b, now)
	if !ok {
		return
	}
	r.Fleets, r.Communities = c.fleets, c.communities
}

// loadSeen tells presence what the database holds.
func (s *session) loadSeen(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, "SELECT fleet, device, last_seen FROM grid.devices_seen")
	if err != nil {
		return fmt.Errorf("devices seen: %w", err)
	}
	m := recall(s.bundle)
	var d device
	var last time.Time
	if _, err = pgx.ForEachRow(rows, []any{&d.fleet, &d.name, &last}, func() error {
		m.hear(d, endOfMinute(seconds(last)))
		return nil
	}); err != nil {
		return fmt.Errorf("devices seen: %w", err)
	}
	if rows, err = s.conn.Query(ctx, "SELECT fleet, messages FROM grid.invalid_messages"); err != nil {
		return fmt.Errorf("invalid messages: %w", err)
	}
	invalid := map[string]int64{}
	var fleet string
	var n int64
	if _, err = pgx.ForEachRow(rows, []any{&fleet, &n}, func() error {
		invalid[fleet] = n
		return nil
	}); err != nil {
		return fmt.Errorf("invalid messages: %w", err)
	}
	s.w.presence.begin(m, invalid)
	return nil
}

// endOfMinute gives the latest time at which a device may have been heard whose minute alone is known.
func endOfMinute(at uint32) uint32 { return at - at%60 + 59 }

// writeInvalid adds to the counts of messages that did not fit their profile.
func writeInvalid(ctx context.Context, tx pgx.Tx, misfits map[string]int64) error {
	if len(misfits) == 0 {
		return nil
	}
	fleets := slices.Sorted(maps.Keys(misfits))
	counts := make([]int64, len(fleets))
	for i, f := range fleets {
		counts[i] = misfits[f]
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.invalid_messages (fleet, messages) SELECT * FROM unnest($1::text[], $2::bigint[])
		ON CONFLICT (fleet) DO UPDATE SET messages = invalid_messages.messages + excluded.messages`, fleets, counts); err != nil {
		return fmt.Errorf("invalid messages: %w", err)
	}
	return nil
}
