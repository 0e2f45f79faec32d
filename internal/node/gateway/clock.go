package gateway

import (
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// clock gives the local time and whether the day is worked.
func clock(p contract.Platform, zone *time.Location, at time.Time) *contract.Clock {
	local := at.In(zone)
	return &contract.Clock{Minute: local.Hour()*60 + local.Minute(), WorkingDay: p.Calendar.Works(local)}
}
