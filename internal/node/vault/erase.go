package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

type eraseInput struct {
	Subject string `path:"subject" maxLength:"64"`
	Body    struct {
		Reason string `json:"reason" enum:"SubjectRequest,GuardianRequest,PurposeEnded,CourtOrder"`
	}
}

type receiptOutput struct {
	Body struct {
		Receipt Erasure `json:"receipt"`
		// JWS is the receipt, signed (compact serialisation, RFC 7515).
		JWS string `json:"jws"`
	}
}

// kept is what an erasure leaves, and why.
func kept() []Kept {
	return []Kept{
		{"lines of the decision log", "The Cybersecurity Law has network logs kept for six months or more. After that the records that speak of the subject alone are erased, each by a signed receipt that names its line; others stay until their age. All name the subject by a keyed pseudonym; with the vault's rows gone it leads to nobody."},
		{"consents, withdrawn", "They prove by what right was read until now (PIPL article 69). They name the random id alone."},
		{"cases and their history", "They name no person: a device, a community, a grid. Notes go when their time is over."},
	}
}

// erase destroys what leads to a person, and has the rest erased by those who hold it. The key goes first of all: what is sealed under it
// is noise, in a backup as well.
func (s *service) erase(ctx context.Context, in *eraseInput) (*receiptOutput, error) {
	out := &receiptOutput{}
	return out, s.do(ctx, actErase, func(tx pgx.Tx, c caller, request string) (said, error) {
		w := said{purpose: in.Body.Reason, subjects: []string{in.Subject}}
		if _, err := tx.Exec(ctx, "SELECT FROM vault.subjects WHERE subject = $1 FOR UPDATE", in.Subject); err != nil {
			return w, err
		}
		if err := subjectOf(ctx, tx, c, in.Subject); err != nil {
			return w, err
		}
		id, err := uuid.Parse(request)
		if err != nil {
			return w, err
		}
		p := c.bundle.Directory.Platform
		e := Erasure{
			Format: contract.ErasureFormat, ID: id, Platform: p.Namespace + "/" + p.Name, Subject: in.Subject, At: c.at.UTC(),
			Organization: c.who.Organization, Person: c.who.Subject, Reason: in.Body.Reason, Kept: kept(), Asked: []Asked{},
		}
		if err := onBehalf(ctx, tx, c, in.Subject, in.Body.Reason); err != nil {
			return w, err
		}
		if err := s.askAll(ctx, tx, c, &e); err != nil {
			return w, err
		}
		names, err := s.logged(ctx, tx, in.Subject)
		if err != nil {
			return w, err
		}
		if err := destroy(ctx, tx, &e); err != nil {
			return w, err
		}
		jws, err := s.sign.sign(contract.ErasureType, e)
		if err != nil {
			return w, err
		}
		out.Body.Receipt, out.Body.JWS = e, jws
		_, err = tx.Exec(ctx, "INSERT INTO vault.receipts (id, kind, subject, at, organization, person, jws) VALUES ($1, 'Erasure', $2, $3, $4, $5, $6)",
			id, in.Subject, e.At, e.Organization, e.Person, jws)
		if err != nil {
			return w, err
		}
		return w, remember(ctx, tx, &e, names)
	})
}

// askAll asks the writer of each dataset about people, but the platform's own, to erase. A dataset that knows people by a key of its own is
// asked only where the vault has that key, and the task takes it along.
func (s *service) askAll(ctx context.Context, tx pgx.Tx, c caller, e *Erasure) error {
	key, err := s.keyOf(ctx, tx, e.Subject)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.bundle.Access.Datasets)) {
		d := c.bundle.Access.Datasets[name]
		if d.Source.SubjectColumn == "" || own(name, d.Source) {
			continue
		}
		rows, err := tx.Query(ctx, "SELECT sealed FROM vault.identities WHERE subject = $1 AND source = $2", e.Subject, name)
		if err != nil {
			return err
		}
		sealedKeys, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil {
			return err
		}
		if len(sealedKeys) == 0 && d.Source.DSN != "" {
			continue
		}
		text := ""
		for _, sealedKey := range sealedKeys {
			plain, err := open(key, sealedKey, "identity", e.Subject, name)
			if err != nil {
				return err
			}
			text += string(plain) + "\n"
		}
		task, err := uuid.NewV7()
		if err != nil {
			return err
		}
		if err := ask(ctx, tx, c, Task{ID: task, Kind: taskErasure, Dataset: name, Subject: e.Subject, Text: text}, writerOf(d), s.keys.task); err != nil {
			return err
		}
		e.Asked = append(e.Asked, Asked{name, writerOf(d), task})
	}
	return nil
}

// own says whether a dataset is one of the platform's own, whose rows vault.erase_rows deletes, or the consents, which are withdrawn.
func own(dataset string, s contract.Source) bool {
	if s.DSN != "" || s.Table != dataset || s.SubjectColumn != "subject" {
		return false
	}
	return s.Schema == "datasets" && (dataset == "households" || dataset == "registers") || s.Schema == "grid" && dataset == "consents"
}

// destroy deletes what leads to the person, withdraws what they agreed to, and deletes their rows in the platform's own datasets.
func destroy(ctx context.Context, tx pgx.Tx, e *Erasure) error {
	for _, step := range []struct {
		n         *int64
		statement string
	}{
		{&e.Destroyed.Keys, "DELETE FROM vault.keys WHERE subject = $1"},
		{&e.Destroyed.Identities, "DELETE FROM vault.identities WHERE subject = $1"},
		{&e.Destroyed.Relations, "DELETE FROM vault.relations WHERE subject = $1 OR guardian = $1"},
		{&e.ConsentsWithdrawn, "UPDATE grid.consents SET withdrawn_at = greatest(now(), given_at), withdrawal_evidence = 'erasure' WHERE subject = $1 AND withdrawn_at IS NULL"},
		{new(int64), "UPDATE vault.subjects SET erased_at = now() WHERE subject = $1"},
	} {
		tag, err := tx.Exec(ctx, step.statement, e.Subject)
		if err != nil {
			return fmt.Errorf("erase: %w", err)
		}
		*step.n = tag.RowsAffected()
	}
	if e.Destroyed.Keys != 1 {
		return errors.New("erase: the key of the subject is not there")
	}
	rows, err := tx.Query(ctx, "SELECT dataset, deleted FROM vault.erase_rows($1)", e.Subject)
	if err != nil {
		return fmt.Errorf("erase rows: %w", err)
	}
	e.Destroyed.Rows = map[string]int64{}
	var dataset string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&dataset, &n}, func() error {
		if n < 0 {
			e.Kept = append(e.Kept, Kept{"rows of " + dataset, "The table belongs to another owner than the platform's; its owner must delete them."})
			return nil
		}
		e.Destroyed.Rows[dataset] = n
		return nil
	})
	return err
}
