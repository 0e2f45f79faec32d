package grid

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// registryLook is how often it is looked for a bundle whose devices are not written down yet.
const registryLook = 2 * time.Second

// registry writes down where the bundle has each device, so that a dataset can be read of it. Devices in store and devices of a home are
// left out.
type registry struct {
	pool *pgxpool.Pool
	in   *intake.Intake
	log  *slog.Logger

	// written are the devices of each fleet as they were written: the intake keeps a fleet that did not change.
	written map[string]uintptr
	seen    *intake.Bundle
}

// run looks until ctx ends.
func (r *registry) run(ctx context.Context) error {
	tick := time.NewTicker(registryLook)
	defer tick.Stop()
	for {
		if b := r.in.Current(); b != nil && b != r.seen {
			done, err := r.write(ctx, b)
			if err != nil && ctx.Err() == nil {
				r.log.Warn("devices are not written down", "err", err)
			}
			if done {
				r.seen = b
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// write brings the table to what a bundle says, a transaction a fleet; done is false while another replica does it, or after an error.
func (r *registry) write(ctx context.Context, b *intake.Bundle) (done bool, err error) {
	if r.written == nil {
		r.written = map[string]uintptr{}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Fleets)) {
		fleet := b.Fleets[name]
		version := reflect.ValueOf(fleet.Devices).Pointer()
		if known, ok := r.written[name]; ok && known == version {
			continue
		}
		if done, err := r.alone(ctx, func(tx pgx.Tx) error { return writeFleet(ctx, tx, name, fleet) }); !done || err != nil {
			return false, err
		}
		r.written[name] = version
	}
	return r.alone(ctx, func(tx pgx.Tx) error {
		names := slices.Sorted(maps.Keys(b.Fleets))
		if _, err := tx.Exec(ctx, "DELETE FROM grid.devices WHERE NOT fleet = ANY($1::text[])", names); err != nil {
			return fmt.Errorf("devices of fleets that are gone: %w", err)
		}
		maps.DeleteFunc(r.written, func(name string, _ uintptr) bool { _, ok := b.Fleets[name]; return !ok })
		return nil
	})
}

// alone runs work in a transaction unless another replica is at it.
func (r *registry) alone(ctx context.Context, work func(pgx.Tx) error) (done bool, err error) {
	err = pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", registryLock).Scan(&done); err != nil || !done {
			return err
		}
		return work(tx)
	})
	return done && err == nil, err
}

// writeFleet writes the devices of a fleet that differ, and removes those that are gone.
func writeFleet(ctx context.Context, tx pgx.Tx, name string, fleet contract.Fleet) error {
	var devices, communities, grids, compounds []string
	for _, device := range slices.Sorted(maps.Keys(fleet.Devices)) {
		if d := fleet.Devices[device]; d.Community != "" && d.Household == "" {
			devices, communities = append(devices, device), append(communities, d.Community)
			grids, compounds = append(grids, d.Grid), append(compounds, d.Compound)
		}
	}
	const rows = "unnest($2::text[], $3::text[], $4::text[], $5::text[]) x (device, community, grid, compound)"
	if _, err := tx.Exec(ctx, `INSERT INTO grid.devices AS d (fleet, device, profile, community, grid, compound) SELECT $1, x.device, $6, x.community, x.grid, x.compound FROM `+rows+`
		ON CONFLICT (fleet, device) DO UPDATE SET profile = excluded.profile, community = excluded.community, grid = excluded.grid, compound = excluded.compound
		WHERE (d.profile, d.community, d.grid, d.compound) IS DISTINCT FROM (excluded.profile, excluded.community, excluded.grid, excluded.compound)`,
		name, devices, communities, grids, compounds, fleet.Profile); err != nil {
		return fmt.Errorf("devices of fleet %s: %w", name, err)
	}
	if _, err := tx.Exec(ctx, "DELETE FROM grid.devices d WHERE d.fleet = $1 AND NOT EXISTS (SELECT FROM unnest($2::text[]) x (device) WHERE x.device = d.device)", name, devices); err != nil {
		return fmt.Errorf("devices of fleet %s: %w", name, err)
	}
	return nil
}
