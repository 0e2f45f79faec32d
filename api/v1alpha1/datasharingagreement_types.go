// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DataSharingAgreement says who may read what of which dataset, what for, and for how long. It is in force when every party
// has signed it and no guardrail refuses it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=datasharingagreements,shortName=dsa,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Consumer",type=string,JSONPath=`.spec.consumer.name`
// +kubebuilder:printcolumn:name="Datasets",type=string,JSONPath=`.spec.datasets[*].name`
// +kubebuilder:printcolumn:name="Allowed",type=integer,JSONPath=`.status.decisions.allowed`
// +kubebuilder:printcolumn:name="Denied",type=integer,JSONPath=`.status.decisions.denied`
// +kubebuilder:printcolumn:name="Until",type=string,JSONPath=`.spec.validity.notAfter`
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="write a name of at most 63 lower-case letters, digits and hyphens, no dot"
type DataSharingAgreement struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. No dot in the name.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is agreed.
	// +required
	Spec DataSharingAgreementSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status DataSharingAgreementStatus `json:"status,omitzero"`
}

// DataSharingAgreementList is a list of DataSharingAgreements.
// +kubebuilder:object:root=true
type DataSharingAgreementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DataSharingAgreement `json:"items"`
}

// Relationship is what the parties are to each other under the Personal Information Protection Law (PIPL).
// +kubebuilder:validation:Enum=Sharing;EntrustedProcessing;JointProcessing;Provision
type Relationship string

// Relationships.
const (
	// RelationshipSharing: between government departments, in their statutory functions.
	RelationshipSharing Relationship = "Sharing"
	// RelationshipJointProcessing: both decide on purpose and means (PIPL 20).
	RelationshipJointProcessing Relationship = "JointProcessing"
	// RelationshipEntrustedProcessing: the consumer acts for the provider (PIPL 21).
	RelationshipEntrustedProcessing Relationship = "EntrustedProcessing"
	// RelationshipProvision: to another processor, which decides itself (PIPL 23: the person is told and consents separately).
	RelationshipProvision Relationship = "Provision"
)

