// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types that every kind has. They follow kstatus: `Ready` is the summary that GitOps tools wait for.
const (
	// ConditionReady: accepted, applied, available, and acknowledged by every online enforcer.
	ConditionReady = "Ready"
	// ConditionReconciling: not Ready, and on its way. Absent when Ready.
	ConditionReconciling = "Reconciling"
	// ConditionStalled: not Ready, and a person must change something. Absent when Ready.
	ConditionStalled = "Stalled"
	// ConditionAccepted: the object belongs to a platform, holds its claims, and its spec compiles.
	ConditionAccepted = "Accepted"
	// ConditionApplied: every object rendered from it is on the API server as rendered.
	ConditionApplied = "Applied"
	// ConditionAvailable: what was applied runs.
	ConditionAvailable = "Available"
	// ConditionFullyEnforced: offline enforcers have acknowledged too, or their lease has ended. Does not feed Ready.
	ConditionFullyEnforced = "FullyEnforced"
)

// Condition types of GridPlatform.
const (
	// ConditionCertificatesReady: cert-manager has issued every certificate the platform needs.
	ConditionCertificatesReady = "CertificatesReady"
	// ConditionDatabaseReady: the database accepts connections and has the current schema.
	ConditionDatabaseReady = "DatabaseReady"
	// ConditionBrokerReady: the broker takes device connections and its ingest log exists.
	ConditionBrokerReady = "BrokerReady"
	// ConditionEMQXReady: EMQX takes device connections, with the configuration asked for. Only with engine `EMQX`.
	ConditionEMQXReady = "EMQXReady"
	// ConditionIngestReady: the role that keeps what EMQX takes from devices holds its session, and with it, or without engine `EMQX`, the
	// role takes what clouds send. Only with engine `EMQX` or a fleet of access mode `Platform`.
	ConditionIngestReady = "IngestReady"
	// ConditionAuthReady: the auth service answers.
	ConditionAuthReady = "AuthReady"
	// ConditionGridReady: the grid service answers and reads the ingest log.
	ConditionGridReady = "GridReady"
	// ConditionGatewayReady: the gateway answers and holds a bundle within its lease.
	ConditionGatewayReady = "GatewayReady"
	// ConditionVaultReady: the vault answers residents and keeps what they ask for.
	ConditionVaultReady = "VaultReady"
	// ConditionBundlePublished: the current bundle and its lease are signed and published.
	ConditionBundlePublished = "BundlePublished"
	// ConditionReportsReceived: reports from the data plane reach the operator.
	ConditionReportsReceived = "ReportsReceived"
	// ConditionDependenciesPresent: every foreign API that the spec asks for is installed.
	ConditionDependenciesPresent = "DependenciesPresent"
	// ConditionMembersAdmitted: every member namespace names this platform in return.
	ConditionMembersAdmitted = "MembersAdmitted"
	// ConditionAuditWitnessed: at least one witness has a fresh checkpoint of every decision log.
	ConditionAuditWitnessed = "AuditWitnessed"
	// ConditionGuardrailsCompiled: the city's own guardrails compile under restricted capabilities. False: the last good ones are in
	// force. Does not feed Ready.
	ConditionGuardrailsCompiled = "GuardrailsCompiled"
	// ConditionCalendarStale: times count working time, and the calendar lacks the holidays of a year. True is what to mend. Does not feed Ready.
	ConditionCalendarStale = "CalendarStale"
	// ConditionBackedUp: the last scheduled backup succeeded.
	ConditionBackedUp = "BackedUp"
)

