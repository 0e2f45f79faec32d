// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Dataset is an entry of the sharing list (信息共享清单): who provides what, in which fields, to be shared how.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=datasets,shortName=dset,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.provider.name`
// +kubebuilder:printcolumn:name="Sharing",type=string,JSONPath=`.spec.sharing`
// +kubebuilder:printcolumn:name="Category",type=string,JSONPath=`.spec.category`
// +kubebuilder:printcolumn:name="Agreements",type=integer,JSONPath=`.status.agreements`
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="the dataset's name becomes part of addresses: write at most 63 lower-case letters, digits and hyphens, no dot, and put the full name into spec.displayName"
type Dataset struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. No dot in the name.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec DatasetSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status DatasetStatus `json:"status,omitzero"`
}

// DatasetList is a list of Datasets.
// +kubebuilder:object:root=true
type DatasetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Dataset `json:"items"`
}

// Sharing is the sharing attribute (共享属性) of a dataset.
// +kubebuilder:validation:Enum=Unconditional;Conditional;None
type Sharing string

// Sharing attributes.
const (
	// SharingUnconditional (无条件共享): with every government department.
	SharingUnconditional Sharing = "Unconditional"
	// SharingConditional (有条件共享): under an agreement.
	SharingConditional Sharing = "Conditional"
	// SharingNone (不予共享): with nobody. The ground must be in law.
	SharingNone Sharing = "None"
)

// DatasetCategory is what guardrails tell datasets apart by.
// +kubebuilder:validation:Enum=Ordinary;KeyPopulation;Biometric;Video;Health;Minor;Financial;Location
type DatasetCategory string

// Dataset categories.
const (
	CategoryOrdinary DatasetCategory = "Ordinary"
	// CategoryKeyPopulation: people under special attention (重点人群). Never to property companies.
	CategoryKeyPopulation DatasetCategory = "KeyPopulation"
	// CategoryBiometric: faces, fingerprints, voices. Only for public safety, with a case number.
	CategoryBiometric DatasetCategory = "Biometric"
	// CategoryVideo: references to clips. Video itself never passes Dizuo.
	CategoryVideo     DatasetCategory = "Video"
	CategoryHealth    DatasetCategory = "Health"
	CategoryMinor     DatasetCategory = "Minor"
	CategoryFinancial DatasetCategory = "Financial"
	CategoryLocation  DatasetCategory = "Location"
)

