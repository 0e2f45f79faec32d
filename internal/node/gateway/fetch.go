package gateway

import (
	"context"
)

// fetch reads a page under the decision.
func (s *server) fetch(ctx context.Context, r *reading, cursor string) (Records, page, error) {
	bound := []string{r.in.Dataset, r.in.Consumer, r.grant.UID}
	after, err := s.keys.open(cursor, bound...)
	if err != nil {
		return Records{}, page{}, err
	}
	sel, err := s.selection(ctx, r)
	if err != nil {
		return Records{}, page{}, err
	}
	sel.limit, sel.after = r.limit, after
	st, err := build(sel)
	if err != nil {
		return Records{}, page{}, err
	}
	read, err := s.db.read(ctx, sel, st)
	if err != nil {
		return Records{}, page{}, err
	}
	answer := Records{
		Records: read.records, Agreement: r.decision.Agreement, Masked: masked(r.decision.Fields),
		Revision: r.policy.bundle.Lease.Revision, Request: r.id,
	}
	if read.next != nil {
		answer.Next, err = s.keys.seal(*read.next, bound...)
	}
	return answer, read, err
}

// selection gives what the decision reaches, for records and for aggregates alike.
func (s *server) selection(ctx context.Context, r *reading) (selection, error) {
	d := r.policy.bundle.Access.Datasets[r.in.Dataset]
	info, err := s.db.table(ctx, d.Source, r.at)
	return selection{
		dataset: d, table: info, fields: r.decision.Fields, rows: *r.decision.Rows, codes: r.policy.codesOf(*r.decision.Rows),
		zone: r.policy.zone.String(), maskKey: s.keys.mask(r.grant.UID), subjectKey: s.keys.subject,
	}, err
}
