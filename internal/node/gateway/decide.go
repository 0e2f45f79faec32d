package gateway

import (
	"context"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// decide asks the policy about the facts of a request. A request whose facts cannot be had is refused without asking.
func (s *server) decide(ctx context.Context, r *reading, in *recordsInput) {
	if err := s.facts(r, in); err != nil {
		s.slog.Info("person's token refused", "organization", r.organization, "request", r.id, "err", err)
		r.decision = contract.Decision{Reasons: []string{reasonPersonInvalid}, Agreement: in.Agreement}
		return
	}
	var err error
	began := time.Now()
	r.decision, r.grant, err = r.policy.decide(ctx, r.in)
	s.metrics.decide.Observe(time.Since(began).Seconds())
	if err != nil {
		s.slog.Error("no decision", "request", r.id, "err", err)
		r.decision = contract.Decision{Reasons: []string{reasonPolicyError}}
	}
	if r.decision.Allow && !filterGranted(r.decision, r.in.Filter) {
		r.decision = contract.Decision{Reasons: []string{reasonFilterNotGranted}, Agreement: r.decision.Agreement}
	}
}
