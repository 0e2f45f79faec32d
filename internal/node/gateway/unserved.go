package gateway

import (
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
)

// unserved names the limits of a grant, and of its dataset's source, that this gateway does not enforce. Compile refuses them too; this
// is for a bundle that another version made. Whoever builds one takes its line out.
func unserved(_ contract.Dataset, g contract.Grant) []string {
	limits := map[string]bool{}
	return slices.DeleteFunc(sortedKeys(limits), func(name string) bool { return !limits[name] })
}
