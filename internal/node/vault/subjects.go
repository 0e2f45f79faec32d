package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

// Identity is how a source knows a person: the key of a row, a number of a register.
type Identity struct {
	Source string `json:"source" pattern:"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" doc:"A Dataset by its name, or a register such as resident-id."`
	Key    string `json:"key" minLength:"1" maxLength:"256"`
}

// Guardian of a subject.
type Guardian struct {
	Subject string `json:"subject" pattern:"^[A-Za-z0-9_-]{1,64}$"`
	Kind    string `json:"kind" enum:"Parent,Guardian,Authorised" doc:"Parent, guardian (监护人), or one authorised in writing."`
	// Until is when it ends; nil: not yet.
	Until *time.Time `json:"until,omitempty" doc:"When it ends, such as the day on which a child comes of age; now ends it. Left out: not yet."`
}

type registerInput struct {
	Body struct {
		Subject    string     `json:"subject,omitempty" pattern:"^([A-Za-z0-9_-]{1,64})?$" doc:"The random id under which datasets know the person already; left out, one is made."`
		Division   string     `json:"division,omitempty" pattern:"^([0-9]{2,12})?$" doc:"Where the person lives, as a division code."`
		Identities []Identity `json:"identities" minItems:"1" maxItems:"32"`
		Guardians  []Guardian `json:"guardians,omitempty" maxItems:"8"`
	}
}

// Subject is a person by a random id.
type Subject struct {
	Subject string `json:"subject"`
	// Wards are those whom the subject speaks for, by kind.
	Wards map[string]string `json:"wards,omitempty"`
}

type subjectOutput struct{ Body Subject }

// register gives a person a subject. Whoever is known by one of the identities keeps the subject, and the rest is added. It is as good as a
// lookup, so it is bounded like one; whatever the vault knows is refused in the same words, and a refusal is a line.
func (s *service) register(ctx context.Context, in *registerInput) (*subjectOutput, error) {
	b, out := in.Body, &subjectOutput{}
	c := callerOf(ctx)
	if !s.mayLookUp(c.who.Organization, c.at) {
		return nil, errTooFast()
	}
	if b.Division != "" && !answersFor(c.organization, b.Division) {
		return nil, huma.Error403Forbidden(fmt.Sprintf("organisation %s does not answer for division %q", c.who.Organization, b.Division))
	}
	var refused error
	err := s.do(ctx, actRegister, func(tx pgx.Tx, c caller, _ string) (said, error) {
		known, err := s.known(ctx, tx, b.Identities)
		if err != nil {
			return said{}, err
		}
		w := said{subjects: known}
		err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { // what is refused is undone, and its line is not
			out.Body.Subject, err = s.enter(ctx, tx, c, known, b.Subject, b.Division)
			if err != nil {
				return err
			}
			w.subjects = []string{out.Body.Subject}
			if err := s.addIdentities(ctx, tx, out.Body.Subject, b.Identities); err != nil {
				return err
			}
			return addGuardians(ctx, tx, c, out.Body.Subject, b.Guardians)
		})
		var status huma.StatusError
		if errors.As(err, &status) {
			refused, w.purpose = status, purposeRefused
			return w, nil
		}
		return w, err
	})
	if err == nil && refused != nil {
		return nil, refused
	}
	return out, err
}

// purposeRefused is in the line of a registration that was refused.
const purposeRefused = "Refused"

// errNotEntered is the same whatever the vault knows of the identities.
func errNotEntered() error {
	return huma.Error409Conflict("these identities cannot be registered so: name those of one person who lives where this organisation answers for, guardians who do, and, if the person is new, their division")
}

func errTooFast() error {
	return huma.ErrorWithHeaders(huma.Error429TooManyRequests("this organisation looks people up or links keys too fast; wait a second"), http.Header{"Retry-After": {"1"}})
}

// enter gives the subject that is meant, or makes one, and holds that the caller may ask about it.
func (s *service) enter(ctx context.Context, tx pgx.Tx, c caller, known []string, wanted, division string) (string, error) {
	var subject string
	switch {
	case len(known) > 1 || len(known) == 1 && wanted != "" && known[0] != wanted:
		return "", errNotEntered()
	case len(known) == 1:
		subject = known[0]
	case !answersFor(c.organization, division):
		return "", errNotEntered()
	default:
		var err error
		if subject, err = s.create(ctx, tx, wanted, division); err != nil {
			return "", err
		}
	}
	if err := subjectOf(ctx, tx, c, subject); err != nil {
		return "", notEntered(err)
	}
	return subject, nil
}

// notEntered puts one refusal in the place of another.
func notEntered(err error) error {
	var status huma.StatusError
	if errors.As(err, &status) {
		return errNotEntered()
	}
	return err
}

