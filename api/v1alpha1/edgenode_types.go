// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EdgeNode is a machine at a community that keeps sensing and acting when its line is cut.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=edgenodes,shortName=edge,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Connected",type=string,JSONPath=`.status.conditions[?(@.type=="Connected")].status`
// +kubebuilder:printcolumn:name="Backlog",type=integer,JSONPath=`.status.backlog.count`
// +kubebuilder:printcolumn:name="Heartbeat",type=date,JSONPath=`.status.lastHeartbeat`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,priority=1
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40 && !self.metadata.name.contains('.')",message="the node's name becomes part of its identity and inbox: write at most 40 lower-case letters, digits and hyphens, no dot, and put the full name into spec.displayName"
type EdgeNode struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. No dot in the name, at most 40 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec EdgeNodeSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status EdgeNodeStatus `json:"status,omitzero"`
}

// EdgeNodeList is a list of EdgeNodes.
// +kubebuilder:object:root=true
type EdgeNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EdgeNode `json:"items"`
}

// EdgeNodeSpec is what is wanted of an edge node.
type EdgeNodeSpec struct {
	// displayName is the name people read. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// communities are the names of the Communities that the node serves. It gets what concerns them and may speak for their
	// devices, and for no others. A community has one edge node: of two that name it the first keeps it.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Communities []string `json:"communities"`
	// autonomy is how long the node works alone when its line is cut, in hours. It is a promise: the outbox must hold that
	// long, and a change made meanwhile takes that long at worst to come into force there. Default: 24h.
	// +optional
	// +kubebuilder:default="24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5m') && duration(self) <= duration('720h')",message="autonomy is between 5m and 720h"
	Autonomy metav1.Duration `json:"autonomy,omitzero"`
	// keyFingerprint approves in advance the node with this public key: the SHA-256 of its DER (PKIX), `sha256:` and 64
	// hexadecimal digits, as the agent prints it on the machine. Another fingerprint takes another key in, and the former out.
	// Only who holds the RBAC verb `approve` on edgenodes may set or change it.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
	// approved approves the key in status.requestedKeyFingerprint; `false` shuts the node out. Only who holds the RBAC verb
	// `approve` on edgenodes may set or change it. Set before the node has asked, it approves the first key that comes with the
	// one-time token. Not needed with keyFingerprint, or where the platform approves by itself.
	// +optional
	Approved *bool `json:"approved,omitempty"`
	// storage is the size of the node's outbox, in bytes; full, it stops acknowledging. Default: 4Gi.
	// +optional
	// +kubebuilder:default="4Gi"
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	Storage resource.Quantity `json:"storage,omitzero"`
	// hostnames are the names and addresses by which the devices nearby reach the node, put into its certificate.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9*]([-A-Za-z0-9.:]*[A-Za-z0-9])?$`
	Hostnames []string `json:"hostnames,omitempty"`
}

// EdgeNodePhase is where a node stands in its life.
// +kubebuilder:validation:Enum=AwaitingEnrolment;AwaitingApproval;Enrolled;Rejected;Decommissioning
type EdgeNodePhase string

// Edge node phases.
const (
	EdgeAwaitingEnrolment EdgeNodePhase = "AwaitingEnrolment"
	EdgeAwaitingApproval  EdgeNodePhase = "AwaitingApproval"
	EdgeEnrolled          EdgeNodePhase = "Enrolled"
	EdgeRejected          EdgeNodePhase = "Rejected"
	EdgeDecommissioning   EdgeNodePhase = "Decommissioning"
)

// EdgeNodeStatus is how an edge node stands. What the node reports is written at most once a minute, and only on change.
type EdgeNodeStatus struct {
	CommonStatus `json:",inline"`

	// phase is where the node stands in its life.
	// +optional
	Phase EdgeNodePhase `json:"phase,omitempty"`
	// tokenSecret is the Secret with the one-time enrolment token. It goes when it is used.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	TokenSecret string `json:"tokenSecret,omitempty"`
	// requestedKeyFingerprint is the key that the node asks a certificate for.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	RequestedKeyFingerprint string `json:"requestedKeyFingerprint,omitempty"`
	// keyFingerprint is the key that was approved.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
	// certificateNotAfter is when its certificate ends. It is renewed before.
	// +optional
	CertificateNotAfter *metav1.Time `json:"certificateNotAfter,omitempty"`
	// drainedAt is when a node that is being decommissioned had nothing left to send. From then on it is cut off.
	// +optional
	DrainedAt *metav1.Time `json:"drainedAt,omitempty"`
	// lastHeartbeat is when the node was last heard, to the minute.
	// +optional
	LastHeartbeat *metav1.Time `json:"lastHeartbeat,omitempty"`
	// version is the agent's version.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// architecture is the machine's, e.g. `linux/arm64`.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Architecture string `json:"architecture,omitempty"`
	// appliedRevision is the bundle that the node runs.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	AppliedRevision string `json:"appliedRevision,omitempty"`
	// appliedSequence is the lease sequence that the node holds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	AppliedSequence int64 `json:"appliedSequence,omitempty"`
	// leaseExpiresAt is when that lease ends. After it the node keeps sensing, lets only devices in that were in before, and opens nothing new.
	// +optional
	LeaseExpiresAt *metav1.Time `json:"leaseExpiresAt,omitempty"`
	// backlog is what waits in the outbox.
	// +optional
	Backlog *BacklogStatus `json:"backlog,omitempty"`
	// clockSkewMillis is how far its clock is ahead of the platform's, in milliseconds, rounded to 100.
	// +optional
	ClockSkewMillis int64 `json:"clockSkewMillis,omitempty"`
	// autonomyCovered is how long the outbox would last at the fleets' rates.
	// +optional
	AutonomyCovered *metav1.Duration `json:"autonomyCovered,omitempty"`
	// devices counts the devices that connect to the node.
	// +optional
	Devices *DeviceCounts `json:"devices,omitempty"`
}

// BacklogStatus is what waits in an outbox.
type BacklogStatus struct {
	// count is how many messages wait.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Count int64 `json:"count"`
	// bytes is their size.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Bytes int64 `json:"bytes"`
	// oldest is the time of the oldest.
	// +optional
	Oldest *metav1.Time `json:"oldest,omitempty"`
}
