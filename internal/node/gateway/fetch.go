package gateway

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// fetch reads a page under the decision.
func (s *server) fetch(ctx context.Context, r *reading, cursor string) (Records, page, error) {
	after, err := s.keys.open(cursor, r.bound()...)
	if err != nil {
		return Records{}, page{}, err
	}
	read, err := s.readPage(ctx, r, after)
	if err != nil {
		return Records{}, page{}, err
	}
	answer := Records{
		Records: read.records, Agreement: r.decision.Agreement, Masked: masked(r.decision.Fields),
		Revision: r.policy.bundle.Lease.Revision, Request: r.id, Obligations: obligations(r.grant),
	}
	if read.next != nil {
		answer.Next, err = s.keys.seal(*read.next, r.bound()...)
	}
	return answer, read, err
}

// bound is what a cursor holds good for: whoever asks under another agreement, for other fields or rows, or is somebody else, begins
// at the beginning.
func (r *reading) bound() []string {
	asked, _ := json.Marshal([]any{leaving(r.decision.Fields), r.in.Filter}) // of texts: it always marshals
	person := ""
	if r.in.Person != nil {
		person = r.in.Person.Issuer + " " + r.in.Person.Subject
	}
	return []string{r.in.Dataset, r.in.Consumer, r.grant.UID, person, string(asked)}
}

// readPage reads up to r.limit rows behind a position, wherever the dataset is.
func (s *server) readPage(ctx context.Context, r *reading, after *position) (page, error) {
	leave, err := s.crowds.read(ctx, r.organization, r.policy.bundle.Access.Datasets[r.in.Dataset].Source.DSN)
	if err != nil {
		return page{}, err
	}
	defer leave()
	sel, err := s.selection(ctx, r)
	if err != nil {
		return page{}, err
	}
	sel.limit, sel.after = r.limit, after
	if sel.foreign {
		return s.readForeign(ctx, r, sel)
	}
	st, err := build(sel)
	if err != nil {
		return page{}, err
	}
	rows, more, err := s.db.read(ctx, sel, st)
	if err != nil {
		return page{}, err
	}
	return pageOf(rows, more), nil
}

// selection gives what the decision reaches. The table of a foreign source is not looked at yet.
func (s *server) selection(ctx context.Context, r *reading) (selection, error) {
	d := r.policy.bundle.Access.Datasets[r.in.Dataset]
	var err error
	if d.Source, err = sourceOf(d.Source); err != nil {
		return selection{}, err
	}
	sel := selection{
		dataset: d, fields: r.decision.Fields, rows: *r.decision.Rows, codes: r.policy.codesOf(*r.decision.Rows), places: r.policy.placesOf(*r.decision.Rows),
		reader: readerOf(r), filter: r.in.Filter, consentScope: r.grant.ConsentScope, purpose: r.in.Purpose, zone: r.policy.zone.String(),
		maskKey: s.keys.mask(r.grant.UID), subjectKey: s.keys.subject, orderKey: s.keys.order(r.grant.UID), foreign: d.Source.DSN != "",
	}
	if !sel.foreign {
		sel.table, err = s.db.table(ctx, d.Source, r.at)
	}
	return sel, err
}

// readerOf gives the person who reads, in the roles by which it is allowed.
func readerOf(r *reading) rosterEntry {
	out := rosterEntry{organization: r.in.Consumer}
	if p := r.in.Person; p != nil {
		out.person, out.roles = p.Subject, slices.DeleteFunc(slices.Clone(p.Roles), func(role string) bool {
			return !slices.Contains(r.grant.Roles, role) || r.decision.Role != "" && role != r.decision.Role
		})
	}
	return out
}

// placesOf gives the communities that a row scope reaches. A community that is gone from the directory is in none.
func (p *policy) placesOf(rows contract.Rows) places {
	key := "places|" + strings.Join(rows.Divisions, ",") + "|" + strings.Join(rows.Communities, ",")
	if known, ok := p.codes.Load(key); ok {
		return known.(places)
	}
	under := func(code string) bool {
		return slices.ContainsFunc(rows.Divisions, func(prefix string) bool { return strings.HasPrefix(code, prefix) })
	}
	var out places
	for _, name := range sortedKeys(p.bundle.Directory.Communities) {
		c := p.bundle.Directory.Communities[name]
		if len(rows.Communities) > 0 && !slices.Contains(rows.Communities, name) {
			continue
		}
		if under(c.Division) {
			out.names = append(out.names, name)
		}
		for _, code := range c.Codes() { // a former code counts where it lies under a prefix itself, as in Directory.CodesIn
			if under(code) {
				out.codes, out.of = append(out.codes, code), append(out.of, name)
			}
		}
	}
	p.codes.Store(key, out)
	return out
}