func addGuardians(ctx context.Context, tx pgx.Tx, c caller, subject string, guardians []Guardian) error {
	for _, g := range guardians {
		if err := subjectOf(ctx, tx, c, g.Subject); err != nil {
			return notEntered(err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO vault.relations (subject, guardian, kind, since, until) VALUES ($1, $2, $3, now(), $4)
			ON CONFLICT (subject, guardian) DO UPDATE SET kind = excluded.kind, until = excluded.until`, subject, g.Subject, g.Kind, g.Until); err != nil {
			return err
		}
		if g.Until == nil {
			continue
		}
		// What a guardian agreed to holds no longer than the guardian's say: who has come of age is asked anew.
		if _, err := tx.Exec(ctx, `UPDATE grid.consents SET expires_at = greatest($3, given_at + interval '1 microsecond')
			WHERE subject = $1 AND guardian = $2 AND withdrawn_at IS NULL AND (expires_at IS NULL OR expires_at > $3)`, subject, g.Subject, *g.Until); err != nil {
			return err
		}
	}
	return nil
}

// known gives the subjects that have any of the identities.
func (s *service) known(ctx context.Context, tx pgx.Tx, identities []Identity) ([]string, error) {
	var out []string
	for _, i := range identities {
		var found string
		err := tx.QueryRow(ctx, "SELECT subject FROM vault.identities WHERE source = $1 AND key = $2", i.Source, s.keys.lookup(i.Source, i.Key)).Scan(&found)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return nil, err
		case !slices.Contains(out, found):
			out = append(out, found)
		}
	}
	return out, nil
}

// create makes a subject with its key, if it is not there. One that was erased is not made again.
func (s *service) create(ctx context.Context, tx pgx.Tx, wanted, division string) (string, error) {
	subject := wanted
	if subject == "" {
		subject = newSubject()
	}
	tag, err := tx.Exec(ctx, "INSERT INTO vault.subjects (subject, created_at, division) VALUES ($1, now(), $2) ON CONFLICT DO NOTHING", subject, division)
	if err != nil || tag.RowsAffected() == 0 {
		return subject, err
	}
	_, wrapped, err := s.keys.newKey(subject)
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, "INSERT INTO vault.keys (subject, wrapped) VALUES ($1, $2)", subject, wrapped)
	return subject, err
}

// keyOf gives the key of a subject that stands.
func (s *service) keyOf(ctx context.Context, tx pgx.Tx, subject string) ([]byte, error) {
	var wrapped []byte
	if err := tx.QueryRow(ctx, "SELECT wrapped FROM vault.keys WHERE subject = $1", subject).Scan(&wrapped); err != nil {
		return nil, fmt.Errorf("key of a subject: %w", err)
	}
	return s.keys.unwrap(wrapped, subject)
}

func (s *service) addIdentities(ctx context.Context, tx pgx.Tx, subject string, identities []Identity) error {
	key, err := s.keyOf(ctx, tx, subject)
	if err != nil {
		return err
	}
	for _, i := range identities {
		sealed, err := seal(key, []byte(i.Key), "identity", subject, i.Source)
		if err != nil {
			return err
		}
		var owner string
		if err := tx.QueryRow(ctx, `INSERT INTO vault.identities (source, key, subject, sealed) VALUES ($1, $2, $3, $4)
			ON CONFLICT (source, key) DO UPDATE SET source = excluded.source RETURNING subject`, i.Source, s.keys.lookup(i.Source, i.Key), subject, sealed).Scan(&owner); err != nil {
			return err
		}
		if owner != subject { // somebody else registered it at the same moment
			return errNotEntered()
		}
	}
	return nil
}

type lookupInput struct {
	Body struct {
		Identity
		Reason string `json:"reason" enum:"SubjectRequest,GuardianRequest,CourtOrder,Supervision" doc:"Why it is asked; it is logged."`
	}
}

// lookup finds a subject by an identity, with those whom they speak for. That nobody was found is a line, too.
func (s *service) lookup(ctx context.Context, in *lookupInput) (*subjectOutput, error) {
	if c := callerOf(ctx); !s.mayLookUp(c.who.Organization, c.at) {
		return nil, errTooFast()
	}
	out := &subjectOutput{}
	found := true
	err := s.do(ctx, actLookup, func(tx pgx.Tx, c caller, _ string) (said, error) {
		w := said{purpose: in.Body.Reason}
		known, err := s.known(ctx, tx, []Identity{in.Body.Identity})
		if err != nil {
			return w, err
		}
		subject := strings.Join(known, "") // one identity, at most one
		if err := subjectOf(ctx, tx, c, subject); err != nil {
			found = false
			if subject != "" {
				w.subjects = []string{subject} // whoever was asked about may know it
			}
			return w, nil
		}
		w.subjects = []string{subject}
		rows, err := tx.Query(ctx, "SELECT r.subject, r.kind FROM vault.relations r JOIN vault.subjects s USING (subject) WHERE r.guardian = $1 AND s.erased_at IS NULL AND (r.until IS NULL OR r.until > $2)", subject, c.at)
		if err != nil {
			return w, err
		}
		out.Body = Subject{Subject: subject, Wards: map[string]string{}}
		var ward, kind string
		_, err = pgx.ForEachRow(rows, []any{&ward, &kind}, func() error { out.Body.Wards[ward] = kind; return nil })
		return w, err
	})
	if err == nil && !found {
		err = errNoSubject()
	}
	return out, err
}
