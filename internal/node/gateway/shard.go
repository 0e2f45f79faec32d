package gateway

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/node/intake"
)

// grantShard finds the grants of one shard in its JSON, which stays as it came: nothing is decoded but the one that is asked for. It
// never changes, and revisions share the shards that they have in common.
type grantShard struct {
	digest string
	json   string
	pairs  map[pair]span
	// entries are sorted by agreement within the span of a pair.
	entries []grantEntry
}

type pair struct{ dataset, consumer string }

// span is a range of entries.
type span struct{ from, to uint32 }

// grantEntry is where a grant lies in the JSON.
type grantEntry struct {
	agreement string
	from, to  uint32
}

// newGrantShard reads the places of all grants: {dataset: {consumer: {agreement: grant}}}.
func newGrantShard(g intake.Grants) (*grantShard, error) {
	if len(g.JSON) > math.MaxUint32 {
		return nil, errors.New("is larger than 4 GiB")
	}
	s := &grantShard{digest: g.Digest, json: g.JSON, pairs: map[pair]span{}}
	d := offsets{Decoder: json.NewDecoder(strings.NewReader(g.JSON)), names: map[string]string{}}
	err := d.object(func(dataset string) error {
		return d.object(func(consumer string) error {
			from := len(s.entries)
			err := d.object(func(agreement string) error {
				entry, err := d.grant(agreement)
				s.entries = append(s.entries, entry)
				return err
			})
			of := s.entries[from:]
			slices.SortFunc(of, func(a, b grantEntry) int { return cmp.Compare(a.agreement, b.agreement) })
			s.pairs[pair{dataset, consumer}] = span{uint32(from), uint32(len(s.entries))}
			return err
		})
	})
	s.entries = slices.Clip(s.entries)
	return s, err
}

// offsets reads objects by their keys and notes where their values lie.
type offsets struct {
	*json.Decoder
	// names holds each name once: a dataset and an agreement over several of them come often.
	names map[string]string
}

// object calls each for every key; each must read the value.
func (d offsets) object(each func(key string) error) error {
	if err := d.delim('{'); err != nil {
		return err
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key := t.(string) // Token gives nothing else there
		if known, ok := d.names[key]; ok {
			key = known
		} else {
			d.names[key] = key
		}
		if err := each(key); err != nil {
			return err
		}
	}
	return d.delim('}')
}

func (d offsets) delim(want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("at %d: %v, want %s", d.InputOffset(), t, want)
	}
	return err
}

// grant passes over a grant.
func (d offsets) grant(agreement string) (grantEntry, error) {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return grantEntry{}, fmt.Errorf("agreement %s: %w", agreement, err)
	}
	to := d.InputOffset()
	return grantEntry{agreement, uint32(to) - uint32(len(raw)), uint32(to)}, nil
}

// between gives the entries of one dataset and one consumer, sorted by agreement.
func (s *grantShard) between(dataset, consumer string) []grantEntry {
	p := s.pairs[pair{dataset, consumer}]
	return s.entries[p.from:p.to]
}

// text gives the JSON of a grant.
func (s *grantShard) text(e grantEntry) string { return s.json[e.from:e.to] }
