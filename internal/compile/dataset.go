package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// DatasetPlan is what a Dataset becomes.
type DatasetPlan struct {
	Document contract.Dataset
	// DSN is the connection string of the provider's own PostgreSQL; empty for the platform's. It goes into a Secret and nowhere else.
	DSN []byte `json:"-"`
}

// Dataset compiles a Dataset of s.Platform.
func Dataset(s *Snapshot, o *v1alpha1.Dataset) (DatasetPlan, Problems) {
	var c problems
	claimName(&c, o, s.Datasets)
	organization(&c, s, "spec.provider.name", o.Spec.Provider.Name)
	if o.Spec.Writer != nil {
		organization(&c, s, "spec.writer.name", o.Spec.Writer.Name)
	}
	plan := DatasetPlan{Document: contract.Dataset{
		DisplayName: o.Spec.DisplayName, ItemCode: o.Spec.ItemCode, Provider: o.Spec.Provider.Name, Writer: writer(o),
		Sharing: string(o.Spec.Sharing), Category: string(o.Spec.Category), Class: string(ClassOf(o, whole)),
		Fields: map[string]contract.DatasetField{}, ConsentScope: ConsentScope(o),
		Freshness: freshness(o), Quality: quality(o),
	}}
	plan.Document.Source, _ = datasetSource(&c, s, o)
	checkColumns(&c, o)
	checkOneSource(&c, s, o, "spec.itemCode", ClaimItem, v1alpha1.ReasonItemClaimed, ItemClaim, "is the item of")
	if mayOffer(s, o) {
		checkOneSource(&c, s, o, "spec.source.table", ClaimTable, v1alpha1.ReasonWriterClaimed, TableClaim, "is read by")
	}
	for _, f := range o.Spec.Fields {
		plan.Document.Fields[f.Name] = contract.DatasetField{Type: string(f.Type), Unit: f.Unit, Enum: f.Enum, Required: isTrue(f.Required),
			Column: cmp.Or(f.Column, f.Name), Grade: string(f.Grade), Personal: string(f.Personal)}
	}
	return plan, c.list
}

func writer(o *v1alpha1.Dataset) string {
	if o.Spec.Writer != nil {
		return o.Spec.Writer.Name
	}
	return o.Spec.Provider.Name
}

func freshness(o *v1alpha1.Dataset) *contract.Freshness {
	if o.Spec.Freshness == nil {
		return nil
	}
	return &contract.Freshness{Column: o.Spec.Freshness.Column, MaxAgeSeconds: seconds(o.Spec.Freshness.MaxAge.Duration)}
}

func quality(o *v1alpha1.Dataset) *contract.Quality {
	q := o.Spec.Quality
	if q == nil {
		return nil
	}
	return &contract.Quality{Completeness: q.CompletenessPercent, Accuracy: q.AccuracyPercent, Timeliness: q.TimelinessPercent}
}

// ItemClaim gives the item of the city's catalogue that a dataset is the source of; empty without one.
func ItemClaim(o *v1alpha1.Dataset) string { return o.Spec.ItemCode }

// TableClaim names the table that a dataset reads: alone in the schema of datasets, else with its schema, and with the Secret that leads to
// it where it is in the provider's own PostgreSQL. Empty for the platform's own cases, devices and telemetry, which any number may offer.
func TableClaim(o *v1alpha1.Dataset) string {
	src := o.Spec.Source
	switch {
	case src.Type != v1alpha1.SourceTable && src.Type != "":
		return ""
	case src.DSNSecretRef != nil:
		return o.Namespace + "/" + src.DSNSecretRef.Name + "/" + src.DSNSecretRef.Key + ":" + src.Schema + "." + o.Table()
	case src.Schema != "" && src.Schema != contract.DatabaseSchemaDatasets:
		return src.Schema + "." + o.Table()
	}
	return o.Table()
}

// DatasetClaims gives what a dataset holds beside its name.
func DatasetClaims(o *v1alpha1.Dataset) []v1alpha1.Claim {
	var out []v1alpha1.Claim
	for kind, value := range map[string]string{ClaimItem: ItemClaim(o), ClaimTable: TableClaim(o)} {
		if value != "" {
			out = append(out, v1alpha1.Claim{Kind: kind, Value: value})
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.Claim) int { return cmp.Compare(a.Kind, b.Kind) })
	return out
}

