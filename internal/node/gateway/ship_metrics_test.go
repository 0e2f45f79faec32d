package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestShippingIsMeasured: what waits, and since when, is told also while the store is away.
func TestShippingIsMeasured(t *testing.T) {
	t.Parallel()
	config, _ := store(t)
	l, s := logged(t, config, t.TempDir())
	s.max = 1 << 20
	at := time.Unix(1_780_000_000, 0)
	s.now = func() time.Time { return at }
	measured := func(want string) {
		t.Helper()
		if err := testutil.CollectAndCompare(s, strings.NewReader(want), "dizuo_gateway_log_shipped_timestamp_seconds", "dizuo_gateway_log_unshipped_limit_bytes"); err != nil {
			t.Error(err)
		}
	}
	head := `# HELP dizuo_gateway_log_shipped_timestamp_seconds When all that there was of the decision log had last been shipped to the platform's store, in Unix time; 0: not since the start.
# TYPE dizuo_gateway_log_shipped_timestamp_seconds gauge
`
	limit := `# HELP dizuo_gateway_log_unshipped_limit_bytes Bytes of the decision log that may wait for the platform's store before nothing is given out; 0 bounds nothing.
# TYPE dizuo_gateway_log_unshipped_limit_bytes gauge
dizuo_gateway_log_unshipped_limit_bytes 1.048576e+06
`
	measured(head + "dizuo_gateway_log_shipped_timestamp_seconds 0\n" + limit)
	write(t, l, 3, 1)
	if err := s.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	measured(head + "dizuo_gateway_log_shipped_timestamp_seconds 1.78e+09\n" + limit)
	if n := s.unshipped.Load(); n != 0 {
		t.Errorf("%d bytes wait after all was shipped", n)
	}
	write(t, l, 3, 1)
	at = at.Add(time.Hour)
	away, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.step(away); err == nil {
		t.Fatal("it shipped to a store that is away")
	}
	measured(head + "dizuo_gateway_log_shipped_timestamp_seconds 1.78e+09\n" + limit)
	if s.unshipped.Load() == 0 {
		t.Error("nothing waits though the store is away")
	}
}
