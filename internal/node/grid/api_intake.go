package grid

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// Contact is how to reach whoever reported a case.
type Contact struct {
	Name  string `json:"name,omitempty" maxLength:"64"`
	Phone string `json:"phone" minLength:"3" maxLength:"24" pattern:"^[+]?[0-9][0-9 -]*$"`
}

// ReportState is what a reporter hears of their case, and nothing else.
type ReportState struct {
	State     State  `json:"state"`
	StateName string `json:"stateName" doc:"The state in Chinese."`
}

// channelsOf says by which ways a role reports.
var channelsOf = map[Role][]string{
	RoleResident:        {"App", "Snap"},
	RoleHotline:         {"Hotline"},
	RoleGridWorker:      {"Phone", "Snap", "Counter", "App"},
	RoleCommunityWorker: {"Phone", "Snap", "Counter", "App"},
	RoleDispatcher:      {"Phone", "Snap", "Counter", "App"},
}

// checkReport says whether somebody may report a case there and so. It is pure.
func checkReport(who caller, body NewCase) error {
	org := who.bundle.Directory.Organizations[who.scope.Organization]
	community, known := who.bundle.Directory.Communities[body.Community]
	role := Role(who.scope.Role)
	channels, reports := channelsOf[role]
	if !reports {
		return huma.Error403Forbidden(fmt.Sprintf("role %q may not report cases", role))
	}
	vendor := len(org.Duties) == 0 && isVendor(who.bundle, who.scope.Organization)
	if !known || vendor || !actsAt(who.bundle.Directory, org, body) {
		return huma.Error404NotFound("no such community in your organization's jurisdiction")
	}
	if body.Channel != "" && !slices.Contains(channels, body.Channel) {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.channel: role %q does not report by %s; write one of %s", role, body.Channel, strings.Join(channels, ", ")))
	}
	if err := checkSourceSystem(who.bundle.Directory.Platform, body.SourceSystem); err != nil {
		return err
	}
	if body.ExternalID != "" && body.SourceSystem == "" {
		return huma.Error422UnprocessableEntity("body.sourceSystem: missing, and body.externalId is a number in it; write the name by which your own system is known, or leave both out")
	}
	if body.Compound != "" && !slices.Contains(community.Compounds, body.Compound) {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.compound: community %s has no compound %q; write one of %s, or leave it out", body.Community, body.Compound, strings.Join(community.Compounds, ", ")))
	}
	for _, g := range community.Grids {
		if g.Name == body.Grid && body.Compound != "" && len(g.Compounds) > 0 && !slices.Contains(g.Compounds, body.Compound) {
			return huma.Error422UnprocessableEntity(fmt.Sprintf("body.compound: %s is not in grid %s; write one of %s, or another grid", body.Compound, g.Name, strings.Join(g.Compounds, ", ")))
		}
	}
	return checkPlace(community, "body", body.Community, body.Grid, body.MicroGrid, "")
}

// actsAt says whether an organisation acts where a report says the case is.
func actsAt(d contract.Directory, org contract.Organization, body NewCase) bool {
	if body.Compound == "" {
		return d.ActsIn(org, body.Community)
	}
	return d.Reach(org, contract.Place{Community: body.Community, Compound: body.Compound}) > 0
}

// checkSourceSystem refuses the name of a system whose cases do not come by a report: the platform itself, and those that cases are exchanged with. A
// case under such a name and the system's next number would be met by the real one. It is pure.
func checkSourceSystem(p contract.Platform, name string) error {
	const want = "write the name by which your own system is known, or leave the field out"
	_, exchanged := p.Integrations[name]
	switch {
	case strings.Contains(name, ":"):
		return huma.Error422UnprocessableEntity("body.sourceSystem: a colon is not allowed, as it parts the system from the id in <system>:<id>; write the name without it")
	case name != "" && name == p.Name:
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.sourceSystem: %q is the name of this platform; %s", name, want))
	case exchanged:
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.sourceSystem: cases of %q come by its exchange, PUT /v1/exchange/%s/cases/{id}, and not by a report; %s", name, name, want))
	}
	return nil
}

// receiptDigest is how a receipt is kept. People write receipts down: hyphens, blanks and small letters do not matter.
func receiptDigest(receipt string) []byte {
	sum := sha256.Sum256([]byte(strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(receipt))))
	return sum[:]
}

// giveReceipt makes a new receipt of a case, 128 random bits, and gives it; one that was given before is worth nothing from now on.
func giveReceipt(ctx context.Context, tx pgx.Tx, caseID uuid.UUID, now time.Time) (string, error) {
	receipt := rand.Text()
	if _, err := tx.Exec(ctx, "INSERT INTO grid.receipts (digest, case_id, at) VALUES ($1, $2, $3) ON CONFLICT (case_id) DO UPDATE SET digest = excluded.digest, at = excluded.at",
		receiptDigest(receipt), caseID, now); err != nil {
		return "", fmt.Errorf("receipt: %w", err)
	}
	return receipt, nil
}

