package fetch

import (
	"context"
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// digestOK keeps what the store says from naming a file elsewhere.
var digestOK = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// policyOf gives the parts that a decision names; one that cannot be read names none.
func policyOf(l line) contract.PolicyRef {
	var body struct {
		Policy *contract.PolicyRef `json:"policy"`
	}
	if l.Kind != contract.LogDecision || len(l.Body) == 0 || json.Unmarshal(l.Body, &body) != nil || body.Policy == nil {
		return contract.PolicyRef{}
	}
	body.Policy.Sequence = 0
	return *body.Policy
}

// want notes the files of parts by their digests.
func want(parts map[string]string, ref contract.PolicyRef) {
	for _, digest := range []string{ref.Access, ref.Grants, ref.Directory} {
		parts[digest] = audit.PartName(digest)
	}
	parts[ref.Revision] = audit.RevisionName(ref.Revision)
}

// parts writes signed parts of the policy that are not there yet, beside the chains: those of all gateways are the same.
func (f *fetcher) parts(ctx context.Context, tx pgx.Tx, parts map[string]string) error {
	maps.DeleteFunc(parts, func(digest, name string) bool {
		return !digestOK.MatchString(digest) || f.missing[digest] || f.out.has(path.Join(audit.PolicyDir, name))
	})
	if len(parts) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT digest, sealed FROM audit.policy_objects WHERE digest = ANY ($1)`, slices.Sorted(maps.Keys(parts)))
	if err != nil {
		return err
	}
	var digest string
	var sealed []byte
	_, err = pgx.ForEachRow(rows, []any{&digest, &sealed}, func() error {
		name := path.Join(audit.PolicyDir, parts[digest])
		delete(parts, digest)
		f.sum.PolicyParts++
		return f.out.file(name, sealed)
	})
	for digest := range parts {
		f.missing[digest] = true
	}
	return err
}

// lists writes lists of subjects that are not there yet, as the gateway does: one a line.
func (f *fetcher) lists(ctx context.Context, tx pgx.Tx, instance string, digests map[string]bool) error {
	var want []string
	for digest := range digests {
		if digestOK.MatchString(digest) && !f.out.has(listName(instance, digest)) {
			want = append(want, digest)
		}
	}
	if len(want) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT digest, subjects FROM audit.subject_lists WHERE digest = ANY ($1)`, want)
	if err != nil {
		return err
	}
	var digest string
	var subjects []string
	_, err = pgx.ForEachRow(rows, []any{&digest, &subjects}, func() error {
		f.sum.SubjectLists++
		return f.out.file(listName(instance, digest), []byte(strings.Join(subjects, "\n")+"\n"))
	})
	return err
}

func listName(instance, digest string) string {
	return path.Join(instance, decisionlog.SubjectsDir, decisionlog.ListName(digest))
}
