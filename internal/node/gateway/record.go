package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// record begins a line of the decision log. A decision holds all that it rests on; the lines that follow it are joined to it by the
// number of the request.
func (r *reading) record(kind string) chain.Record {
	out := chain.Record{Kind: kind, At: time.Now().UTC(), Request: r.id, UID: r.grant.UID}
	out.LatencyMicros = out.At.Sub(r.at).Microseconds()
	switch kind {
	case contract.LogDecision:
		in, decision := r.in, r.decision
		out.Input, out.Decision = &in, &decision
		out.Generation, out.Digest, out.Policy = r.grant.Generation, r.grant.Digest, r.policy.ref(r.in.Consumer)
	case contract.LogRelease:
		out.Masks = masked(r.decision.Fields)
	case contract.LogEnd:
		out.Outcome = outcomeSent
	}
	return out
}

// Outcomes of an "end" line beside the reasons of a problem.
const (
	outcomeSent       = "Sent"
	outcomeClientGone = "ClientGone"
)

// ref names the parts of the bundle by which is decided for a consumer.
func (p *policy) ref(consumer string) *contract.PolicyRef {
	return &contract.PolicyRef{
		Revision: p.bundle.Lease.Revision, Sequence: p.bundle.Lease.Sequence,
		Access: p.bundle.Digest(contract.ShardAccess), Grants: p.bundle.Digest(contract.GrantsShard(consumer)),
		Directory: p.bundle.Digest(contract.ShardDirectory),
	}
}

// append writes to the decision log, or gives the problem to answer. A caller that hangs up does not undo a decision, so
// its record is written all the same.
func (s *server) append(ctx context.Context, r chain.Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTimeout)
	defer cancel()
	return s.logged(s.log.Append(ctx, r))
}

func (s *server) logged(err error) error {
	if err == nil {
		return nil
	}
	s.metrics.refused.WithLabelValues(reasonLogUnavailable).Inc()
	return problem(http.StatusServiceUnavailable, reasonLogUnavailable, "the decision cannot be logged, so nothing is given out")
}
