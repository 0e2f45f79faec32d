package decisionlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// parse1 reads a line of format 1, which is a contract.LogRecord under one hash. Nobody writes them any more.
func parse1(line []byte) (Line, error) {
	var r contract.LogRecord
	if err := strict(line, &r); err != nil {
		return Line{}, fmt.Errorf("not a line of a decision log: %w", err)
	}
	if again, err := json.Marshal(r); err != nil || !bytes.Equal(again, line) {
		return Line{}, fmt.Errorf("line %d is not in the form in which it was written", r.Sequence)
	}
	bare := r
	bare.Hash = ""
	if err := known(r.Sequence, r.Algorithm, r.Hash, bare); err != nil {
		return Line{}, err
	}
	return Line{LogLine: contract.LogLine{
		V: 1, Sequence: r.Sequence, At: r.Time, Instance: r.Instance, Kind: r.Kind, Request: r.Request, UID: r.UID,
		Algorithm: r.Algorithm, Previous: r.Previous, Hash: r.Hash,
	}, Said: said1(r), Header: bytes.Clone(line)}, nil
}

// said1 gives what a record of format 1 says in the words of format 2.
func said1(r contract.LogRecord) *contract.LogBody {
	out := &contract.LogBody{
		Input: &contract.DecisionInput{
			Dataset: r.Dataset, Consumer: r.Consumer, Agreement: r.Agreement, Fields: r.Fields, Purpose: r.Purpose, Now: r.Time.Unix(),
		},
		Decision:   &contract.Decision{Allow: r.Allow, Reasons: r.Reasons, Agreement: r.Agreement},
		Generation: r.Generation, Policy: &contract.PolicyRef{Revision: r.Revision, Sequence: r.Lease},
		Rows: r.Rows, Subjects: r.Subjects,
	}
	if r.Person != "" {
		out.Input.Person = &contract.Person{Subject: r.Person, Roles: strings.Fields(r.Role)}
	}
	if r.CaseNumber != "" {
		out.Input.Case = &contract.CaseFact{Number: r.CaseNumber}
	}
	if r.Kind == contract.LogEnd && len(r.Reasons) > 0 {
		out.Outcome = r.Reasons[0]
	}
	return out
}
