package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
)

// This file answers the gateway, which reads rows in a provider's own PostgreSQL and must know whose they are and who of them consents. It
// is a door of its own: the certificate of the role gateway opens it and no token does, and it reads the database and cannot write. Each
// row that is given out by its answer is in the gateway's log; keys are in none of ours.

// mapsAtOnce bounds the questions that are worked on; one holds a body of at most contract.MaxMapBodyBytes.
const mapsAtOnce = 4

type mapping struct {
	pool  *pgxpool.Pool
	keys  keys
	live  func(time.Time) (*intake.Bundle, error)
	now   func() time.Time
	slots *semaphore.Weighted
}

// serveMapping answers gateways of the platform until ctx ends.
func (s *service) serveMapping(ctx context.Context, c contract.VaultConfig, platform string) error {
	pool, err := openDatabase(ctx, c.Database, readOnly)
	if err != nil {
		return err
	}
	defer pool.Close()
	tlsConfig, err := process.MutualTLS(c.TLS, contract.RoleURI(platform, contract.UserGateway), "this platform's gateway")
	if err != nil {
		return fmt.Errorf("vault.tls: %w", err)
	}
	return process.ServeHTTP(ctx, &http.Server{
		Addr: c.MapAddress, Handler: s.mapHandler(pool), TLSConfig: tlsConfig, MaxHeaderBytes: 8 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	})
}

// mapHandler answers from a pool that cannot write. Who may ask is looked at by whoever serves it.
func (s *service) mapHandler(pool *pgxpool.Pool) http.Handler {
	m := &mapping{pool: pool, keys: s.keys, live: s.live, now: s.now, slots: semaphore.NewWeighted(mapsAtOnce)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+contract.MapPath, func(w http.ResponseWriter, r *http.Request) {
		answer, status, err := m.answer(http.MaxBytesReader(w, r.Body, contract.MaxMapBodyBytes), r)
		if err != nil {
			if status >= http.StatusInternalServerError {
				s.log.Error("map keys of a provider", "err", err)
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	})
	return mux
}

// Handlers gives what Run serves at its two addresses, to be tried together with a gateway: the API, and the map of keys, which whoever serves
// it opens to the certificate of the role gateway alone. live gives the bundle in force; end gives the connections to the database back.
func Handlers(ctx context.Context, c contract.VaultConfig, live func(time.Time) (*intake.Bundle, error), log *slog.Logger) (api, keyMap http.Handler, end func(), err error) {
	s, err := newService(ctx, c, live, log)
	if err != nil {
		return nil, nil, nil, err
	}
	pool, err := openDatabase(ctx, c.Database, readOnly)
	if err != nil {
		s.pool.Close()
		return nil, nil, nil, err
	}
	return s.handler(), s.mapHandler(pool), func() { pool.Close(); s.pool.Close() }, nil
}

// answer reads a question. Errors repeat nothing of it.
func (m *mapping) answer(body io.Reader, r *http.Request) (out contract.MapAnswer, status int, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := m.slots.Acquire(ctx, 1); err != nil {
		return out, http.StatusServiceUnavailable, errors.New("too many questions at once")
	}
	defer m.slots.Release(1)
	var q contract.MapRequest
	if json.NewDecoder(body).Decode(&q) != nil || len(q.Keys) > contract.MaxMapKeys {
		return out, http.StatusBadRequest, errors.New("the question is not one that the vault takes")
	}
	b, err := m.live(m.now())
	if err != nil {
		return out, http.StatusServiceUnavailable, fmt.Errorf("no policy in force: %w", err)
	}
	d, ok := b.Access.Datasets[q.Dataset]
	if !ok || !mapped(d) {
		return out, http.StatusNotFound, errors.New("no such dataset has keys that the vault maps")
	}
	if scope := d.ConsentScope; scope != "" && !slices.Contains(q.Scopes, scope) {
		q.Scopes = append(q.Scopes, scope) // whatever the gateway thinks
	}
	if out.Subjects, err = m.subjects(ctx, q, d.Provider); err != nil {
		return out, http.StatusServiceUnavailable, err
	}
	return out, http.StatusOK, nil
}

// mapped says whether a dataset knows persons by keys of its provider's own, in the provider's own database.
func mapped(d contract.Dataset) bool { return d.Source.DSN != "" && d.Source.SubjectColumn != "" }

// The consents that count are those that count for a row of the platform's own database (gateway: selectBuilder.consent).
const mapKeys = `
SELECT n.i, s.subject
FROM unnest($1::bytea[]) WITH ORDINALITY AS n (key, i)
JOIN vault.identities d ON d.source = $2 AND d.key = n.key AND d.provider = $3
JOIN vault.subjects s ON s.subject = d.subject AND s.erased_at IS NULL
WHERE NOT EXISTS (SELECT FROM unnest($4::text[]) AS w (scope) WHERE NOT EXISTS (
	SELECT FROM grid.consents c WHERE c.subject = s.subject AND c.scope = w.scope AND $5 = ANY (c.purposes) AND c.given_at <= now()
	AND (c.withdrawn_at IS NULL OR c.withdrawn_at > now()) AND (c.expires_at IS NULL OR c.expires_at > now())))`

// subjects looks all keys up in one statement, so that all answers are of one moment.
func (m *mapping) subjects(ctx context.Context, q contract.MapRequest, provider string) ([]string, error) {
	out, names := make([]string, len(q.Keys)), make([][]byte, len(q.Keys))
	for i, key := range q.Keys {
		names[i] = m.keys.lookup(q.Dataset, key)
	}
	if q.Scopes == nil {
		q.Scopes = []string{}
	}
	rows, err := m.pool.Query(ctx, mapKeys, names, q.Dataset, provider, q.Scopes, q.Purpose)
	if err != nil {
		return nil, err
	}
	var at int
	var subject string
	_, err = pgx.ForEachRow(rows, []any{&at, &subject}, func() error { out[at-1] = subject; return nil })
	return out, err
}
