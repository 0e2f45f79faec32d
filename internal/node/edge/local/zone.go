package local

import (
	"time"
	_ "time/tzdata" // an edge node runs on whatever machine

	"github.com/dizuo/dizuo/internal/node/intake"
)

// zone gives the platform's, in which days and hours count; China Standard Time, as at the hub, where the bundle names none.
func zone(b *intake.Bundle) *time.Location {
	if z, err := time.LoadLocation(b.Rules.TimeZone); err == nil && b.Rules.TimeZone != "" {
		return z
	}
	return time.FixedZone("CST", 8*3600)
}
