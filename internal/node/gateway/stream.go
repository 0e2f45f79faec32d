package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/dizuo/dizuo/internal/contract"
)

// ndjson is the media type of a stream: one JSON object a line.
const ndjson = "application/x-ndjson"

// chunkTimeout bounds the time for a chunk to reach the client: one that does not read holds nothing.
const chunkTimeout = 30 * time.Second

// outcomeRevoked says that a stream was cut for good.
const outcomeRevoked = "Revoked"

// streamEnd is the last line of a stream, under a name that no field has. Without it, or with an outcome other than "Sent", there may have
// been more.
type streamEnd struct {
	Outcome string `json:"outcome"`
	// Reasons of a stream that was cut, as stable codes.
	Reasons   []string          `json:"reasons,omitempty"`
	Records   int64             `json:"records"`
	Agreement string            `json:"agreement"`
	Masked    map[string]string `json:"masked"`
	Revision  string            `json:"revision"`
	Request   string            `json:"request"`
	// Obligations of the agreement.
	Obligations Obligations `json:"obligations,omitzero"`
	// Next is the cursor to go on from where a stream was cut; it holds good while the agreement does.
	Next string `json:"next,omitempty"`
}

// wantsStream says whether an Accept header asks for a stream before JSON.
func wantsStream(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		switch kind, _, _ := mime.ParseMediaType(part); kind {
		case ndjson:
			return true
		case "application/json", "application/*", "*/*":
			return false
		}
	}
	return false
}

// stream sends chunks until the data or the agreement ends. The first chunk is read and logged already. Each is read in a transaction of
// its own and logged before its first byte leaves; before each the request is decided again, as if it had just come: a key that was
// removed, a lease that ran out, an agreement that ended or was revoked, a consent that was withdrawn end at the next chunk.
func (s *server) stream(hc huma.Context, r *reading, in *recordsInput, chunk page) {
	request, w := humago.Unwrap(hc)
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // else the end of it would end the request
	hc.SetHeader("Content-Type", ndjson)
	hc.SetHeader("Cache-Control", "no-store")
	hc.SetHeader("Dizuo-Request", r.id)
	end := streamEnd{Outcome: outcomeSent}
	for {
		if err := sendChunk(control, w, chunk); err != nil {
			end.Outcome = outcomeClientGone
			break
		}
		end.Records += int64(len(chunk.records))
		if chunk.next == nil {
			break
		}
		from := *chunk.next
		var cut *Problem
		if chunk, cut = s.nextChunk(request, r, in, from); cut != nil {
			end.Outcome, end.Reasons = outcomeOf(cut), cut.Reasons
			if end.Outcome != outcomeRevoked {
				end.Next, _ = s.keys.seal(from, r.bound()...)
			}
			break
		}
	}
	end.Agreement, end.Masked, end.Revision, end.Request = r.decision.Agreement, masked(r.decision.Fields), r.policy.bundle.Lease.Revision, r.id
	end.Obligations = obligations(r.grant)
	if end.Outcome != outcomeClientGone {
		if line, err := json.Marshal(map[string]streamEnd{"dizuo:end": end}); err == nil && writeWithin(control, w, append(line, '\n')) != nil {
			end.Outcome = outcomeClientGone
		}
	}
	s.ended(hc.Context(), r, end.Records, end.Outcome)
	if end.Outcome != outcomeSent {
		panic(http.ErrAbortHandler) // so that a client that does not look at the last line sees it too
	}
}

// outcomeOf names why a stream was cut: with a reason that passes, or for good.
func outcomeOf(cut *Problem) string {
	if cut.Status == http.StatusForbidden || cut.Reasons[0] == reasonUnknownOrganization {
		return outcomeRevoked
	}
	return cut.Reasons[0]
}

// nextChunk decides again, reads, and logs what is about to leave.
func (s *server) nextChunk(request *http.Request, r *reading, in *recordsInput, from position) (page, *Problem) {
	ctx := request.Context()
	if cut := s.decideAgain(request, r, in); cut != nil {
		return page{}, cut
	}
	records, err := s.takeQuota(ctx, r, use{records: maxPage})
	if err != nil {
		return page{}, quotaProblem(err)
	}
	r.limit = int(records)
	chunk, err := s.readPage(ctx, r, &from)
	s.returnQuota(r, use{records: records - int64(len(chunk.records))})
	if err != nil {
		if ctx.Err() == nil {
			s.slog.Error("read", "dataset", r.in.Dataset, "agreement", r.decision.Agreement, "request", r.id, "err", err)
		}
		if own := requestProblem(err); own != nil {
			return page{}, own
		}
		return page{}, problem(http.StatusServiceUnavailable, reasonSourceUnavailable, "the dataset cannot be read now")
	}
	release := r.record(contract.LogRelease)
	release.Rows, release.Subjects = int64(len(chunk.records)), chunk.subjects
	if s.append(ctx, release) != nil {
		return page{}, problem(http.StatusServiceUnavailable, reasonLogUnavailable, "the decision cannot be logged, so nothing is given out")
	}
	s.metrics.records.Add(float64(len(chunk.records)))
	return chunk, nil
}

// decideAgain puts r under the policy of now. A decision under another revision is logged as one of its own: the chunks behind it rest on
// it. An emergency is claimed at the beginning, where it is written down for its review, or not at all: a stream that began without one
// ends where only an emergency would let it go on.
func (s *server) decideAgain(request *http.Request, r *reading, in *recordsInput) *Problem {
	if !r.decision.BreakGlass {
		calm := *in
		calm.BreakGlass, in = "", &calm
	}
	now, refusal := s.identify(request, s.now())
	switch {
	case refusal != nil:
		return refusal
	case now.organization != r.organization:
		return problem(http.StatusUnauthorized, reasonUnknownOrganization, "the caller speaks for another organisation now")
	}
	next := *r
	next.caller = now
	s.decide(request.Context(), &next, in)
	next.id = r.id
	if next.decision.Allow && next.grant.UID != r.grant.UID { // another agreement under the same name: its quota and its pseudonyms are others
		next.decision = refused(reasonNoAgreement, r.decision.Agreement)
	}
	changed := now.policy.bundle.Lease.Revision != r.policy.bundle.Lease.Revision
	if changed || !next.decision.Allow {
		if s.append(request.Context(), next.record(contract.LogDecision)) != nil {
			return problem(http.StatusServiceUnavailable, reasonLogUnavailable, "the decision cannot be logged, so nothing is given out")
		}
	}
	if !next.decision.Allow {
		return denied(next.decision.Reasons, r.id)
	}
	*r = next
	return nil
}

// sendChunk writes the records, one a line.
func sendChunk(control *http.ResponseController, w http.ResponseWriter, chunk page) error {
	var lines bytes.Buffer
	for _, record := range chunk.records {
		lines.Write(record)
		lines.WriteByte('\n')
	}
	return writeWithin(control, w, lines.Bytes())
}

func writeWithin(control *http.ResponseController, w http.ResponseWriter, raw []byte) error {
	if err := control.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return control.Flush()
}

// ended writes the end record of a stream.
func (s *server) ended(ctx context.Context, r *reading, rows int64, outcome string) {
	end := r.record(contract.LogEnd)
	end.Rows, end.Outcome = rows, outcome
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTimeout)
	defer cancel()
	if _, err := s.log.Enqueue(ctx, end); err != nil {
		s.slog.Error("end record", "request", r.id, "err", err)
	}
}
