package shelf

import (
	"crypto/sha256"
	"fmt"

	"github.com/dizuo/dizuo/internal/bundle"
)

// tally follows the entries of a board, so that a change among 100,000 agreements costs what one among ten does.
type tally struct {
	// waiting are the entries that are not in force yet.
	waiting map[Key]*entry
	// kept are the keys whose last contribution must be taken from the bundle before.
	kept map[Key]bool
	// fragments are the entries that give other documents than agreements, granted the agreements of the rest.
	fragments map[Key]*entry
	granted   bundle.Granted
	// kinds have for each kind the XOR of the digests of its entries: the same in whatever order they came.
	kinds map[string][sha256.Size]byte
}

func newTally() tally {
	return tally{waiting: map[Key]*entry{}, kept: map[Key]bool{}, fragments: map[Key]*entry{}, kinds: map[string][sha256.Size]byte{}}
}

// set puts an entry in the place of the one before.
func (b *board) set(key Key, e *entry) {
	b.unset(key)
	b.entries[key], b.waiting[key] = e, e
	b.turn(key, e)
	switch {
	case e.keep:
		b.kept[key] = true
	case e.fragment == nil:
	case key.Kind == kindAgreement:
		b.grant(key, e)
	default:
		b.fragments[key] = e
	}
}

func (b *board) unset(key Key) {
	e := b.entries[key]
	if e == nil {
		return
	}
	b.turn(key, e)
	for _, consumer := range e.consumers {
		b.granted.Drop(key.Namespace+"/"+key.Name, consumer)
	}
	delete(b.entries, key)
	delete(b.waiting, key)
	delete(b.kept, key)
	delete(b.fragments, key)
}

// kindAgreement contributes agreements and nothing else.
const kindAgreement = "DataSharingAgreement"

// grant puts the agreements of an entry among those that are granted. Its fragment is not asked again.
func (b *board) grant(key Key, e *entry) {
	parts := bundle.Parts{Agreements: map[string]bundle.Agreement{}}
	e.fragment(&parts)
	e.fragment = nil
	for name, a := range parts.Agreements {
		b.granted.Put(key.Namespace+"/"+key.Name, name, e.digest, a)
		e.consumers = append(e.consumers, a.Consumer)
	}
}

// turn adds an entry to the version of its kind, or takes it out: XOR does both. changed tells apart what was kept from what it became.
func (b *board) turn(key Key, e *entry) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d\x00%t", key.Namespace, key.Name, e.digest, e.changed, e.keep))
	version := b.kinds[key.Kind]
	for i := range sum {
		version[i] ^= sum[i]
	}
	b.kinds[key.Kind] = version
}
