// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Organization is a department, street or town, committee, utility, hospital, company or social organisation.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=organizations,shortName=org,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Jurisdiction",type=string,JSONPath=`.spec.jurisdiction`
// +kubebuilder:printcolumn:name="Duties",type=string,JSONPath=`.spec.duties`,priority=1
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.dispatch.failed`,priority=1
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="the organisation's name becomes part of certificates: write at most 63 lower-case letters, digits and hyphens, no dot, and put the full name into spec.displayName"
type Organization struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. No dot in the name.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec OrganizationSpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status OrganizationStatus `json:"status,omitzero"`
}

// OrganizationList is a list of Organizations.
// +kubebuilder:object:root=true
type OrganizationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Organization `json:"items"`
}

// OrganizationType is what an organisation is. Guardrails and dispatch depend on it.
// +kubebuilder:validation:Enum=Department;Township;Committee;Fire;Police;Health;Utility;Hospital;PropertyCompany;Company;SocialOrganization;DataOffice
type OrganizationType string

// Organisation types.
const (
	// OrganizationDepartment is a government department (部门) that has no type of its own here.
	OrganizationDepartment OrganizationType = "Department"
	// OrganizationTownship is a street, town or township (街道, 镇, 乡).
	OrganizationTownship OrganizationType = "Township"
	// OrganizationCommittee is a residents' or villagers' committee (居委会, 村委会).
	OrganizationCommittee OrganizationType = "Committee"
	// OrganizationFire is a fire and rescue brigade (消防救援).
	OrganizationFire OrganizationType = "Fire"
	// OrganizationPolice is a public security organ or police station (公安, 派出所).
	OrganizationPolice OrganizationType = "Police"
	// OrganizationHealth is a health authority or community health centre (卫健, 社区卫生服务中心).
	OrganizationHealth OrganizationType = "Health"
	// OrganizationUtility supplies water, power, gas or heat.
	OrganizationUtility OrganizationType = "Utility"
	// OrganizationHospital is a hospital.
	OrganizationHospital OrganizationType = "Hospital"
	// OrganizationPropertyCompany is a property management company (物业服务企业).
	OrganizationPropertyCompany OrganizationType = "PropertyCompany"
	// OrganizationCompany is any other company, device vendors among them.
	OrganizationCompany OrganizationType = "Company"
	// OrganizationSocialOrganization is a social organisation (社会组织).
	OrganizationSocialOrganization OrganizationType = "SocialOrganization"
	// OrganizationDataOffice is the authority for data (大数据管理局, 数据局).
	OrganizationDataOffice OrganizationType = "DataOffice"
)

// OrganizationSpec is what is wanted of an organisation. It names no person: not a head, not a contact.
// +kubebuilder:validation:XValidation:rule="!has(self.compounds) || self.type == 'PropertyCompany'",message="compounds is for type PropertyCompany: leave it out, and say where the organisation acts in jurisdiction"
// +kubebuilder:validation:XValidation:rule="self.type != 'PropertyCompany' || has(self.compounds) || has(self.jurisdiction)",message="a property company acts in its own compounds only: name them in compounds"
// +kubebuilder:validation:XValidation:rule="!has(self.webhook) || !has(self.delivery) || self.delivery == 'Webhook'",message="webhook is used with delivery Webhook: write that, or leave webhook out"
// +kubebuilder:validation:XValidation:rule="!has(self.delivery) || self.delivery != 'Webhook' || has(self.webhook)",message="delivery Webhook needs webhook.url and webhook.secretRef: write them, or delivery Pull"
type OrganizationSpec struct {
	// displayName is the name people read, e.g. `郑州市消防救援支队`. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// type is what the organisation is. It cannot be changed, and only platform and county namespaces may set it.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="type cannot be changed, because rights depend on it: make a new Organization with the other type"
	Type OrganizationType `json:"type"`
	// creditCode is the 18-character unified social credit code (统一社会信用代码, GB 32100-2015).
	// +optional
	// +kubebuilder:validation:MaxLength=18
	// +kubebuilder:validation:Pattern=`^[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}$`
	CreditCode string `json:"creditCode,omitempty"`
	// jurisdiction are the prefixes of the division codes in which the organisation acts, 2 to 12 digits. A case goes to the
	// organisation with the longest match; rows of an agreement default to it. Unset: nowhere.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=12
	// +kubebuilder:validation:items:Pattern=`^[1-9][0-9]([0-9]{2}){0,2}([0-9]{3}){0,2}$`
	Jurisdiction []string `json:"jurisdiction,omitempty"`
	// compounds are the compounds that a property company manages: it acts in these alone, within its jurisdiction, or its namespace's if it has none. It
	// is called to them, sees their cases and devices, and agreements give it their rows.
	// +optional
	// +listType=map
	// +listMapKey=community
	// +listMapKey=compound
	// +kubebuilder:validation:MaxItems=256
	Compounds []CompoundRef `json:"compounds,omitempty"`
	// duties are what the organisation is responsible for, as scenarios name it: e.g. `fire`, `civil-affairs`, `health`,
	// `police`, `property`, `gas`, `water`, `power`, `lift-maintenance`.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Duties []string `json:"duties,omitempty"`
	// clearance is the highest data class that the organisation may be given by any agreement. Unset: by type (ours): Police C3;
	// Department, Township, Committee, Fire, Health, Hospital, DataOffice C2; all others C1.
	// +optional
	Clearance DataClass `json:"clearance,omitempty"`
	// identities are how the organisation's systems prove who they are.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Identities []OrganizationIdentity `json:"identities,omitempty"`
	// personTokenKeys are public keys by which the organisation signs tokens for its staff, where it has no OpenID Connect
	// issuer. A token holds an account id and roles, never a name.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	PersonTokenKeys []NamedKey `json:"personTokenKeys,omitempty"`
	// approvers are the public keys whose owners may approve agreements for the organisation. Name the post, not the person.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Approvers []NamedKey `json:"approvers,omitempty"`
	// approversSignature is a signature over the list of approvers by one of the approvers before it. It is needed whenever the
	// list changes; without it the former list stays.
	// +optional
	ApproversSignature *ApproverSignature `json:"approversSignature,omitempty"`
	// delivery is how cases reach the organisation: `Webhook`, `MQTT` or `Pull`. Unset: `Webhook` where webhook is set, else `Pull`.
	// +optional
	Delivery DeliveryMethod `json:"delivery,omitempty"`
	// webhook is where dispatched cases are sent, as CloudEvents over HTTPS.
	// +optional
	Webhook *Webhook `json:"webhook,omitempty"`
}

// CompoundRef names a compound of a community.
type CompoundRef struct {
	// community is the Community's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Community string `json:"community"`
	// compound is the compound's name in that community.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Compound string `json:"compound"`
}

// IdentityType is how a system proves who it is.
// +kubebuilder:validation:Enum=IssuedCertificate;PublicKey;OIDC
type IdentityType string

// Identity types.
const (
	// IdentityIssuedCertificate: the platform's cert-manager issues a client certificate into a Secret of the organisation's namespace.
	IdentityIssuedCertificate IdentityType = "IssuedCertificate"
	// IdentityPublicKey: a client certificate, self-signed or of any issuer, with exactly this public key.
	IdentityPublicKey IdentityType = "PublicKey"
	// IdentityOIDC: a token of an issuer that the platform knows.
	IdentityOIDC IdentityType = "OIDC"
)

// OrganizationIdentity is one way for an organisation's system to prove who it is.
// +kubebuilder:validation:XValidation:rule="(self.type == 'PublicKey') == has(self.publicKey)",message="type PublicKey needs publicKey, and only that type has it: write both, or neither"
// +kubebuilder:validation:XValidation:rule="(self.type == 'OIDC') == has(self.oidc)",message="type OIDC needs oidc, and only that type has it: write both, or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.issuedCertificate) || self.type == 'IssuedCertificate'",message="issuedCertificate goes with type IssuedCertificate: write that type, or leave issuedCertificate out"
type OrganizationIdentity struct {
	// name names the identity; it stands in the decision log.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// type is how the system proves who it is. Default: `IssuedCertificate`.
	// +optional
	// +kubebuilder:default=IssuedCertificate
	Type IdentityType `json:"type,omitempty"`
	// publicKey is the base64 of the DER (PKIX, SubjectPublicKeyInfo) public key of the client certificate. Only with type PublicKey.
	// +optional
	// +kubebuilder:validation:MinLength=40
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9+/]+={0,2}$`
	PublicKey string `json:"publicKey,omitempty"`
	// issuedCertificate has settings of type IssuedCertificate.
	// +optional
	IssuedCertificate *IssuedCertificate `json:"issuedCertificate,omitempty"`
	// oidc says which tokens are the organisation's. Only with type OIDC.
	// +optional
	OIDC *OIDCIdentity `json:"oidc,omitempty"`
}

