// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Scenario is a governance scene (场景) as data: what happens, what it means, who responds.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=scenarios,shortName=scn,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="ID",type=string,JSONPath=`.spec.catalogueID`
// +kubebuilder:printcolumn:name="Severity",type=string,JSONPath=`.spec.case.severity`
// +kubebuilder:printcolumn:name="Class",type=string,JSONPath=`.spec.dataClass`
// +kubebuilder:printcolumn:name="Running",type=boolean,JSONPath=`.status.running`
// +kubebuilder:printcolumn:name="Cases",type=integer,JSONPath=`.status.openCases`
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.profileRef.name`,priority=1
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="write a name of at most 63 lower-case letters, digits and hyphens, no dot"
type Scenario struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. No dot in the name.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec ScenarioSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status ScenarioStatus `json:"status,omitzero"`
}

// ScenarioList is a list of Scenarios.
// +kubebuilder:object:root=true
type ScenarioList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Scenario `json:"items"`
}

// ScenarioInput is what a scenario looks at.
// +kubebuilder:validation:Enum=Device;Case;Record;Command
type ScenarioInput string

// Scenario inputs.
const (
	// InputDevice: messages of devices.
	InputDevice ScenarioInput = "Device"
	// InputCase: changes of cases, e.g. an SLA time missed or a bad rating.
	InputCase ScenarioInput = "Case"
	// InputRecord: records of the platform or of other systems, e.g. visits due or weather warnings.
	InputRecord ScenarioInput = "Record"
	// InputCommand: a person's command, e.g. one-key response.
	InputCommand ScenarioInput = "Command"
)

// ScenarioSpec says what happens, what it means, who responds.
// +kubebuilder:validation:XValidation:rule="!has(self.enabled) || !self.enabled || self.dataClass != 'C3' || has(self.legalBasis)",message="a scenario with C3 data runs on a legal basis only: write legalBasis.kind and legalBasis.citation, or enabled false"
// +kubebuilder:validation:XValidation:rule="!has(self.legalBasis) || !has(self.enabled) || self.enabled || has(self.disabledReason)",message="say why it is off: write disabledReason"
// +kubebuilder:validation:XValidation:rule="has(self.case) || has(self.commands) || has(self.ledger) || has(self.act)",message="a scenario opens a case, sends commands, makes entries in a ledger, or acts on a case: write case, commands, ledger or act"
// +kubebuilder:validation:XValidation:rule="!has(self.responders) || has(self.case)",message="responders get a case: write case, or leave responders out"
// +kubebuilder:validation:XValidation:rule="!has(self.profileRef) || self.input in ['Device', 'Record']",message="profileRef goes with input Device or Record: leave one of them out"
// +kubebuilder:validation:XValidation:rule="!has(self.act) || (self.input == 'Case' && !has(self.case))",message="act is done to the very case that changed: write input Case, and leave case out"
// +kubebuilder:validation:XValidation:rule="!has(self.commands) || self.input in ['Device', 'Record']",message="commands go with input Device or Record: leave one of them out"
// +kubebuilder:validation:XValidation:rule="!has(self.ledger) || self.input in ['Device', 'Record']",message="ledger goes with input Device or Record: leave one of them out"
type ScenarioSpec struct {
	// displayName is the name people read, e.g. `楼道烟感报警`. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// displayNameEN is the same in English.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayNameEN string `json:"displayNameEN,omitempty"`
	// catalogueID is the number in the catalogue of scenes, e.g. `S10`.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[A-Z]{1,4}[0-9]{2,6}$`
	CatalogueID string `json:"catalogueID,omitempty"`
	// source cites the document that the scene comes from, with its section.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Source string `json:"source,omitempty"`
	// input is what the scenario looks at: `Device` messages, `Case` changes, `Record`s of this or other systems, or a person's
	// `Command`. Default: `Device`.
	// +optional
	// +kubebuilder:default=Device
	Input ScenarioInput `json:"input,omitempty"`
	// profileRef is the DeviceProfile whose messages are looked at. Unset: every device, with the fields all have (presence, battery).
	// +optional
	ProfileRef *ProfileRef `json:"profileRef,omitempty"`
	// enabled is whether it runs where a platform does not say otherwise. Unset: it runs if dataClass is `C0`.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// disabledReason says why it is off, and what it takes to run it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	DisabledReason string `json:"disabledReason,omitempty"`
	// modes are the modes (平战) in which it runs. Unset: both.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	Modes []ModeName `json:"modes,omitempty"`
	// parameters are values that a platform or community may set. In CEL they are `params.<name>`, elsewhere `${name}`.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Parameters []ScenarioParameter `json:"parameters,omitempty"`
	// subject says for whom it applies.
	// +optional
	Subject *ScenarioSubject `json:"subject,omitempty"`
	// baselines are figures from the history of a key, for comparison. In CEL they are `baseline.<name>`.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Baselines []Baseline `json:"baselines,omitempty"`
	// trigger is what must happen.
	// +required
	Trigger Trigger `json:"trigger"` //nolint:kubeapilinter // the schema asks for one of its fields
	// case is the case that an alarm opens. Unset: none, only commands are sent.
	// +optional
	Case *ScenarioCase `json:"case,omitempty"`
	// raise makes the alarm graver when more happens, e.g. a second detector nearby.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=4
	Raise []SeverityRaise `json:"raise,omitempty"`
	// combines joins this scenario's alarm with another scenario's for the same key, e.g. no exit and no power use.
	// +optional
	// +listType=map
	// +listMapKey=scenario
	// +kubebuilder:validation:MaxItems=8
	Combines []Combination `json:"combines,omitempty"`
	// responders are who gets the case, in order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Responders []Responder `json:"responders,omitempty"`
	// commands are sent to devices when the alarm is raised or cleared. The profile of the device must allow senders `Scenario`.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Commands []ScenarioCommand `json:"commands,omitempty"`
	// ledger makes an entry in an account for each message for which `when` is true, e.g. points for sorting waste.
	// +optional
	Ledger *LedgerEntry `json:"ledger,omitempty"`
	// act is done to the very case that changed, for each change for which `when` is true. Only with input `Case`.
	// +optional
	Act *CaseAct `json:"act,omitempty"`
	// dataClass is how much the scenario's alarms say about people: `C0` nothing, `C1` ordinary, `C2` sensitive, `C3` biometric,
	// police or special population. Default: `C2`.
	// +optional
	// +kubebuilder:default=C2
	DataClass DataClass `json:"dataClass,omitempty"`
	// legalBasis is the ground on which it may run. C3 needs one.
	// +optional
	LegalBasis *LegalBasis `json:"legalBasis,omitempty"`
}

