package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/text/language"

	"github.com/dizuo/dizuo/internal/reason"
)

// Reasons that code refers to; all of them are in package reason.
const (
	reasonNoAgreement           = "NoAgreement"
	reasonUnknownDataset        = "UnknownDataset"
	reasonUnknownOrganization   = "UnknownOrganization"
	reasonPersonInvalid         = "PersonInvalid"
	reasonQuotaExceeded         = "QuotaExceeded"
	reasonQuotaUnavailable      = "QuotaUnavailable"
	reasonRateLimited           = "RateLimited"
	reasonStaleBundle           = "StaleBundle"
	reasonPolicyError           = "PolicyError"
	reasonLogUnavailable        = "LogUnavailable"
	reasonSourceUnavailable     = "SourceUnavailable"
	reasonConsentUnavailable    = "ConsentUnavailable"
	reasonSubjectsTooMany       = "SubjectsTooMany"
	reasonCaseUnavailable       = "CaseUnavailable"
	reasonInvalidCursor         = "InvalidCursor"
	reasonInvalidRequest        = "InvalidRequest"
	reasonBreakGlassInvalid     = "BreakGlassInvalid"
	reasonBreakGlassUnavailable = "BreakGlassUnavailable"
	reasonBreakGlassUnknown     = "BreakGlassUnknown"
	reasonRoleNotAllowed        = "RoleNotAllowed"
)

// Problem is an answer after RFC 9457.
type Problem struct {
	// Type is a URN that ends in the gravest reason.
	Type string `json:"type"`
	// Title is for people, in the language of Accept-Language.
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Reasons are stable codes, sorted.
	Reasons []string `json:"reasons"`
	// Request is the number under which the decision log holds the request.
	Request string `json:"request,omitempty"`

	retryAfter time.Duration
}

// Error implements error.
func (p *Problem) Error() string { return p.Title }

// TransformSchema lists all reasons in the OpenAPI document. It is no enum: a later release may give others, and a client must not fail at one.
func (p *Problem) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	codes := make([]string, 0, len(reason.Refusals))
	for _, r := range reason.Refusals {
		codes = append(codes, r.Code)
	}
	s.Properties["reasons"].Items.Extensions = map[string]any{"x-extensible-enum": codes}
	return s
}

// GetStatus tells the web framework the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells the web framework the media type.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders tells the web framework when to come again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{"Vary": {"Accept-Language"}, "Cache-Control": {"no-store"}}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.retryAfter/time.Second)+1))
	}
	return h
}

// write sends the problem without the web framework.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func problem(status int, code, title string) *Problem {
	return &Problem{Type: "urn:dizuo:reason:" + code, Title: title, Status: status, Reasons: []string{code}}
}

// denied tells a refusal to the caller. Who has no agreement on a dataset learns nothing about it, not even whether it is
// there: the log keeps the difference.
func denied(reasons []string, request string) *Problem {
	if slices.Contains(reasons, reasonUnknownDataset) || slices.Contains(reasons, reasonNoAgreement) {
		reasons = []string{reasonNoAgreement}
	}
	r := reason.Of(reasons...)
	p := problem(r.Status, r.Code, r.English)
	p.Reasons, p.Request = reasons, request
	return p
}

var languages = language.NewMatcher([]language.Tag{language.English, language.Chinese})

// in gives the problem in the language that a caller asks for; English where it asks for none of ours.
func (p *Problem) in(accept string) *Problem {
	tags, _, _ := language.ParseAcceptLanguage(accept) // a malformed header asks for nothing
	if _, i, _ := languages.Match(tags...); i != 1 {
		return p
	}
	out := *p
	if out.Title = reason.Of(strings.TrimPrefix(p.Type, "urn:dizuo:reason:")).Chinese; out.Detail == "" && reason.Of(p.Reasons...).English != p.Title {
		out.Detail = p.Title
	}
	return &out
}

// localised is what the web framework passes every answer through: it puts problems into the caller's language, and makes problems of
// what the framework itself refuses.
func localised(c huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case *Problem:
		return e.in(c.Header("Accept-Language")), nil
	case *huma.ErrorModel:
		p := denied([]string{reasonInvalidRequest}, "")
		p.Status = e.Status
		parts := []string{}
		for _, d := range e.Errors {
			parts = append(parts, fmt.Sprintf("%s: %s", d.Location, d.Message)) // never the value, which may be personal
		}
		p.Detail = strings.Join(parts, "; ")
		return p.in(c.Header("Accept-Language")), nil
	}
	return v, nil
}

// problemResponses documents refusals.
func problemResponses(api huma.API) map[string]*huma.Response {
	problems := huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Problem]())
	content := map[string]*huma.MediaType{"application/problem+json": {Schema: problems}}
	text := &huma.Schema{Type: huma.TypeInteger}
	return map[string]*huma.Response{
		"429":     {Description: "Asked too often, or the quota of the day is used up.", Content: content, Headers: map[string]*huma.Param{"Retry-After": {Description: "Seconds to wait.", Schema: text}}},
		"default": {Description: "A refusal, with reasons.", Content: content},
	}
}