// IssuedCertificate has settings of a client certificate that cert-manager issues.
type IssuedCertificate struct {
	// secretName is the Secret that the certificate is put into, in the Organization's namespace. Unset: `<organization>-<identity>-tls`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	SecretName string `json:"secretName,omitempty"`
	// duration is the certificate's life, in hours. It is renewed after two thirds. Default: 2160h, 90 days.
	// +optional
	// +kubebuilder:default="2160h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}(\.[0-9]{1,9})?s)?([0-9]{1,6}ms)?$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1h')",message="cert-manager issues for an hour or more: write 1h or more"
	Duration metav1.Duration `json:"duration,omitzero"`
}

// OIDCIdentity says which tokens are an organisation's.
// +kubebuilder:validation:XValidation:rule="has(self.subject) || has(self.claim)",message="say which tokens: write subject (an exact sub), or claim and value"
// +kubebuilder:validation:XValidation:rule="has(self.claim) == has(self.value)",message="claim and value belong together: write both, or neither"
type OIDCIdentity struct {
	// provider is the name of an entry of the platform's identity.oidc.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Provider string `json:"provider"`
	// subject is the exact `sub` of the system's token.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Subject string `json:"subject,omitempty"`
	// claim is a claim that must have the value below.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Claim string `json:"claim,omitempty"`
	// value is what the claim must be, or, where it is a list, hold.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value,omitempty"`
}

