// Package figure is the form in which every benchmark and the story write what they measured: a value beside its target, as
// JSON in test/bench/out.
package figure

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// Figure is a measured value beside its target.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Target of the value; 0 means that none was promised.
	Target float64 `json:"target"`
	Met    bool    `json:"met"`
}

// AtMost gives a figure of which less is better; target 0 promises nothing.
func AtMost(name string, value float64, unit string, target float64) Figure {
	return Figure{Name: name, Value: round(value), Unit: unit, Target: target, Met: target == 0 || value <= target}
}

// AtLeast gives a figure of which more is better; target 0 promises nothing.
func AtLeast(name string, value float64, unit string, target float64) Figure {
	return Figure{Name: name, Value: round(value), Unit: unit, Target: target, Met: value >= target}
}

// round keeps four digits, which is more than any of these measurements is good for.
func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// Write writes figures to a file, and makes its folder. An empty path writes nothing.
func Write(path string, figures []Figure) error {
	if path == "" {
		return nil
	}
	if figures == nil {
		figures = []Figure{}
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

// Merge writes figures to a file that other benchmarks write to as well: those of the same names are replaced, and the rest stays.
func Merge(path string, figures []Figure) error {
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Write(path, figures)
	}
	var all []Figure
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(f Figure) bool {
		return slices.ContainsFunc(figures, func(g Figure) bool { return g.Name == f.Name })
	})
	return Write(path, append(all, figures...))
}
