package grid

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/reading"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// Telemetry is summed by the hour, over batches; what is of a home, of another channel or no number is not.
func TestTelemetryByTheHour(t *testing.T) {
	user, owner := database(t)
	pool := poolOf(t, user)
	hour := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	message := func(device, household string, channel contract.Channel, value any) reading.Reading {
		return reading.Reading{Fleet: "f-hourly", Device: device, Row: contract.Device{Community: "jinghu", Grid: "g1", Household: household}, Channel: channel,
			Payload: rules.Payload{Fields: map[string]any{"level": value}}}
	}
	for _, values := range [][]float64{{3, 1}, {7}} {
		var b batch
		for i, v := range values {
			b.summarise(message("d1", "", contract.ChannelTelemetry, v), hour.Add(time.Duration(i)*29*time.Minute))
		}
		b.summarise(message("d1", "", contract.ChannelTelemetry, int64(5)), hour.Add(time.Hour))
		b.summarise(message("d2", "h-12345678", contract.ChannelTelemetry, 9.0), hour)
		b.summarise(message("d3", "", contract.ChannelSignal, 9.0), hour)
		b.summarise(message("d4", "", contract.ChannelTelemetry, true), hour)
		if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return writeHourly(t.Context(), tx, b.hourly) }); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := poolOf(t, owner).Query(t.Context(), "SELECT format('%s %s %s %s %s %s %s %s %s', device, community, grid, field, hour AT TIME ZONE 'UTC', n, total, least, greatest) FROM platform.telemetry WHERE fleet = 'f-hourly' ORDER BY hour")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"d1 jinghu g1 level 2026-03-01 08:00:00 3 11 1 7", "d1 jinghu g1 level 2026-03-01 09:00:00 2 10 5 5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The registry is written down as the bundle has it, and a change changes what it changes.
func TestRegistryIsWrittenDown(t *testing.T) {
	user, owner := database(t)
	r := &registry{pool: poolOf(t, user), log: quiet()}
	look := poolOf(t, owner)
	devices := func() (out []string) {
		rows, err := look.Query(t.Context(), "SELECT format('%s.%s %s %s %s', fleet, device, profile, community, grid) FROM platform.devices WHERE fleet LIKE 'reg-%' ORDER BY 1")
		if err == nil {
			out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	fleet := func(devices map[string]contract.Device) contract.Fleet {
		return contract.Fleet{Profile: "smoke", Devices: devices}
	}
	a := fleet(map[string]contract.Device{"d1": {Community: "jinghu", Grid: "g1"}, "d2": {Community: "jinghu"}, "stored": {}, "home": {Community: "jinghu", Household: "h-12345678"}})
	for i, step := range []struct {
		fleets map[string]contract.Fleet
		want   []string
	}{
		{map[string]contract.Fleet{"reg-a": a, "reg-b": fleet(map[string]contract.Device{"x": {Community: "east"}})}, []string{"reg-a.d1 smoke jinghu g1", "reg-a.d2 smoke jinghu ", "reg-b.x smoke east "}},
		{map[string]contract.Fleet{"reg-a": fleet(map[string]contract.Device{"d1": {Community: "east", Grid: "g9"}})}, []string{"reg-a.d1 smoke east g9"}},
	} {
		if done, err := r.write(t.Context(), &intake.Bundle{Fleets: step.fleets}); !done || err != nil {
			t.Fatalf("step %d: done %t, %v", i, done, err)
		}
		if diff := cmp.Diff(step.want, devices()); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	held, err := look.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Rollback(t.Context()) }()
	if _, err := held.Exec(t.Context(), fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", registryLock)); err != nil {
		t.Fatal(err)
	}
	if done, err := r.write(t.Context(), &intake.Bundle{Fleets: map[string]contract.Fleet{}}); done || err != nil {
		t.Errorf("while another replica writes: done %t, %v", done, err)
	}
}

// Parameters of the gateway's statements do not reach the server's log.
func TestGatewayKeepsParametersOutOfTheLog(t *testing.T) {
	_, owner := database(t)
	gateway := owner
	gateway.User = contract.DatabaseUserGateway
	var length string
	if err := poolOf(t, gateway).QueryRow(t.Context(), "SHOW log_parameter_max_length").Scan(&length); err != nil || length != "0" {
		t.Errorf("log_parameter_max_length is %q, %v", length, err)
	}
}
