//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dizuo/dizuo/test/e2e/story"
)

// TestPodsKilled kills broker, grid service and database in turn while a detector publishes at QoS 1 and others raise
// alarms. What was acknowledged must be stored and worked off exactly once, and every acknowledged alarm must be a case.
func TestPodsKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	world, err := story.NewKill(ctx, local(t), story.Printer{Out: os.Stdout, Columns: 160})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := world.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	for i, pod := range []string{"dizuo-broker-0", "dizuo-grid", "dizuo-postgres-0"} {
		if err := world.Kill(ctx, i, pod); err != nil {
			t.Fatalf("kill %s: %v", pod, err)
		}
	}
	settled(t, ctx, world)
}

// TestProfilesChange takes the platform from Standalone with a database of its own to HighAvailability with an external one, and
// back, under the same load and by the same account: moving loses nothing either.
func TestProfilesChange(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Minute)
	defer cancel()
	world, err := story.NewKill(ctx, local(t), story.Printer{Out: os.Stdout, Columns: 160})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		if err := errors.Join(world.Close(ctx), world.DropExternalDatabase(ctx)); err != nil {
			t.Error(err)
		}
	}()
	ca, err := world.ExternalDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	there, err := json.Marshal(map[string]any{"spec": map[string]any{"profile": "HighAvailability", "database": map[string]any{"engine": "External",
		"external": map[string]any{"dsnSecretRef": map[string]string{"name": "city-database", "key": "dsn"}, "caBundle": ca}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Change(ctx, 0, "HighAvailability with an external database", string(there)); err != nil {
		t.Fatal(err)
	}
	if err := world.Kill(ctx, 1, "dizuo-broker-1"); err != nil {
		t.Fatalf("kill a broker of three: %v", err)
	}
	if err := world.Change(ctx, 2, "Standalone again, with a database of its own", `{"spec":{"profile":"Standalone","database":{"engine":"Managed"}}}`); err != nil {
		t.Fatal(err)
	}
	settled(t, ctx, world)
}

// settled compares what was acknowledged with what was stored and worked off.
func settled(t *testing.T, ctx context.Context, world *story.Kill) { //nolint:revive // a test helper begins with t
	t.Helper()
	result, err := world.Settle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("      sent %d, acknowledged %d, stored %d, worked off %d; alarms acknowledged %d, cases %d\n",
		result.Sent, len(result.Acked), len(result.Stored), result.Worked, result.Alarms, result.Cases)
	if len(result.Acked) < 500 {
		t.Errorf("only %d messages were acknowledged: the test proves little", len(result.Acked))
	}
	lost := 0
	for id := range result.Acked {
		if !result.Stored[id] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d acknowledged messages are not in the ingest log", lost)
	}
	if result.Worked != len(result.Stored) {
		t.Errorf("the case counts %d signals, the ingest log holds %d: want each message worked off exactly once", result.Worked, len(result.Stored))
	}
	if result.Cases != result.Alarms {
		t.Errorf("%d alarms were acknowledged, %d cases came of them", result.Alarms, result.Cases)
	}
}
