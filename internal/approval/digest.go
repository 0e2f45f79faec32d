package approval

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gowebpki/jcs"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// agreementFormat names what an approval is over. A change of what is covered, or how, is another format.
const agreementFormat = "dizuo-agreement/3"

// Relied is what an agreement relies on beside its own text: that `phone` is the column phone and sensitive stands in the Dataset,
// and an approver who agreed to it did not agree to another column under that name.
type Relied struct {
	// Datasets in the order of the agreement.
	Datasets []ReliedDataset `json:"datasets"`
	Consumer ReliedConsumer  `json:"consumer"`
}

// ReliedDataset is what an agreement relies on of a Dataset, with defaults written out.
type ReliedDataset struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Provider  string `json:"provider"`
	// ProviderNamespace is where the provider's Organization stands: another of its name is another.
	ProviderNamespace string `json:"providerNamespace"`
	Sharing           string `json:"sharing"`
	Category          string `json:"category"`
	SchemaVersion     int32  `json:"schemaVersion"`
	// Source has type, schema, table, dsnSecret and dsnKey; what is not set is left out. So are Columns: key, community, division,
	// grid, compound and subject.
	Source       map[string]string `json:"source"`
	Columns      map[string]string `json:"columns"`
	ConsentScope string            `json:"consentScope,omitempty"`
	// Fields that the agreement gives, masks or names in requirements, by name.
	Fields []ReliedField `json:"fields"`
}

// ReliedField is a field of a ReliedDataset.
type ReliedField struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Unit     string `json:"unit,omitempty"`
	Column   string `json:"column"`
	Grade    string `json:"grade"`
	Personal string `json:"personal"`
	// Enum is sorted.
	Enum []string `json:"enum,omitempty"`
}

// ReliedConsumer is what an agreement relies on of its consumer; both lists are sorted.
type ReliedConsumer struct {
	Namespace string `json:"namespace"`
	Type      string `json:"type"`
	// Clearance is the effective one, the type's where the Organization names none.
	Clearance string `json:"clearance"`
	// Jurisdiction, and Compounds as "<community>/<compound>", are left out where the agreement names the divisions itself.
	Jurisdiction []string `json:"jurisdiction,omitempty"`
	Compounds    []string `json:"compounds,omitempty"`
}

// RelyOn gives what an agreement relies on. datasets are those that it names, in its order; specs carry the defaults of the schema.
// namespaces has the namespace of each provider's Organization by name.
func RelyOn(a *v1alpha1.DataSharingAgreement, datasets []*v1alpha1.Dataset, consumer *v1alpha1.Organization, namespaces map[string]string) (Relied, error) {
	if len(datasets) != len(a.Spec.Datasets) {
		return Relied{}, fmt.Errorf("DataSharingAgreement/%s: %d datasets for %d that it names", a.Name, len(datasets), len(a.Spec.Datasets))
	}
	var out Relied
	bounded := consumer.Spec.Type == v1alpha1.OrganizationPropertyCompany
	for i, d := range datasets {
		want := &a.Spec.Datasets[i]
		if d.Name != want.Name {
			return Relied{}, fmt.Errorf("DataSharingAgreement/%s: Dataset/%s in the place of Dataset/%s", a.Name, d.Name, want.Name)
		}
		relied, err := relyOnDataset(d, namedFields(want))
		if err != nil {
			return Relied{}, fmt.Errorf("DataSharingAgreement/%s: %w", a.Name, err)
		}
		if relied.ProviderNamespace = namespaces[relied.Provider]; relied.ProviderNamespace == "" {
			return Relied{}, fmt.Errorf("DataSharingAgreement/%s: Organization/%s, the provider of Dataset/%s, is not there", a.Name, relied.Provider, d.Name)
		}
		out.Datasets = append(out.Datasets, relied)
		bounded = bounded || want.Rows == nil || len(want.Rows.Divisions) == 0
	}
	out.Consumer = relyOnConsumer(consumer, bounded)
	return out, nil
}

