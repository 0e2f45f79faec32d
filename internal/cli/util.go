package cli

import (
	"cmp"
	"maps"
	"slices"
)

// either gives a, or b where a is empty.
func either(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
