package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// maxReads is how many readings an answer holds at most.
const maxReads = 1000

// Read says that somebody read rows of a subject, or asked the vault about them.
type Read struct {
	At           time.Time `json:"at"`
	Organization string    `json:"organization"`
	Name         string    `json:"name,omitempty" doc:"Of the organisation, for people."`
	Role         string    `json:"role,omitempty"`
	Purpose      string    `json:"purpose,omitempty"`
	Dataset      string    `json:"dataset,omitempty"`
	Agreement    string    `json:"agreement,omitempty"`
	Fields       []string  `json:"fields,omitempty"`
	// Masked gives the method of each field that was masked.
	Masked     map[string]string `json:"masked,omitempty"`
	BreakGlass bool              `json:"breakGlass,omitempty"`
	// Act of the vault, where it was not a reading of a dataset.
	Act     string `json:"act,omitempty"`
	Request string `json:"request" doc:"The number of the request in the decision log."`
	// Log is where the line is: chain and sequence.
	Log string `json:"log"`
	// Unknown says that the line has lost its body: it is known that there was a reading, and no more.
	Unknown bool `json:"unknown,omitempty"`
}

type accessInput struct {
	Subject string    `path:"subject" maxLength:"64"`
	From    time.Time `query:"from" doc:"Left out: all that is kept."`
	To      time.Time `query:"to" doc:"Left out: until now."`
	Reason  string    `query:"reason" required:"true" enum:"SubjectRequest,GuardianRequest,CourtOrder,Supervision"`
}

// Access is the answer to "who read my father's record?".
type Access struct {
	Subject string `json:"subject"`
	Reads   []Read `json:"reads"`
	// More says that there are older ones than fit: ask again with to.
	More bool `json:"more,omitempty"`
	// Through gives how far the log of each gateway has arrived: what was read later is not in the answer yet.
	Through map[string]time.Time `json:"through"`
}

type accessOutput struct {
	Body struct {
		Access
		// JWS is the same answer, signed (compact serialisation, RFC 7515).
		JWS string `json:"jws"`
	}
}

// access finds the readings of a subject in the decision log.
func (s *service) access(ctx context.Context, in *accessInput) (*accessOutput, error) {
	out := &accessOutput{}
	out.Body.Access = Access{Subject: in.Subject, Reads: []Read{}, Through: map[string]time.Time{}}
	return out, s.do(ctx, actAccess, func(tx pgx.Tx, c caller, request string) (said, error) {
		w := said{purpose: in.Reason, subjects: []string{in.Subject}}
		err := subjectOf(ctx, tx, c, in.Subject)
		if err != nil {
			return w, err
		}
		if c.who.Role == RoleResident {
			w.purpose, err = reasonOf(ctx, tx, c, in.Subject)
		} else {
			err = onBehalf(ctx, tx, c, in.Subject, in.Reason)
		}
		if err != nil {
			return w, err
		}
		names, err := s.logged(ctx, tx, in.Subject)
		if err != nil {
			return w, err
		}
		until := in.To
		if until.IsZero() {
			until = c.at.Add(time.Minute)
		}
		if out.Body.Reads, err = reads(ctx, tx, c.bundle.Directory, names, in.From, until); err != nil {
			return w, err
		}
		if len(out.Body.Reads) > maxReads {
			out.Body.Reads, out.Body.More = out.Body.Reads[:maxReads], true
		}
		rows, err := tx.Query(ctx, "SELECT chain, at FROM audit.shipped() WHERE chain <> $1", chainName)
		if err != nil {
			return w, err
		}
		var chain string
		var at time.Time
		if _, err = pgx.ForEachRow(rows, []any{&chain, &at}, func() error { out.Body.Through[chain] = at; return nil }); err != nil {
			return w, err
		}
		out.Body.JWS, err = s.answer(c, request, in.Subject, w.purpose, Answer{Access: &out.Body.Access})
		return w, err
	})
}

// logged gives every name under which a subject may be in the decision log: that of its id, and those of the keys by which sources know it.
func (s *service) logged(ctx context.Context, tx pgx.Tx, subject string) ([]string, error) {
	key, err := s.keyOf(ctx, tx, subject)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, "SELECT source, provider, sealed FROM vault.identities WHERE subject = $1", subject)
	if err != nil {
		return nil, err
	}
	values := []string{subject}
	var source, provider string
	var sealed []byte
	_, err = pgx.ForEachRow(rows, []any{&source, &provider, &sealed}, func() error {
		plain, err := open(key, sealed, "identity", subject, source)
		values = append(values, string(plain))
		if provider != "" { // while the vault did not know the key, the gateway logged it so
			values = append(values, contract.ForeignSubject(source, string(plain)))
		}
		return err
	})
	return s.keys.pseudonyms(values...), err
}

func reads(ctx context.Context, tx pgx.Tx, dir contract.Directory, names []string, from, to time.Time) ([]Read, error) {
	rows, err := tx.Query(ctx, "SELECT chain, seq, at, kind, request, header, body FROM audit.reads_of($1, $2, $3, $4)", names, from, to, maxReads+1)
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Read, error) {
		var chain, kind, request string
		var seq int64
		var at time.Time
		var header *string
		var body []byte
		if err := row.Scan(&chain, &seq, &at, &kind, &request, &header, &body); err != nil {
			return Read{}, err
		}
		r := Read{At: at.UTC(), Request: request, Log: fmt.Sprintf("%s/%d", chain, seq)}
		if err := r.fill(header, body); err != nil {
			return r, fmt.Errorf("decision log, line %s: %w", r.Log, err)
		}
		r.Name = dir.Organizations[r.Organization].DisplayName
		return r, nil
	})
}

// fill reads a decision of either format.
func (r *Read) fill(header *string, body []byte) error {
	if header == nil { // the decision is not there
		r.Unknown = true
		return nil
	}
	if body == nil {
		var l struct {
			V int `json:"v"`
			contract.LogRecord
		}
		if err := json.Unmarshal([]byte(*header), &l); err != nil {
			return err
		}
		if r.Unknown = l.V == contract.LogFormat; r.Unknown {
			return nil
		}
		r.Organization, r.Role, r.Purpose, r.Dataset, r.Agreement, r.Fields = l.Consumer, l.Role, l.Purpose, l.Dataset, l.Agreement, l.Fields
		return nil
	}
	var b contract.LogBody
	if err := json.Unmarshal(body, &b); err != nil {
		return err
	}
	r.Act = b.Reason
	if in := b.Input; in != nil {
		r.Organization, r.Purpose, r.Dataset, r.Agreement = in.Consumer, in.Purpose, in.Dataset, in.Agreement
		if in.Person != nil {
			r.Role = strings.Join(in.Person.Roles, " ")
		}
	}
	if d := b.Decision; d != nil {
		r.Agreement, r.BreakGlass, r.Masked = d.Agreement, d.BreakGlass, map[string]string{}
		if d.Role != "" {
			r.Role = d.Role
		}
		for name, m := range d.Fields {
			if m.Method == "Drop" {
				continue
			}
			r.Fields = append(r.Fields, name)
			if m.Method != "" {
				r.Masked[name] = m.Method
			}
		}
		slices.Sort(r.Fields)
	}
	return nil
}
