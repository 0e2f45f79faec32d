// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeviceProfile is a device model (物模型): what a kind of device says and may be told.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=deviceprofiles,shortName=dprof,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Category",type=string,JSONPath=`.spec.category`
// +kubebuilder:printcolumn:name="Version",type=integer,JSONPath=`.spec.schemaVersion`
// +kubebuilder:printcolumn:name="Heartbeat",type=string,JSONPath=`.spec.heartbeat`
// +kubebuilder:printcolumn:name="Fleets",type=integer,JSONPath=`.status.fleets`
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="write a name of at most 63 lower-case letters, digits and hyphens, no dot"
type DeviceProfile struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. No dot in the name.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec DeviceProfileSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status DeviceProfileStatus `json:"status,omitzero"`
}

// DeviceProfileList is a list of DeviceProfiles.
// +kubebuilder:object:root=true
type DeviceProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DeviceProfile `json:"items"`
}

// FieldType is the type of a field that a device sends or a command takes.
// +kubebuilder:validation:Enum=Number;Integer;Boolean;String;Time;Enum
type FieldType string

// Field types.
const (
	FieldNumber  FieldType = "Number"
	FieldInteger FieldType = "Integer"
	FieldBoolean FieldType = "Boolean"
	FieldString  FieldType = "String"
	// FieldTime is an RFC 3339 date and time.
	FieldTime FieldType = "Time"
	// FieldEnum is one of the strings in `enum`.
	FieldEnum FieldType = "Enum"
)

// DeviceProfileSpec is what a kind of device says and may be told.
// +kubebuilder:validation:XValidation:rule="self.schemaVersion > oldSelf.schemaVersion || (oldSelf.fields.all(f, self.fields.exists(g, g.name == f.name && g.type == f.type && has(g.unit) == has(f.unit) && (!has(f.unit) || g.unit == f.unit) && has(g.min) == has(f.min) && (!has(f.min) || g.min == f.min) && has(g.max) == has(f.max) && (!has(f.max) || g.max == f.max) && has(g.enum) == has(f.enum) && (!has(f.enum) || g.enum == f.enum) && has(g.required) == has(f.required) && (!has(f.required) || g.required == f.required))) && self.fields.all(g, oldSelf.fields.exists(f, f.name == g.name) || !has(g.required) || !g.required))",message="only an optional field may be added within a schemaVersion, because devices of this version are in the field: raise schemaVersion, or leave the fields as they were"
type DeviceProfileSpec struct {
	// displayName is the name people read, e.g. `独立式烟感`. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// category is the kind of device in PascalCase. The shipped ones: SmokeDetector, GasDetector, DoorSensor, WaterMeter,
	// PowerMeter, GasMeter, HeatMeter, Bracelet, Lift, Charger, Bin, Manhole, Lamp, Gate, Camera, Environment. Write your own where none fits.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Category string `json:"category"`
	// schemaVersion counts the versions of the fields. Adding an optional field keeps it; any other change of a field needs the
	// next number. Default: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +kubebuilder:validation:XValidation:rule="self >= oldSelf",message="schemaVersion only grows: write the present number or the next"
	SchemaVersion int32 `json:"schemaVersion,omitempty"`
	// fields are what the device may send. A message with a field that is not here, or out of range, is counted and named.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(f, !(f.name in ['ts', 'id']))",message="ts (time) and id (message id) are part of every message: leave them out"
	Fields []ProfileField `json:"fields"`
	// heartbeat is the reporting interval: a healthy device sends something at least this often. Default: 24h.
	// +optional
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="write a reporting interval of 1s or more"
	Heartbeat metav1.Duration `json:"heartbeat,omitzero"`
	// missedHeartbeats is how many intervals of silence make a device offline. Offline is never an alarm by itself. Default: 3.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MissedHeartbeats int32 `json:"missedHeartbeats,omitempty"`
	// commands are what the device may be told. A command that is not here, or out of range, never leaves.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Commands []ProfileCommand `json:"commands,omitempty"`
	// retention is how long signals of this profile are kept. Unset: as the platform says for their data class.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	Retention *metav1.Duration `json:"retention,omitempty"`
}

