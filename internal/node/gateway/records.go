package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// maxPage is the largest page: what one release record of the decision log covers.
const maxPage = 1000

// logTimeout bounds the wait for the decision log.
const logTimeout = 10 * time.Second

type recordsInput struct {
	Name       string   `path:"name" maxLength:"253" doc:"Dataset."`
	Fields     []string `query:"fields" maxItems:"256" doc:"Fields, separated by commas. Without it: all that the agreement gives."`
	Purpose    string   `query:"purpose" maxLength:"63" doc:"Purpose of reading, one of the agreement's. It is logged as claimed."`
	Agreement  string   `query:"agreement" maxLength:"253" doc:"Agreement to read under. Needed if several fit."`
	CaseNumber string   `query:"caseNumber" maxLength:"64" doc:"Case for which is read, where the agreement asks for one."`
	Limit      int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Records in a page."`
	Cursor     string   `query:"cursor" maxLength:"8192" doc:"The field next of the page before."`
	Person     string   `header:"Dizuo-Person" maxLength:"16384" doc:"Token (JWT) of the person who reads, signed by the organisation. Needed for personal data."`
}

// Records is the answer of GET /v1/datasets/{name}/records.
type Records struct {
	Records []json.RawMessage `json:"records"`
	// Agreement that was used.
	Agreement string `json:"agreement"`
	// Masked gives the method of every masked field; a field under Drop is in no record.
	Masked map[string]string `json:"masked"`
	// Revision of the policy bundle.
	Revision string `json:"revision"`
	// Request is the number under which the decision log holds the request.
	Request string `json:"request"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

func recordsResponses(api huma.API) map[string]*huma.Response {
	schema := huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Records]())
	problems := huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Problem]())
	return map[string]*huma.Response{
		"200":     {Description: "A page of records.", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}},
		"default": {Description: "A refusal, with reasons.", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problems}}},
	}
}

// reading is one request on its way through the phases of readRecords.
type reading struct {
	caller
	id       string
	in       contract.DecisionInput
	decision contract.Decision
	grant    contract.Grant
	limit    int
}

// readRecords decides, logs, reads, logs again, answers, and logs the end.
//
// Nothing leaves before its records are on disk. The decision record is queued before the query runs and is synced, at the
// latest, with the release record; so a request waits for one sync and not for two.
func (s *server) readRecords(ctx context.Context, in *recordsInput) (*huma.StreamResponse, error) {
	r := &reading{caller: callerOf(ctx), limit: cmp.Or(in.Limit, 100)}
	s.decide(ctx, r, in)
	if r.decision.Allow {
		s.charge(r)
	}
	s.metrics.decided(r.grant.UID != "", r.decision)
	if !r.decision.Allow {
		return nil, s.refuseDecided(ctx, r)
	}
	decided, err := s.log.Enqueue(ctx, r.record("decision"))
	if err != nil {
		return nil, s.logged(err)
	}
	answer, read, err := s.fetch(ctx, r, in.Cursor)
	s.quota.giveBack(r.grant.UID, r.at, int64(r.limit-len(read.records)))
	if err != nil {
		return nil, s.failed(ctx, r, err)
	}
	release := r.record("release")
	release.Rows, release.Subjects = int64(len(read.records)), read.subjects
	if err := s.append(ctx, release); err != nil {
		return nil, err
	}
	if err := decided.Wait(ctx); err != nil {
		return nil, s.logged(err)
	}
	s.metrics.records.Add(float64(len(read.records)))
	return &huma.StreamResponse{Body: func(hc huma.Context) { s.send(hc, r, answer) }}, nil
}

// decide asks the policy, after the person's token.
func (s *server) decide(ctx context.Context, r *reading, in *recordsInput) {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New()
	}
	r.id = id.String()
	r.in = contract.DecisionInput{
		Dataset: in.Name, Consumer: r.organization, Agreement: in.Agreement, Fields: fieldsOf(in.Fields),
		Purpose: in.Purpose, CaseNumber: strings.TrimSpace(in.CaseNumber), Now: r.at.Unix(),
	}
	if in.Person != "" {
		who, err := s.person(r, in.Person)
		if err != nil {
			s.slog.Info("person's token refused", "organization", r.organization, "request", r.id, "err", err)
			r.decision = contract.Decision{Reasons: []string{reasonPersonInvalid}, Agreement: in.Agreement}
			return
		}
		r.in.Person = &contract.Person{Subject: who.Subject, Role: who.Role}
	}
	began := time.Now()
	r.decision, r.grant, err = r.policy.decide(ctx, r.in)
	s.metrics.decide.Observe(time.Since(began).Seconds())
	if err != nil {
		s.slog.Error("no decision", "request", r.id, "err", err)
		r.decision = contract.Decision{Reasons: []string{reasonPolicyError}}
	}
}

// person reads the token of a person, who must belong to the organisation of the certificate.
func (s *server) person(r *reading, token string) (person.Identity, error) {
	roots, err := s.roots.get(r.at)
	if err != nil {
		return person.Identity{}, err
	}
	dir := r.policy.bundle.Directory
	audience := contract.PersonAudience(dir.Platform.Namespace, dir.Platform.Name, contract.RoleGateway)
	who, err := person.Verify(token, dir, roots, audience, r.at)
	if err != nil {
		return person.Identity{}, err
	}
	if who.Organization != r.organization {
		return person.Identity{}, errors.New("the token is of another organisation than the certificate")
	}
	return who, nil
}

// charge takes the request from the agreement's quota, and lowers the page to what is left of it.
func (s *server) charge(r *reading) {
	records, ok := s.quota.take(r.grant.UID, r.grant, r.policy.dayStart(r.at), r.at, int64(r.limit))
	if !ok {
		r.decision = contract.Decision{Reasons: []string{reasonQuotaExceeded}, Agreement: r.decision.Agreement}
		return
	}
	r.limit = int(records)
}

// fetch reads a page under the decision.
func (s *server) fetch(ctx context.Context, r *reading, cursor string) (Records, page, error) {
	bound := []string{r.in.Dataset, r.in.Consumer, r.grant.UID}
	after, err := s.keys.open(cursor, bound...)
	if err != nil {
		return Records{}, page{}, err
	}
	d := r.policy.bundle.Access.Datasets[r.in.Dataset]
	info, err := s.db.table(ctx, d.Source, r.at)
	if err != nil {
		return Records{}, page{}, err
	}
	sel := selection{
		dataset: d, table: info, fields: r.decision.Fields, rows: *r.decision.Rows, codes: r.policy.codesOf(*r.decision.Rows),
		zone: r.policy.zone.String(), maskKey: s.keys.mask(r.grant.UID), subjectKey: s.keys.subject, limit: r.limit, after: after,
	}
	st, err := build(sel)
	if err != nil {
		return Records{}, page{}, err
	}
	read, err := s.db.read(ctx, sel, st)
	if err != nil {
		return Records{}, page{}, err
	}
	answer := Records{
		Records: read.records, Agreement: r.decision.Agreement, Masked: masked(r.decision.Fields),
		Revision: r.policy.bundle.Lease.Revision, Request: r.id,
	}
	if read.next != nil {
		answer.Next, err = s.keys.seal(*read.next, bound...)
	}
	return answer, read, err
}

// send writes the answer. The end record says that it was sent whole, or how it failed.
func (s *server) send(hc huma.Context, r *reading, answer Records) {
	end := r.record("end")
	end.Rows = int64(len(answer.Records))
	hc.SetHeader("Content-Type", "application/json")
	hc.SetHeader("Cache-Control", "no-store")
	encoder := json.NewEncoder(hc.BodyWriter())
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		end.Reasons = []string{"ClientGone"}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hc.Context()), logTimeout)
	defer cancel()
	if _, err := s.log.Enqueue(ctx, end); err != nil {
		s.slog.Error("end record", "request", r.id, "err", err)
	}
}

// refuseDecided logs a refusal and gives the problem to answer.
func (s *server) refuseDecided(ctx context.Context, r *reading) error {
	if err := s.append(ctx, r.record("decision")); err != nil {
		return err
	}
	p := denied(r.decision.Reasons, r.id)
	if p.Status == http.StatusTooManyRequests {
		p.retryAfter = r.policy.dayStart(r.at.Add(24 * time.Hour)).Sub(r.at)
	}
	return p
}

// failed ends a request that was allowed and could not be read.
func (s *server) failed(ctx context.Context, r *reading, err error) error {
	p := problem(http.StatusServiceUnavailable, reasonSourceUnavailable, "the dataset cannot be read now")
	if errors.Is(err, errCursor) {
		p = problem(http.StatusBadRequest, reasonInvalidCursor, err.Error())
	} else {
		s.slog.Error("read", "dataset", r.in.Dataset, "agreement", r.decision.Agreement, "request", r.id, "err", err)
	}
	p.Request = r.id
	end := r.record("end")
	end.Reasons = p.Reasons
	if err := s.append(ctx, end); err != nil {
		return err
	}
	return p
}

// record begins a record of the decision log.
func (r *reading) record(kind string) contract.LogRecord {
	out := contract.LogRecord{
		Kind: kind, Time: time.Now().UTC(), Request: r.id, Dataset: r.in.Dataset, Consumer: r.in.Consumer,
		Purpose: r.in.Purpose, CaseNumber: r.in.CaseNumber, Agreement: r.decision.Agreement,
		UID: r.grant.UID, Generation: r.grant.Generation, Fields: leaving(r.decision.Fields),
		Revision: r.policy.bundle.Lease.Revision, Lease: r.policy.bundle.Lease.Sequence,
		Allow: r.decision.Allow, Reasons: r.decision.Reasons,
	}
	if len(out.Fields) == 0 {
		out.Fields = r.in.Fields // of a refusal: what was asked for
	}
	if r.in.Person != nil {
		out.Person, out.Role = r.in.Person.Subject, r.in.Person.Role
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

func masked(fields map[string]contract.Mask) map[string]string {
	out := map[string]string{}
	for name, m := range fields {
		if m.Method != maskNone {
			out[name] = m.Method
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
