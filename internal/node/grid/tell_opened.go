package grid

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// hearsOpened says whether an organisation is told that a case was opened: one that names the event, that acts where the case is, and that
// would see the case without being called to it: a property company that of a compound of its own, and not that of a grid with one. Who names no events is not told: nobody called it. It is pure.
func hearsOpened(d contract.Directory, o contract.Organization, c *Case) bool {
	if !slices.Contains(o.Events, eventNames[EventOpened]) || d.Reach(o, contract.Place{Community: c.Community, Compound: c.Compound}) == 0 {
		return false
	}
	sensitive := c.DataClass == "C2" || c.DataClass == "C3"
	return grassroots(o) || !sensitive && (len(o.Duties) > 0 || o.Type == "DataOffice")
}

// tellOpened tells the organisations that ask for it that a case was opened.
func tellOpened(ctx context.Context, tx pgx.Tx, d contract.Directory, c *Case, now time.Time) error {
	for _, name := range slices.Sorted(maps.Keys(d.Organizations)) {
		if !hearsOpened(d, d.Organizations[name], c) {
			continue
		}
		if err := enqueue(ctx, tx, d, c, name, EventOpened, now); err != nil {
			return err
		}
	}
	return nil
}