// DataSharingAgreementSpec is what is agreed. The digest that approvals sign covers all of it but approvals and suspended.
// +kubebuilder:validation:XValidation:rule="!has(self.suspended) || !self.suspended || !has(self.revoked) || !self.revoked",message="a revoked agreement is over: leave suspended out"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.revoked) || !oldSelf.revoked || (has(self.revoked) && self.revoked)",message="revoked is final: make a new agreement"
// +kubebuilder:validation:XValidation:rule="!has(self.breakGlass) || (has(self.roles) && self.breakGlass.roles.all(r, r in self.roles))",message="break-glass is for persons in roles of the agreement: add breakGlass.roles to roles"
type DataSharingAgreementSpec struct {
	// displayName is the name people read. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// consumer is the Organization that reads.
	// +required
	Consumer LocalRef `json:"consumer"`
	// datasets are what it may read, each with fields, masks and rows.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Datasets []AgreementDataset `json:"datasets"`
	// purposes are what for. Each request names one of them. From a controlled list, in which marketing is not.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Purposes []Purpose `json:"purposes"`
	// caseNumberRequired is whether each request names a case. A case of the platform must be open there; a foreign number is
	// logged as unverified. Default: false.
	// +optional
	// +kubebuilder:default=false
	CaseNumberRequired *bool `json:"caseNumberRequired,omitempty"`
	// caseNumber binds the whole agreement to one case, as the consumer's system numbers it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	CaseNumber string `json:"caseNumber,omitempty"`
	// caseCondition limits reading to cases of the platform of some classes and severities, while they are open.
	// +optional
	CaseCondition *CaseCondition `json:"caseCondition,omitempty"`
	// roles are the roles of persons who may read, in PascalCase, e.g. `CivilAffairsOfficer`. Personal data needs a person in
	// one of them; unset, only systems read, and no personal data. Never a person's name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Roles []string `json:"roles,omitempty"`
	// relationship is what the parties are to each other: `Sharing` between government departments, `JointProcessing` (PIPL 20),
	// `EntrustedProcessing` (PIPL 21), `Provision` to another processor (PIPL 23). Default: `Sharing`; with a company write another.
	// +optional
	// +kubebuilder:default=Sharing
	Relationship Relationship `json:"relationship,omitempty"`
	// legalBasis is the ground, with its citation. Sensitive fields need one.
	// +optional
	LegalBasis *LegalBasis `json:"legalBasis,omitempty"`
	// impactAssessment is the personal information protection impact assessment (PIPL 55, 56). Sensitive fields need one.
	// +optional
	ImpactAssessment *ImpactAssessment `json:"impactAssessment,omitempty"`
	// validity is from when to when. Sensitive fields need an end.
	// +optional
	Validity *Validity `json:"validity,omitempty"`
	// hours limits reading to hours of the day. Unset: always.
	// +optional
	Hours *AccessHours `json:"hours,omitempty"`
	// quota is how much may be read in a day of the platform's time zone.
	// +optional
	// +kubebuilder:default={}
	Quota Quota `json:"quota,omitzero"`
	// obligations are what the consumer must keep to.
	// +optional
	// +kubebuilder:default={}
	Obligations Obligations `json:"obligations,omitzero"`
	// aggregates allows counts and sums. Unset: single records only.
	// +optional
	Aggregates *Aggregates `json:"aggregates,omitempty"`
	// breakGlass lets persons in some roles read without a case number or outside hours in an emergency. It alerts, and is reviewed.
	// +optional
	BreakGlass *BreakGlass `json:"breakGlass,omitempty"`
	// externalRef is the agreement's number in the city's exchange platform (共享交换平台).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	ExternalRef string `json:"externalRef,omitempty"`
	// suspended stops reading until it is false again. Approvals stay. Default: false.
	// +optional
	Suspended bool `json:"suspended,omitempty"`
	// revoked ends the agreement for good, and keeps it on record. Default: false.
	// +optional
	Revoked bool `json:"revoked,omitempty"`
	// approvals are the parties' signatures: every provider's, the consumer's and, where the platform names one, the data
	// office's. `dizuo agreement approve` makes them. A change of anything else here voids them.
	// +optional
	// +listType=map
	// +listMapKey=organization
	// +listMapKey=approver
	// +kubebuilder:validation:MaxItems=32
	Approvals []Approval `json:"approvals,omitempty"`
}

// AgreementDataset is a dataset with what may be read of it.
// +kubebuilder:validation:XValidation:rule="!has(self.masks) || self.masks.all(m, m.field in self.fields)",message="a mask names a field that the agreement does not give: add it to fields, or remove the mask"
type AgreementDataset struct {
	// name is the Dataset's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// fields are the fields that may be read. There is no "all".
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Fields []string `json:"fields"`
	// masks change values before they leave the database.
	// +optional
	// +listType=map
	// +listMapKey=field
	// +kubebuilder:validation:MaxItems=128
	Masks []FieldMask `json:"masks,omitempty"`
	// rows limits the records. Unset: those in the consumer's jurisdiction, for a property company in its own compounds. Written
	// here, it narrows that; it never widens it.
	// +optional
	Rows *RowSelector `json:"rows,omitempty"`
}

// MaskMethod is how a value is changed.
// +kubebuilder:validation:Enum=Pseudonym;KeepLast;Generalise;Drop
type MaskMethod string

// Mask methods.
const (
	// MaskPseudonym: a keyed hash, the key of this agreement's own: the same value gives the same pseudonym here and another elsewhere.
	MaskPseudonym MaskMethod = "Pseudonym"
	// MaskKeepLast: all but the last characters are replaced.
	MaskKeepLast MaskMethod = "KeepLast"
	// MaskGeneralise: a date or number made coarse.
	MaskGeneralise MaskMethod = "Generalise"
	// MaskDrop: null.
	MaskDrop MaskMethod = "Drop"
)

// Granularity is how coarse a value is made.
// +kubebuilder:validation:Enum=Year;Quarter;Month;Day;Hour;Step
type Granularity string