// Condition types of the other kinds.
const (
	// ConditionSecretsAdmitted: the namespace's owner lets the operator use Secrets there (`dizuo admit`).
	ConditionSecretsAdmitted = "SecretsAdmitted"
	// ConditionReferencesResolved: every object named in the spec exists and fits.
	ConditionReferencesResolved = "ReferencesResolved"
	// ConditionWorkspaceReady (Community): the workspace namespace with quota, network policy and roles exists.
	ConditionWorkspaceReady = "WorkspaceReady"
	// ConditionIdentitiesReady (Organization): every identity can be used at the gateway.
	ConditionIdentitiesReady = "IdentitiesReady"
	// ConditionApproversAccepted (Organization): the approvers' keys are the ones that a present approver agreed to.
	ConditionApproversAccepted = "ApproversAccepted"
	// ConditionDispatching (Organization): the last deliveries succeeded. Does not feed Ready.
	ConditionDispatching = "Dispatching"
	// ConditionInventoryAccepted (DeviceFleet): every row of the inventory was taken. False names rows that were not; good rows go in.
	ConditionInventoryAccepted = "InventoryAccepted"
	// ConditionProfileResolved (DeviceFleet): the profile exists in the schema version asked for.
	ConditionProfileResolved = "ProfileResolved"
	// ConditionCredentialsReady (DeviceFleet): the fleet's CA or password hashes are in place.
	ConditionCredentialsReady = "CredentialsReady"
	// ConditionWithinPermissions (DeviceFleet): no device published outside its permissions in the last hour. Does not feed Ready.
	ConditionWithinPermissions = "WithinPermissions"
	// ConditionEnrolled (EdgeNode): the node's key is approved and it holds a certificate.
	ConditionEnrolled = "Enrolled"
	// ConditionConnected (EdgeNode): the node's heartbeat is fresh. Does not feed Ready.
	ConditionConnected = "Connected"
	// ConditionAutonomyCovered (EdgeNode): the outbox holds the declared hours at the fleets' rates. Does not feed Ready.
	ConditionAutonomyCovered = "AutonomyCovered"
	// ConditionSourceReachable (Dataset): the source table can be read and has the declared columns. Does not feed Ready.
	ConditionSourceReachable = "SourceReachable"
	// ConditionQualityMet (Dataset): timeliness, completeness and accuracy are as expected. Does not feed Ready.
	ConditionQualityMet = "QualityMet"
	// ConditionGuardrailsPassed (DataSharingAgreement): no guardrail (红线规则) refuses it.
	ConditionGuardrailsPassed = "GuardrailsPassed"
	// ConditionApproved (DataSharingAgreement): every party has signed the present digest.
	ConditionApproved = "Approved"
	// ConditionInForce (DataSharingAgreement): within its validity, neither suspended nor revoked.
	ConditionInForce = "InForce"
)

// Reasons of success and of progress.
const (
	ReasonSucceeded   = "Succeeded"
	ReasonProgressing = "Progressing"
	// ReasonDeleting: the object's inventory is being removed.
	ReasonDeleting = "Deleting"
	// ReasonNotRequired: nothing in the spec asks for this.
	ReasonNotRequired = "NotRequired"
	// ReasonDisabled: switched off in the spec.
	ReasonDisabled = "Disabled"
	// ReasonUnknown: no fresh report tells.
	ReasonUnknown = "Unknown"
)

// Reasons about membership and claims.
const (
	// ReasonNamespaceNotAdmitted: the platform's `spec.members` does not admit this namespace.
	ReasonNamespaceNotAdmitted = "NamespaceNotAdmitted"
	// ReasonNamespaceRoleNotAllowed: it is admitted, in a role that may not hold this kind.
	ReasonNamespaceRoleNotAllowed = "NamespaceRoleNotAllowed"
	// ReasonPlatformNotFound: no platform in the namespace, and the one its label names does not exist.
	ReasonPlatformNotFound = "PlatformNotFound"
	// ReasonPlatformDeleting: the platform is being deleted.
	ReasonPlatformDeleting = "PlatformDeleting"
	// ReasonPlatformNotReady: the platform does not run yet, or no longer.
	ReasonPlatformNotReady = "PlatformNotReady"
	// ReasonPlatformExists: the namespace has a platform already; the message names it.
	ReasonPlatformExists = "PlatformExists"
	// ReasonNameClaimed: another object of the platform and kind holds the name.
	ReasonNameClaimed = "NameClaimed"
	// ReasonDivisionOutsidePlatform: the code has none of the platform's prefixes.
	ReasonDivisionOutsidePlatform = "DivisionOutsidePlatform"
	// ReasonDivisionBelongsElsewhere: another platform has a longer matching prefix.
	ReasonDivisionBelongsElsewhere = "DivisionBelongsElsewhere"
	// ReasonDivisionClaimed: another community holds the code.
	ReasonDivisionClaimed = "DivisionClaimed"
	// ReasonGridCodeInvalid: a grid's code does not fit the platform's scheme.
	ReasonGridCodeInvalid = "GridCodeInvalid"
	// ReasonGridCodeClaimed: another grid holds the code.
	ReasonGridCodeClaimed = "GridCodeClaimed"
	// ReasonDeviceClaimed: another fleet holds the device.
	ReasonDeviceClaimed = "DeviceClaimed"
	// ReasonCommunityClaimed: another edge node serves the community.
	ReasonCommunityClaimed = "CommunityClaimed"
	// ReasonWriterClaimed: another dataset is the single source (一数一源) of the item, or has another writer for it.
	ReasonWriterClaimed = "WriterClaimed"
)

