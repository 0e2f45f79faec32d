package gateway

import (
	"context"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
)

// charge takes the request from the agreement's quota, and lowers the page to what is left of it. An emergency is written down for its
// review here, after the last reason to refuse and before anything is read. What cannot be logged now takes nothing.
func (s *server) charge(ctx context.Context, r *reading) {
	if err := s.log.Err(); err != nil {
		r.decision = refused(reasonLogUnavailable, r.decision.Agreement)
		return
	}
	records, err := s.takeQuota(ctx, r, use{1, int64(r.limit)})
	if err != nil {
		r.decision = refused(quotaProblem(err).Reasons[0], r.decision.Agreement)
		return
	}
	if r.decision.BreakGlass {
		if err := s.breakGlass(r); err != nil {
			s.slog.Error("break-glass refused", "request", r.id, "err", err)
			s.returnQuota(r, use{1, records})
			r.decision = refused(reasonBreakGlassUnavailable, r.decision.Agreement)
			return
		}
	}
	r.limit = int(records)
}

// decided queues the line of a decision that is charged; where that fails the charge is undone.
func (s *server) decided(ctx context.Context, r *reading) (decisionlog.Ticket, error) {
	t, err := s.log.Enqueue(ctx, r.record(contract.LogDecision))
	if err != nil {
		s.returnQuota(r, use{1, int64(r.limit)})
		return t, s.logged(err)
	}
	return t, nil
}

// released writes the line of a release and looks whether that of its decision, before it, is written too. It does so for a client that is
// gone as well, so that the request has its end.
func (s *server) released(ctx context.Context, decided decisionlog.Ticket, release chain.Record) error {
	if err := s.append(ctx, release); err != nil {
		return err
	}
	return s.logged(decided.Wait(context.WithoutCancel(ctx))) // it does not wait: the release is written behind it
}

// breakGlass writes an emergency down and counts it: metric, log, and with the next report the operator and its event.
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
