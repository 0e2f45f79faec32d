package gateway

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
)

// facts numbers the request and collects what the policy is asked about. The error is one of the person's token; the facts that
// do not hang on it are then there for the log.
func (s *server) facts(r *reading, in *recordsInput) error {
	r.id = requestID()
	r.in = contract.DecisionInput{
		Contract: contract.ContractVersion, Dataset: in.Name, Consumer: r.organization, Agreement: in.Agreement, Fields: fieldsOf(in.Fields),
		Purpose: in.Purpose, Aggregate: r.in.Aggregate, Filter: r.in.Filter, Now: r.at.Unix(),
	}
	if number := strings.TrimSpace(in.CaseNumber); number != "" {
		r.in.Case = &contract.CaseFact{Number: number}
	}
	if in.Person == "" {
		return nil
	}
	who, err := s.person(r, in.Person)
	if err != nil {
		return err
	}
	r.in.Person = &contract.Person{Subject: who.Subject, Roles: []string{who.Role}}
	return nil
}

// requestID gives a number by which the log joins the records of a request.
func requestID() string {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New()
	}
	return id.String()
}

// fieldsOf drops repeats and empty names, and keeps the order.
func fieldsOf(names []string) []string {
	var out []string
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
