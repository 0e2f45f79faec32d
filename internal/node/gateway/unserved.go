package gateway

import (
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
)

// unserved names the limits of a grant and the parts of its source that this gateway does not enforce. Compile refuses them too; this
// is for a bundle that another version made. Whoever builds one takes its line out.
func unserved(d contract.Dataset, g contract.Grant) []string {
	limits := map[string]bool{
		"consentScope": g.ConsentScope != "" && g.ConsentScope != d.ConsentScope,
		"rows.grids":   len(g.Rows.Grids) > 0, "rows.compounds": len(g.Rows.Compounds) > 0, "rows.roster": g.Rows.Roster,
		"source.type": d.Source.Type != "" && d.Source.Type != "Table", "source.dsn": d.Source.DSN != "",
		// A version before this one wrote the division's column here.
		"source.communityColumn": d.Source.CommunityColumn != "",
	}
	return slices.DeleteFunc(sortedKeys(limits), func(name string) bool { return !limits[name] })
}