// Reasons about the spec and what it names.
const (
	// ReasonInvalidSpec: the spec does not compile; the message names the field and what to write.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonInvalidExpression: a CEL expression does not compile; the message has the place.
	ReasonInvalidExpression = "InvalidExpression"
	// ReasonInvalidParameter: a scenario's parameter is unknown or out of range.
	ReasonInvalidParameter = "InvalidParameter"
	// ReasonInvalidKey: a public key or certificate cannot be read.
	ReasonInvalidKey = "InvalidKey"
	// ReasonInvalidRows: some inventory rows were refused.
	ReasonInvalidRows = "InvalidRows"
	// ReasonReferenceNotFound: an object that the spec names is not there; the message names it. Used where no closer reason fits.
	ReasonReferenceNotFound    = "ReferenceNotFound"
	ReasonOrganizationNotFound = "OrganizationNotFound"
	ReasonCommunityNotFound    = "CommunityNotFound"
	ReasonGridNotFound         = "GridNotFound"
	ReasonProfileNotFound      = "ProfileNotFound"
	ReasonScenarioNotFound     = "ScenarioNotFound"
	ReasonDatasetNotFound      = "DatasetNotFound"
	ReasonFieldNotFound        = "FieldNotFound"
	ReasonCommandNotFound      = "CommandNotFound"
	// ReasonSchemaVersionMismatch: the object named is there in another schema version.
	ReasonSchemaVersionMismatch = "SchemaVersionMismatch"
	// ReasonSchemaChanged: a field was changed in a way that is not additive; raise `schemaVersion`.
	ReasonSchemaChanged = "SchemaChanged"
	// ReasonOrganizationTypeNotAllowed: the organisation's type may not do this.
	ReasonOrganizationTypeNotAllowed = "OrganizationTypeNotAllowed"
	// ReasonSharingNone: the dataset is not shared.
	ReasonSharingNone = "SharingNone"
	// ReasonSecretNotFound: a Secret, or a key in it, is not there.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretNotAdmitted: the operator may not read Secrets in the namespace; its owner runs `dizuo admit`.
	ReasonSecretNotAdmitted = "SecretNotAdmitted"
	// ReasonSecretInvalid: a Secret's content cannot be used. The message never has the content.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonArtifactUnavailable: the artefact cannot be fetched.
	ReasonArtifactUnavailable = "ArtifactUnavailable"
	// ReasonDigestMismatch: the artefact is not the one that the spec names.
	ReasonDigestMismatch = "DigestMismatch"
)

// Reasons about applying, running and enforcing.
const (
	// ReasonMoving: the data goes from one engine or number of brokers to another; what must not write stands still.
	ReasonMoving = "Moving"
	// ReasonMoveFailed: the copying failed; the data is where it was.
	ReasonMoveFailed = "MoveFailed"
	// ReasonMissingDependency: a foreign API that the spec asks for is not installed.
	ReasonMissingDependency = "MissingDependency"
	// ReasonConflict: an object to be applied is held by another owner.
	ReasonConflict = "Conflict"
	// ReasonApplyFailed: the API server refused an object.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonPruneFailed: an object no longer wanted could not be removed.
	ReasonPruneFailed = "PruneFailed"
	// ReasonForbidden: the operator lacks a permission; the message names it.
	ReasonForbidden = "Forbidden"
	// ReasonComponentsNotReady: some pods do not run yet.
	ReasonComponentsNotReady = "ComponentsNotReady"
	// ReasonComponentFailed: a pod cannot start; the message has the cause.
	ReasonComponentFailed = "ComponentFailed"
	// ReasonGatewayOutdated: a gateway enforces less than the bundle relies on, and so refuses every read.
	ReasonGatewayOutdated = "GatewayOutdated"
	// ReasonCertificatePending: cert-manager has not issued a certificate yet.
	ReasonCertificatePending = "CertificatePending"
	// ReasonDatabaseUnreachable: the database does not answer.
	ReasonDatabaseUnreachable = "DatabaseUnreachable"
	// ReasonReportsUnavailable: no report reaches the operator.
	ReasonReportsUnavailable = "ReportsUnavailable"
	// ReasonSigningFailed: the bundle could not be signed.
	ReasonSigningFailed = "SigningFailed"
	// ReasonEnforcementPending: online enforcers have yet to acknowledge.
	ReasonEnforcementPending = "EnforcementPending"
	// ReasonEnforcersOffline: only offline enforcers have yet to acknowledge.
	ReasonEnforcersOffline = "EnforcersOffline"
	// ReasonEnforcementRejected: an enforcer refused the revision and runs its last good one.
	ReasonEnforcementRejected = "EnforcementRejected"
	// ReasonLeaseExpired: the lease of what runs has ended.
	ReasonLeaseExpired = "LeaseExpired"
	// ReasonDeletionProtected: deletion was asked for while `deletionProtection` is on.
	ReasonDeletionProtected = "DeletionProtected"
	// ReasonRetained: data is kept because of `deletionPolicy: Retain`.
	ReasonRetained = "Retained"
	// ReasonYearMissing: a calendar has no dates of a year.
	ReasonYearMissing = "YearMissing"
	// ReasonNoWitness: no audit witness is configured, or none answers: "internally consistent only".
	ReasonNoWitness = "NoWitness"
	// ReasonWitnessForked: a witness knows another history of a decision log than the one that it was shown.
	ReasonWitnessForked = "WitnessForked"
	// ReasonShippingBehind: a decision log reaches the platform's store more slowly than it grows.
	ReasonShippingBehind = "ShippingBehind"
	// ReasonGuardrailInvalid: a ConfigMap with guardrails is not there, does not compile, or says what it may not.
	ReasonGuardrailInvalid = "GuardrailInvalid"
)

