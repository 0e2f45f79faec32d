package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// record begins a record of the decision log.
func (r *reading) record(kind string) contract.LogRecord {
	out := contract.LogRecord{
		Kind: kind, Time: time.Now().UTC(), Request: r.id, Dataset: r.in.Dataset, Consumer: r.in.Consumer,
		Purpose: r.in.Purpose, Agreement: r.decision.Agreement,
		UID: r.grant.UID, Generation: r.grant.Generation, Fields: leaving(r.decision.Fields),
		Revision: r.policy.bundle.Lease.Revision, Lease: r.policy.bundle.Lease.Sequence,
		Allow: r.decision.Allow, Reasons: r.decision.Reasons,
	}
	if len(out.Fields) == 0 {
		out.Fields = r.in.Fields // of a refusal: what was asked for
	}
	if r.in.Case != nil {
		out.CaseNumber = r.in.Case.Number
	}
	if r.in.Person != nil {
		out.Person, out.Role = r.in.Person.Subject, strings.Join(r.in.Person.Roles, " ")
	}
	return out
}

// append writes to the decision log, or gives the problem to answer. A caller that hangs up does not undo a decision, so
// its record is written all the same.
func (s *server) append(ctx context.Context, r contract.LogRecord) error {
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
