package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// tally keeps the counts of violations on the broker's volume, so that a restart does not wipe the slate of a fleet. What
// happened since the last report may be lost with the process.
type tally struct{ path string }

type tallied struct {
	Count int64     `json:"count"`
	Last  time.Time `json:"last"`
}

func tallyIn(stateDir string) tally { return tally{filepath.Join(stateDir, "violations.json")} }

// load gives the counts by fleet; none where nothing was kept.
func (t tally) load() (map[string]*fleetViolations, error) {
	out := map[string]*fleetViolations{}
	raw, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("violations: %w", err)
	}
	var kept map[string]tallied
	if err := json.Unmarshal(raw, &kept); err != nil {
		return out, fmt.Errorf("violations: %s: %w", t.path, err)
	}
	for fleet, v := range kept {
		out[fleet] = &fleetViolations{count: v.Count, last: v.Last}
	}
	return out, nil
}

// save replaces the kept counts.
func (t tally) save(fleets map[string]*fleetViolations) error {
	kept := map[string]tallied{}
	for fleet, v := range fleets {
		kept[fleet] = tallied{v.count, v.last}
	}
	raw, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("violations: %w", err)
	}
	if err := os.WriteFile(t.path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("violations: %w", err)
	}
	return os.Rename(t.path+".new", t.path)
}
