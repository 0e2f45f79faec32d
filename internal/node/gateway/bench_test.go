package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/bench/figure"
	"github.com/dizuo/dizuo/test/pki"
)

// accessOf gives n agreements as the operator's shelf holds them: 20 datasets, two agreements for each pair.
func accessOf(n int) bundle.Parts {
	p := bundle.NewParts()
	p.Modules, p.Platform, p.Kinds = policies.Access(), testDirectory().Platform, map[string]string{"Dataset": "1"}
	for i := range n {
		d, c, name := fmt.Sprintf("dataset-%d", i%20), fmt.Sprintf("organization-%d", i/40), fmt.Sprintf("agreement-%d", i)
		p.Datasets[d] = testDataset("x")
		g := visits()
		g.UID = fmt.Sprintf("6f1c1b52-0000-4000-8000-%012d", i)
		p.Granted.Put(name, name, g.UID, bundle.Agreement{Consumer: c, Grants: map[string]contract.Grant{d: g}})
	}
	return p
}

// TestBenchAccess measures what agreements cost by their number: to publish, to keep, to decide, and to revoke. DIZUO_BENCH_OUT names
// the file of figures; without it nothing is measured.
func TestBenchAccess(t *testing.T) {
	out := os.Getenv("DIZUO_BENCH_OUT")
	if out == "" {
		t.Skip("set DIZUO_BENCH_OUT")
	}
	signer, trust := pki.Sealed(t)
	var figures []figure.Figure
	var first time.Duration
	for _, n := range []int{100, 10_000, 100_000} {
		b := &benched{t: t, n: n, parts: accessOf(n), signer: signer, trust: trust, shards: map[string][]byte{}, r: rand.New(rand.NewPCG(5, 6))}
		name := func(what string) string { return fmt.Sprintf("%s_%d", what, n) }
		build := b.publish()
		heap := b.load()
		times := b.decide((*policy).fresh, b.n)
		p50, p99 := times[len(times)/2], times[len(times)*99/100]
		again := b.decide((*policy).decide, min(b.n, 100))
		if first == 0 {
			first = p50
		}
		figures = append(figures, micro(name("decision_p50"), p50, 0), micro(name("decision_p99"), p99, 100),
			micro(name("decision_remembered_p50"), again[len(again)/2], 0), micro(name("decision_remembered_p99"), again[len(again)*99/100], 0))
		if n == 100 { // a process has more than 100 agreements' worth beside them
			continue
		}
		revokes := b.revoke(min(200, n/100))
		limit := map[bool]float64{true: 1}[n == 10_000]
		figures = append(figures, figure.AtMost(name("growth_p50"), float64(p50)/float64(first), "x", 1.3), figure.AtMost(name("heap_ratio"), heap, "x", 2),
			figure.AtMost(name("bundle_build"), build.Seconds(), "s", 0), figure.AtMost(name("bundle_after_one_change"), b.change.Seconds(), "s", 0),
			figure.AtMost(name("revoke_in_process_p50"), revokes[len(revokes)/2].Seconds(), "s", 0),
			figure.AtMost(name("revoke_in_process_p99"), revokes[len(revokes)*99/100].Seconds(), "s", limit))
	}
	told(t, out, figures)
}

// told prints figures beside their targets and writes them to a file, which other benchmarks share.
func told(t *testing.T, out string, figures []figure.Figure) {
	t.Helper()
	for _, f := range figures {
		beside := "no target"
		if f.Target != 0 {
			beside = fmt.Sprintf("target %g met %t", f.Target, f.Met)
		}
		t.Logf("%-32s %10.4g %-7s %s", f.Name, f.Value, f.Unit, beside)
	}
	if err := figure.Merge(out, figures); err != nil {
		t.Fatal(err)
	}
}

func micro(name string, d time.Duration, target float64) figure.Figure {
	return figure.AtMost(name, float64(d.Nanoseconds())/1000, "us", target)
}

// benched is an operator and a gateway in one process; what goes between them is sealed and verified.
type benched struct {
	t      *testing.T
	n      int
	parts  bundle.Parts
	memo   bundle.Memo
	signer *seal.Signer
	trust  *seal.Trust
	index  contract.Index
	shards map[string][]byte // sealed, by digest
	server *server
	held   map[string]intake.Grants
	r      *rand.Rand
	change time.Duration
}

