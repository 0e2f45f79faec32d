package gateway

import (
	"github.com/dizuo/dizuo/internal/contract"
)

// charge takes the request from the agreement's quota, and lowers the page to what is left of it.
func (s *server) charge(r *reading) {
	records, ok := s.quota.take(r.grant.UID, r.grant, r.policy.dayStart(r.at), r.at, int64(r.limit))
	if !ok {
		r.decision = contract.Decision{Reasons: []string{reasonQuotaExceeded}, Agreement: r.decision.Agreement}
		return
	}
	r.limit = int(records)
}
