package grid

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// fleetProfiles gives the profile of each fleet of the bundle in hand. A fleet whose profile is not there is left out.
func fleetProfiles(in *intake.Intake) func() map[string]contract.Profile {
	return func() map[string]contract.Profile {
		b := in.Current()
		if b == nil {
			return nil
		}
		out := map[string]contract.Profile{}
		for name, f := range b.Fleets {
			if p, ok := b.Rules.Profiles[f.Profile]; ok {
				out[name] = p
			}
		}
		return out
	}
}

// noteSignals writes down what the profiles of fleets say of their signals, where it changed.
const noteSignals = `INSERT INTO grid.signals_kept AS k (fleet, data_class, seconds) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
	ON CONFLICT (fleet) DO UPDATE SET data_class = excluded.data_class, seconds = excluded.seconds
	WHERE (k.data_class, k.seconds) IS DISTINCT FROM (excluded.data_class, excluded.seconds)`

// fleetsOfSignals gives each fleet that has telemetry, with what was said of it last, by one step in the index a fleet.
const fleetsOfSignals = `WITH RECURSIVE f AS (
		SELECT min(fleet) AS fleet FROM grid.telemetry_hourly
		UNION ALL SELECT (SELECT min(h.fleet) FROM grid.telemetry_hourly h WHERE h.fleet > f.fleet) FROM f WHERE f.fleet IS NOT NULL
	) SELECT f.fleet, coalesce(k.data_class, ''), coalesce(k.seconds, 0) FROM f LEFT JOIN grid.signals_kept k USING (fleet) WHERE f.fleet IS NOT NULL`

// forgetSignals deletes the oldest hours of fleets $1 that began at or before the times $2, at most $3.
const forgetSignals = `DELETE FROM grid.telemetry_hourly WHERE ctid = ANY (ARRAY(SELECT h.ctid FROM unnest($1::text[], $2::timestamptz[]) AS k (fleet, before)
	CROSS JOIN LATERAL (SELECT t.ctid FROM grid.telemetry_hourly t WHERE t.fleet = k.fleet AND t.hour <= k.before ORDER BY t.hour LIMIT $3) h LIMIT $3))`

// forgetTelemetry deletes one batch of telemetry by the hour, each fleet's by its profile or its data class, and gives how many rows went.
func forgetTelemetry(ctx context.Context, tx pgx.Tx, r contract.Retention, profiles map[string]contract.Profile, now time.Time) (int64, error) {
	if r.SignalSeconds <= 0 {
		return 0, nil
	}
	var classes []string
	var seconds []int64
	names := slices.Sorted(maps.Keys(profiles))
	for _, name := range names {
		classes, seconds = append(classes, profiles[name].DataClass), append(seconds, profiles[name].RetentionSeconds)
	}
	if _, err := tx.Exec(ctx, noteSignals, names, classes, seconds); err != nil {
		return 0, err
	}
	rows, err := tx.Query(ctx, fleetsOfSignals)
	if err != nil {
		return 0, err
	}
	var fleets []string
	var before []time.Time
	var fleet, class string
	var own int64
	if _, err := pgx.ForEachRow(rows, []any{&fleet, &class, &own}, func() error {
		fleets, before = append(fleets, fleet), append(before, now.Add(-time.Duration(r.SignalsOf(own, class))*time.Second))
		return nil
	}); err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, forgetSignals, fleets, before, forgetAtOnce)
	return tag.RowsAffected(), err
}
