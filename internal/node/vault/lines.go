package vault

import (
	"context"

	"github.com/jackc/pgx/v5"
)

type linesInput struct {
	After int64 `query:"after" minimum:"0" doc:"Sequence of the last line that is known."`
}

type linesOutput struct {
	Body struct {
		// Lines as they were written, each a contract.LogLine with its record.
		Lines []string `json:"lines"`
	}
}

// lines gives up to 1,000 lines of the vault's chain. That they were read is a line behind them.
func (s *service) lines(ctx context.Context, in *linesInput) (*linesOutput, error) {
	out := &linesOutput{}
	return out, s.do(ctx, actLog, func(tx pgx.Tx, _ caller, _ string) (said, error) {
		rows, err := tx.Query(ctx, "SELECT header, body FROM audit.vault_lines($1, 1000)", in.After)
		if err != nil {
			return said{}, err
		}
		var header string
		var body []byte
		out.Body.Lines = []string{}
		_, err = pgx.ForEachRow(rows, []any{&header, &body}, func() error {
			line := header
			if len(body) > 0 { // one that was erased has none
				line = header[:len(header)-1] + `,"record":` + string(body) + "}"
			}
			out.Body.Lines = append(out.Body.Lines, line)
			return nil
		})
		return said{}, err
	})
}