// Granularities. Step is for numbers: rounded down to a multiple of `step`.
const (
	GranularityYear    Granularity = "Year"
	GranularityQuarter Granularity = "Quarter"
	GranularityMonth   Granularity = "Month"
	GranularityDay     Granularity = "Day"
	GranularityHour    Granularity = "Hour"
	GranularityStep    Granularity = "Step"
)

// FieldMask says how a field's values are changed.
// +kubebuilder:validation:XValidation:rule="(self.method == 'KeepLast') == has(self.keep)",message="method KeepLast needs keep, the number of characters, and only that method has it: write both, or neither"
// +kubebuilder:validation:XValidation:rule="(self.method == 'Generalise') == has(self.to)",message="method Generalise needs to (Year, Quarter, Month, Day, Hour or Step), and only that method has it: write both, or neither"
// +kubebuilder:validation:XValidation:rule="(has(self.to) && self.to == 'Step') == has(self.step)",message="to Step needs step, the width, and only then: write both, or neither"
type FieldMask struct {
	// field is the field, one of those given.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Field string `json:"field"`
	// method is how: `Pseudonym`, `KeepLast`, `Generalise` or `Drop`.
	// +required
	Method MaskMethod `json:"method"`
	// keep is how many characters at the end stay. Only with method KeepLast.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	Keep *int32 `json:"keep,omitempty"`
	// to is how coarse a date, time or number becomes. Only with method Generalise.
	// +optional
	To Granularity `json:"to,omitempty"`
	// step is the width of a number's steps, as text, e.g. `10`. Only with `to: Step`.
	// +optional
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:Pattern=`^(0\.[0-9]{0,8}[1-9]|[1-9][0-9]{0,14}(\.[0-9]{1,9})?)$`
	Step string `json:"step,omitempty"`
}

// RowSelector limits records. All parts must hold.
type RowSelector struct {
	// communities are names of Communities.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Communities []string `json:"communities,omitempty"`
	// communitySelector selects Communities by their labels.
	// +optional
	CommunitySelector *LabelSelector `json:"communitySelector,omitempty"`
	// divisions are prefixes of division codes, 2 to 12 digits.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=12
	// +kubebuilder:validation:items:Pattern=`^[1-9][0-9]([0-9]{2}){0,2}([0-9]{3}){0,2}$`
	Divisions []string `json:"divisions,omitempty"`
	// grids are names of grids, for agreements on single ones.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Grids []string `json:"grids,omitempty"`
	// roster is whether each person reads only where the roster has put them on duty: in these communities and grids. The
	// Dataset needs a gridColumn. Unset: no.
	// +optional
	Roster *bool `json:"roster,omitempty"`
	// requirements are conditions on fields of the record.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Requirements []RowRequirement `json:"requirements,omitempty"`
}

// RowOperator relates a field to values.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist;AtLeast;AtMost
type RowOperator string

// Row operators. A NULL is in nothing and not in nothing: it matches DoesNotExist only.
const (
	RowIn           RowOperator = "In"
	RowNotIn        RowOperator = "NotIn"
	RowExists       RowOperator = "Exists"
	RowDoesNotExist RowOperator = "DoesNotExist"
	// RowAtLeast and RowAtMost compare numbers, dates and times, the value included.
	RowAtLeast RowOperator = "AtLeast"
	RowAtMost  RowOperator = "AtMost"
)

// RowRequirement is a condition on a field.
// +kubebuilder:validation:XValidation:rule="(self.operator in ['Exists', 'DoesNotExist']) != has(self.values)",message="In, NotIn, AtLeast and AtMost need values; write none with Exists and DoesNotExist"
// +kubebuilder:validation:XValidation:rule="!(self.operator in ['AtLeast', 'AtMost']) || (has(self.values) && size(self.values) == 1)",message="AtLeast and AtMost compare with one value: write exactly one"
type RowRequirement struct {
	// column is a field of the Dataset. It need not be one that is given.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Column string `json:"column"`
	// operator relates it to the values: `In`, `NotIn`, `Exists`, `DoesNotExist`, `AtLeast`, `AtMost`. NULL matches DoesNotExist only.
	// +required
	Operator RowOperator `json:"operator"`
	// values are what it is compared with, as text in the field's type. Never what identifies a person.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=128
	Values []string `json:"values,omitempty"`
}