// DatasetSpec is an entry of the sharing list.
// +kubebuilder:validation:XValidation:rule="self.sharing != 'Unconditional' || self.fields.all(f, f.personal == 'None')",message="unconditional sharing is for data without personal information: mark every field personal None, or write sharing Conditional"
// +kubebuilder:validation:XValidation:rule="self.sharing != 'Unconditional' || self.category == 'Ordinary'",message="unconditional sharing is for category Ordinary: write sharing Conditional or None"
// +kubebuilder:validation:XValidation:rule="self.category != 'Biometric' || self.fields.exists(f, f.personal == 'Biometric')",message="a biometric dataset has a field marked personal Biometric: mark it"
// +kubebuilder:validation:XValidation:rule="self.category == 'Biometric' || !self.fields.exists(f, f.personal == 'Biometric')",message="a field marked personal Biometric makes the dataset biometric: write category Biometric"
// +kubebuilder:validation:XValidation:rule="self.sharing != 'Conditional' || self.source.type != 'Table' || has(self.communityColumn) || has(self.divisionColumn)",message="rows are limited to the consumer's jurisdiction: write communityColumn or divisionColumn, or sharing Unconditional"
// +kubebuilder:validation:XValidation:rule="self.source.type != 'Table' || has(self.subjectColumn) || self.fields.all(f, f.personal == 'None')",message="whose personal data is read must be logged: write subjectColumn, or mark every field personal None"
// +kubebuilder:validation:XValidation:rule="!has(self.consent) || !has(self.consent.required) || !self.consent.required || self.source.type != 'Table' || has(self.subjectColumn)",message="consent is looked up by subject: write subjectColumn"
type DatasetSpec struct {
	// displayName is the name people read, e.g. `特殊困难老年人名册`. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// description says what the data is, for the catalogue.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`
	// itemCode is the code of the item in the city's catalogue. Two datasets of a platform cannot have the same one: one item,
	// one source (一数一源).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9A-Za-z][0-9A-Za-z./_-]*$`
	ItemCode string `json:"itemCode,omitempty"`
	// provider is the Organization that answers for the data and approves agreements.
	// +required
	Provider LocalRef `json:"provider"`
	// writer is the one Organization that may write it. Unset: the provider. A second writer is refused.
	// +optional
	Writer *LocalRef `json:"writer,omitempty"`
	// sharing is the sharing attribute: `Unconditional` with all government departments, `Conditional` under an agreement,
	// `None` with nobody. Default: `Conditional`.
	// +optional
	// +kubebuilder:default=Conditional
	Sharing Sharing `json:"sharing,omitempty"`
	// sharingBasis names the law or rule behind sharing `None`.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=512
	SharingBasis string `json:"sharingBasis,omitempty"`
	// category is what guardrails tell datasets apart by. Default: `Ordinary`.
	// +optional
	// +kubebuilder:default=Ordinary
	Category DatasetCategory `json:"category,omitempty"`
	// schemaVersion counts the versions of the fields. Adding a field keeps it; any other change needs the next number. Default: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +kubebuilder:validation:XValidation:rule="self >= oldSelf",message="schemaVersion only grows: write the present number or the next"
	SchemaVersion int32 `json:"schemaVersion,omitempty"`
	// fields are what a record has.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	Fields []DatasetField `json:"fields"`
	// source is where the records are.
	// +optional
	// +kubebuilder:default={}
	Source DatasetSource `json:"source,omitzero"`
	// keyColumn is the column that orders records for paging, unique and never changed. Unset: `id`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	KeyColumn string `json:"keyColumn,omitempty"`
	// communityColumn is the column with the name of the record's Community.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	CommunityColumn string `json:"communityColumn,omitempty"`
	// divisionColumn is the column with the record's division code, where there is no communityColumn.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	DivisionColumn string `json:"divisionColumn,omitempty"`
	// gridColumn is the column with the name of the record's grid.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	GridColumn string `json:"gridColumn,omitempty"`
	// compoundColumn is the column with the name of the record's compound. Property companies need it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	CompoundColumn string `json:"compoundColumn,omitempty"`
	// subjectColumn is the column that says whose record it is: in the platform's tables the subject's random id, in a foreign
	// source the provider's own key, which the vault maps.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	SubjectColumn string `json:"subjectColumn,omitempty"`
	// consent says whether each subject's consent is looked up. Unset: wherever the agreement's legal basis is a consent.
	// +optional
	Consent *ConsentRule `json:"consent,omitempty"`
	// freshness is how old the data may be.
	// +optional
	Freshness *Freshness `json:"freshness,omitempty"`
	// quality is what is expected of the data. It is measured, and shown in status.
	// +optional
	Quality *QualityExpectation `json:"quality,omitempty"`
}

// DatasetFieldType is the type of a dataset's field.
// +kubebuilder:validation:Enum=Number;Integer;Boolean;String;Date;Time;Enum
type DatasetFieldType string

// Dataset field types.
const (
	DatasetNumber  DatasetFieldType = "Number"
	DatasetInteger DatasetFieldType = "Integer"
	DatasetBoolean DatasetFieldType = "Boolean"
	DatasetString  DatasetFieldType = "String"
	DatasetDate    DatasetFieldType = "Date"
	DatasetTime    DatasetFieldType = "Time"
	DatasetEnum    DatasetFieldType = "Enum"
)

// DatasetField is a field of a record.
// +kubebuilder:validation:XValidation:rule="(self.type == 'Enum') == has(self.enum)",message="type Enum needs enum (its values), and only that type has it: write both, or neither"
type DatasetField struct {
	// name is the field's name in requests and replies: a letter, then letters, digits and underscores.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name string `json:"name"`
	// displayName is the name people read.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// type is the field's type. Default: `String`.
	// +optional
	// +kubebuilder:default=String
	Type DatasetFieldType `json:"type,omitempty"`
	// unit is the unit of a number, after UCUM.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Unit string `json:"unit,omitempty"`
	// enum are the values of type Enum.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	Enum []string `json:"enum,omitempty"`
	// column is the column in the source. Unset: the field's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Column string `json:"column,omitempty"`
	// grade is the field's grade (分级, GB/T 43697-2024). Default: `General4`, the strictest of the general ones.
	// +optional
	// +kubebuilder:default=General4
	Grade Grade `json:"grade,omitempty"`
	// personal says whether it is personal information. Default: `Sensitive`.
	// +optional
	// +kubebuilder:default=Sensitive
	Personal Personal `json:"personal,omitempty"`
	// required is whether a record without it is incomplete, for the quality figure. Default: false.
	// +optional
	// +kubebuilder:default=false
	Required *bool `json:"required,omitempty"`
}

