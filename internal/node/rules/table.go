package rules

import (
	"encoding/binary"
	"hash/maphash"
)

// table holds the keys of one rule. A key that waits for nothing but time, with no alarm, is a dense state of fixed size; only the others
// have the long form. It keeps names in one piece of memory, and when keys are due in one slice that a tick reads through: a message starts
// and stops no timer.
type table struct {
	seed  maphash.Seed
	index map[uint64]uint32
	names []byte
	at    []uint32 // where in names the slot's is
	dense []dense
	due   []int64
	long  map[uint32]*state
	free  []uint32
	// least is not after any due.
	least int64
}

// dense is a key whose rule has one term, with no alarm and at most one observation that is not folded.
type dense struct {
	t, live, since, acc int64
	logT                int64
	logH                uint64
	f                   uint32 // flags of the observation; fired and rounds of the base above
	cause               uint32
}

const (
	denseFired  = 1 << 24
	denseRounds = 25
	denseMost   = 127
)

func newTable() *table {
	return &table{seed: maphash.MakeSeed(), index: map[uint64]uint32{}, long: map[uint32]*state{}, least: forever}
}

func (t *table) name(slot uint32) string {
	b := t.names[t.at[slot]:]
	n, w := binary.Uvarint(b)
	return string(b[w : w+int(n)])
}

func (t *table) is(slot uint32, id string) bool {
	b := t.names[t.at[slot]:]
	n, w := binary.Uvarint(b)
	return string(b[w:w+int(n)]) == id
}

// find gives a key's slot. Two names of one hash take neighbouring places.
func (t *table) find(id string) (slot uint32, hash uint64, ok bool) {
	hash = maphash.String(t.seed, id)
	if len(t.at) == len(t.free) { // most rules hold no key: their index would be one more place of memory to go to, for each message
		return 0, hash, false
	}
	for ; ; hash++ {
		if slot, ok = t.index[hash]; !ok || t.is(slot, id) {
			return slot, hash, ok
		}
	}
}

// put makes a slot for a name.
func (t *table) put(id string, hash uint64) uint32 {
	at := uint32(len(t.names))
	t.names = append(binary.AppendUvarint(t.names, uint64(len(id))), id...)
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		t.at[slot], t.dense[slot], t.due[slot] = at, dense{}, 0
		t.index[hash] = slot
		return slot
	}
	slot := uint32(len(t.at))
	t.at, t.dense, t.due = append(t.at, at), append(t.dense, dense{}), append(t.due, 0)
	t.index[hash] = slot
	return slot
}

// drop forgets a key.
func (t *table) drop(id string) {
	slot, hash, ok := t.find(id)
	if !ok {
		return
	}
	delete(t.index, hash)
	delete(t.long, slot)
	t.due[slot] = 0
	if t.free = append(t.free, slot); len(t.free) > 1024 && len(t.free) > len(t.index) {
		t.compact()
	}
}

// compact makes the table anew without its holes.
func (t *table) compact() {
	old := *t
	*t = *newTable()
	for _, slot := range old.index {
		id := old.name(slot)
		_, hash, _ := t.find(id)
		to := t.put(id, hash)
		t.dense[to], t.due[to] = old.dense[slot], old.due[slot]
		if s := old.long[slot]; s != nil {
			t.long[to] = s
		}
	}
	t.least = old.least
}

// each visits every key.
func (t *table) each(visit func(slot uint32, id string)) {
	for _, slot := range t.index {
		visit(slot, t.name(slot))
	}
}

// wake sets when a key is looked at; 0 is never.
func (t *table) wake(slot uint32, due int64) {
	t.due[slot] = due
	if due != 0 {
		t.least = min(t.least, due)
	}
}

// load gives the long form of a key, in scratch where it is dense.
func (t *table) load(slot uint32, r *rule, scratch *state, causes *interned) *state {
	if s := t.long[slot]; s != nil {
		return s
	}
	d := t.dense[slot]
	*scratch = state{Log: scratch.Log[:0]}
	if d.t != 0 {
		h := termHead{Since: d.since, Acc: d.acc, Rounds: int64(d.f >> denseRounds), Fired: d.f&denseFired != 0}
		if w0, _, in := r.base.schedule.at(d.t); in && r.base.schedule != nil {
			h.Window = w0
		}
		scratch.Base = head{T: d.t, Live: d.live, Last: causes.name(d.cause), Terms: []termHead{h}}
	}
	if d.logT != 0 {
		scratch.Log = append(scratch.Log, observation{T: d.logT, H: d.logH, F: d.f & (denseFired - 1), Cause: causes.name(d.cause)})
	}
	scratch.Cause = causes.name(d.cause)
	return scratch
}

// keep stores a key, densely if it can.
func (t *table) keep(slot uint32, r *rule, s *state, causes *interned) {
	if d, ok := s.pack(r, causes); ok {
		t.dense[slot] = d
		delete(t.long, slot)
		return
	}
	if t.long[slot] == s {
		return
	}
	own := *s
	own.Log = append([]observation(nil), s.Log...)
	t.long[slot] = &own
}

// pack gives the dense form of a state, if it has one.
func (s *state) pack(r *rule, causes *interned) (dense, bool) {
	if !r.packs || len(s.Log) > 1 || len(s.Told)+len(s.Base.Open)+len(s.Verdicts)+len(s.Days) > 0 || s.Clock != 0 || len(s.Base.Terms) > 1 {
		return dense{}, false
	}
	d := dense{t: s.Base.T, live: s.Base.Live, cause: causes.id(s.Cause)}
	if len(s.Base.Terms) == 1 {
		h := s.Base.Terms[0]
		if len(h.Hits) > 0 || h.Rounds > denseMost || h.First != nil || s.Base.Last != s.Cause || h.Window != 0 && !r.base.schedule.opens(h.Window, s.Base.T) {
			return dense{}, false
		}
		d.since, d.acc, d.f = h.Since, h.Acc, uint32(h.Rounds)<<denseRounds
		if h.Fired {
			d.f |= denseFired
		}
	} else if s.Base.T != 0 {
		return dense{}, false
	}
	if len(s.Log) == 1 {
		o := s.Log[0]
		if o.F >= denseFired || o.K != 0 || o.R != 0 || o.V != nil || o.Cause != s.Cause {
			return dense{}, false
		}
		d.logT, d.logH, d.f = o.T, o.H, d.f|o.F
	}
	return d, true
}

// opens says whether t lies in the window that opens at w0.
func (s *schedule) opens(w0, t int64) bool {
	is, _, in := s.at(t)
	return in && is == w0
}

// interned gives names numbers; 0 is the empty one.
type interned struct {
	ids   map[string]uint32
	names []string
}

func (n *interned) id(name string) uint32 {
	if name == "" {
		return 0
	}
	if id, ok := n.ids[name]; ok {
		return id
	}
	if n.ids == nil {
		n.ids, n.names = map[string]uint32{}, []string{""}
	}
	n.ids[name] = uint32(len(n.names))
	n.names = append(n.names, name)
	return n.ids[name]
}

func (n *interned) name(id uint32) string {
	if id == 0 {
		return ""
	}
	return n.names[id]
}