// ParameterType is the type of a scenario's parameter.
// +kubebuilder:validation:Enum=Number;Integer;Boolean;String;Duration;TimeOfDay
type ParameterType string

// Parameter types.
const (
	ParameterNumber  ParameterType = "Number"
	ParameterInteger ParameterType = "Integer"
	ParameterBoolean ParameterType = "Boolean"
	ParameterString  ParameterType = "String"
	// ParameterDuration is a duration such as `24h`.
	ParameterDuration ParameterType = "Duration"
	// ParameterTimeOfDay is a local time, HH:MM.
	ParameterTimeOfDay ParameterType = "TimeOfDay"
)

// Origin says where a value comes from.
// +kubebuilder:validation:Enum=Text;Ours
type Origin string

// Origins.
const (
	// OriginText: the cited document has the value.
	OriginText Origin = "Text"
	// OriginOurs: the document has none, and this is our proposal.
	OriginOurs Origin = "Ours"
)

// ScenarioParameter is a value that a platform or community may set.
// +kubebuilder:validation:XValidation:rule="self.type in ['Number', 'Integer'] || (!has(self.min) && !has(self.max))",message="min and max are for types Number and Integer: leave them out"
type ScenarioParameter struct {
	// name is the parameter's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name string `json:"name"`
	// type is its type.
	// +required
	Type ParameterType `json:"type"`
	// default is its value where nobody sets one, as text in its type.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Default string `json:"default"`
	// unit is the unit of a number, after UCUM.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Unit string `json:"unit,omitempty"`
	// min is the smallest value of a number, as text.
	// +optional
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
	Min string `json:"min,omitempty"`
	// max is the largest value of a number, as text.
	// +optional
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
	Max string `json:"max,omitempty"`
	// description says what it does.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Description string `json:"description,omitempty"`
	// origin says whether the default is in the cited document (`Text`) or our proposal (`Ours`). Default: `Ours`.
	// +optional
	// +kubebuilder:default=Ours
	Origin Origin `json:"origin,omitempty"`
}

