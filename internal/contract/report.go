package contract

import "time"

// Report is what a node tells the control plane, written to ReportBucket under ReportKey. It holds counts and names of
// objects, never personal data.
type Report struct {
	Role     Role   `json:"role"`
	Instance string `json:"instance"`
	// Version of the node's binary.
	Version string `json:"version"`
	// Contract is the node's ContractVersion; 0 from a node of before it was told.
	Contract int       `json:"contract,omitempty"`
	At       time.Time `json:"at"`
	// Revision and Sequence of the lease that the node enforces.
	Revision string `json:"revision"`
	Sequence int64  `json:"sequence"`
	// EffectiveAt is when the node began to enforce Revision; for auth after the sweep of cut sessions.
	EffectiveAt time.Time `json:"effectiveAt"`
	// Problem is set when the node could not take a newer bundle; it keeps the last good one.
	Problem string `json:"problem,omitempty"`
	// Broker is how the brokers stand together; from the role broker.
	Broker *BrokerReport `json:"broker,omitempty"`
	// Fleets by name, from the roles that see devices.
	Fleets map[string]FleetReport `json:"fleets,omitempty"`
	// Communities by name: the devices that hang there; from the role grid.
	Communities map[string]PresenceReport `json:"communities,omitempty"`
	// Edges by name, and what they ask for; from the role auth.
	Edges map[string]EdgeReport `json:"edges,omitempty"`
	// Outbox of an edge node; from the role edge.
	Outbox *Outbox `json:"outbox,omitempty"`
	// Cases open, by community; from the role grid.
	OpenCases map[string]int64 `json:"openCases,omitempty"`
	// ScenarioCases are the open cases by the scenario that opened them, those that it opened before it was switched off among them; from the
	// role grid. Nil: it could not count them now, or is of before they were told.
	ScenarioCases map[string]int64 `json:"scenarioCases,omitzero"`
	// OverdueCases is how many of them missed a time.
	OverdueCases int64 `json:"overdueCases,omitempty"`
	// Mode (平战) that the platform is in; from the role grid. Nil: it could not read it now.
	Mode *ModeReport `json:"mode,omitempty"`
	// Dispatch by organisation; from the role grid.
	Dispatch map[string]DispatchReport `json:"dispatch,omitempty"`
	// Integrations by name; from the role grid. Nil: it could not read them now.
	Integrations map[string]IntegrationReport `json:"integrations,omitempty"`
	// Decisions by agreement; from the role gateway.
	Decisions map[string]DecisionReport `json:"decisions,omitempty"`
	// Trust is the digest of the file of keys that the node trusts, so that a key is used when all know it.
	Trust string `json:"trust,omitempty"`
	// Audit says how the decision log stands; from the role gateway.
	Audit *AuditReport `json:"audit,omitempty"`
	// Datasets by name, as last measured; from the role gateway.
	Datasets map[string]DatasetReport `json:"datasets,omitempty"`
	// BreakGlass by agreement; from the role gateway. Nil: it could not count them now.
	BreakGlass map[string]BreakGlassReport `json:"breakGlass,omitzero"`
}

// AuditReport says how a decision log stands.
type AuditReport struct {
	// Instance names the chain.
	Instance string `json:"instance,omitempty"`
	// Sequence and Hash of the last line.
	Sequence int64  `json:"sequence"`
	Hash     string `json:"hash"`
	// CheckpointAt is when the last checkpoint was signed.
	CheckpointAt time.Time `json:"checkpointAt,omitzero"`
	// Witnesses by name.
	Witnesses map[string]WitnessReport `json:"witnesses,omitempty"`
	// UnshippedBytes are not in the platform's store yet.
	UnshippedBytes int64 `json:"unshippedBytes,omitempty"`
	// Broken says what is wrong with the log; nothing is given out then.
	Broken string `json:"broken,omitempty"`
}

// WitnessReport says what a witness acknowledged.
type WitnessReport struct {
	// Sequence and ReceivedAt of its last receipt.
	Sequence   int64     `json:"sequence,omitempty"`
	ReceivedAt time.Time `json:"receivedAt,omitzero"`
	// Problem is why the last checkpoint has none; Forked says that the witness knows another history.
	Problem string `json:"problem,omitempty"`
	Forked  bool   `json:"forked,omitempty"`
}

// DatasetReport says how the source of a dataset stands.
type DatasetReport struct {
	Reachable bool `json:"reachable"`
	// Problem is why not.
	Problem string `json:"problem,omitempty"`
	// MissingColumns are declared and not there, sorted.
	MissingColumns []string `json:"missingColumns,omitempty"`
	// Quality as measured at MeasuredAt.
	Quality Quality `json:"quality,omitzero"`
	// Unmeasured says by figure (completeness, accuracy, timeliness) why one that is expected is not known.
	Unmeasured map[string]string `json:"unmeasured,omitempty"`
	MeasuredAt time.Time         `json:"measuredAt,omitzero"`
}

// BreakGlassReport counts uses of break-glass that no review has closed.
type BreakGlassReport struct {
	// Pending are all of them; Overdue those of these whose time for the review is over.
	Pending int64 `json:"pending,omitempty"`
	Overdue int64 `json:"overdue,omitempty"`
	// LastAt is when the newest of them was; zero from a gateway of before it was told.
	LastAt time.Time `json:"lastAt,omitzero"`
}

// BrokerReport is how the brokers of a platform stand together, as one of them sees it.
type BrokerReport struct {
	// Peers of the cluster.
	Peers int `json:"peers"`
	// Leader of the cluster; empty while there is none.
	Leader string `json:"leader,omitempty"`
	// Replicas of the stream that has fewest, of those that this broker holds.
	Replicas int `json:"replicas"`
	// Gathered says that this broker was told to gather all streams, holds them alone, and is the cluster alone.
	Gathered bool `json:"gathered,omitempty"`
}

// PresenceReport counts devices by when they were last heard.
type PresenceReport struct {
	Online    int64 `json:"online,omitempty"`
	Offline   int64 `json:"offline,omitempty"`
	NeverSeen int64 `json:"neverSeen,omitempty"`
	// Unknown are devices of whom nothing can be said: they connect to an edge node that is not heard.
	Unknown int64 `json:"unknown,omitempty"`
}

// FleetReport counts the devices of a fleet.
type FleetReport struct {
	PresenceReport
	// InvalidMessages counts messages that did not fit the profile, over restarts of the node.
	InvalidMessages int64 `json:"invalidMessages,omitempty"`
	// Rejected counts refused connections since the node started.
	Rejected int64 `json:"rejected,omitempty"`
	// Violations counts publishes outside the device's permissions, over restarts of the broker.
	Violations int64 `json:"violations,omitempty"`
	// LastViolationAt is zero if there was none.
	LastViolationAt time.Time `json:"lastViolationAt,omitzero"`
}

// DispatchReport counts deliveries to an organisation: taken by it, tried still, and dead letters.
type DispatchReport struct {
	Delivered int64  `json:"delivered,omitempty"`
	Pending   int64  `json:"pending,omitempty"`
	Failed    int64  `json:"failed,omitempty"`
	LastError string `json:"lastError,omitempty"`
}

// DecisionReport counts decisions under an agreement.
type DecisionReport struct {
	Allowed int64 `json:"allowed,omitempty"`
	Denied  int64 `json:"denied,omitempty"`
	// Since is from when it counts: the start of the gateway.
	Since time.Time `json:"since,omitzero"`
}
