package compile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// maxSourceDSN bounds a connection string with its CA, in bytes: those of all datasets share one Secret.
const maxSourceDSN = 8 << 10

// ownSources are the columns of the views in which the platform gives of its own, by type of source. A dataset cannot name others.
var ownSources = map[v1alpha1.DatasetSourceType][]string{
	v1alpha1.SourceCases: {"number", "community", "grid", "scenario", "class", "severity", "data_class", "state", "open", "source", "started_at", "opened_at",
		"updated_at", "acknowledge_due", "resolve_due", "acknowledged_at", "closed_at", "acknowledge_overdue", "resolve_overdue"},
	v1alpha1.SourceDevices:   {"fleet", "device", "profile", "community", "grid", "first_seen", "last_seen"},
	v1alpha1.SourceTelemetry: {"fleet", "device", "community", "grid", "field", "hour", "n", "total", "least", "greatest"},
}

// datasetSource gives where a dataset is read, and the connection string where that is a PostgreSQL of the provider's own.
func datasetSource(c *problems, s *Snapshot, o *v1alpha1.Dataset) (source contract.Source, dsn []byte) {
	spec := &o.Spec
	source = contract.Source{
		Schema: cmp.Or(spec.Source.Schema, contract.DatabaseSchemaDatasets), Table: o.Table(), KeyColumn: o.Key(), CommunityColumn: spec.CommunityColumn,
		DivisionColumn: spec.DivisionColumn, GridColumn: spec.GridColumn, CompoundColumn: spec.CompoundColumn, SubjectColumn: spec.SubjectColumn,
	}
	if source.DivisionColumn != "" {
		source.CommunityColumn = "" // one binds the rows, and the code is in every table of ours
	}
	if columns := ownSources[spec.Source.Type]; columns != nil {
		source.Type, source.Schema, source.Table = string(spec.Source.Type), "", ""
		checkOwnColumns(c, o, source, columns)
		source.CommunityColumn, source.DivisionColumn, source.GridColumn, source.CompoundColumn = "community", "", "grid", ""
		if !mayOfferOwn(s, o.Namespace) {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.source.type",
				string(spec.Source.Type)+" is the platform's own data, which a namespace of role Provider cannot offer; county IT writes such a Dataset")
		}
		return source, nil
	}
	if ref := spec.Source.DSNSecretRef; ref != nil {
		source.DSN = sourceName(o)
		return source, sourceDSN(c, s, o.Namespace, *ref)
	}
	checkSchema(c, s, o, source.Schema)
	return source, nil
}

// sourceName names the file with a dataset's connection string at the gateway. It changes with the Secret that the string comes from and
// with whose dataset it is: until the new file has come there is none, and the former one is not read for the new table. It is not made of
// the string itself, which holds a password that somebody could guess and hold against it.
func sourceName(o *v1alpha1.Dataset) string {
	ref := o.Spec.Source.DSNSecretRef
	sum := sha256.Sum256([]byte(strings.Join([]string{string(o.UID), o.Namespace, ref.Name, ref.Key}, "\n")))
	return o.Name + "." + hex.EncodeToString(sum[:6])
}

// mayOfferOwn says whether datasets of a namespace may read what is the platform's own: those of the platform and of counties. Else whoever
// may write a Dataset would provide it to himself.
func mayOfferOwn(s *Snapshot, namespace string) bool {
	return namespace == s.Platform.Namespace || slices.ContainsFunc(s.Platform.Spec.Members, func(m v1alpha1.Member) bool {
		return m.Namespace == namespace && m.Role == v1alpha1.MemberCounty
	})
}

// checkOwnColumns holds the columns of a dataset against the view.
func checkOwnColumns(c *problems, o *v1alpha1.Dataset, source contract.Source, columns []string) {
	known := func(field, column string) {
		if column != "" && !slices.Contains(columns, column) {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field,
				fmt.Sprintf("source type %s has no column %s; write one of %s", o.Spec.Source.Type, column, strings.Join(columns, ", ")))
		}
	}
	for i, f := range o.Spec.Fields {
		known(fmt.Sprintf("spec.fields[%d].column", i), cmp.Or(f.Column, f.Name))
	}
	known("spec.subjectColumn", source.SubjectColumn)
	// A column of another meaning would scope by what anybody can name a Community, a grid or a compound.
	fixed := func(field, column, own string) {
		if column != "" && column != own {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field,
				fmt.Sprintf("rows of source type %s are scoped by the view's own columns community and grid; take it out", o.Spec.Source.Type))
		}
	}
	fixed("spec.communityColumn", o.Spec.CommunityColumn, "community")
	fixed("spec.gridColumn", o.Spec.GridColumn, "grid")
	fixed("spec.divisionColumn", o.Spec.DivisionColumn, "")
	fixed("spec.compoundColumn", o.Spec.CompoundColumn, "")
}

// sourceDSN gives the connection string, with the CA of key ca.crt in lines behind it where the Secret has one. What is wrong with it the
// gateway says: only it reads it.
func sourceDSN(c *problems, s *Snapshot, namespace string, ref v1alpha1.SecretKeyRef) []byte {
	const field = "spec.source.dsnSecretRef"
	key := cmp.Or(ref.Key, "dsn")
	data := secret(c, s, namespace, ref.Name, field)
	if data == nil {
		return nil
	}
	dsn := append(bytes.TrimSpace(data[key]), '\n')
	switch out := append(slices.Clip(dsn), data["ca.crt"]...); {
	case len(dsn) == 1:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field, fmt.Sprintf("Secret %s/%s has no key %q", namespace, ref.Name, key))
	case bytes.Count(dsn, []byte("\n")) > 1 || len(out) > maxSourceDSN:
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field, fmt.Sprintf(
			"key %q of Secret %s/%s is no connection string; write postgres://user:password@host:5432/database?sslmode=verify-full in one line, with ca.crt at most %d bytes", key, namespace, ref.Name, maxSourceDSN))
	default:
		return out
	}
	return nil
}

// SourcePorts gives the ports of connection strings, sorted; one that cannot be read has none.
func SourcePorts(dsns map[string][]byte) []int32 {
	var out []int32
	for _, dsn := range dsns {
		text, _, _ := strings.Cut(string(dsn), "\n")
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		if port, err := strconv.ParseUint(cmp.Or(u.Port(), "5432"), 10, 16); err == nil && port > 0 {
			out = append(out, int32(port))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