// ScenarioSubject says for whom a scenario applies.
type ScenarioSubject struct {
	// registers are registers of the platform (built-in dataset `registers`): the device's household must be in one of them,
	// e.g. `elderly-living-alone`.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Registers []string `json:"registers,omitempty"`
	// appliesTo is a CEL expression over `device` and `context` that must be true, e.g. `device.attributes.zone == 'garage'`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	AppliesTo string `json:"appliesTo,omitempty"`
	// consentScope is the scope of the consent that must be on record for the subject. Unset: none is asked for.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	ConsentScope string `json:"consentScope,omitempty"`
}

// BaselineStatistic is how a history becomes one figure.
// +kubebuilder:validation:Enum=Mean;Median;Min;Max;DaysAbove
type BaselineStatistic string

// Statistics of baselines.
const (
	BaselineMean BaselineStatistic = "Mean"
	// BaselineDaysAbove counts the days whose figure is above `above`.
	BaselineDaysAbove BaselineStatistic = "DaysAbove"
)

// DailyStatistic is how the values of a day become one figure.
// +kubebuilder:validation:Enum=Mean;Min;Max;Sum;Count
type DailyStatistic string

// DailyMean is the mean of a day.
const DailyMean DailyStatistic = "Mean"

// Baseline is a figure from the history of a key.
// +kubebuilder:validation:XValidation:rule="has(self.above) == (self.statistic == 'DaysAbove')",message="above goes with statistic DaysAbove: write both, or neither"
type Baseline struct {
	// name is its name in CEL.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name string `json:"name"`
	// value is a CEL expression over `msg` that gives the number remembered.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Value string `json:"value"`
	// daily makes one figure of each local day. Default: `Mean`.
	// +optional
	// +kubebuilder:default=Mean
	Daily DailyStatistic `json:"daily,omitempty"`

	// statistic makes one figure of the days of the window, today left out; `DaysAbove` counts those above `above`. Default: `Mean`.
	// +optional
	// +kubebuilder:default=Mean
	Statistic BaselineStatistic `json:"statistic,omitempty"`
	// above is the number that the days are held against: a number, or a parameter as `${name}`. Only with `DaysAbove`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=66
	// +kubebuilder:validation:Pattern=`^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|-?[0-9]{1,15}(\.[0-9]{1,9})?)$`
	Above string `json:"above,omitempty"`

	// window is how far back the history goes, in hours. Default: 336h, 14 days.
	// +optional
	// +kubebuilder:default="336h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Window metav1.Duration `json:"window,omitzero"`
	// minDays is how many days of history are needed; before, triggers that use it are not true. Default: 7.
	// +optional
	// +kubebuilder:default=7
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=90
	MinDays int32 `json:"minDays,omitempty"`
	// hours limits the history to a time of day, e.g. the night flow from 02:00 to 05:00.
	// +optional
	Hours *HourWindow `json:"hours,omitempty"`
}

// Scope is how far signals belong together.
// +kubebuilder:validation:Enum=Device;Household;Building;Compound;MicroGrid;Grid;Community;Platform
type Scope string

// Scopes, the narrowest first.
const (
	ScopeDevice    Scope = "Device"
	ScopeHousehold Scope = "Household"
	ScopeBuilding  Scope = "Building"
	ScopeCompound  Scope = "Compound"
	ScopeMicroGrid Scope = "MicroGrid"
	ScopeGrid      Scope = "Grid"
	ScopeCommunity Scope = "Community"
	ScopePlatform  Scope = "Platform"
)

