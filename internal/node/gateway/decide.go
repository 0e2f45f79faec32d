package gateway

import (
	"context"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// decide asks the policy about the facts of a request. A request whose facts cannot be had is refused without asking.
func (s *server) decide(ctx context.Context, r *reading, in *recordsInput) {
	if reason, err := s.facts(ctx, r, in); err != nil {
		s.slog.Info("fact of a request refused", "reason", reason, "organization", r.organization, "request", r.id, "err", err)
		r.decision = refused(reason, in.Agreement)
		return
	}
	s.ask(ctx, r)
	if !r.decision.BreakGlass {
		return
	}
	// Only now it is known under which agreement the glass is broken, and so whose reviews to look for.
	overdue, err := s.emergencies.overdue(ctx, r.grant.UID, r.at)
	if err != nil {
		s.slog.Error("break-glass refused", "request", r.id, "err", err)
		r.decision = refused(reasonBreakGlassUnavailable, r.decision.Agreement)
		return
	}
	if overdue {
		r.in.BreakGlass.Overdue = true
		s.ask(ctx, r)
	}
}

// ask asks the policy.
func (s *server) ask(ctx context.Context, r *reading) {
	var err error
	began := time.Now()
	r.decision, r.grant, err = r.policy.decide(ctx, r.in)
	s.metrics.decide.Observe(time.Since(began).Seconds())
	if err != nil {
		s.slog.Error("no decision", "request", r.id, "err", err)
		r.decision = refused(reasonPolicyError, "")
	}
	if r.decision.Allow && r.in.Aggregate == nil && !filterGranted(r.decision, r.in.Filter) {
		r.decision = refused(reasonFilterNotGranted, r.decision.Agreement)
	}
}

// refused is a refusal beside the policy, and says so in the log.
func refused(reason, agreement string) contract.Decision {
	return contract.Decision{Reasons: []string{reason}, Agreement: agreement, By: contract.DecidedByGateway}
}
