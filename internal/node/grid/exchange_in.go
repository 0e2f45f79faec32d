package grid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
)

// lockWait bounds the wait for a row in a transaction of the exchange.
const lockWait = "2s"

// exchange is one integration of a bundle.
type exchange struct {
	bundle *intake.Bundle
	name   string
	contract.Integration
	// scope is what its organisation sees: the rest is not there for it.
	scope scope
}

// exchangeOf gives an integration by its name; false if there is none.
func exchangeOf(b *intake.Bundle, name string) (exchange, bool) {
	in, ok := b.Directory.Platform.Integrations[name]
	if !ok {
		return exchange{}, false
	}
	return exchange{b, name, in, scopeOf(b, person.Identity{Organization: in.Organization, Role: string(RoleOrganizationSystem)})}, true
}

func (x exchange) us() string { return x.bundle.Directory.Platform.Name }

// actor names the system in a history, under the role that lets it act.
func (x exchange) actor(role Role) Actor {
	return Actor{Kind: "Organization", Organization: x.Organization, Role: role, cause: x.name}
}

// mirror is a case as another system has it.
type mirror struct {
	ExternalID string     `db:"external_id"`
	CaseID     uuid.UUID  `db:"case_id"`
	Theirs     int64      `db:"theirs"`
	Ours       int        `db:"ours"`
	Digest     string     `db:"digest"`
	State      State      `db:"state"`
	Sent       string     `db:"sent"`
	Problem    string     `db:"problem"`
	AgainAt    *time.Time `db:"again_at"`
	Attempts   int        `db:"attempts"`
}

const mirrorColumns = "m.external_id, m.case_id, m.theirs, m.ours, m.digest, m.state, m.sent, m.problem, m.again_at, m.attempts"

// mirrorBy reads one mirror; nil if there is none.
func (x exchange) mirrorBy(ctx context.Context, tx pgx.Tx, where string, arg any) (*mirror, error) {
	rows, err := tx.Query(ctx, "SELECT "+mirrorColumns+" FROM grid.mirrors m WHERE m.system = $1 AND "+where, x.name, arg)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[mirror])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	return m, nil
}

// save writes a mirror, under its case; a new one is made.
func (x exchange) save(ctx context.Context, tx pgx.Tx, m *mirror, now time.Time) error {
	if _, err := tx.Exec(ctx, `INSERT INTO grid.mirrors (system, external_id, case_id, theirs, ours, digest, state, sent, problem, again_at, attempts, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (system, case_id) DO UPDATE SET external_id = excluded.external_id, theirs = excluded.theirs,
		ours = excluded.ours, digest = excluded.digest, state = excluded.state, sent = excluded.sent, problem = excluded.problem, again_at = excluded.again_at,
		attempts = excluded.attempts, at = excluded.at`,
		x.name, m.ExternalID, m.CaseID, m.Theirs, m.Ours, m.Digest, m.State, m.Sent, m.Problem, m.AgainAt, m.Attempts, now); err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	return nil
}

// hold keeps all else of the exchange with the system waiting until tx ends: what is read of a mirror stays so. The row of grid.exchange is there then.
// No statement of tx waits longer than lockWait for a row from then on.
func (x exchange) hold(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockWait+"'"); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.exchange (system) VALUES ($1) ON CONFLICT (system) DO NOTHING", x.name); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	if _, err := tx.Exec(ctx, "SELECT FROM grid.exchange WHERE system = $1 FOR UPDATE", x.name); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	return nil
}

// count adds to a counter of the system, one of received, sent and conflicts.
func (x exchange) count(ctx context.Context, tx pgx.Tx, column string) error {
	if _, err := tx.Exec(ctx, "UPDATE grid.exchange SET "+column+" = "+column+" + 1 WHERE system = $1", x.name); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	return nil
}

// What became of a document.
const (
	takenRepeated = "repeated" // it is known
	takenLate     = "over"     // its case was over before it was heard of: nobody is called to it
	takenChanged  = "changed"
	takenCreated  = "created"
	takenRefused  = "refused" // it was read, and its case stays as it is
)

// taken says what became of a document. Refused says why the case is not what the document says; it is written down, so tx is to be committed.
type taken struct {
	what, refused string
	mirror        *mirror
	// c is the case after it; nil where there is none.
	c *Case
}

