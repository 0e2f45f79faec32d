package gateway

import (
	"context"

	"github.com/dizuo/dizuo/internal/contract"
)

// charge takes the request from the agreement's quota, and lowers the page to what is left of it. An emergency is written down for its
// review here, after the last reason to refuse and before anything is read.
func (s *server) charge(r *reading) {
	records, ok := s.quota.take(r.grant.UID, r.grant, r.policy.dayStart(r.at), r.at, int64(r.limit))
	if !ok {
		r.decision = contract.Decision{Reasons: []string{reasonQuotaExceeded}, Agreement: r.decision.Agreement}
		return
	}
	if r.decision.BreakGlass {
		if err := s.breakGlass(r); err != nil {
			s.slog.Error("break-glass refused", "request", r.id, "err", err)
			s.quota.giveBack(r.grant.UID, r.at, records)
			r.decision = contract.Decision{Reasons: []string{reasonBreakGlassUnavailable}, Agreement: r.decision.Agreement}
			return
		}
	}
	r.limit = int(records)
}

// breakGlass writes an emergency down and alerts.
func (s *server) breakGlass(r *reading) error {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	if err := s.emergencies.add(ctx, r); err != nil {
		return err
	}
	s.metrics.breakGlass.Inc()
	s.slog.Warn("break-glass: review it", "request", r.id, "agreement", r.decision.Agreement, "organization", r.organization, "role", r.decision.Role,
		"reviewer", r.grant.BreakGlass.Reviewer, "within", r.grant.BreakGlass.ReviewSeconds)
	return nil
}