// Term is one thing that can happen. `when` with `for`: a condition that holds. `absent`: nothing for some time. `count`: at
// least so many within some time.
// +kubebuilder:validation:XValidation:rule="has(self.when) || has(self.absent) || has(self.count) || has(self.offline)",message="a term says what happens: write when, absent, count or offline"
// +kubebuilder:validation:XValidation:rule="!has(self.absent) || (!has(self.when) && !has(self.__for__) && !has(self.count))",message="absent stands alone: put when or count into another term under anyOf"
// +kubebuilder:validation:XValidation:rule="!has(self.__for__) || (has(self.when) && !has(self.count))",message="for says how long when must hold: write when, and no count"
// +kubebuilder:validation:XValidation:rule="!has(self.offline) || (!has(self.when) && !has(self.__for__) && !has(self.absent) && !has(self.count))",message="offline stands alone: put the rest into another term under anyOf"
type Term struct {
	// when is a CEL expression over `msg`, `device`, `context`, `state`, `params` and `baseline` that must be true, e.g. `msg.smoke == true`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	When string `json:"when,omitempty"`
	// for is how long `when` must hold, by the messages' time: a duration or `${parameter}`. Unset: one message is enough.
	// +optional
	For DurationExpression `json:"for,omitempty"`
	// absent is true when a message is not seen for some time. A silent device is offline, never absent.
	// +optional
	Absent *AbsentTrigger `json:"absent,omitempty"`
	// count is true when enough messages, for which `when` is true, come within some time.
	// +optional
	Count *CountTrigger `json:"count,omitempty"`

	// offline is true when the device missed its heartbeats: the one thing that silence says.
	// +optional
	Offline *OfflineTrigger `json:"offline,omitempty"`

	// remember are fields whose value at the opening of the schedule's window, or at the last missed message, is `state.first.<field>` in CEL.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Remember []string `json:"remember,omitempty"`
}

// DurationExpression is a duration such as `90s` or `24h`, or a parameter of type Duration as `${name}`.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=66
// +kubebuilder:validation:Pattern=`^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?)$`
type DurationExpression string

// IntegerExpression is a whole number, or a parameter of type Integer as `${name}`.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=66
// +kubebuilder:validation:Pattern=`^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|[1-9][0-9]{0,5})$`
type IntegerExpression string

// TimeOfDayExpression is a local time as HH:MM, or a parameter of type TimeOfDay as `${name}`.
// +kubebuilder:validation:MinLength=4
// +kubebuilder:validation:MaxLength=66
// +kubebuilder:validation:Pattern=`^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|([01][0-9]|2[0-3]):[0-5][0-9])$`
type TimeOfDayExpression string

// OfflineTrigger is true when a device missed its heartbeats.
type OfflineTrigger struct{}

// AbsentDuration is a duration such as `24h`, a parameter of type Duration as `${name}`, or `window`: the whole window of the schedule.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=66
// +kubebuilder:validation:Pattern=`^(window|\$\{[A-Za-z_][A-Za-z0-9_]*\}|([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?)$`
type AbsentDuration string

// AbsentTrigger is true when a message is not seen for some time.
type AbsentTrigger struct {
	// event is a CEL expression that says which message is missed, e.g. `msg.event == 'exit'`.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Event string `json:"event"`
	// duration is for how long: a duration, `${parameter}`, or `window` for the whole window of the schedule.
	// +required
	Duration AbsentDuration `json:"duration"`
	// scope is whose message counts: the device's own, or any in its household, building and so on. Default: `Device`.
	// +optional
	// +kubebuilder:default=Device
	Scope Scope `json:"scope,omitempty"`
}

// CountTrigger is true when enough messages come within some time.
type CountTrigger struct {
	// atLeast is how many: a number or `${parameter}`.
	// +required
	AtLeast IntegerExpression `json:"atLeast"`
	// within is the time: a duration or `${parameter}`.
	// +required
	Within DurationExpression `json:"within"`
	// distinctBy is a CEL expression; messages with the same value count once, e.g. `device.id`. Unset: each message counts.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	DistinctBy string `json:"distinctBy,omitempty"`
	// scope is what is counted together. Default: `Device`.
	// +optional
	// +kubebuilder:default=Device
	Scope Scope `json:"scope,omitempty"`
}

