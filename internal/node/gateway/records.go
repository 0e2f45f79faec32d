package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/dizuo/dizuo/internal/contract"
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
	Where      []string `query:"where,explode" maxItems:"8" doc:"Conditions on fields that are given unmasked, all of which must hold: field:In:a,b or field:AtLeast:1; the operators are In, NotIn, Exists, DoesNotExist, AtLeast and AtMost. A backslash before a comma makes it a part of a value."`
	Limit      int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Records in a page. A stream has no pages: it goes on to the end."`
	Cursor     string   `query:"cursor" maxLength:"8192" doc:"The field next of the page before."`
	Person     string   `header:"Dizuo-Person" maxLength:"16384" doc:"Token (JWT) of the person who reads, of an OpenID Connect issuer of the platform or signed by the organisation. Needed for personal data."`
	BreakGlass string   `header:"Dizuo-Break-Glass" maxLength:"6000" doc:"Reason of an emergency, percent-encoded UTF-8 of at most 500 characters. Where the agreement has break-glass it opens hours and case; each use is reviewed."`
	Accept     string   `header:"Accept" doc:"application/x-ndjson streams all records, one a line."`
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
	// Obligations of the agreement.
	Obligations Obligations `json:"obligations,omitzero"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// Obligations are what whoever receives the data has agreed to keep to.
type Obligations struct {
	// NoOnward forbids passing it on.
	NoOnward bool `json:"noOnward,omitempty"`
	// RetentionSeconds is how long it may be kept; 0 says nothing of it.
	RetentionSeconds int64 `json:"retentionSeconds,omitempty"`
}

func obligations(g contract.Grant) Obligations { return Obligations{g.NoOnward, g.RetentionSeconds} }

func recordsResponses(api huma.API) map[string]*huma.Response {
	out := problemResponses(api)
	schema := huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Records]())
	out["200"] = &huma.Response{Description: "A page of records.", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}, ndjson: {}}}
	return out
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
	if wantsStream(in.Accept) {
		r.limit = maxPage
	}
	var err error
	if r.in.Filter, err = parseFilter(in.Where); err != nil {
		return nil, requestProblem(err)
	}
	s.decide(ctx, r, in)
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
	answer, read, err := s.fetch(ctx, r, in.Cursor)
	s.returnQuota(r, use{records: int64(r.limit - len(read.records))})
	if err != nil {
		return nil, s.failed(ctx, r, err)
	}
	release := r.record(contract.LogRelease)
	release.Rows, release.Subjects = int64(len(read.records)), read.subjects
	if err := s.released(ctx, decided, release); err != nil {
		return nil, err
	}
	s.metrics.records.Add(float64(len(read.records)))
	if wantsStream(in.Accept) {
		return &huma.StreamResponse{Body: func(hc huma.Context) { s.stream(hc, r, in, read) }}, nil
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) { s.send(hc, r, answer) }}, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