// publish seals the shards that changed.
func (b *benched) publish() time.Duration {
	began := time.Now()
	prepared, err := b.memo.Prepare(b.parts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.index = bundle.Index(prepared)
	for _, p := range prepared {
		if b.shards[p.Digest] != nil {
			continue
		}
		shard, err := p.Open()
		if err != nil {
			b.t.Fatal(err)
		}
		if b.shards[p.Digest], err = b.signer.Shard(shard); err != nil {
			b.t.Fatal(err)
		}
	}
	return time.Since(began)
}

// load brings the bundle into a gateway, and gives what the gateway keeps as a ratio to the JSON of the grants.
func (b *benched) load() float64 {
	b.server = &server{auditing: &auditing{}, metrics: newMetrics(prometheus.NewRegistry()), slog: slog.New(slog.DiscardHandler), now: time.Now}
	b.held = map[string]intake.Grants{}
	before := heap()
	b.take()
	b.take() // and once more: what the revision before held is gone
	grown, size := heap()-before, 0
	for _, g := range b.held {
		size += len(g.JSON)
	}
	runtime.KeepAlive(b.server)
	return float64(grown) / float64(size)
}

// take verifies what changed as the intake does, and applies it.
func (b *benched) take() {
	next := intake.Bundle{Directory: testDirectory(), Modules: b.parts.Modules, Access: contract.Access{Datasets: b.parts.Datasets}, Grants: map[string]intake.Grants{}}
	for _, ref := range b.index.Shards {
		if contract.ShardGrants != ref.Name[:min(len(ref.Name), len(contract.ShardGrants))] {
			continue
		}
		if held, ok := b.held[ref.Name]; ok && held.Digest == ref.Digest {
			next.Grants[ref.Name] = held
			continue
		}
		shard, err := b.trust.Shard(b.shards[ref.Digest], ref)
		if err != nil {
			b.t.Fatal(err)
		}
		raw, err := json.Marshal(shard.Data["dizuo"].(map[string]any)["grants"])
		if err != nil {
			b.t.Fatal(err)
		}
		next.Grants[ref.Name] = intake.Grants{Digest: ref.Digest, JSON: string(raw)}
	}
	b.held = next.Grants
	next.Lease = contract.Lease{Revision: b.index.Revision(), ExpiresAt: time.Now().Add(time.Hour)}
	if err := b.server.apply(b.t.Context(), &next); err != nil {
		b.t.Fatal(err)
	}
}

// decider is policy.decide, or policy.fresh, which remembers nothing.
type decider func(*policy, context.Context, contract.DecisionInput) (contract.Decision, contract.Grant, error)

// decide gives the times of decisions under some of the agreements, sorted.
func (b *benched) decide(by decider, among int) []time.Duration {
	times := make([]time.Duration, 20_000)
	for i := range times {
		in := manyInput(b.r.IntN(among))
		began := time.Now()
		d, _, err := by(b.server.policy.Load().policy, b.t.Context(), in)
		times[i] = time.Since(began)
		if err != nil || !d.Allow {
			b.t.Fatal(d, err)
		}
	}
	slices.Sort(times)
	return times
}

// revoke drops agreements one by one, each until the gateway denies, and gives the times, sorted.
func (b *benched) revoke(count int) []time.Duration {
	var times []time.Duration
	for i := range count {
		name, in := fmt.Sprintf("agreement-%d", i*97), manyInput(i*97)
		began := time.Now()
		b.parts.Granted.Drop(name, in.Consumer)
		parts := b.parts
		parts.Granted = b.parts.Granted.Snapshot()
		b.parts = parts
		b.change = b.publish()
		b.take()
		d, _, err := b.server.policy.Load().decide(b.t.Context(), in)
		times = append(times, time.Since(began))
		if err != nil || d.Allow {
			b.t.Fatalf("%s is revoked and the answer is %+v, %v", name, d, err)
		}
	}
	slices.Sort(times)
	return times
}
