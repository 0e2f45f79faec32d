package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/dizuo/dizuo/internal/contract"
)

// maxGroups bounds one table, maxCells all that are kept: about 30 MB.
const (
	maxGroups = 5000
	maxCells  = 100_000
)

// tableCache keeps the tables of the day, one for each agreement and dataset, so that a question asked twice has one answer. Where there are
// too many, the one that was asked longest ago goes, and is read again when it is asked.
type tableCache struct {
	reading singleflight.Group

	mu    sync.Mutex
	kept  map[tableKey]*keptTable
	cells int
}

type tableKey struct{ uid, dataset, purpose string }

type keptTable struct {
	*table
	// rule is the digest of all that the table follows from beside the data: another agreement text, other communities, another day.
	rule  string
	asked time.Time
}

func newTableCache() *tableCache { return &tableCache{kept: map[tableKey]*keptTable{}} }

// get gives the table of a rule, and reads it once where it is not there.
func (t *tableCache) get(ctx context.Context, key tableKey, rule string, now time.Time, read func(context.Context) (*table, error)) (*table, error) {
	if kept := t.find(key, rule, now); kept != nil {
		return kept, nil
	}
	// Whoever hangs up must not take the table from the others who wait for it; the statement's own timeout ends it.
	made, err, _ := t.reading.Do(key.uid+"\x00"+key.dataset+"\x00"+key.purpose+"\x00"+rule, func() (any, error) {
		if kept := t.find(key, rule, now); kept != nil {
			return kept, nil // it was made between the look and the flight
		}
		made, err := read(context.WithoutCancel(ctx))
		if err == nil {
			t.keep(key, &keptTable{table: made, rule: rule, asked: now})
		}
		return made, err
	})
	if err != nil {
		return nil, err
	}
	return made.(*table), nil
}

func (t *tableCache) find(key tableKey, rule string, now time.Time) *table {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept[key]
	if kept == nil || kept.rule != rule {
		return nil
	}
	kept.asked = now
	return kept.table
}

func (t *tableCache) keep(key tableKey, made *keptTable) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(key)
	for len(t.kept) > 0 && t.cells+size(made.table) > maxCells {
		oldest := key
		for k, kept := range t.kept {
			if was := t.kept[oldest]; was == nil || kept.asked.Before(was.asked) {
				oldest = k
			}
		}
		t.drop(oldest)
	}
	t.kept[key] = made
	t.cells += size(made.table)
}

// drop needs the lock.
func (t *tableCache) drop(key tableKey) {
	if kept := t.kept[key]; kept != nil {
		t.cells -= size(kept.table)
		delete(t.kept, key)
	}
}

// size counts an empty table too.
func size(t *table) int { return len(t.cells) + 1 }

// ruleOf gives the digest of what a table follows from beside the data.
func ruleOf(s tableSelection, g contract.Grant, day time.Time) (string, error) {
	raw, err := json.Marshal([]any{
		s.dataset, s.fields, s.rows, s.codes, s.places.names, s.places.codes, s.places.of, s.zone, s.dimensions, s.measures, s.smallest, g.Generation, g.Digest, g.ConsentScope, day.Format(time.DateOnly),
	})
	return contract.Digest(raw), err
}
