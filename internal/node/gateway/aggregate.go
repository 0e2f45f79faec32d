package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/dizuo/dizuo/internal/contract"
)

// Reasons of aggregates beside those of the policy.
const (
	reasonTooManyGroups = "TooManyGroups"
)

var errTooManyGroups = errors.New("the table of this agreement has too many groups: agree on fewer dimensions, or on coarser masks")

type aggregateInput struct {
	Name       string   `path:"name" maxLength:"253" doc:"Dataset."`
	By         []string `query:"by" maxItems:"6" doc:"Dimensions to group by, separated by commas. Without it: one figure for all."`
	Sum        []string `query:"sum" maxItems:"16" doc:"Measures to sum, separated by commas. Records are always counted."`
	Where      []string `query:"where,explode" maxItems:"8" doc:"Condition on a dimension, dimension:In:value,value. May be repeated; all must hold."`
	Purpose    string   `query:"purpose" maxLength:"63" doc:"Purpose of reading, one of the agreement's. It is logged as claimed."`
	Agreement  string   `query:"agreement" maxLength:"253" doc:"Agreement to read under. Needed if several fit."`
	CaseNumber string   `query:"caseNumber" maxLength:"64" doc:"Case for which is read, where the agreement asks for one."`
	Person     string   `header:"Dizuo-Person" maxLength:"16384" doc:"Token (JWT) of the person who reads, signed by the organisation. Needed for personal data."`
}

// Aggregate is the answer of GET /v1/datasets/{name}/aggregate. Every figure is made of groups that are large enough to be told; what is
// smaller is in none, also in no total.
type Aggregate struct {
	Groups []AggregateGroup `json:"groups"`
	// SmallCell is the number of persons that a group over all dimensions needs to be told.
	SmallCell int `json:"smallCell"`
	// AsOf is when the table was read from which this day's answers come.
	AsOf time.Time `json:"asOf"`
	// Agreement that was used.
	Agreement string `json:"agreement"`
	// Masked gives the method of every masked field.
	Masked map[string]string `json:"masked"`
	// Revision of the policy bundle.
	Revision string `json:"revision"`
	// Request is the number under which the decision log holds the request.
	Request string `json:"request"`
	// Obligations of the agreement.
	Obligations Obligations `json:"obligations,omitzero"`
}

func registerAggregate(api huma.API, s *server) {
	schema := huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Aggregate]())
	problems := huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Problem]())
	huma.Register(api, huma.Operation{
		OperationID: "read-aggregate", Method: http.MethodGet, Path: "/v1/datasets/{name}/aggregate",
		Summary: "Counts and sums of a dataset, as far as one agreement gives them",
		Responses: map[string]*huma.Response{
			"200":     {Description: "Groups.", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}},
			"default": {Description: "A refusal, with reasons.", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problems}}},
		},
	}, s.readAggregate)
}

// readAggregate decides, logs, finds or reads the table of the day, logs again and answers, in the order of readRecords. A group counts
// as a record for the quota.
func (s *server) readAggregate(ctx context.Context, in *aggregateInput) (*huma.StreamResponse, error) {
	r := &reading{caller: callerOf(ctx), limit: maxGroups}
	where, err := contract.AggregateConditions(in.Where)
	if err != nil {
		return nil, problem(http.StatusBadRequest, reasonInvalidFilter, err.Error())
	}
	r.in.Aggregate = &contract.AggregateRequest{By: contract.NamesOf(in.By), Sum: contract.NamesOf(in.Sum)}
	r.in.Filter = where
	s.decide(ctx, r, &recordsInput{
		Name: in.Name, Fields: r.in.Aggregate.Fields(where), Purpose: in.Purpose, Agreement: in.Agreement, CaseNumber: in.CaseNumber, Person: in.Person,
	})
	if r.decision.Allow {
		s.charge(ctx, r)
	}
	s.metrics.decided(r.grant.UID != "", r.decision)
	if !r.decision.Allow {
		return nil, s.refuseDecided(ctx, r)
	}
	decided, err := s.decided(ctx, r)
	if err != nil {
		return nil, err
	}
	answer, err := s.aggregate(ctx, r)
	s.returnQuota(r, use{records: int64(r.limit - len(answer.Groups))})
	if err != nil {
		return nil, s.failed(ctx, r, err)
	}
	release := r.record(contract.LogRelease)
	release.Rows = int64(len(answer.Groups))
	if err := s.released(ctx, decided, release); err != nil {
		return nil, err
	}
	s.metrics.records.Add(float64(len(answer.Groups)))
	return &huma.StreamResponse{Body: func(hc huma.Context) { s.sendAggregate(hc, r, answer) }}, nil
}