// NamedKey is a public key with a name.
type NamedKey struct {
	// name names the key: a post such as `data-office-director`, never a person.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// publicKey is the base64 of the DER (PKIX, SubjectPublicKeyInfo) public key: ECDSA P-256 or Ed25519.
	// +required
	// +kubebuilder:validation:MinLength=40
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9+/]+={0,2}$`
	PublicKey string `json:"publicKey"`
}

// ApproverSignature is a signature over a list of approvers.
type ApproverSignature struct {
	// approver is the name of the key, in the list before the change.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Approver string `json:"approver"`
	// signature is a compact JWS with detached payload (RFC 7515, appendix F), `header..signature`.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+\.\.[A-Za-z0-9_-]+$`
	Signature string `json:"signature"`
}

// DeliveryMethod is how cases reach an organisation.
// +kubebuilder:validation:Enum=Webhook;MQTT;Pull
type DeliveryMethod string

// Delivery methods.
const (
	// DeliveryWebhook: CloudEvents over HTTPS with a Standard Webhooks signature.
	DeliveryWebhook DeliveryMethod = "Webhook"
	// DeliveryMQTT: CloudEvents over MQTT.
	DeliveryMQTT DeliveryMethod = "MQTT"
	// DeliveryPull: the organisation asks the grid API.
	DeliveryPull DeliveryMethod = "Pull"
)

// WebhookEvent is what a webhook is told.
// +kubebuilder:validation:Enum=CaseOpened;CaseDispatched;CaseReassigned;CaseAcknowledged;CaseEscalated;CaseOverdue;CaseReturned;CaseReopened;CaseClosed;CaseRated;CaseVoided
type WebhookEvent string

// Webhook events.
const (
	EventCaseOpened       WebhookEvent = "CaseOpened"
	EventCaseDispatched   WebhookEvent = "CaseDispatched"
	EventCaseReassigned   WebhookEvent = "CaseReassigned"
	EventCaseAcknowledged WebhookEvent = "CaseAcknowledged"
	EventCaseEscalated    WebhookEvent = "CaseEscalated"
	EventCaseOverdue      WebhookEvent = "CaseOverdue"
	EventCaseReturned     WebhookEvent = "CaseReturned"
	EventCaseReopened     WebhookEvent = "CaseReopened"
	EventCaseClosed       WebhookEvent = "CaseClosed"
	EventCaseRated        WebhookEvent = "CaseRated"
	EventCaseVoided       WebhookEvent = "CaseVoided"
)

// Webhook is where dispatched cases are sent. Deliveries are retried with back-off for a day, then kept as dead letters.
type Webhook struct {
	// url is the receiver's address.
	// +required
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^(https://[^\s]+|http://[a-z0-9.-]+\.svc(\.cluster\.local)?(:[0-9]+)?(/[^\s]*)?)$`
	URL string `json:"url"`
	// secretRef names a Secret, in the Organization's namespace, whose key `secret` is the signing secret after Standard
	// Webhooks, `whsec_` and base64.
	// +required
	SecretRef SecretRef `json:"secretRef"`
	// events limits what is sent. Unset: all that concern a case dispatched to the organisation.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	Events []WebhookEvent `json:"events,omitempty"`
	// caBundle is the PEM bundle that the receiver's certificate is checked against. Unset: the public roots of the image.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:Pattern=`^\s*-----BEGIN CERTIFICATE-----`
	CABundle string `json:"caBundle,omitempty"`
}

// OrganizationStatus is how an organisation stands.
type OrganizationStatus struct {
	CommonStatus `json:",inline"`

	// dispatch says how deliveries to the organisation went.
	// +optional
	Dispatch *DispatchStatus `json:"dispatch,omitempty"`
	// identities says which certificate or key is in use.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Identities []OrganizationIdentityStatus `json:"identities,omitempty"`
	// approvers are the approvers accepted: first the ones the object was made with, then those that a present approver signed.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Approvers []NamedKey `json:"approvers,omitempty"`
}

// DispatchStatus says how deliveries went.
type DispatchStatus struct {
	// delivered is how many were taken by the receiver.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Delivered int64 `json:"delivered"`
	// failed is how many are dead letters.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Failed int64 `json:"failed"`
	// lastError is the last error, without the content of a case.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	LastError string `json:"lastError,omitempty"`
}

// OrganizationIdentityStatus says which certificate or key is in use.
type OrganizationIdentityStatus struct {
	// name is the identity's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// secretName is the Secret with the issued certificate.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
	// keyFingerprint is the SHA-256 of the key's DER (PKIX), `sha256:` and hexadecimal.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
	// notAfter is when the certificate ends.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}
