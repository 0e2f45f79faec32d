package gateway

import (
	"context"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// What a "review" line says was done.
const (
	breakGlassListed   = "BreakGlassListed"
	breakGlassReviewed = "BreakGlassReviewed"
)

// logReview writes who looked at uses of break-glass, or closed one by its number and how.
func (s *server) logReview(ctx context.Context, request, what, verdict string, person contract.Person) error {
	c := callerOf(ctx)
	in := contract.DecisionInput{Contract: contract.ContractVersion, Consumer: c.organization, Now: c.at.Unix(), Person: &person}
	return s.append(ctx, chain.Record{Kind: contract.LogReview, At: s.now().UTC(), Request: request, LogBody: contract.LogBody{Reason: what, Outcome: verdict, Input: &in}})
}
