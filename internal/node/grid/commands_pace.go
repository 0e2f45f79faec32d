package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

const (
	// paceWindow is the time in which one person may give so many commands, and all of an organisation together. A desired state that is
	// set or dropped counts as one. What alarms give does not count, and nobody is kept from withdrawing.
	paceWindow             = time.Minute
	personsCommands        = 60
	organizationsCommands  = 600
	reasonTooManyCommands  = "TooManyCommands"
	commandsOfOrganization = `(SELECT created_at AS at, person FROM grid.commands WHERE organization = $1 AND organization <> '' AND created_at > $2
		UNION ALL SELECT at, person FROM grid.desired_history WHERE organization = $1 AND organization <> '' AND at > $2) g`
)

// pace refuses with 429 who gave as many commands in the last minute as they may. It counts in the database, so it holds for all replicas
// together, and lets those of one organisation by one after the other until tx ends.
func (a *api) pace(ctx context.Context, tx pgx.Tx, who scope, now time.Time) error {
	by := who.actor()
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, hashtext($2))", paceLock, by.Organization); err != nil {
		return fmt.Errorf("pace of organisation %s: %w", who.Organization, err)
	}
	for _, limit := range []struct {
		of, where string
		n         int
		args      []any
	}{
		{"a person", " WHERE g.person = $4", personsCommands, []any{by.Person}},
		{"an organisation", "", organizationsCommands, nil},
	} {
		var oldest time.Time
		err := tx.QueryRow(ctx, "SELECT g.at FROM "+commandsOfOrganization+limit.where+" ORDER BY g.at DESC OFFSET $3 LIMIT 1",
			append([]any{by.Organization, now.Add(-paceWindow), limit.n - 1}, limit.args...)...).Scan(&oldest)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("pace of organisation %s: %w", who.Organization, err)
		}
		a.commander.metrics.commands.WithLabelValues("Refused", reasonTooManyCommands).Inc()
		wait := max(1, int((oldest.Add(paceWindow).Sub(now)+time.Second-1)/time.Second))
		return huma.ErrorWithHeaders(refuse(http.StatusTooManyRequests, reasonTooManyCommands, "",
			fmt.Sprintf("%s may give %d commands a minute; try again in %d s", limit.of, limit.n, wait)), http.Header{"Retry-After": {strconv.Itoa(wait)}})
	}
	return nil
}