// keepReport writes down what a report has besides the case.
func keepReport(ctx context.Context, tx pgx.Tx, c *Case, body NewCase, now time.Time) error {
	if body.Channel != "" {
		if _, err := tx.Exec(ctx, "UPDATE grid.cases SET channel = $2 WHERE id = $1", c.ID, body.Channel); err != nil {
			return fmt.Errorf("case %s: %w", c.Number, err)
		}
	}
	if body.Contact == nil {
		return nil
	}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.report_contacts (case_id, at, name, phone) VALUES ($1, $2, $3, $4)", c.ID, now, body.Contact.Name, body.Contact.Phone); err != nil {
		return fmt.Errorf("contact of case %s: %w", c.Number, err)
	}
	return nil
}

type receiptInput struct {
	Receipt string `path:"receipt" minLength:"1" maxLength:"64"`
}

type reportStateOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         ReportState
}

func (a *api) registerIntake() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-report", Method: http.MethodGet, Path: "/v1/reports/{receipt}", Summary: "The state of the case of a receipt, for whoever reported it"}, a.reportState)
	huma.Register(a.huma, huma.Operation{OperationID: "get-case-contact", Method: http.MethodGet, Path: "/v1/cases/{id}/contact",
		Summary: "How to reach whoever reported the case, for who was called to it; that you read it is written down"}, a.contact)
	huma.Register(a.huma, huma.Operation{OperationID: "erase-case-contact", Method: http.MethodDelete, Path: "/v1/cases/{id}/contact",
		Summary: "Erase how to reach whoever reported the case", DefaultStatus: http.StatusNoContent}, a.eraseContact)
}

// reportState answers by receipt alone. Wrong ones are looked for as right ones are, by a digest that nobody can choose, and get one answer.
func (a *api) reportState(ctx context.Context, in *receiptInput) (*reportStateOutput, error) {
	who := callerOf(ctx)
	if err := a.receiptPace.take(who.scope.Organization, who.scope.Subject, a.now()); err != nil {
		return nil, err
	}
	digest, found, state := receiptDigest(in.Receipt), make([]byte, sha256.Size), State("")
	err := a.pool.QueryRow(ctx, "SELECT r.digest, c.state FROM grid.receipts r JOIN grid.cases c ON c.id = r.case_id WHERE r.digest = $1", digest).Scan(&found, &state)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, a.fail(fmt.Errorf("receipt: %w", err))
	}
	if subtle.ConstantTimeCompare(found, digest) != 1 {
		return nil, huma.Error404NotFound("no such receipt")
	}
	return &reportStateOutput{"no-store", ReportState{state, state.ChineseName()}}, nil
}

// contactOf locks a case that the caller may act on, for roles that deal with reporters.
func (a *api) contactOf(ctx context.Context, tx pgx.Tx, id uuid.UUID, roles ...Role) (*Case, error) {
	who := callerOf(ctx)
	c, err := lockSeen(ctx, tx, who.scope, id)
	if err != nil {
		return nil, err
	}
	parties, err := partiesOf(ctx, tx, c.ID)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(roles, Role(who.scope.Role)) || !mayAct(who.bundle.Directory, who.scope.Organization, c, parties) {
		return nil, huma.Error403Forbidden(fmt.Sprintf("role %q of organization %q does not deal with who reported case %s: who was called to it does", who.scope.Role, who.scope.Organization, c.Number))
	}
	return c, nil
}

func (a *api) contact(ctx context.Context, in *idInput) (*output[Contact], error) {
	var out Contact
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		c, err := a.contactOf(ctx, tx, in.ID, everyone...)
		if err != nil {
			return err
		}
		by := callerOf(ctx).scope
		err = tx.QueryRow(ctx, `WITH k AS (SELECT name, phone FROM grid.report_contacts WHERE case_id = $1),
			r AS (INSERT INTO grid.people_reads (at, organization, person, role, subject, case_id) SELECT $2, $3, $4, $5, 'reporter', $1 FROM k)
			SELECT name, phone FROM k`, c.ID, a.now().UTC(), by.Organization, by.Subject, by.Role).Scan(&out.Name, &out.Phone)
		if errors.Is(err, pgx.ErrNoRows) {
			return huma.Error404NotFound("whoever reported the case left no contact, or it was erased")
		}
		return err
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[Contact]{out}, nil
}

func (a *api) eraseContact(ctx context.Context, in *idInput) (*struct{}, error) {
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		c, err := a.contactOf(ctx, tx, in.ID, RoleCommunityWorker, RoleDispatcher)
		if err != nil {
			return err
		}
		done, err := tx.Exec(ctx, "DELETE FROM grid.report_contacts WHERE case_id = $1", c.ID)
		if err != nil || done.RowsAffected() == 0 {
			return err
		}
		return record(ctx, tx, c, "ContactErased", c.State, callerOf(ctx).scope.actor(), a.now().UTC(), nil)
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return nil, nil
}