// DatasetSourceType is where records are.
// +kubebuilder:validation:Enum=Table;Cases;Devices;Telemetry
type DatasetSourceType string

// Dataset source types.
const (
	// SourceTable: a table or view in PostgreSQL.
	SourceTable DatasetSourceType = "Table"
	// SourceCases: the platform's cases.
	SourceCases DatasetSourceType = "Cases"
	// SourceDevices: the platform's device registry.
	SourceDevices DatasetSourceType = "Devices"
	// SourceTelemetry: the hourly summary of device telemetry.
	SourceTelemetry DatasetSourceType = "Telemetry"
)

// DatasetSource is where records are.
// +kubebuilder:validation:XValidation:rule="self.type == 'Table' || (!has(self.table) && !has(self.dsnSecretRef))",message="table and dsnSecretRef go with type Table: write that type, or leave them out"
type DatasetSource struct {
	// type is `Table`, or one of the platform's own: `Cases`, `Devices`, `Telemetry`. Default: `Table`.
	// +optional
	// +kubebuilder:default=Table
	Type DatasetSourceType `json:"type,omitempty"`
	// schema is the table's schema. Default: `datasets`, the schema of the platform's own database that the gateway may read.
	// +optional
	// +kubebuilder:default=datasets
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Schema string `json:"schema,omitempty"`
	// table is the table or view. Unset: the dataset's name, hyphens as underscores.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Table string `json:"table,omitempty"`
	// dsnSecretRef names the Secret key, in the dataset's namespace, with the connection string of a PostgreSQL of the provider's
	// own: a user that may only read. Unset: the platform's database.
	// +optional
	DSNSecretRef *SecretKeyRef `json:"dsnSecretRef,omitempty"`
}

// ConsentRule says whether each subject's consent is looked up.
// +kubebuilder:validation:XValidation:rule="!has(self.required) || !self.required || has(self.scope)",message="say which consent: write scope"
type ConsentRule struct {
	// required is whether a record is released only with its subject's consent on record. Default: true.
	// +optional
	// +kubebuilder:default=true
	Required *bool `json:"required,omitempty"`
	// scope is the scope that the consent must cover, as the consent record has it, e.g. `elder-care`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Scope string `json:"scope,omitempty"`
}

// Freshness is how old data may be.
type Freshness struct {
	// maxAge is the greatest age of the newest record, in hours.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	MaxAge metav1.Duration `json:"maxAge"`
	// column is the column with the time of a record's last change.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Column string `json:"column"`
}

// QualityExpectation is what is expected of data.
type QualityExpectation struct {
	// completenessPercent is how many of the required fields are filled, in percent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	CompletenessPercent *int32 `json:"completenessPercent,omitempty"`
	// accuracyPercent is how many values fit their type and enum, in percent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	AccuracyPercent *int32 `json:"accuracyPercent,omitempty"`
	// timelinessPercent is how many records are younger than freshness.maxAge, in percent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	TimelinessPercent *int32 `json:"timelinessPercent,omitempty"`
}

// DatasetStatus is how a dataset stands.
type DatasetStatus struct {
	CommonStatus `json:",inline"`

	// agreements is how many agreements in force share it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Agreements int32 `json:"agreements,omitempty"`
	// dataClass is the class computed from category and fields.
	// +optional
	DataClass DataClass `json:"dataClass,omitempty"`
	// quality is what was measured last.
	// +optional
	Quality *QualityMeasured `json:"quality,omitempty"`
}

// QualityMeasured is what was measured.
type QualityMeasured struct {
	// measuredAt is when.
	// +optional
	MeasuredAt *metav1.Time `json:"measuredAt,omitempty"`
	// completenessPercent is how many of the required fields are filled, in percent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	CompletenessPercent *int32 `json:"completenessPercent,omitempty"`
	// accuracyPercent is how many values fit their type and enum, in percent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	AccuracyPercent *int32 `json:"accuracyPercent,omitempty"`
	// timelinessPercent is how many records are younger than freshness.maxAge, in percent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	TimelinessPercent *int32 `json:"timelinessPercent,omitempty"`
}