// take brings a document of the system in: once for each version, whatever comes again or late. An error of huma says what is wrong with the document.
func (x exchange) take(ctx context.Context, tx pgx.Tx, e ExchangedCase, now time.Time) (taken, error) {
	if !x.Inbound {
		return taken{}, huma.Error403Forbidden(fmt.Sprintf("the exchange with %q has direction Outbound: cases of it are not taken", x.name))
	}
	if err := checkDocument(e, x.CaseClasses); err != nil {
		return taken{}, err
	}
	if err := x.hold(ctx, tx); err != nil {
		return taken{}, err
	}
	m, err := x.mirrorBy(ctx, tx, "m.external_id = $2", e.ID)
	if err != nil {
		return taken{}, err
	}
	if m == nil {
		var out taken
		if m, out, err = x.meet(ctx, tx, e, now); err != nil || m == nil {
			return out, err
		}
	}
	c, err := x.caseOf(ctx, tx, m.CaseID)
	if err != nil {
		return taken{}, err
	}
	if o := originOf(x.us(), c); o != e.Origin {
		return taken{}, huma.Error422UnprocessableEntity(fmt.Sprintf("body.origin: the case comes from %s:%s, which never changes", o.System, o.ID))
	}
	if len(x.CaseClasses) > 0 && !slices.Contains(x.CaseClasses, c.Class) { // of which class the document says it is, does not matter
		return taken{}, huma.Error422UnprocessableEntity(fmt.Sprintf("body.class: case %q is of a class here that is not exchanged with this system; leave it out of the exchange", e.ID))
	}
	switch d := e.digest(); {
	case e.Version <= m.Theirs:
		return taken{what: takenRepeated, mirror: m, c: c}, nil
	case d == m.Digest: // it says nothing new: an echo of what was sent ends here
		m.Theirs = e.Version
		return taken{what: takenRepeated, mirror: m, c: c}, x.save(ctx, tx, m, now)
	}
	return x.follow(ctx, tx, m, c, e, now)
}

// takeOrNot is take of a document that nobody waits for an answer to: one that is wrong changes nothing, and is refused.
func (x exchange) takeOrNot(ctx context.Context, tx pgx.Tx, e ExchangedCase, now time.Time) (out taken, err error) {
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		out, err = x.take(ctx, tx, e, now)
		return err
	})
	var status huma.StatusError
	if errors.As(err, &status) {
		return taken{what: takenRefused, refused: status.Error()}, nil
	}
	return out, err
}

// caseOf locks a case that the organisation sees. That there is none is said by 409: 404 would be of the address, and the sender would try all later.
func (x exchange) caseOf(ctx context.Context, tx pgx.Tx, id uuid.UUID) (*Case, error) {
	c, err := lockSeen(ctx, tx, x.scope, id)
	var none huma.StatusError
	if errors.As(err, &none) && none.GetStatus() == http.StatusNotFound {
		return nil, huma.Error409Conflict("body.origin: there is no such case for the system's organization here")
	}
	return c, err
}

// meet finds the case of a document that is heard of for the first time, or opens one. Without a mirror the document is done with.
func (x exchange) meet(ctx context.Context, tx pgx.Tx, e ExchangedCase, now time.Time) (*mirror, taken, error) {
	c, err := x.known(ctx, tx, e)
	if err != nil {
		return nil, taken{}, err
	}
	if c == nil {
		if e.Origin.System != x.name {
			return nil, taken{}, huma.Error422UnprocessableEntity(fmt.Sprintf("body.origin: no case of %q with this id is known here; a case that another system opened comes from that system. Yours are of %q", e.Origin.System, x.name))
		}
		if !e.State.Open() {
			return nil, taken{what: takenLate}, nil
		}
		out, err := x.open(ctx, tx, e, now)
		return nil, out, err
	}
	m, err := x.mirrorBy(ctx, tx, "m.case_id = $2", c.ID)
	switch {
	case err != nil:
		return nil, taken{}, err
	case m == nil:
		m = &mirror{ExternalID: e.ID, CaseID: c.ID, State: firstState(c, e), Sent: e.rest()}
		if x.Outbound {
			m.AgainAt = &now
		}
	case m.Theirs > 0:
		return nil, taken{}, huma.Error409Conflict(fmt.Sprintf("case %s is %q in this exchange already; send it under that id", c.Number, m.ExternalID))
	default: // it was sent there, and the answer was lost: now the system says by which id it has it
		m.ExternalID = e.ID
	}
	return m, taken{}, x.save(ctx, tx, m, now)
}

// firstState is the state that the other side is taken to have had when a case of both is met: only what was done to the case there is asked for here.
func firstState(c *Case, e ExchangedCase) State {
	if slices.Contains([]State{Reported, Filed, Dispatched, Reopened, Extended, Suspended}, e.State) {
		return e.State
	}
	return c.State
}

// known finds the case of the platform that a document is about, by its origin; nil if there is none. One that the organisation does not see is none.
func (x exchange) known(ctx context.Context, tx pgx.Tx, e ExchangedCase) (*Case, error) {
	if e.Origin.System == x.us() {
		id, err := caseIDOf(e.Origin.ID)
		if err != nil {
			return nil, err
		}
		return x.caseOf(ctx, tx, id)
	}
	where, args := x.scope.cases(3)
	return oneCase(ctx, tx, "c.source_system = $1 AND c.external_id = $2 AND "+where+forChange, append([]any{e.Origin.System, e.Origin.ID}, args...)...)
}

