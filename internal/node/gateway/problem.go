package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Reasons beside those of the access policy. They are stable: callers and the decision log rely on them.
const (
	reasonNoAgreement         = "NoAgreement"
	reasonUnknownDataset      = "UnknownDataset"
	reasonAmbiguous           = "AgreementAmbiguous"
	reasonUnknownOrganization = "UnknownOrganization"
	reasonPersonInvalid       = "PersonInvalid"
	reasonQuotaExceeded       = "QuotaExceeded"
	reasonStaleBundle         = "StaleBundle"
	reasonPolicyError         = "PolicyError"
	reasonGatewayOutdated     = "GatewayOutdated"
	reasonLogUnavailable      = "LogUnavailable"
	reasonSourceUnavailable   = "SourceUnavailable"
	reasonInvalidCursor       = "InvalidCursor"
)

// Problem is an answer after RFC 9457.
type Problem struct {
	// Type is a URN that ends in the first reason.
	Type   string `json:"type"`
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

// GetStatus tells the web framework the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells the web framework the media type.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders tells the web framework when to come again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
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

func problem(status int, reason, title string) *Problem {
	return &Problem{Type: "urn:dizuo:reason:" + reason, Title: title, Status: status, Reasons: []string{reason}}
}

// denied tells a refusal to the caller. Who has no agreement on a dataset learns nothing about it, not even whether it is
// there: the log keeps the difference.
func denied(reasons []string, request string) *Problem {
	p := problem(http.StatusForbidden, "", "the request is refused")
	switch {
	case slices.Contains(reasons, reasonUnknownDataset), slices.Contains(reasons, reasonNoAgreement):
		reasons = []string{reasonNoAgreement}
		p.Title = "there is no agreement under which this organisation may read this dataset"
	case slices.Contains(reasons, reasonAmbiguous):
		p.Status, p.Title = http.StatusConflict, "several agreements may be meant: name one with the parameter agreement"
	case slices.Contains(reasons, reasonPersonInvalid):
		p.Status, p.Title = http.StatusUnauthorized, "the token in header Dizuo-Person is not valid"
	case slices.Contains(reasons, reasonQuotaExceeded):
		p.Status, p.Title = http.StatusTooManyRequests, "the agreement's quota for today is used up"
	case slices.Contains(reasons, reasonGatewayOutdated):
		p.Status, p.Title = http.StatusServiceUnavailable, "the gateway is older than the policy: nothing is given out until it is upgraded"
	case slices.Contains(reasons, reasonPolicyError):
		p.Status, p.Title = http.StatusServiceUnavailable, "the policy gave no decision"
	}
	p.Type, p.Reasons, p.Request = "urn:dizuo:reason:"+reasons[0], reasons, request
	return p
}
