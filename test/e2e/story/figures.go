package story

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
)

// Figure is a measured value beside its target, as all of the project's benchmarks write them.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Target is the highest value that is good; 0 means that none was promised.
	Target float64 `json:"target"`
	Met    bool    `json:"met"`
}

// measured records a figure of which less is better, and shows it.
func (t *teller) measured(name string, value float64, unit string, target float64) {
	f := Figure{Name: name, Value: math.Round(value*100) / 100, Unit: unit, Target: target, Met: target == 0 || value <= target}
	t.figures = append(t.figures, f)
	t.print.Figure(f)
}

// writeFigures writes figures as JSON, if a file is named.
func writeFigures(path string, figures []Figure) error {
	if path == "" {
		return nil
	}
	raw, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