// Reasons about edge nodes.
const (
	// ReasonAwaitingEnrolment: the node has not asked yet.
	ReasonAwaitingEnrolment = "AwaitingEnrolment"
	// ReasonAwaitingApproval: the node asked; nobody approved its key yet. Also: an agreement lacks a signature.
	ReasonAwaitingApproval = "AwaitingApproval"
	// ReasonRejected: `approved` is false: the node is shut out.
	ReasonRejected = "Rejected"
	// ReasonKeyMismatch: the node's key is not the approved one.
	ReasonKeyMismatch = "KeyMismatch"
	// ReasonOffline: no fresh heartbeat.
	ReasonOffline = "Offline"
	// ReasonClockSkew: the node's clock is too far off.
	ReasonClockSkew = "ClockSkew"
	// ReasonAutonomyNotCovered: the outbox is too small for the declared hours.
	ReasonAutonomyNotCovered = "AutonomyNotCovered"
	// ReasonOutboxFull: the node has stopped acknowledging.
	ReasonOutboxFull = "OutboxFull"
	// ReasonDiskFull: the disk beneath the node's outbox has no room; the node lets no device in.
	ReasonDiskFull = "DiskFull"
	// ReasonStoreCorrupted: damage was found in the node's store.
	ReasonStoreCorrupted = "StoreCorrupted"
)

// Reasons about datasets and agreements.
const (
	// ReasonDraft: the agreement has no approval yet.
	ReasonDraft = "Draft"
	// ReasonGuardrailViolated: a guardrail refuses it; the message has its id and what to write.
	ReasonGuardrailViolated = "GuardrailViolated"
	// ReasonClearanceTooLow: the agreement gives data of a higher class than its consumer may have.
	ReasonClearanceTooLow = "ClearanceTooLow"
	// ReasonItemClaimed: another dataset has the item code.
	ReasonItemClaimed = "ItemClaimed"
	// ReasonSchemaNotAdmitted: the platform's `spec.members` does not let the namespace offer tables of this schema.
	ReasonSchemaNotAdmitted = "SchemaNotAdmitted"
	// ReasonApprovalVoid: a signature is over another digest: the substance changed after it was made.
	ReasonApprovalVoid = "ApprovalVoid"
	// ReasonApprovalInvalid: a signature is not by a key among the organisation's approvers.
	ReasonApprovalInvalid = "ApprovalInvalid"
	// ReasonApproversChangeUnsigned: the approvers changed without a present approver's signature; the former stay.
	ReasonApproversChangeUnsigned = "ApproversChangeUnsigned"
	// ReasonNotYetValid: before `validity.notBefore`.
	ReasonNotYetValid = "NotYetValid"
	// ReasonExpired: after `validity.notAfter`.
	ReasonExpired = "Expired"
	// ReasonSuspended: `suspended` is true.
	ReasonSuspended = "Suspended"
	// ReasonRevoked: `revoked` is true.
	ReasonRevoked = "Revoked"
	// ReasonColumnsMissing: the source lacks declared columns.
	ReasonColumnsMissing = "ColumnsMissing"
	// ReasonQualityBelowExpectation: a measured figure is below the declared one.
	ReasonQualityBelowExpectation = "QualityBelowExpectation"
	// ReasonDeliveriesFailing: webhook deliveries fail.
	ReasonDeliveriesFailing = "DeliveriesFailing"
	// ReasonViolations: devices published outside their permissions.
	ReasonViolations = "Violations"
)
