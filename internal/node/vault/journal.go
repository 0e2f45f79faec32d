package vault

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/pseudonym"
)

// chainName is the instance of the vault's chain.
const chainName = "vault"

// said is what a line tells of an act.
type said struct {
	kind    string
	act     act
	request string
	// purpose is the reason that was given, as a code.
	purpose string
	dataset string
	fields  []string
	// subjects as they are in the vault; the line has their pseudonyms.
	subjects []string
}

// write adds a line to the vault's chain, in the transaction of what it tells.
func (s *service) write(ctx context.Context, tx pgx.Tx, c caller, w said) error {
	var end struct {
		sequence int64
		header   string
	}
	err := tx.QueryRow(ctx, "SELECT seq, header FROM audit.vault_end()").Scan(&end.sequence, &end.header)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("end of the vault's chain: %w", err)
	}
	previous := ""
	if end.header != "" {
		var last contract.LogLine
		if err := json.Unmarshal([]byte(end.header), &last); err != nil {
			return fmt.Errorf("line %d of the vault's chain: %w", end.sequence, err)
		}
		previous = last.Hash
	}
	names, who := s.keys.pseudonyms(w.subjects...), c.who.Subject
	if c.who.Role == RoleResident { // that of an employee is the organisation's own name for them; this one is a resident's id
		who = s.keys.pseudonyms(who)[0]
	}
	body, err := json.Marshal(contract.LogBody{
		Salt: salt(), Reason: string(w.act), Subjects: names,
		Input: &contract.DecisionInput{
			Contract: contract.ContractVersion, Dataset: w.dataset, Consumer: c.who.Organization, Fields: w.fields, Purpose: w.purpose, Now: c.at.Unix(),
			Person: &contract.Person{Subject: who, Roles: []string{c.who.Role}},
		},
		Policy: &contract.PolicyRef{Revision: c.bundle.Lease.Revision, Sequence: c.bundle.Lease.Sequence},
	})
	if err != nil {
		return fmt.Errorf("line of the vault: %w", err)
	}
	line := contract.LogLine{
		V: contract.LogFormat, Sequence: end.sequence + 1, At: time.Now().UTC(), Instance: chainName, Kind: w.kind, Request: w.request,
		Body: contract.Digest(body), Algorithm: "sha256", Previous: previous,
	}
	header, err := sealed(line)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT audit.vault_append($1, $2, $3, $4, $5, $6, $7)", line.Sequence, line.At, w.kind, w.request, header, body, names); err != nil {
		return fmt.Errorf("line of the vault: %w", err)
	}
	return nil
}

// sealed gives the header of a line with its hash: that of the header without it.
func sealed(line contract.LogLine) (string, error) {
	line.Hash, line.Record = "", nil
	bare, err := json.Marshal(line)
	if err != nil {
		return "", fmt.Errorf("line of the vault: %w", err)
	}
	sum := sha256.Sum256(bare)
	line.Hash = hex.EncodeToString(sum[:])
	raw, err := json.Marshal(line)
	if err != nil {
		return "", fmt.Errorf("line of the vault: %w", err)
	}
	return string(raw), nil
}

func salt() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return hex.EncodeToString(raw)
}

// pseudonyms gives the names under which values are in the decision log.
func (k keys) pseudonyms(values ...string) []string {
	out := []string{}
	for _, v := range values {
		out = append(out, pseudonym.Of(k.log, v))
	}
	return out
}