// checkOneSource checks that no other dataset is the source of the same item, or reads the same table (一数一源). Provider and marks of a
// dataset decide who must approve and what is masked, so a second dataset over the same rows would be a way around both.
func checkOneSource(c *problems, s *Snapshot, o *v1alpha1.Dataset, field, kind, reason string, claim func(*v1alpha1.Dataset) string, is string) {
	value := claim(o)
	if value == "" {
		return
	}
	var rivals []*v1alpha1.Dataset
	for _, list := range s.Datasets {
		for _, other := range list {
			if claim(other) == value && (kind != ClaimTable || mayOffer(s, other)) {
				rivals = append(rivals, other)
			}
		}
	}
	if len(rivals) == 0 {
		return
	}
	if first := winner(rivals, kind, value); first.Namespace != o.Namespace || first.Name != o.Name {
		c.waiting(v1alpha1.ConditionAccepted, reason, field,
			fmt.Sprintf("%s %s Dataset %s/%s already; one item has one dataset (一数一源), agree with that one, or take another", value, is, first.Namespace, first.Name))
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

// checkSchema refuses tables of the platform's database that the namespace may not offer: the gateway can read all of schema datasets, and
// else any member could name itself the provider of another's table.
func checkSchema(c *problems, s *Snapshot, o *v1alpha1.Dataset, schema string) {
	if internalSchema(schema) {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonSchemaNotAdmitted, "spec.source.schema",
			schema+" is the platform's own; put the table into a schema of datasets, such as "+contract.DatabaseSchemaDatasets)
		return
	}
	if mayOffer(s, o) {
		return
	}
	admitted := schemasOf(s.Platform, o.Namespace)
	may := "no tables of the platform's database"
	if len(admitted) > 0 {
		may = "tables of " + strings.Join(admitted, ", ")
	}
	c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonSchemaNotAdmitted, "spec.source.schema", fmt.Sprintf(
		"namespace %s may offer %s, and this one is in %s; whoever runs GridPlatform %s adds it to schemas of the member, or name a PostgreSQL of your own in spec.source.dsnSecretRef",
		o.Namespace, may, schema, s.Platform.Name))
}

// mayOffer reports whether a dataset's namespace may offer tables of its schema; one that may not stands in nobody's way.
func mayOffer(s *Snapshot, o *v1alpha1.Dataset) bool {
	schema := cmp.Or(o.Spec.Source.Schema, contract.DatabaseSchemaDatasets)
	switch {
	case o.Spec.Source.DSNSecretRef != nil:
		return true
	case internalSchema(schema):
		return false
	}
	return o.Namespace == s.Platform.Namespace || slices.Contains(schemasOf(s.Platform, o.Namespace), schema)
}

// checkMemberSchemas refuses to hand out what is never offered.
func checkMemberSchemas(c *problems, o *v1alpha1.GridPlatform) {
	for i, m := range o.Spec.Members {
		for j, schema := range m.Schemas {
			if internalSchema(schema) {
				c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.members[%d].schemas[%d]", i, j),
					schema+" is the platform's own or PostgreSQL's; write a schema of datasets")
			}
		}
	}
}

// internalSchema reports whether a schema holds what is never offered: the platform's own data, or PostgreSQL's.
func internalSchema(schema string) bool {
	own := schema != contract.DatabaseSchemaDatasets && slices.Contains(contract.DatabaseSchemas(), schema)
	return own || schema == "information_schema" || strings.HasPrefix(schema, "pg_")
}

// schemasOf gives the schemas whose tables a member namespace may offer: those that the platform names, for a county too. Whoever offers
// a table says which column scopes its rows.
func schemasOf(p *v1alpha1.GridPlatform, namespace string) []string {
	for _, m := range p.Spec.Members {
		if m.Namespace == namespace {
			return m.Schemas
		}
	}
	return nil
}

// checkColumns refuses rows that no scope would bind, and consent that cannot be looked up.
func checkColumns(c *problems, o *v1alpha1.Dataset) {
	if ownSources[o.Spec.Source.Type] == nil && o.Spec.DivisionColumn == "" && o.Spec.CommunityColumn == "" {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.divisionColumn",
			"is empty; name the column that holds the 12-digit division code, or in communityColumn the one with the Community's name, by which rows are scoped")
	}
	if ConsentScope(o) != "" && o.Spec.SubjectColumn == "" {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.subjectColumn", "is empty; consent is asked of a subject, so name the column that holds it")
	}
	for i, f := range o.Spec.Fields {
		if cmp.Or(f.Column, f.Name) == o.Spec.SubjectColumn && f.Personal == v1alpha1.PersonalNone {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.fields[%d].personal", i), "is None, but the field is the subject; write Ordinary or Sensitive")
		}
	}
}