// ProfileField is a field that a device sends.
// +kubebuilder:validation:XValidation:rule="(self.type == 'Enum') == has(self.enum)",message="type Enum needs enum (its values), and only that type has it: write both, or neither"
// +kubebuilder:validation:XValidation:rule="self.type in ['Number', 'Integer'] || (!has(self.min) && !has(self.max))",message="min and max are for types Number and Integer: leave them out"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || double(self.min) <= double(self.max)",message="min is above max: swap them"
// +kubebuilder:validation:XValidation:rule="!has(self.unit) || self.type in ['Number', 'Integer']",message="unit is for types Number and Integer: leave it out"
type ProfileField struct {
	// name is the key in the message's JSON object: a letter, then letters, digits and underscores. In CEL it is `msg.<name>`.
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
	// type is the field's type.
	// +required
	Type FieldType `json:"type"`
	// unit is the unit after UCUM, e.g. `Cel`, `%`, `kW.h`, `dB[SPL]`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Unit string `json:"unit,omitempty"`
	// min is the smallest valid value, a decimal number as text.
	// +optional
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
	Min string `json:"min,omitempty"`
	// max is the largest valid value, a decimal number as text.
	// +optional
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
	Max string `json:"max,omitempty"`
	// enum are the values of type Enum.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	Enum []string `json:"enum,omitempty"`
	// required is whether every telemetry message has the field. Default: false.
	// +optional
	// +kubebuilder:default=false
	Required *bool `json:"required,omitempty"`
	// personal says whether the value is personal information, seen together with the device's place. Default: `Sensitive`.
	// +optional
	// +kubebuilder:default=Sensitive
	Personal Personal `json:"personal,omitempty"`
	// grade is the value's grade (分级). Default: `General4`, the strictest of the general ones.
	// +optional
	// +kubebuilder:default=General4
	Grade Grade `json:"grade,omitempty"`
}

// CommandSender is who may send a command.
// +kubebuilder:validation:Enum=Scenario;Operator;Vendor
type CommandSender string

// Command senders.
const (
	// SenderScenario: a scenario, at the centre or at an edge.
	SenderScenario CommandSender = "Scenario"
	// SenderOperator: a person through the grid API, with a role that allows it.
	SenderOperator CommandSender = "Operator"
	// SenderVendor: the fleet's vendor, for service.
	SenderVendor CommandSender = "Vendor"
)

// ProfileCommand is something that a device may be told.
// +kubebuilder:validation:XValidation:rule="!has(self.safeState) || self.safeState.all(s, has(self.arguments) && self.arguments.exists(a, a.name == s.name))",message="safeState names an argument that the command does not have: add it to arguments, or correct the name"
type ProfileCommand struct {
	// name is the command's name in the message.
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
	// arguments are what the command takes. All of them must be given.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Arguments []CommandArgument `json:"arguments,omitempty"`
	// expiresAfter is how long the command is sent again until the device acknowledges it; then it is void. Default: 5m.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	ExpiresAfter metav1.Duration `json:"expiresAfter,omitzero"`
	// safeState are the arguments that the device falls back to when the command expires or is withdrawn, e.g. a lift door's
	// `hold: "false"`. Unset: nothing is sent.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	SafeState []ArgumentValue `json:"safeState,omitempty"`
	// senders are who may send it. Default: `Operator`.
	// +optional
	// +kubebuilder:default={Operator}
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	Senders []CommandSender `json:"senders,omitempty"`
	// desired says that the arguments are a state which the device keeps, e.g. a lamp's `on`, so that they may be set as its desired
	// state: that is sent again whenever the device comes back. Leave it out for what is done once, such as opening a gate. Default: false.
	// +optional
	// +kubebuilder:default=false
	Desired *bool `json:"desired,omitempty"`
}

// CommandArgument is an argument of a command.
// +kubebuilder:validation:XValidation:rule="(self.type == 'Enum') == has(self.enum)",message="type Enum needs enum (its values), and only that type has it: write both, or neither"
// +kubebuilder:validation:XValidation:rule="self.type in ['Number', 'Integer'] == (has(self.min) && has(self.max))",message="a number needs both min and max, because a device obeys, and other types have neither: write both, or leave both out"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || double(self.min) <= double(self.max)",message="min is above max: swap them"
type CommandArgument struct {
	// name is the key in the command's JSON object.
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
	// type is the argument's type.
	// +required
	Type FieldType `json:"type"`
	// unit is the unit after UCUM.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Unit string `json:"unit,omitempty"`
	// min is the smallest value allowed, a decimal number as text. Numbers need it.
	// +optional
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
	Min string `json:"min,omitempty"`
	// max is the largest value allowed, a decimal number as text. Numbers need it.
	// +optional
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
	Max string `json:"max,omitempty"`
	// enum are the values of type Enum.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	Enum []string `json:"enum,omitempty"`
}

// ArgumentValue is a value for an argument.
type ArgumentValue struct {
	// name is the argument's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name string `json:"name"`
	// value is the value, as text in the argument's type.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value"`
}

// DeviceProfileStatus is how a profile stands.
type DeviceProfileStatus struct {
	CommonStatus `json:",inline"`

	// fleets is how many fleets use the profile.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Fleets int32 `json:"fleets,omitempty"`
	// schemaHash is the hash of the fields of the accepted schema version; a change of it that is not additive is refused.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	SchemaHash string `json:"schemaHash,omitempty"`
}