// open opens a case that comes from the system, and calls whoever is responsible.
func (x exchange) open(ctx context.Context, tx pgx.Tx, e ExchangedCase, now time.Time) (taken, error) {
	d := x.bundle.Directory
	community, ok := communityOf(d, e)
	if !ok || !x.scope.covers(community) {
		return taken{}, huma.Error422UnprocessableEntity("body.community: no such community in the jurisdiction of the system's organization; write its name into community, or its code into division")
	}
	if err := checkPlace(d.Communities[community], "body", community, e.Grid, "", ""); err != nil {
		return taken{}, err
	}
	var there bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM grid.cases WHERE source_system = $1 AND external_id = $2)", x.name, e.Origin.ID).Scan(&there); err != nil {
		return taken{}, fmt.Errorf("case of %s: %w", x.name, err)
	}
	if there {
		return taken{}, huma.Error409Conflict("body.origin: a case of this id is here, and the system's organization does not see it; ask whoever has it")
	}
	c := &Case{
		Community: community, Grid: e.Grid, Class: e.Class, Severity: e.Severity, Title: e.Title, Source: SourceSystem,
		SourceSystem: x.name, ExternalID: e.Origin.ID, StartedAt: now, LastSignalAt: now,
	}
	if e.StartedAt != nil && e.StartedAt.Before(now) {
		c.StartedAt, c.LastSignalAt = *e.StartedAt, *e.StartedAt
	}
	if err := insert(ctx, tx, d, c, x.actor(RoleOrigin), now, detail{"system": x.name, "version": e.Version}); err != nil {
		return taken{}, err
	}
	// It is told of the case, so that it sees it whatever the case becomes.
	if err := callParties(ctx, tx, c, partyTold, c.Level, nil, []string{x.Organization}, now); err != nil {
		return taken{}, err
	}
	if err := send(ctx, tx, x.bundle, c, RoleOrganizationSystem, now); err != nil {
		return taken{}, err
	}
	m := &mirror{ExternalID: e.ID, CaseID: c.ID, State: firstState(c, e), Sent: e.rest()}
	out, err := x.follow(ctx, tx, m, c, e, now)
	if out.what == takenChanged || out.what == takenRepeated {
		out.what = takenCreated
	}
	return out, err
}

// follow takes the actions that a document asks for, all or none, and writes down what the system has.
func (x exchange) follow(ctx context.Context, tx pgx.Tx, m *mirror, c *Case, e ExchangedCase, now time.Time) (taken, error) {
	out := taken{what: takenChanged, mirror: m}
	theirs := e.Origin.System == x.name
	steps, refused := asked(m.State, c, e, theirs)
	if refused == "" && len(steps) > 0 {
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return x.act(ctx, tx, c, e, steps, theirs, now) })
		var status huma.StatusError
		switch {
		case errors.As(err, &status):
			refused = status.Error()
		case errors.As(err, new(errAction)):
			refused = err.Error()
		case err != nil:
			return out, err
		}
		if c, err = oneCase(ctx, tx, "c.id = $1", m.CaseID); err != nil { // what was undone in the database, was not in c
			return out, err
		}
	}
	m.Theirs, m.Digest, m.State, m.Problem = e.Version, e.digest(), e.State, refused
	if rest := render(x.bundle.Directory, c, "", 0).rest(); rest == e.rest() { // it has all that it would be told
		m.Sent = rest
	}
	out.c, out.refused = c, refused
	if refused != "" {
		out.what = takenRefused
		if x.Outbound && (!theirs || c.Version != m.Ours) { // it is told how the case stays; of its own cases only what it was not told before, or both could insist for ever
			m.AgainAt, m.Attempts = &now, 0
		}
		if err := x.count(ctx, tx, "conflicts"); err != nil {
			return out, err
		}
	}
	if err := x.count(ctx, tx, "received"); err != nil {
		return out, err
	}
	return out, x.save(ctx, tx, m, now)
}

// act takes actions on a case that is locked in tx, as the system it comes from or as one that was called to it.
func (x exchange) act(ctx context.Context, tx pgx.Tx, c *Case, e ExchangedCase, steps []Action, theirs bool, now time.Time) error {
	by := x.actor(RoleOrganizationSystem)
	if theirs {
		by.Role = RoleOrigin
	}
	for _, a := range steps {
		parties, err := partiesOf(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if !theirs && !mayAct(x.bundle.Directory, x.Organization, c, parties) {
			return errAction{errNotCalled{x.Organization, c.Number, a}}
		}
		var done []int
		if a == Close {
			done = e.Closing
		}
		if err := checkSteps(c, a, done, by, now); err != nil {
			return err
		}
		if a == Acknowledge {
			if err := acknowledgeFor(ctx, tx, caller{x.bundle, x.scope}, c, now); err != nil {
				return err
			}
		}
		if err := moveAndTell(ctx, tx, x.bundle.Directory, c, parties, a, by, now, nil, detail{"system": x.name, "version": e.Version}); err != nil {
			return err
		}
	}
	return nil
}
