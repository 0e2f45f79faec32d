package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// server answers requests under the policy in force.
type server struct {
	roots *rootsFile
	db    *database
	// sources are databases of providers; subjects maps their keys of persons, nil where there is no vault.
	sources  *sources
	subjects subjectMap
	// lists bounds the lists of persons that tables by consent are made of.
	lists *semaphore.Weighted
	log   *decisionlog.Log
	keys  keys
	quota *quota
	// shared is the quota over all gateways; nil where there is no database for it.
	shared  *sharedQuota
	limits  *limits
	crowds  *crowds
	issuers *issuers
	// strangers bounds what callers whom nobody knows can have us log.
	strangers rate.Sometimes
	// emergencies is nil where there is no database for them.
	emergencies *emergencies
	// auditing is never nil.
	auditing *auditing
	tables   *tableCache
	quality  *qualities
	metrics  *metrics
	// certificate is the gateway's own.
	certificate *certificate
	slog        *slog.Logger
	now         func() time.Time

	policy atomic.Pointer[inForce]
	// problem says why the newest bundle was not applied; nil if it was.
	problem atomic.Pointer[string]
}

// report fills the gateway's part of a report.
func (s *server) report(r *contract.Report) {
	if p := s.problem.Load(); p != nil {
		r.Problem = *p
	}
	s.metrics.report(r)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var err error
	if r.BreakGlass, err = s.emergencies.counts(ctx, s.now()); err != nil {
		s.slog.Error("count uses of break-glass", "err", err)
	} else {
		s.metrics.emergencies(r.BreakGlass)
	}
	s.quality.report(r)
	r.Audit = s.auditing.report(s.log)
}

// inForce is the policy that the server enforces, and since when.
type inForce struct {
	*policy
	since time.Time
}

// decides gives the policy; nil where there is none.
func (f *inForce) decides() *policy {
	if f == nil {
		return nil
	}
	return f.policy
}

// apply makes a bundle the one in force. A renewed lease of the same revision costs nothing. An error leaves the policy
// before in force, until its own lease runs out.
func (s *server) apply(ctx context.Context, b *intake.Bundle) error {
	if err := s.auditing.parts.hold(b); err != nil {
		return err
	}
	before := s.policy.Load()
	next := &inForce{since: s.now()}
	if before != nil && before.bundle.Lease.Revision == b.Lease.Revision {
		next.policy, next.since = before.renewed(b), before.since
	} else {
		p, err := newPolicy(ctx, b, before.decides())
		if err != nil {
			return err
		}
		next.policy = p
		next.since = s.now()
	}
	s.policy.Store(next)
	s.metrics.sequence.Set(float64(b.Lease.Sequence))
	return nil
}

// applied tells what the server enforces, for the report.
func (s *server) applied() (sequence int64, revision string, at time.Time) {
	p := s.policy.Load()
	if p == nil {
		return 0, "", time.Time{}
	}
	return p.bundle.Lease.Sequence, p.bundle.Lease.Revision, p.since
}

// live gives the policy in force, or a problem when there is none or its lease has run out: fail closed.
func (s *server) live(now time.Time) (*policy, *Problem) {
	p := s.policy.Load()
	if p == nil || !p.bundle.Lease.ExpiresAt.After(now) {
		return nil, problem(http.StatusServiceUnavailable, reasonStaleBundle, "the policy is older than its lease: nothing is given out until a newer one comes")
	}
	return p.policy, nil
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
	s.metrics.refused.WithLabelValues(p.Reasons[0]).Inc()
	s.logRefused(p.Reasons[0], s.auditing.refusals.add(p.Reasons[0], s.now()))
	p.in(r.Header.Get("Accept-Language")).write(w)
}

// measured takes the time of every request.
func (s *server) measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() { // a stream that is cut ends by a panic
			s.metrics.request.WithLabelValues(strconv.Itoa(seen.status)).Observe(time.Since(began).Seconds())
		}()
		next.ServeHTTP(seen, r)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps the status.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// DatasetList is the answer of GET /v1/datasets.
type DatasetList struct {
	Datasets []DatasetEntry `json:"datasets"`
	// Revision of the policy bundle.
	Revision string `json:"revision"`
}

// DatasetEntry is a dataset as one organisation sees it.
type DatasetEntry struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	Sharing  string `json:"sharing"`
	Category string `json:"category"`
	// Agreements under which the organisation may read it, by name.
	Agreements map[string]AgreementEntry `json:"agreements"`
}

// AgreementEntry is what an agreement gives.
type AgreementEntry struct {
	Fields   map[string]FieldEntry `json:"fields"`
	Purposes []string              `json:"purposes"`
	Roles    []string              `json:"roles,omitempty"`
	// NotBefore and NotAfter bound the validity, in Unix seconds; 0 means unbounded.
	NotBefore          int64 `json:"notBefore"`
	NotAfter           int64 `json:"notAfter"`
	CaseNumberRequired bool  `json:"caseNumberRequired,omitempty"`
	// Obligations of whoever reads.
	Obligations Obligations `json:"obligations,omitzero"`
}

// FieldEntry is a field that an agreement gives.
type FieldEntry struct {
	Type     string `json:"type"`
	Grade    string `json:"grade"`
	Personal string `json:"personal"`
	// Mask is the method under which the field is given; empty gives it as it is.
	Mask string `json:"mask,omitempty"`
}

type datasetsOutput struct{ Body DatasetList }

// listDatasets looks up one pair per dataset and never scans agreements.
func (s *server) listDatasets(ctx context.Context, _ *struct{}) (*datasetsOutput, error) {
	c := callerOf(ctx)
	out := &datasetsOutput{Body: DatasetList{Datasets: []DatasetEntry{}, Revision: c.policy.bundle.Lease.Revision}}
	for _, name := range sortedKeys(c.policy.bundle.Access.Datasets) {
		d := c.policy.bundle.Access.Datasets[name]
		entry := DatasetEntry{Name: name, Provider: d.Provider, Sharing: d.Sharing, Category: d.Category, Agreements: map[string]AgreementEntry{}}
		for agreement, g := range c.policy.grants.between(name, c.organization) {
			if c.policy.sameConsumer(c.organization, g) && (g.NotAfter == 0 || c.at.Unix() < g.NotAfter) {
				entry.Agreements[agreement] = agreementEntry(d, g)
			}
		}
		if len(entry.Agreements) > 0 {
			out.Body.Datasets = append(out.Body.Datasets, entry)
		}
	}
	return out, nil
}

func agreementEntry(d contract.Dataset, g contract.Grant) AgreementEntry {
	e := AgreementEntry{
		Fields: map[string]FieldEntry{}, Purposes: notNil(g.Purposes), Roles: g.Roles,
		NotBefore: g.NotBefore, NotAfter: g.NotAfter, CaseNumberRequired: g.CaseNumberRequired, Obligations: obligations(g),
	}
	for name, mask := range g.Fields {
		if f, ok := d.Fields[name]; ok {
			e.Fields[name] = FieldEntry{Type: f.Type, Grade: f.Grade, Personal: f.Personal, Mask: mask.Method}
		}
	}
	return e
}