// Trigger is what must happen for an alarm.
// +kubebuilder:validation:XValidation:rule="has(self.when) || has(self.absent) || has(self.count) || has(self.offline) || has(self.anyOf)",message="a trigger says what happens: write when, absent, count, offline or anyOf"
// +kubebuilder:validation:XValidation:rule="!has(self.anyOf) || (!has(self.when) && !has(self.__for__) && !has(self.absent) && !has(self.count) && !has(self.offline) && !has(self.remember))",message="with anyOf every term stands in the list: move when, for, absent, count, offline and remember into it"
// +kubebuilder:validation:XValidation:rule="!has(self.absent) || (!has(self.when) && !has(self.__for__) && !has(self.count))",message="absent stands alone: put when or count into another term under anyOf"
// +kubebuilder:validation:XValidation:rule="!has(self.__for__) || (has(self.when) && !has(self.count))",message="for says how long when must hold: write when, and no count"
// +kubebuilder:validation:XValidation:rule="!has(self.offline) || (!has(self.when) && !has(self.__for__) && !has(self.absent) && !has(self.count))",message="offline stands alone: put the rest into another term under anyOf"
type Trigger struct {
	// when is a CEL expression over `msg`, `device`, `context`, `state`, `params` and `baseline` that must be true, e.g. `msg.smoke == true`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	When string `json:"when,omitempty"`
	// for is how long `when` must hold, by the messages' time: a duration or `${parameter}`. Unset: one message is enough.
	// +optional
	For DurationExpression `json:"for,omitempty"`
	// absent is true when a message is not seen for some time. A silent device is offline, never absent.
	// +optional
	Absent *AbsentTrigger `json:"absent,omitempty"`
	// count is true when enough messages, for which `when` is true, come within some time.
	// +optional
	Count *CountTrigger `json:"count,omitempty"`

	// offline is true when the device missed its heartbeats: the one thing that silence says.
	// +optional
	Offline *OfflineTrigger `json:"offline,omitempty"`

	// remember are fields whose value at the opening of the schedule's window, or at the last missed message, is `state.first.<field>` in CEL.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Remember []string `json:"remember,omitempty"`
	// anyOf are terms of which one must be true. In place of when, for, absent and count.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	AnyOf []Term `json:"anyOf,omitempty"` //nolint:kubeapilinter // the schema asks for one of its fields
	// schedule limits the trigger to hours of the day. Unset: always.
	// +optional
	Schedule *Schedule `json:"schedule,omitempty"`
	// unless is a CEL expression over `msg`, `device`, `context` and `params` that keeps the alarm down, e.g. `context.away`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Unless string `json:"unless,omitempty"`
	// clear is a CEL expression over a later message that ends the alarm. Unset: `when` no longer true, or the missed message seen.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Clear string `json:"clear,omitempty"`
	// dedup is how long after an alarm further ones of the same key join its case: a duration or `${parameter}`. Default: 10m.
	// +optional
	// +kubebuilder:default="10m"
	Dedup DurationExpression `json:"dedup,omitempty"`
	// lateness is how late a message may come and still count at its own time: a duration. Default: 2m.
	// +optional
	// +kubebuilder:default="2m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Lateness metav1.Duration `json:"lateness,omitzero"`
}

// Schedule limits a trigger to hours of the day.
type Schedule struct {
	// windows are times of day, in one of which it must be.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Windows []ScheduleWindow `json:"windows"`
	// weekdays are days of the week. Unset: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	Weekdays []Weekday `json:"weekdays,omitempty"`
	// timeZone is an IANA time zone. Unset: the platform's.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z]+(/[A-Za-z0-9_+-]+){0,2}$`
	TimeZone string `json:"timeZone,omitempty"`
}

// ScheduleWindow is a time of day. If `to` is not later than `from`, it goes over midnight.
type ScheduleWindow struct {
	// from is when it opens: local time as HH:MM, or `${parameter}`.
	// +required
	From TimeOfDayExpression `json:"from"`
	// to is when it closes: local time as HH:MM, or `${parameter}`.
	// +required
	To TimeOfDayExpression `json:"to"`
}

