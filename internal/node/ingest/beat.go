package ingest

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// beat tells auth, while ready, that what EMQX acknowledges is held.
func beat(ctx context.Context, nc *nats.Conn, ready func() error) error {
	tick := time.NewTicker(contract.IngestBeat)
	defer tick.Stop()
	for {
		if ready() == nil {
			_ = nc.Publish(contract.SubjectIngest, nil) // a lost one is missed for a second
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
