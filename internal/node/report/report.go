// Package report writes what a node has to tell the control plane to the report bucket of its platform.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// Source fills its part of a report.
type Source func(r *contract.Report)

// Applied tells which lease a role enforces, and since when its revision.
type Applied func() (sequence int64, revision string, at time.Time)

// Run writes a report at start, whenever the role enforces a newer lease, and after every interval, until ctx ends; then it
// takes the report back, so that nobody waits for an instance that is gone. A report that could not be written is written
// with the next: the bucket drops what is old.
func Run(ctx context.Context, js jetstream.JetStream, role contract.Role, instance string, in *intake.Intake, applied Applied, every time.Duration, src ...Source) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	sent := int64(-1)
	var failed bool
	defer withdraw(ctx, js, role, instance)
	for {
		r := build(role, instance, in, applied, src)
		switch err := put(ctx, js, r); {
		case err == nil:
			sent, failed = r.Sequence, false
		case !failed && ctx.Err() == nil:
			slog.Default().Warn("report", "err", err)
			failed = true
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
				waiting = false
			case <-look.C:
				sequence, _, _ := applied()
				waiting = sequence == sent || failed
			}
		}
	}
}

func build(role contract.Role, instance string, in *intake.Intake, applied Applied, src []Source) contract.Report {
	r := contract.Report{Role: role, Instance: instance, Version: Version(), Contract: contract.ContractVersion, At: time.Now().UTC()}
	r.Sequence, r.Revision, r.EffectiveAt = applied()
	r.Trust = in.Trust()
	if err := in.Problem(); err != nil {
		r.Problem = err.Error()
	}
	for _, fill := range src {
		fill(&r)
	}
	return r
}

func put(ctx context.Context, js jetstream.JetStream, r contract.Report) error {
	kv, err := js.KeyValue(ctx, contract.ReportBucket)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", contract.ReportBucket, err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = kv.Put(ctx, contract.ReportKey(r.Role, r.Instance), raw)
	return err
}

func withdraw(ctx context.Context, js jetstream.JetStream, role contract.Role, instance string) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if kv, err := js.KeyValue(last, contract.ReportBucket); err == nil {
		_ = kv.Delete(last, contract.ReportKey(role, instance))
	}
}

// Version gives the version of this binary.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
