package vault

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
)

// This file takes the word of a provider for whose record a key of its own is. It tells the provider nothing: whether the vault knows the
// person, and under which subject, shows neither in the answer nor in the time that it takes.

// Link says that a provider's own key stands for a person.
type Link struct {
	Key string `json:"key" minLength:"1" maxLength:"256" doc:"What stands in the dataset's subjectColumn, as text."`
	// Person is how a register knows the person, Subject the random id. With neither the key stands for nobody.
	Person  *Identity `json:"person,omitempty"`
	Subject string    `json:"subject,omitempty" pattern:"^([A-Za-z0-9_-]{1,64})?$"`
}

type linkInput struct {
	Dataset string `path:"dataset" maxLength:"253" doc:"A Dataset of the own organisation, in a PostgreSQL of its own."`
	Body    struct {
		Links []Link `json:"links" minItems:"1" maxItems:"200"`
	}
}

// answerStep is the grid on which answers leave: by when one comes nobody tells what was found.
const answerStep = 500 * time.Millisecond

// link takes links of a dataset. The last word on a key holds: it goes to the person who is named now, and to nobody where the vault does not
// know that person, so that no row leaves by the consent of one whose it is not. Who registers later is linked when the provider says it again.
func (s *service) link(ctx context.Context, in *linkInput) (*struct{}, error) {
	c := callerOf(ctx)
	d, ok := c.bundle.Access.Datasets[in.Dataset]
	if !ok || !mapped(d) || c.who.Organization != d.Provider && c.who.Organization != writerOf(d) {
		return nil, huma.Error404NotFound("this organisation provides no such dataset from a PostgreSQL of its own")
	}
	if err := wrongLinks(c, in.Body.Links); err != nil {
		return nil, err
	}
	l, _ := s.links.LoadOrStore(c.who.Organization, rate.NewLimiter(contract.LinksPerSecond, contract.LinksAtOnce))
	if !l.(*rate.Limiter).AllowN(c.at, len(in.Body.Links)) {
		return nil, errTooFast()
	}
	began := time.Now()
	err := s.do(ctx, actLink, func(tx pgx.Tx, _ caller, _ string) (said, error) {
		subjects, err := s.putLinks(ctx, tx, in.Dataset, d.Provider, in.Body.Links)
		return said{dataset: in.Dataset, subjects: subjects}, err
	})
	select {
	case <-time.After(answerStep - time.Since(began)%answerStep):
	case <-ctx.Done():
	}
	return nil, err
}

// wrongLinks refuses what is wrong with links, whatever the vault knows.
func wrongLinks(c caller, links []Link) error {
	seen := map[string]bool{}
	for _, l := range links {
		if seen[l.Key] {
			return huma.Error422UnprocessableEntity("a key is linked twice; write each once")
		}
		seen[l.Key] = true
		if l.Person == nil {
			continue
		}
		if _, ok := c.bundle.Access.Datasets[l.Person.Source]; ok {
			return huma.Error422UnprocessableEntity("person.source is a Dataset; write a register such as resident-id")
		}
		if l.Subject != "" {
			return huma.Error422UnprocessableEntity("a link has person and subject; write one of them")
		}
	}
	return nil
}

// putLinks writes links, and gives the subjects whose they are now and whose they were.
func (s *service) putLinks(ctx context.Context, tx pgx.Tx, dataset, provider string, links []Link) ([]string, error) {
	n := len(links)
	keys, subjects, sources, persons := make([][]byte, n), make([]string, n), make([]string, n), make([][]byte, n)
	slices.SortFunc(links, func(a, b Link) int { return strings.Compare(a.Key, b.Key) })
	for i, l := range links {
		keys[i], subjects[i] = s.keys.lookup(dataset, l.Key), l.Subject
		if l.Person != nil {
			sources[i], persons[i] = l.Person.Source, s.keys.lookup(l.Person.Source, l.Person.Key)
		}
	}
	named, err := queryNames(ctx, tx, "SELECT DISTINCT subject FROM vault.identities WHERE source = $1 AND key = ANY ($2)", dataset, keys)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT w.i, s.subject, k.wrapped FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS w (subject, source, key, i)
		LEFT JOIN vault.identities d ON d.source = w.source AND d.key = w.key
		JOIN vault.subjects s ON s.subject = coalesce(nullif(w.subject, ''), d.subject) AND s.erased_at IS NULL
		JOIN vault.keys k ON k.subject = s.subject ORDER BY s.subject FOR SHARE OF s`, subjects, sources, persons)
	if err != nil {
		return nil, err
	}
	var found struct {
		keys, sealed [][]byte
		subjects     []string
	}
	var at int
	var subject string
	var wrapped []byte
	_, err = pgx.ForEachRow(rows, []any{&at, &subject, &wrapped}, func() error {
		key, err := s.keys.unwrap(wrapped, subject)
		if err != nil {
			return err
		}
		sealed, err := seal(key, []byte(links[at-1].Key), "identity", subject, dataset)
		found.keys, found.sealed, found.subjects = append(found.keys, keys[at-1]), append(found.sealed, sealed), append(found.subjects, subject)
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO vault.identities (source, key, subject, sealed, provider)
		SELECT $1, f.key, f.subject, f.sealed, $2 FROM unnest($3::bytea[], $4::text[], $5::bytea[]) AS f (key, subject, sealed) ORDER BY f.key
		ON CONFLICT (source, key) DO UPDATE SET subject = excluded.subject, sealed = excluded.sealed, provider = excluded.provider`,
		dataset, provider, found.keys, found.subjects, found.sealed); err != nil {
		return nil, err
	}
	nobody := slices.DeleteFunc(keys, func(key []byte) bool {
		return slices.ContainsFunc(found.keys, func(f []byte) bool { return bytes.Equal(f, key) })
	})
	if _, err := tx.Exec(ctx, "DELETE FROM vault.identities WHERE source = $1 AND key = ANY ($2)", dataset, nobody); err != nil {
		return nil, err
	}
	named = append(named, found.subjects...)
	slices.Sort(named)
	return slices.Compact(named), nil
}

func queryNames(ctx context.Context, tx pgx.Tx, statement string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
