package gateway

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
)

// facts numbers the request and collects what the policy is asked about. The reason and the error say which fact cannot be had; the
// others are then there for the log.
func (s *server) facts(ctx context.Context, r *reading, in *recordsInput) (reason string, err error) {
	dir := r.policy.bundle.Directory
	r.id = requestID()
	r.in = contract.DecisionInput{
		Contract: contract.ContractVersion, Dataset: in.Name, Consumer: r.organization, Agreement: in.Agreement, Fields: contract.NamesOf(in.Fields),
		Purpose: in.Purpose, Aggregate: r.in.Aggregate, Filter: r.in.Filter, Now: r.at.Unix(),
		Clearance: dir.Organizations[r.organization].Clearance, Clock: clock(dir.Platform, r.policy.zone, r.at),
	}
	if r.in.BreakGlass, err = breakGlassOf(in.BreakGlass); err != nil {
		return reasonBreakGlassInvalid, err
	}
	if number := strings.TrimSpace(in.CaseNumber); number != "" {
		r.in.Case = &contract.CaseFact{Number: number}
		fact, err := s.caseFact(ctx, dir, number)
		if err != nil {
			return reasonCaseUnavailable, err
		}
		r.in.Case = fact
	}
	if in.Person == "" {
		return "", nil
	}
	if r.in.Person, err = s.person(ctx, r.caller, in.Person); err != nil {
		r.in.Person = nil
		return reasonPersonInvalid, err
	}
	return "", nil
}

// requestID gives a number by which the log joins the records of a request.
func requestID() string {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New()
	}
	return id.String()
}
