// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LocalRef names an object of the same platform. The kind follows from the field. The object may be in any namespace
// that the platform admits, because names are unique per platform and kind. A Secret is looked for in the namespace of
// the object that names it.
type LocalRef struct {
	// name is the object's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
}

// SecretRef names a Secret in the namespace of the object that names it.
type SecretRef struct {
	// name is the Secret's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
}

// SecretKeyRef names one key of a Secret in the namespace of the object that names it.
type SecretKeyRef struct {
	// name is the Secret's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// key is the key in the Secret's data. Default: `dsn`.
	// +optional
	// +kubebuilder:default=dsn
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// PullPolicy says when an image is pulled, as in a Pod.
// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
type PullPolicy string

// Pull policies.
const (
	PullAlways       PullPolicy = "Always"
	PullIfNotPresent PullPolicy = "IfNotPresent"
	PullNever        PullPolicy = "Never"
)

// ImageSpec overrides the images of the release.
type ImageSpec struct {
	// node is Dizuo's own image: all data-plane roles run from it. Unset: the image of the release. Name it by digest in production.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Node string `json:"node,omitempty"`
	// postgres is the PostgreSQL image of database engine `Managed`. Unset: the image of the release.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Postgres string `json:"postgres,omitempty"`
	// pullPolicy says when images are pulled. Default: `IfNotPresent`.
	// +optional
	// +kubebuilder:default=IfNotPresent
	PullPolicy PullPolicy `json:"pullPolicy,omitempty"`
	// pullSecrets are Secrets in the platform's namespace for private registries.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	PullSecrets []SecretRef `json:"pullSecrets,omitempty"`
}

// ResourceAmounts is an amount of processor time and of memory.
type ResourceAmounts struct {
	// cpu is processor time in cores: `500m` is half a core.
	// +optional
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// memory is in bytes: `256Mi`.
	// +optional
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// Severity of an alarm or case.
// +kubebuilder:validation:Enum=Critical;High;Medium;Low
type Severity string

// Severities, the gravest first.
const (
	SeverityCritical Severity = "Critical"
	SeverityHigh     Severity = "High"
	SeverityMedium   Severity = "Medium"
	SeverityLow      Severity = "Low"
)

// DataClass is how much a record says about people. The policy texts ask for classes and define none: these are ours.
// `C0` no personal data; `C1` ordinary personal or household data; `C2` sensitive personal data (health, whereabouts, life at
// home, under 14, finance); `C3` biometric, police or special-population data.
// +kubebuilder:validation:Enum=C0;C1;C2;C3
type DataClass string

// Data classes.
const (
	DataClassC0 DataClass = "C0"
	DataClassC1 DataClass = "C1"
	DataClassC2 DataClass = "C2"
	DataClassC3 DataClass = "C3"
)

// Grade is the grade (分级) of a data item after GB/T 43697-2024: Core (核心), Important (重要), General (一般). The four
// levels within General are of that standard's informative annex, 4 the most sensitive.
// +kubebuilder:validation:Enum=General1;General2;General3;General4;Important;Core
type Grade string

// Grades, the least sensitive first.
const (
	GradeGeneral1  Grade = "General1"
	GradeGeneral2  Grade = "General2"
	GradeGeneral3  Grade = "General3"
	GradeGeneral4  Grade = "General4"
	GradeImportant Grade = "Important"
	GradeCore      Grade = "Core"
)

// Personal says whether a field is personal information (个人信息) under the Personal Information Protection Law (PIPL).
// `Biometric` is sensitive too, and falls under stricter guardrails.
// +kubebuilder:validation:Enum=None;Ordinary;Sensitive;Biometric
type Personal string

// Kinds of personal information.
const (
	PersonalNone      Personal = "None"
	PersonalOrdinary  Personal = "Ordinary"
	PersonalSensitive Personal = "Sensitive"
	PersonalBiometric Personal = "Biometric"
)

// ModeName is the state of the platform in 平战 switching: `Routine` (平) or `Emergency` (战).
// +kubebuilder:validation:Enum=Routine;Emergency
type ModeName string

// Modes.
const (
	ModeRoutine   ModeName = "Routine"
	ModeEmergency ModeName = "Emergency"
)

// Weekday is a day of the week.
// +kubebuilder:validation:Enum=Monday;Tuesday;Wednesday;Thursday;Friday;Saturday;Sunday
type Weekday string

// HourWindow is a time of day, from `from` up to and not including `to`. If `to` is not later than `from`, the window
// goes over midnight.
type HourWindow struct {
	// from is the local time at which the window opens, as HH:MM.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	From string `json:"from"`
	// to is the local time at which the window closes, as HH:MM.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	To string `json:"to"`
}

// ScenarioSelection switches a scenario on or off by name and sets its parameters.
type ScenarioSelection struct {
	// name is the Scenario's name: one of the shipped catalogue, e.g. `s10-smoke`, or one of the platform's own.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// enabled is whether the scenario runs. Default: true.
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`
	// parameters sets parameters that the scenario declares, each as text in the parameter's declared type, e.g. `absence: 36h`.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Parameters map[string]ParameterValue `json:"parameters,omitempty"`
}

// ParameterValue is the value of a parameter, as text in its declared type.
// +kubebuilder:validation:MaxLength=256
type ParameterValue string

// LabelSelector selects objects by their labels. All requirements must hold.
type LabelSelector struct {
	// matchLabels are labels that must be present with exactly these values.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`
	// matchExpressions are further requirements on labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// LabelRequirement is one requirement on a label.
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="operator In and NotIn need values; write none with Exists and DoesNotExist"
type LabelRequirement struct {
	// key is the label's key.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	Key string `json:"key"`
	// operator relates the label to the values: `In`, `NotIn`, `Exists` or `DoesNotExist`.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator"`
	// values are compared with the label's value. Only with `In` and `NotIn`.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	Values []string `json:"values,omitempty"`
}

// LegalBasisKind is the ground on which personal information is processed, after PIPL Article 13.
// +kubebuilder:validation:Enum=Consent;SeparateConsent;Contract;StatutoryDuty;PublicHealthOrEmergency;PublicInterestReporting;DisclosedByPerson;OtherLaw
type LegalBasisKind string

// Kinds of legal basis.
const (
	// LegalBasisConsent is the consent of the person.
	LegalBasisConsent LegalBasisKind = "Consent"
	// LegalBasisSeparateConsent is a consent given for this alone, as sensitive data and provision to others ask for.
	LegalBasisSeparateConsent LegalBasisKind = "SeparateConsent"
	// LegalBasisContract is the making or keeping of a contract to which the person is a party.
	LegalBasisContract LegalBasisKind = "Contract"
	// LegalBasisStatutoryDuty is a duty or function laid down by law.
	LegalBasisStatutoryDuty LegalBasisKind = "StatutoryDuty"
	// LegalBasisPublicHealthOrEmergency is a public health event, or the protection of life, health or property in an emergency.
	LegalBasisPublicHealthOrEmergency LegalBasisKind = "PublicHealthOrEmergency"
	// LegalBasisPublicInterestReporting is news reporting and supervision by public opinion in the public interest.
	LegalBasisPublicInterestReporting LegalBasisKind = "PublicInterestReporting"
	// LegalBasisDisclosedByPerson is data that the person made public, or that is lawfully public, within reason.
	LegalBasisDisclosedByPerson LegalBasisKind = "DisclosedByPerson"
	// LegalBasisOtherLaw is another circumstance laid down by law or administrative regulation.
	LegalBasisOtherLaw LegalBasisKind = "OtherLaw"
)

// LegalBasis is the ground on which data is processed, with its source.
type LegalBasis struct {
	// kind is the ground, after PIPL Article 13.
	// +required
	Kind LegalBasisKind `json:"kind"`
	// citation names the law or document and its article, e.g. `消防法 第四十四条`.
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=512
	Citation string `json:"citation"`
}

// ObjectCounts counts objects of one kind.
type ObjectCounts struct {
	// total is how many there are.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Total int32 `json:"total"`
	// ready is how many of them are Ready.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Ready int32 `json:"ready"`
}

// DeviceCounts counts devices by presence. A device whose presence is not known at the time (no fresh report) is in none
// of online, offline and neverSeen, but in unknown.
type DeviceCounts struct {
	// total is how many devices are registered.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Total int32 `json:"total"`
	// online is how many sent a message within the missed-heartbeat limit of their profile.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Online int32 `json:"online"`
	// offline is how many were seen once and are silent beyond that limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Offline int32 `json:"offline"`
	// neverSeen is how many never connected.
	// +optional
	// +kubebuilder:validation:Minimum=0
	NeverSeen int32 `json:"neverSeen"`
	// unknown is how many have a presence that cannot be told now, because no fresh report reached the operator.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Unknown int32 `json:"unknown"`
}

// EnforcementStatus says how far a change has come into force: which enforcers (data-plane processes and edge nodes) run it.
// One form for grants and revocations, agreements and devices.
type EnforcementStatus struct {
	// revision is the content hash of the bundle that holds the change.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Revision string `json:"revision,omitempty"`
	// sequence is the lease sequence from which the change is in force. It only grows.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Sequence int64 `json:"sequence,omitempty"`
	// requestedAt is when the operator first saw the change.
	// +optional
	RequestedAt *metav1.Time `json:"requestedAt,omitempty"`
	// effectiveAt is when the last online enforcer acknowledged it, sessions cut included. Unset: not yet.
	// +optional
	EffectiveAt *metav1.Time `json:"effectiveAt,omitempty"`
	// tookMilliseconds is the time from requestedAt to effectiveAt, as the operator measured it. Unset: not in force yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TookMilliseconds *int64 `json:"tookMilliseconds,omitempty"`
	// acked is how many enforcers have acknowledged.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Acked int32 `json:"acked"`
	// total is how many enforcers there are, the offline ones included.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Total int32 `json:"total"`
	// pending names enforcers that have not acknowledged, at most 16, as `<role>.<instance>`, sorted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=128
	Pending []string `json:"pending,omitempty"`
	// leaseExpiresAt is when the last lease held by an offline enforcer ends: after it, nobody acts on the state before the change.
	// +optional
	LeaseExpiresAt *metav1.Time `json:"leaseExpiresAt,omitempty"`
}

// InventoryEntry is an object that this one made, or is about to make. Removal works from this list alone.
type InventoryEntry struct {
	// group is the API group; empty for the core group.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`
	// kind is the API kind.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// namespace is the object's namespace; empty for cluster-scoped kinds.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name is the object's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// version is the API version through which the object was last applied.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Version string `json:"version,omitempty"`
	// uid is the object's UID. Empty: written ahead, not yet applied. Deletion has it as a precondition.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	UID string `json:"uid,omitempty"`
}

// Claim is a thing that only one object may hold, and that this object holds until it lets go.
type Claim struct {
	// kind is what is claimed: `Name`, `Division`, `GridCode`, `Namespace`, `Item`.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// value is the name or code claimed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Value string `json:"value"`
	// since is when this object won it.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
}

// PlatformReference names the platform that an object belongs to.
type PlatformReference struct {
	// namespace is the platform's namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name is the platform's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

// CommonStatus is the part of the status that every kind has.
type CommonStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions say how things stand, after the kstatus convention: `Ready`, and while it is not, `Reconciling` (will heal by
	// itself) or `Stalled` (needs a person).
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
	// platform is the platform that the object was last accepted by.
	// +optional
	Platform *PlatformReference `json:"platform,omitempty"`
	// enforcement says how far the last change has come into force.
	// +optional
	Enforcement *EnforcementStatus `json:"enforcement,omitempty"`
	// claims are the things that this object holds and no other may.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=value
	// +kubebuilder:validation:MaxItems=512
	Claims []Claim `json:"claims,omitempty"`
	// inventory lists every object that this one made, or is about to make.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	Inventory []InventoryEntry `json:"inventory,omitempty"`
}