// CaseCondition limits reading to some cases.
type CaseCondition struct {
	// classes are classes of cases. Unset: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Classes []string `json:"classes,omitempty"`
	// minimumSeverity is the least grave severity. Default: `Low`, every one.
	// +optional
	// +kubebuilder:default=Low
	MinimumSeverity Severity `json:"minimumSeverity,omitempty"`
	// grace is how long after a case is closed reading goes on. Default: 0s.
	// +optional
	// +kubebuilder:default="0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Grace metav1.Duration `json:"grace,omitzero"`
}

// ImpactAssessment is a personal information protection impact assessment.
type ImpactAssessment struct {
	// reference is its number or address.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reference string `json:"reference"` //nolint:kubeapilinter // to a document, not to an object
	// date is when it was made, as YYYY-MM-DD.
	// +required
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`
	Date string `json:"date"`
}

// Validity is from when to when.
// +kubebuilder:validation:XValidation:rule="!has(self.notBefore) || !has(self.notAfter) || timestamp(self.notBefore) < timestamp(self.notAfter)",message="notAfter is not later than notBefore: write a later end"
type Validity struct {
	// notBefore is when it begins, RFC 3339, e.g. `2026-01-01T00:00:00+08:00`. Unset: when approved.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// notAfter is when it ends, RFC 3339. Unset: never; sensitive fields need one.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}

// AccessHours limits reading to hours of the day.
type AccessHours struct {
	// from is the local time at which reading begins, as HH:MM.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	From string `json:"from"`
	// to is the local time at which it ends, as HH:MM. Not later than from: over midnight.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	To string `json:"to"`
	// workingDaysOnly limits it further to working days of the platform's calendar. Default: false.
	// +optional
	// +kubebuilder:default=false
	WorkingDaysOnly *bool `json:"workingDaysOnly,omitempty"`
}

// Quota is how much may be read in a day.
type Quota struct {
	// requestsPerDay is how many requests. Default: 1000.
	// +optional
	// +kubebuilder:default=1000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000000
	RequestsPerDay int64 `json:"requestsPerDay,omitempty"`
	// recordsPerDay is how many records. Default: 10000.
	// +optional
	// +kubebuilder:default=10000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	RecordsPerDay int64 `json:"recordsPerDay,omitempty"`
}

// Obligations are what the consumer must keep to.
type Obligations struct {
	// noOnward forbids passing the data on. Default: true.
	// +optional
	// +kubebuilder:default=true
	NoOnward *bool `json:"noOnward,omitempty"`
	// retention is how long the consumer may keep what it read, in hours. Default: 720h, 30 days.
	// +optional
	// +kubebuilder:default="720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Retention metav1.Duration `json:"retention,omitzero"`
}

// Aggregates allows counts and sums.
// +kubebuilder:validation:XValidation:rule="!has(self.measures) || !has(self.dimensions) || !self.measures.exists(m, m in self.dimensions)",message="a field is grouped by or summed, not both: take it out of dimensions or of measures"
type Aggregates struct {
	// only allows nothing but aggregates. Default: false.
	// +optional
	// +kubebuilder:default=false
	Only *bool `json:"only,omitempty"`
	// smallCell is the smallest group that is told; a smaller one is left out. Ours, no law gives a number. Default: 10.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=10000
	SmallCell int32 `json:"smallCell,omitempty"`
	// dimensions are the fields, as masked, by which records may be grouped. Every answer is cut from one table over all of them,
	// so the fewer they are, the fewer groups are small. Unset: none, one figure for all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=6
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Dimensions []string `json:"dimensions,omitempty"`
	// measures are the fields of type Number or Integer that may be summed. Unset: records are counted and nothing is summed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Measures []string `json:"measures,omitempty"`
}

// BreakGlass is reading in an emergency.
type BreakGlass struct {
	// roles are the roles of persons who may. Each is one of the agreement's roles.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Roles []string `json:"roles"`
	// reviewer is the Organization that is alerted and reviews each use.
	// +required
	Reviewer LocalRef `json:"reviewer"`
	// reviewWithin is the time for the review. A use not reviewed in time closes break-glass. Default: 72h.
	// +optional
	// +kubebuilder:default="72h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	ReviewWithin metav1.Duration `json:"reviewWithin,omitzero"`
}

// Approval is a party's signature.
type Approval struct {
	// organization is the party.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Organization string `json:"organization"`
	// approver is the name of the key among that Organization's approvers.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Approver string `json:"approver"`
	// signature is a compact JWS with detached payload (RFC 7515, appendix F), `header..signature`, over the agreement's digest.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+\.\.[A-Za-z0-9_-]+$`
	Signature string `json:"signature"`
}