// ScenarioCase is the case that an alarm opens.
type ScenarioCase struct {
	// class is the class of the case, ours, e.g. `fire-alarm`.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Class string `json:"class"`
	// gbClass is its class in GB/T 30428. Only for municipal cases, where you are sure of it.
	// +optional
	GBClass *GBClass `json:"gbClass,omitempty"`
	// severity is how grave it is; the SLA follows from it.
	// +required
	Severity Severity `json:"severity"`
	// title is the case's title, Chinese. `${community}`, `${compound}`, `${building}`, `${device}` are filled in. Never a person.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Title string `json:"title"`
	// titleEN is the same in English.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	TitleEN string `json:"titleEN,omitempty"`
	// mergeBy is what is one case: signals of the same scope join the open case. Default: `Device`.
	// +optional
	// +kubebuilder:default=Device
	MergeBy Scope `json:"mergeBy,omitempty"`
	// after is how long the alarm must stand before the case is opened: a duration or `${parameter}`. What its commands settle by then needs
	// nobody. Unset: it is opened at once.
	// +optional
	After DurationExpression `json:"after,omitempty"`
	// closing are the steps to check before the case may be closed (结案), e.g. `现场已排查`.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Closing []string `json:"closing,omitempty"`
	// retention is how long the closed case is kept, in hours. Unset: as the platform says for dataClass.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Retention *metav1.Duration `json:"retention,omitempty"`
}

// GBClass is a class of GB/T 30428.
type GBClass struct {
	// part is the part of the standard.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=99
	Part int32 `json:"part"`
	// year is the year of that part's edition.
	// +required
	// +kubebuilder:validation:Minimum=2013
	// +kubebuilder:validation:Maximum=2100
	Year int32 `json:"year"`
	// code is the class code in it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[0-9]+$`
	Code string `json:"code"`
}

// SeverityRaise makes an alarm graver.
// +kubebuilder:validation:XValidation:rule="has(self.when) || has(self.count)",message="say what makes it graver: write when or count"
type SeverityRaise struct {
	// name names the step.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// severity is what the case becomes.
	// +required
	Severity Severity `json:"severity"`
	// when is a CEL expression over `msg`, `device`, `context`, `state` and `params`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	When string `json:"when,omitempty"`
	// count counts alarms of this scenario.
	// +optional
	Count *CountTrigger `json:"count,omitempty"`
	// responders are who is called in addition when the case becomes this grave. Unset: nobody else.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Responders []Responder `json:"responders,omitempty"`
}

// Combination joins two scenarios' alarms.
type Combination struct {
	// scenario is the other Scenario.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Scenario string `json:"scenario"`
	// within is how far apart the two alarms may be: a duration or `${parameter}`. Unset: both must be open.
	// +optional
	Within DurationExpression `json:"within,omitempty"`
	// scope is what both must share. Default: `Household`.
	// +optional
	// +kubebuilder:default=Household
	Scope Scope `json:"scope,omitempty"`
	// severity is what the joint case becomes.
	// +required
	Severity Severity `json:"severity"`
}

// ResponderRole is who answers a case.
// +kubebuilder:validation:Enum=MicroGridWorker;GridWorker;CommunityWorker;Township;Department;Fire;Police;Health;Utility;PropertyCompany;Maintainer;Doctor;SocialWorker;Volunteer;Family;Household
type ResponderRole string

// Responder roles: posts of grids and community, and organisations by type.
const (
	ResponderMicroGridWorker ResponderRole = "MicroGridWorker"
	ResponderGridWorker      ResponderRole = "GridWorker"
	ResponderCommunityWorker ResponderRole = "CommunityWorker"
	ResponderTownship        ResponderRole = "Township"
	ResponderDepartment      ResponderRole = "Department"
	ResponderFire            ResponderRole = "Fire"
	ResponderPolice          ResponderRole = "Police"
	ResponderHealth          ResponderRole = "Health"
	ResponderUtility         ResponderRole = "Utility"
	ResponderPropertyCompany ResponderRole = "PropertyCompany"
	// ResponderMaintainer is an organisation of any type with the duty, `maintainer` if none is written. Who sold the device, or
	// maintains it by contract, is not looked up.
	ResponderMaintainer   ResponderRole = "Maintainer"
	ResponderDoctor       ResponderRole = "Doctor"
	ResponderSocialWorker ResponderRole = "SocialWorker"
	ResponderVolunteer    ResponderRole = "Volunteer"
	// ResponderFamily and ResponderHousehold are posts like the others, of whom the roster names for the grid or community: nobody's
	// own family is looked up, and no consent is asked here. Subject.consentScope keeps the scenario to who consented.
	ResponderFamily    ResponderRole = "Family"
	ResponderHousehold ResponderRole = "Household"
)

