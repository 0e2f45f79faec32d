package grid

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/reading"
)

// hourly is one row of the summary of telemetry: a field of a device within an hour.
type hourly struct {
	fleet, device, field string
	hour                 time.Time
}

// summary is what a batch adds to a row.
type summary struct {
	community, grid        string
	n                      int64
	total, least, greatest float64
}

// summarise adds the numbers of a telemetry message. Devices of a home are left out: an hour is too fine to hide when somebody is there.
func (b *batch) summarise(in reading.Reading, at time.Time) {
	if in.Channel != contract.ChannelTelemetry || in.Row.Household != "" || in.Row.Community == "" {
		return
	}
	for field, value := range in.Payload.Fields {
		v, ok := numeric(value)
		if !ok {
			continue
		}
		if b.hourly == nil {
			b.hourly = map[hourly]summary{}
		}
		key := hourly{in.Fleet, in.Device, field, at.UTC().Truncate(time.Hour)}
		sum, known := b.hourly[key]
		if !known {
			sum.least, sum.greatest = v, v
		}
		b.hourly[key] = summary{in.Row.Community, in.Row.Grid, sum.n + 1, sum.total + v, min(sum.least, v), max(sum.greatest, v)}
	}
}

func numeric(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	case int64:
		return float64(v), true
	}
	return 0, false
}

// writeHourly adds the summary of a batch, in one statement. It stands in the batch's transaction, so a message counts once.
func writeHourly(ctx context.Context, tx pgx.Tx, rows map[hourly]summary) error {
	if len(rows) == 0 {
		return nil
	}
	keys := slices.SortedFunc(maps.Keys(rows), func(a, b hourly) int { // in one order, so that two writers do not wait for each other
		return strings.Compare(a.fleet+"."+a.device+"."+a.field+a.hour.String(), b.fleet+"."+b.device+"."+b.field+b.hour.String())
	})
	var fleets, devices, fields, communities, grids []string
	var hours []time.Time
	var n []int64
	var total, least, greatest []float64
	for _, k := range keys {
		s := rows[k]
		fleets, devices, fields, hours = append(fleets, k.fleet), append(devices, k.device), append(fields, k.field), append(hours, k.hour)
		communities, grids, n = append(communities, s.community), append(grids, s.grid), append(n, s.n)
		total, least, greatest = append(total, s.total), append(least, s.least), append(greatest, s.greatest)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO grid.telemetry_hourly AS h (fleet, device, field, hour, community, grid, n, total, least, greatest)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::bigint[], $8::float8[], $9::float8[], $10::float8[])
		ON CONFLICT (fleet, device, field, hour) DO UPDATE SET community = excluded.community, grid = excluded.grid, n = h.n + excluded.n,
			total = h.total + excluded.total, least = least(h.least, excluded.least), greatest = greatest(h.greatest, excluded.greatest)`,
		fleets, devices, fields, hours, communities, grids, n, total, least, greatest); err != nil {
		return fmt.Errorf("hourly telemetry: %w", err)
	}
	return nil
}