// AgreementPhase is where an agreement stands.
// +kubebuilder:validation:Enum=Draft;AwaitingApproval;InForce;Suspended;Expired;Revoked
type AgreementPhase string

// Agreement phases.
const (
	// AgreementDraft: not accepted, refused by a guardrail, or nobody has signed.
	AgreementDraft AgreementPhase = "Draft"
	// AgreementAwaitingApproval: a party has yet to sign this digest.
	AgreementAwaitingApproval AgreementPhase = "AwaitingApproval"
	// AgreementInForce: the gateway grants by it.
	AgreementInForce AgreementPhase = "InForce"
	// AgreementSuspended: suspended is true, or it is before validity.notBefore.
	AgreementSuspended AgreementPhase = "Suspended"
	// AgreementExpired: after validity.notAfter.
	AgreementExpired AgreementPhase = "Expired"
	// AgreementRevoked: revoked is true, or it is being deleted.
	AgreementRevoked AgreementPhase = "Revoked"
)

// DataSharingAgreementStatus is how an agreement stands.
type DataSharingAgreementStatus struct {
	CommonStatus `json:",inline"`

	// phase is where it stands.
	// +optional
	Phase AgreementPhase `json:"phase,omitempty"`
	// digest is what approvals sign: the algorithm, a colon, and the hash of the agreement without its approvals.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Digest string `json:"digest,omitempty"`
	// dataClass is the highest class of data given.
	// +optional
	DataClass DataClass `json:"dataClass,omitempty"`
	// pendingApprovals are the organisations that have yet to sign this digest, sorted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	PendingApprovals []string `json:"pendingApprovals,omitempty"`
	// guardrails are the guardrails that refuse it, sorted by id.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=32
	Guardrails []GuardrailFinding `json:"guardrails,omitempty"`
	// decisions counts what the gateway decided by it.
	// +optional
	Decisions *DecisionCounts `json:"decisions,omitempty"`
	// relied is the digest of what the approvals rely on beside this text: the parts of Datasets and of the consumer that say
	// which data the names in it mean.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Relied string `json:"relied,omitempty"`
	// breakGlass counts uses of break-glass that a review has not closed.
	// +optional
	BreakGlass *BreakGlassCounts `json:"breakGlass,omitempty"`
}

// BreakGlassCounts counts uses of break-glass that a review has not closed.
type BreakGlassCounts struct {
	// pending is how many wait for their review within the time for it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Pending int64 `json:"pending"`
	// overdue is how many were not reviewed in time. While there is one, break-glass is closed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Overdue int64 `json:"overdue"`
	// lastUsedAt is when the newest use that was told of was. It stays when a review closes that use.
	// +optional
	LastUsedAt *metav1.Time `json:"lastUsedAt,omitempty"`
}

// GuardrailFinding is a guardrail that refuses an agreement.
type GuardrailFinding struct {
	// id is the guardrail's id.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// basis says whether the rule is `Law` (it cites one), `Ours`, or the `City`'s own.
	// +optional
	// +kubebuilder:validation:Enum=Law;Ours;City
	Basis string `json:"basis,omitempty"`
	// message says what is wrong and what to write.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
}

// DecisionCounts counts decisions.
type DecisionCounts struct {
	// allowed is how many requests were allowed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Allowed int64 `json:"allowed"`
	// denied is how many were denied.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Denied int64 `json:"denied"`
	// since is from when it counts.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
}