// aggregate answers from the table of the agreement.
func (s *server) aggregate(ctx context.Context, r *reading) (Aggregate, error) {
	sel, err := s.tableSelection(ctx, r)
	if err != nil {
		return Aggregate{}, err
	}
	rule, err := ruleOf(sel, r.grant, r.policy.dayStart(r.at))
	if err != nil {
		return Aggregate{}, err
	}
	key := tableKey{uid: r.grant.UID, dataset: r.in.Dataset}
	if sel.dataset.ConsentScope != "" || r.grant.ConsentScope != "" {
		key.purpose = r.in.Purpose // a consent covers purposes
	}
	t, err := s.tables.get(ctx, key, rule, r.at, func(ctx context.Context) (*table, error) {
		leave, err := s.crowds.read(ctx, r.organization, sel.dataset.Source.DSN)
		if err != nil {
			return nil, err
		}
		defer leave()
		if sel.foreign {
			return s.tabulateForeign(ctx, r, sel)
		}
		return s.db.tabulate(ctx, sel, s.now())
	})
	if err != nil {
		return Aggregate{}, err
	}
	out := Aggregate{
		Groups:    t.answer(r.in.Aggregate.By, r.in.Aggregate.Sum, r.in.Filter),
		SmallCell: sel.smallest, AsOf: t.at.UTC().Truncate(time.Second), Agreement: r.decision.Agreement, Masked: masked(r.decision.Fields),
		Revision: r.policy.bundle.Lease.Revision, Request: r.id, Obligations: obligations(r.grant),
	}
	if len(out.Groups) > r.limit {
		return Aggregate{}, fmt.Errorf("%w: the answer has more groups than are left of the agreement's quota for today", errQuota)
	}
	return out, nil
}

// tableSelection selects what the agreement's table is made of: all its dimensions and measures, whatever is asked.
func (s *server) tableSelection(ctx context.Context, r *reading) (tableSelection, error) {
	sel, err := s.selection(ctx, r)
	if err != nil {
		return tableSelection{}, err
	}
	if sel.rows.Roster {
		return tableSelection{}, errors.New("aggregates: each person would count other rows")
	}
	sel.filter = nil // a question picks among the cells; the table is the same for all of them
	a := r.grant.Aggregates
	out := tableSelection{selection: sel, dimensions: slices.Sorted(slices.Values(a.Dimensions)), measures: slices.Sorted(slices.Values(a.Measures))}
	out.limit = maxGroups
	out.smallest = max(a.SmallCell, roundTo) // a count below roundTo would be rounded to nothing
	out.fields = map[string]contract.Mask{}
	for _, name := range slices.Concat(out.dimensions, out.measures) {
		mask, ok := r.grant.Fields[name]
		if !ok || mask.Method == maskDrop {
			return tableSelection{}, fmt.Errorf("aggregates: the agreement does not give field %q", name)
		}
		out.fields[name] = mask
	}
	return out, nil
}

// sendAggregate writes the answer; the end record says whether it was sent whole.
func (s *server) sendAggregate(hc huma.Context, r *reading, answer Aggregate) {
	end := r.record(contract.LogEnd)
	end.Rows = int64(len(answer.Groups))
	s.sendJSON(hc, r, encoded(answer), end)
}

// aggregateWithin holds a request that the policy allows against the grant: no policy text can give more than was agreed.
func aggregateWithin(in contract.DecisionInput, g contract.Grant) error {
	a := g.Aggregates
	switch {
	case in.Aggregate == nil && (a == nil || !a.Only):
		return nil
	case in.Aggregate == nil:
		return errors.New("access policy gives records, and the agreement gives nothing but aggregates")
	case a == nil:
		return errors.New("access policy gives aggregates, which the agreement does not")
	case g.Rows.Roster:
		return errors.New("access policy gives aggregates of rows that hang on the person who reads: two tables would differ by what one may see")
	}
	for _, name := range in.Aggregate.Sum {
		if !slices.Contains(a.Measures, name) {
			return fmt.Errorf("access policy sums field %q, which the agreement does not", name)
		}
	}
	by := slices.Clone(in.Aggregate.By)
	for _, f := range in.Filter {
		by = append(by, f.Field)
		if f.Operator != "In" {
			return fmt.Errorf("access policy gives aggregates where field %q is %s, which this gateway does not know", f.Field, f.Operator)
		}
	}
	for _, name := range by {
		if !slices.Contains(a.Dimensions, name) {
			return fmt.Errorf("access policy groups by field %q, which the agreement does not", name)
		}
	}
	return nil
}

var errQuota = errors.New("quota")

// aggregateProblem tells a refusal that comes after the decision; nil for what is not of aggregates.
func aggregateProblem(err error) *Problem {
	switch {
	case errors.Is(err, errTooManyGroups):
		return problem(http.StatusUnprocessableEntity, reasonTooManyGroups, err.Error())
	case errors.Is(err, errSubjectsTooMany):
		return denied([]string{reasonSubjectsTooMany}, "")
	case errors.Is(err, errQuota):
		return problem(http.StatusTooManyRequests, reasonQuotaExceeded, err.Error())
	}
	return nil
}
