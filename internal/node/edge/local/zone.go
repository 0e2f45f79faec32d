package local

import (
	"time"

	"github.com/dizuo/dizuo/internal/node/intake"
)

// zone gives the platform's, in which days and hours count; UTC where the bundle names none that this machine knows.
func zone(b *intake.Bundle) *time.Location {
	z, err := time.LoadLocation(b.Directory.Platform.TimeZone)
	if err != nil {
		return time.UTC
	}
	return z
}