// Responder is who gets the case.
type Responder struct {
	// role is who answers: a post of the grid or community, or organisations of a type. `Health` is hospitals too; `Department` is
	// who has no role of its own, such as a bank; `Maintainer` is of any type.
	// +required
	Role ResponderRole `json:"role"`
	// duty picks, among organisations of the type, those with this duty; the longest jurisdiction wins. Unset: the role's name in small
	// letters, such as `fire`; `property` for `PropertyCompany`. With a role that is a post it calls organisations of any type instead.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Duty string `json:"duty,omitempty"`
	// order is the step at which they are called: all with the same number at once, the next when nobody of the step
	// acknowledges in time. Default: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=9
	Order int32 `json:"order,omitempty"`
	// minimumSeverity calls them only from this severity on. Unset: always.
	// +optional
	MinimumSeverity Severity `json:"minimumSeverity,omitempty"`
}

// CommandMoment is when a command is sent.
// +kubebuilder:validation:Enum=Raised;Cleared
type CommandMoment string

// Command moments.
const (
	CommandOnRaised  CommandMoment = "Raised"
	CommandOnCleared CommandMoment = "Cleared"
)

// ScenarioCommand is a command to devices.
// +kubebuilder:validation:XValidation:rule="self.target == 'Device' || has(self.profileRef)",message="for devices other than the one that sent the signal say which: write profileRef"
type ScenarioCommand struct {
	// command is the command's name in the target's profile.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Command string `json:"command"`
	// at is when it is sent: `Raised` or `Cleared`. Default: `Raised`.
	// +optional
	// +kubebuilder:default=Raised
	At CommandMoment `json:"at,omitempty"`
	// target is who gets it: the device that sent the signal, or all devices of profileRef in its household, building and so on. Default: `Device`.
	// +optional
	// +kubebuilder:default=Device
	Target Scope `json:"target,omitempty"`
	// profileRef is the profile of the target devices, where they are others.
	// +optional
	ProfileRef *ProfileRef `json:"profileRef,omitempty"`
	// arguments are the command's arguments, as text in their types. `${parameter}` is filled in.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Arguments []ArgumentValue `json:"arguments,omitempty"`
}

// LedgerEntry is an entry in an account.
type LedgerEntry struct {
	// name is the ledger's, e.g. `sorting-points`. Scenarios of one name share it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// subject is a CEL expression over `msg` and `device` that gives whose account it is, as text, e.g. `msg.memberId`. A pseudonym, never a name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Subject string `json:"subject"`
	// amount is a CEL expression over `msg`, `device` and `params` that gives the number of the entry, e.g. `params.points`.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Amount string `json:"amount"`
	// dailyCap is the most that a subject gets in this ledger in a local day: a number, or a parameter as `${name}`. Unset: no bound.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=66
	// +kubebuilder:validation:Pattern=`^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|[0-9]{1,15}(\.[0-9]{1,9})?)$`
	DailyCap string `json:"dailyCap,omitempty"`
}

// CaseAction is what a scenario does to a case.
// +kubebuilder:validation:Enum=Reopen;Escalate
type CaseAction string

// Actions of scenarios on cases.
const (
	// CaseActReopen: a closed case is worked on again (整改).
	CaseActReopen CaseAction = "Reopen"
	// CaseActEscalate: an open case goes to the next level where somebody stands.
	CaseActEscalate CaseAction = "Escalate"
)

// CaseAct is what a scenario does to the case that changed.
type CaseAct struct {
	// action is `Reopen` or `Escalate`.
	// +required
	Action CaseAction `json:"action"`
}

// ScenarioStatus is how a scenario stands.
type ScenarioStatus struct {
	CommonStatus `json:",inline"`

	// running is whether the platform runs it.
	// +optional
	Running *bool `json:"running,omitempty"`
	// estimatedCost is what the costliest of its expressions is estimated to
	// cost upon one message at worst, in CEL's cost units: at most 10,000, for
	// an evaluation that goes beyond that is given up.
	// +optional
	// +kubebuilder:validation:Minimum=0
	EstimatedCost int64 `json:"estimatedCost,omitempty"`
	// openCases is how many of the cases that it opened on its platform are
	// neither closed nor void, also while it does not run.
	// +optional
	// +kubebuilder:validation:Minimum=0
	OpenCases int32 `json:"openCases,omitempty"`
}
