package compile

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// DatasetPlan is what a Dataset becomes.
type DatasetPlan struct{ Document contract.Dataset }

// Dataset compiles a Dataset of s.Platform.
func Dataset(s *Snapshot, o *v1alpha1.Dataset) (DatasetPlan, Problems) {
	var c problems
	claimName(&c, o, s.Datasets)
	organization(&c, s, "spec.provider.name", o.Spec.Provider.Name)
	if o.Spec.Writer != nil {
		organization(&c, s, "spec.writer.name", o.Spec.Writer.Name)
	}
	checkSource(&c, o)
	source, _ := datasetSource(&c, s, o)
	doc := contract.Dataset{
		Provider: o.Spec.Provider.Name, Sharing: string(o.Spec.Sharing), Category: string(o.Spec.Category),
		Fields: map[string]contract.DatasetField{},
		Source: source,
	}
	checkTable(&c, s, o)
	if k := o.Spec.Consent; k != nil && (k.Required == nil || *k.Required) {
		if doc.ConsentScope = k.Scope; doc.ConsentScope == "" {
			doc.ConsentScope = o.Name
		}
		if o.Spec.SubjectColumn == "" {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.subjectColumn", "is empty; consent is asked of a subject, so name the column that holds it")
		}
	}
	for _, f := range o.Spec.Fields {
		doc.Fields[f.Name] = contract.DatasetField{Type: string(f.Type), Column: cmp.Or(f.Column, f.Name), Grade: string(f.Grade), Personal: string(f.Personal)}
	}
	return DatasetPlan{doc}, c.list
}

// Table gives the table that a dataset reads: its own name, hyphens as underscores, where the spec names none.
func Table(o *v1alpha1.Dataset) string {
	if o.Spec.Source.Table != "" {
		return o.Spec.Source.Table
	}
	return strings.ReplaceAll(o.Name, "-", "_")
}

// checkTable checks that no other dataset reads the table. Provider and marks of a dataset decide who must approve and what
// is masked, so a second dataset over the same rows would be a way around both.
func checkTable(c *problems, s *Snapshot, o *v1alpha1.Dataset) {
	var rivals []*v1alpha1.Dataset
	claim := TableClaim(o)
	for _, list := range s.Datasets {
		for _, other := range list {
			if claim != "" && TableClaim(other) == claim {
				rivals = append(rivals, other)
			}
		}
	}
	if len(rivals) == 0 {
		return
	}
	if first := winner(rivals, ClaimTable, claim); first.Namespace != o.Namespace || first.Name != o.Name {
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonWriterClaimed, "spec.source.table",
			fmt.Sprintf("%s is read by Dataset %s/%s already; one item has one dataset (一数一源), put your data into a table of its own", Table(o), first.Namespace, first.Name))
	}
}

func organization(c *problems, s *Snapshot, field, name string) *v1alpha1.Organization {
	o, ok := s.Organizations.Get(name)
	if !ok {
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonOrganizationNotFound, field, "Organization "+name+" is not there; create it")
		return nil
	}
	return o
}

// checkSource refuses what the gateway may not read, and rows that no scope would bind.
func checkSource(c *problems, o *v1alpha1.Dataset) {
	source := &o.Spec.Source
	if source.Schema != "" && source.Schema != contract.DatabaseSchemaDatasets && source.DSNSecretRef == nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, "spec.source.schema",
			"the gateway reads the schema "+contract.DatabaseSchemaDatasets+" of the platform's PostgreSQL and no other; put the table there, or name a PostgreSQL of your own in dsnSecretRef")
	}
	if ownSources[source.Type] == nil && o.Spec.DivisionColumn == "" && o.Spec.CommunityColumn == "" {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.divisionColumn",
			"is empty; name the column that holds the 12-digit division code, or in communityColumn the one with the Community's name, by which rows are scoped")
	}
	for i, f := range o.Spec.Fields {
		if cmp.Or(f.Column, f.Name) == o.Spec.SubjectColumn && f.Personal == v1alpha1.PersonalNone {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.fields[%d].personal", i), "is None, but the field is the subject; write Ordinary or Sensitive")
		}
	}
}
