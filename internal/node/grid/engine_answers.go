package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// answersAtOnce bounds what one transaction takes of the answers.
const answersAtOnce = 4096

// commandAnswer is what became of a command.
type commandAnswer struct {
	ID       int64 `db:"id"`
	Fleet    string
	Device   string
	Command  string
	State    string
	Reason   string
	Sender   string
	Scenario string
	At       time.Time
}

// toldAnswer tells the engine what became of a command: that the device said so, or that it ended without.
func toldAnswer(ctx context.Context, tx pgx.Tx, c *Command, from command.State, now time.Time) error {
	if c.State == from || c.State == command.Pending {
		return nil
	}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.command_answers (fleet, device, command, state, reason, sender, scenario, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		c.Fleet, c.Device, c.Name, c.State, c.Reason, c.Sender, c.Scenario, now); err != nil {
		return fmt.Errorf("answer of command %s: %w", c.ID, err)
	}
	return nil
}

// takeAnswers takes what became of commands to the engine. A row that is committed late is found later: none is passed over.
func (b *batch) takeAnswers(ctx context.Context) error {
	rows, err := b.s.conn.Query(ctx, "SELECT id, fleet, device, command, state, reason, sender, scenario, at FROM grid.command_answers ORDER BY id LIMIT $1", answersAtOnce)
	if err != nil {
		return fmt.Errorf("answers of commands: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[commandAnswer])
	if err != nil {
		return fmt.Errorf("answers of commands: %w", err)
	}
	for _, x := range list {
		if m, ok := x.message(b.s.bundle); ok {
			b.keep(b.s.engine.Step(m), b.now)
		}
		b.answers = append(b.answers, x.ID)
	}
	return nil
}

// message writes an answer as the engine reads it; ok is false if the device is registered no more. It is pure.
func (x commandAnswer) message(b *intake.Bundle) (m rules.Message, ok bool) {
	row, ok := b.Fleets[x.Fleet].Devices[x.Device]
	return rules.Message{Time: x.At, ID: fmt.Sprintf("answer %d", x.ID), Fleet: x.Fleet, Device: x.Device, Row: row, Profile: contract.CommandProfile,
		Payload: map[string]any{"command": x.Command, "state": x.State, "reason": x.Reason, "sender": x.Sender, "scenario": x.Scenario}}, ok
}

// writeAnswers deletes the answers that were taken.
func (b *batch) writeAnswers(ctx context.Context, tx pgx.Tx) error {
	if len(b.answers) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, "DELETE FROM grid.command_answers WHERE id = ANY($1)", b.answers); err != nil {
		return fmt.Errorf("answers of commands: %w", err)
	}
	return nil
}
