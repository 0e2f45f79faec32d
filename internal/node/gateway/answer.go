package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// send writes the answer. The end record says that it was sent whole, or how it failed.
func (s *server) send(hc huma.Context, r *reading, answer Records) {
	end := r.record(contract.LogEnd)
	end.Rows = int64(len(answer.Records))
	s.sendJSON(hc, r, answer.body, end)
}

// body gives the answer as JSON. Records are JSON already, so they are not read once more.
func (a Records) body(w io.Writer) error {
	const open = `{"records":[`
	around := a
	around.Records = []json.RawMessage{}
	raw, err := json.Marshal(around)
	if err != nil || !bytes.HasPrefix(raw, []byte(open)) {
		return errors.Join(err, errors.New("records must be the first part of the answer"))
	}
	size := len(raw) + 1
	for _, record := range a.Records {
		size += len(record) + 1
	}
	out := append(make([]byte, 0, size), open...)
	for i, record := range a.Records {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, record...)
	}
	_, err = w.Write(append(append(out, raw[len(open):]...), '\n'))
	return err
}

// encoded writes an answer that is not made of JSON.
func encoded(answer any) func(io.Writer) error {
	return func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(answer)
	}
}

func (s *server) sendJSON(hc huma.Context, r *reading, write func(io.Writer) error, end chain.Record) {
	hc.SetHeader("Content-Type", "application/json")
	hc.SetHeader("Cache-Control", "no-store")
	if err := write(hc.BodyWriter()); err != nil {
		end.Outcome = outcomeClientGone
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hc.Context()), logTimeout)
	defer cancel()
	if _, err := s.log.Enqueue(ctx, end); err != nil {
		s.slog.Error("end record", "request", r.id, "err", err)
	}
}

// refuseDecided logs a refusal and gives the problem to answer.
func (s *server) refuseDecided(ctx context.Context, r *reading) error {
	if err := s.append(ctx, r.record(contract.LogDecision)); err != nil {
		return err
	}
	p := denied(r.decision.Reasons, r.id)
	if p.Reasons[0] == reasonQuotaExceeded {
		p.retryAfter = r.policy.dayStart(r.at.Add(24 * time.Hour)).Sub(r.at)
	}
	return p
}

// failed ends a request that was allowed and could not be read.
func (s *server) failed(ctx context.Context, r *reading, err error) error {
	p := problem(http.StatusServiceUnavailable, reasonSourceUnavailable, "the dataset cannot be read now")
	own := requestProblem(err)
	if own != nil {
		p = own
	}
	if own == nil || errors.Is(err, errVault) {
		s.slog.Error("read", "dataset", r.in.Dataset, "agreement", r.decision.Agreement, "request", r.id, "err", err)
	}
	p.Request = r.id
	end := r.record(contract.LogEnd)
	end.Outcome = p.Reasons[0]
	if err := s.append(ctx, end); err != nil {
		return err
	}
	return p
}

// requestProblem gives the problem of what is wrong with the request, or with its moment, and not with the source; nil for others.
func requestProblem(err error) *Problem {
	if own := aggregateProblem(err); own != nil {
		return own
	}
	var wrong filterError
	switch {
	case errors.Is(err, errCursor):
		return problem(http.StatusBadRequest, reasonInvalidCursor, err.Error())
	case errors.As(err, &wrong):
		return problem(http.StatusBadRequest, reasonInvalidFilter, wrong.Error())
	case errors.Is(err, errCrowded):
		return crowded()
	case errors.Is(err, errVault):
		return denied([]string{reasonConsentUnavailable}, "")
	case errors.Is(err, errBusy):
		p := problem(http.StatusServiceUnavailable, reasonSourceBusy, err.Error())
		p.retryAfter = 5 * time.Second
		return p
	}
	return nil
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
