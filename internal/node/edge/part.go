package edge

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// part is what has come of an object that is fetched part by part. It stays when the line is cut, and the next try goes on behind it.
type part struct {
	name, digest string
	data         []byte
	// next is where the next part begins, as the hub says.
	next uint64
}

// of gives the part of an object: what is here of another one is dropped, for one is fetched at a time.
func (p *part) of(name string) *part {
	if p.name != name {
		*p = part{name: name}
	}
	return p
}

// add takes an answer and says whether the object is whole. Whole, it has the digest that the first answer named: this finds what went
// wrong on the way, and no more, since a hub that lies would name another. What the object says is proved by its signature and by the
// digest of its content, which the signed lease names; see package intake.
func (p *part) add(m *nats.Msg) (whole bool, err error) {
	size, err := strconv.ParseUint(m.Header.Get(contract.EdgeSizeHeader), 10, 64)
	if m.Header.Get(contract.EdgeSizeHeader) == "" { // a hub of the version before gives all at once
		p.data = m.Data
		return true, nil
	}
	next, err2 := strconv.ParseUint(m.Header.Get(contract.EdgeNextHeader), 10, 64)
	digest := m.Header.Get(contract.EdgeDigestHeader)
	switch have := uint64(len(p.data) + len(m.Data)); {
	case errors.Join(err, err2) != nil:
		return false, fmt.Errorf("size or place of a part: %w", errors.Join(err, err2))
	case size > contract.MaxEdgeObject:
		return false, fmt.Errorf("it has %d bytes; at most %d are taken", size, contract.MaxEdgeObject)
	case p.digest != "" && p.digest != digest:
		return false, errors.New("it was replaced while it was fetched")
	case have > size:
		return false, fmt.Errorf("it came to %d bytes, and has %d", have, size)
	case have < size && (len(m.Data) == 0 || next <= p.next):
		return false, fmt.Errorf("it ended at %d of %d bytes", have, size)
	}
	p.data, p.digest, p.next = append(p.data, m.Data...), digest, next
	if uint64(len(p.data)) < size {
		return false, nil
	}
	if got := contract.Digest(p.data); got != digest {
		return false, fmt.Errorf("what came has the digest %s, and not %s", got, digest)
	}
	return true, nil
}
