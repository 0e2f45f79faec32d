//go:build e2e

package e2e

import (
	"context"
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
