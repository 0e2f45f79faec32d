package grid

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

// accountsAtOnce bounds the accounts, and the entries of one, that an answer has.
const accountsAtOnce = 10_000

// ledgerReaders are the roles of committees and townships that read a ledger: it says of people, by a pseudonym, what they did and when.
var ledgerReaders = []Role{RoleCommunityWorker, RoleDispatcher, RoleAuditor}

type ledgerInput struct {
	Name    string `path:"name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" doc:"Name of the ledger, as spec.ledger.name of the Scenario has it."`
	From    string `query:"from" maxLength:"35" doc:"A day, such as 2026-11-01, or a time; entries from then on. Not given: 30 days before to."`
	To      string `query:"to" maxLength:"35" doc:"A day or a time; entries before it. Not given: now."`
	Subject string `query:"subject" maxLength:"256" doc:"Whose account: then its entries are given, too."`
}

// Ledger gives what was entered in a period.
type Ledger struct {
	Name     string        `json:"name"`
	From     time.Time     `json:"from"`
	To       time.Time     `json:"to"`
	Accounts []Account     `json:"accounts"`
	Entries  []LedgerEntry `json:"entries,omitempty" doc:"Of the one account that was asked for."`
}

// Account is the sum of a subject's entries.
type Account struct {
	Subject string  `json:"subject" doc:"A pseudonym."`
	Amount  float64 `json:"amount"`
	Entries int64   `json:"entries"`
}

// LedgerEntry is one entry.
type LedgerEntry struct {
	At        time.Time `json:"at"`
	Amount    float64   `json:"amount"`
	Community string    `json:"community"`
	Scenario  string    `json:"scenario"`
}

func (a *api) registerLedger() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-ledger", Method: http.MethodGet, Path: "/v1/ledger/{name}", Summary: "Sums of the accounts of a ledger (积分台账), in the communities of the organization"}, a.ledger)
}

func (a *api) ledger(ctx context.Context, in *ledgerInput) (*output[Ledger], error) {
	who := callerOf(ctx).scope
	if !who.grassroots || !slices.Contains(ledgerReaders, Role(who.Role)) {
		return nil, huma.Error403Forbidden(fmt.Sprintf("role %q of organization %q may not read ledgers: offices and auditors of committees and townships may", who.Role, who.Organization))
	}
	q, err := a.question(ctx, &statisticsInput{From: in.From, To: in.To})
	if err != nil {
		return nil, err
	}
	out := Ledger{Name: in.Name, From: q.from.UTC(), To: q.to.UTC(), Accounts: []Account{}}
	where, args := who.where(5)
	args = append([]any{in.Name, q.from, q.to, in.Subject}, args...)
	of := " FROM grid.ledger c WHERE c.name = $1 AND c.at >= $2 AND c.at < $3 AND ($4 = '' OR c.subject = $4) AND " + where
	err = pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT c.subject, sum(c.amount)::float8 AS amount, count(*) AS entries"+of+fmt.Sprintf(" GROUP BY c.subject ORDER BY c.subject LIMIT %d", accountsAtOnce+1), args...)
		if err != nil {
			return err
		}
		if out.Accounts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Account]); err != nil || in.Subject == "" {
			return err
		}
		if rows, err = tx.Query(ctx, "SELECT c.at, c.amount::float8, c.community, c.scenario"+of+fmt.Sprintf(" ORDER BY c.at LIMIT %d", accountsAtOnce+1), args...); err != nil {
			return err
		}
		out.Entries, err = pgx.CollectRows(rows, pgx.RowToStructByPos[LedgerEntry])
		return err
	})
	if err != nil {
		return nil, a.fail(fmt.Errorf("ledger %s: %w", in.Name, err))
	}
	if len(out.Accounts) > accountsAtOnce || len(out.Entries) > accountsAtOnce {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("more than %d accounts or entries; ask for a shorter time between query.from and query.to", accountsAtOnce))
	}
	return &output[Ledger]{out}, nil
}