// namedFields are the fields of a dataset that an agreement names, sorted. Dimensions and measures are among those that it gives.
func namedFields(want *v1alpha1.AgreementDataset) []string {
	out := slices.Clone(want.Fields)
	for _, m := range want.Masks {
		out = append(out, m.Field)
	}
	if want.Rows != nil {
		for _, r := range want.Rows.Requirements {
			out = append(out, r.Column)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func relyOnDataset(d *v1alpha1.Dataset, fields []string) (ReliedDataset, error) {
	out := ReliedDataset{
		Namespace: d.Namespace, Name: d.Name, Provider: d.Spec.Provider.Name, Sharing: string(d.Spec.Sharing), Category: string(d.Spec.Category),
		SchemaVersion: d.Spec.SchemaVersion, Fields: []ReliedField{},
		Source: map[string]string{"type": string(d.Spec.Source.Type)},
		Columns: set(map[string]string{
			"key": d.Key(), "community": d.Spec.CommunityColumn, "division": d.Spec.DivisionColumn, "grid": d.Spec.GridColumn,
			"compound": d.Spec.CompoundColumn, "subject": d.Spec.SubjectColumn,
		}),
	}
	if d.Spec.Source.Type == v1alpha1.SourceTable {
		out.Source["schema"], out.Source["table"] = d.Spec.Source.Schema, d.Table()
	}
	if ref := d.Spec.Source.DSNSecretRef; ref != nil {
		out.Source["dsnSecret"], out.Source["dsnKey"] = ref.Name, ref.Key
	}
	if k := d.Spec.Consent; k != nil && (k.Required == nil || *k.Required) {
		out.ConsentScope = cmp.Or(k.Scope, d.Name)
	}
	for _, f := range d.Spec.Fields {
		if !slices.Contains(fields, f.Name) {
			continue
		}
		enum := slices.Sorted(slices.Values(f.Enum))
		out.Fields = append(out.Fields, ReliedField{Name: f.Name, Type: string(f.Type), Unit: f.Unit, Column: cmp.Or(f.Column, f.Name),
			Grade: string(f.Grade), Personal: string(f.Personal), Enum: enum})
	}
	slices.SortFunc(out.Fields, func(a, b ReliedField) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range fields {
		if !slices.ContainsFunc(out.Fields, func(f ReliedField) bool { return f.Name == name }) {
			return out, fmt.Errorf("Dataset/%s has no field %s", d.Name, name)
		}
	}
	return out, nil
}

// set leaves out what is empty.
func set(m map[string]string) map[string]string {
	for k, v := range m {
		if v == "" {
			delete(m, k)
		}
	}
	return m
}

func relyOnConsumer(o *v1alpha1.Organization, bounded bool) ReliedConsumer {
	out := ReliedConsumer{Namespace: o.Namespace, Type: string(o.Spec.Type), Clearance: string(o.Spec.EffectiveClearance())}
	if !bounded {
		return out
	}
	out.Jurisdiction = slices.Sorted(slices.Values(o.Spec.Jurisdiction))
	for _, c := range o.Spec.Compounds {
		out.Compounds = append(out.Compounds, c.Community+"/"+c.Compound)
	}
	slices.Sort(out.Compounds)
	return out
}

// Digest gives "sha256:" and the hex SHA-256 of Text.
func Digest(a *v1alpha1.DataSharingAgreement, r Relied) (string, error) {
	text, err := Text(a, r)
	if err != nil {
		return "", err
	}
	return hash(text), nil
}

// Text gives what the digest is over, as canonical JSON (RFC 8785): the format, the agreement's API version, kind, namespace, name and
// spec, and what it relies on. The spec is without approvals, and without suspended and revoked, by which either party stops alone. It
// must carry the defaults of the schema: the API server and internal/schema give the same.
func Text(a *v1alpha1.DataSharingAgreement, r Relied) ([]byte, error) {
	spec := a.Spec.DeepCopy()
	spec.Approvals, spec.Suspended, spec.Revoked = nil, false, false
	text, err := canonical(map[string]any{
		"format": agreementFormat,
		"agreement": map[string]any{
			"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": "DataSharingAgreement",
			"metadata": map[string]string{"namespace": a.Namespace, "name": a.Name}, "spec": spec,
		},
		"relied": r,
	})
	if err != nil {
		return nil, fmt.Errorf("DataSharingAgreement/%s: digest: %w", a.Name, err)
	}
	return text, nil
}

// Digest gives "sha256:" and the hex SHA-256 of the canonical JSON of what is relied on.
func (r Relied) Digest() (string, error) {
	text, err := canonical(r)
	if err != nil {
		return "", fmt.Errorf("digest of what is relied on: %w", err)
	}
	return hash(text), nil
}

func canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(raw)
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}
