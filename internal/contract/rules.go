package contract

// Rules is the document below "dizuo" of ShardRules.
type Rules struct {
	// Profiles by name.
	Profiles map[string]Profile `json:"profiles"`
	// Scenarios by name.
	Scenarios map[string]Scenario `json:"scenarios"`
}

// Profile is a device model (物模型).
type Profile struct {
	// Fields by name.
	Fields map[string]Field `json:"fields"`
	// HeartbeatSeconds is the reporting interval.
	HeartbeatSeconds int64 `json:"heartbeatSeconds"`
	// MissedHeartbeats is how many intervals of silence make a device offline; 0 means 3.
	MissedHeartbeats int32 `json:"missedHeartbeats,omitempty"`
	// DataClass is the gravest of its fields; empty in a bundle before it was said.
	DataClass string `json:"dataClass,omitempty"`
	// RetentionSeconds keeps its signals; 0 keeps them as the platform says for DataClass.
	RetentionSeconds int64 `json:"retentionSeconds,omitempty"`
	// Commands by name.
	Commands map[string]Command `json:"commands,omitempty"`
}

// OfflineSeconds gives the silence after which a device counts as offline; 0 means never.
func (p Profile) OfflineSeconds() int64 {
	missed := p.MissedHeartbeats
	if missed == 0 {
		missed = 3
	}
	return p.HeartbeatSeconds * int64(missed)
}

// Command is something that a device may be told.
type Command struct {
	// Arguments by name; all of them must be given.
	Arguments map[string]Field `json:"arguments,omitempty"`
	// ExpiresSeconds is how long the command is sent again until the device acknowledges it; then it is void.
	ExpiresSeconds int64 `json:"expiresSeconds"`
	// SafeState are arguments that are sent when the command expires or is withdrawn; nil sends nothing.
	SafeState map[string]any `json:"safeState,omitempty"`
	// Senders are "Scenario", "Operator" and "Vendor".
	Senders []string `json:"senders"`
	// Desired says that the arguments are a state that may be kept as desired: it is sent again whenever the device comes back.
	Desired bool `json:"desired,omitempty"`
}

// Field of a device profile.
type Field struct {
	// Type is "Number", "Integer", "Boolean", "String", "Time" or "Enum".
	Type string `json:"type"`
	Unit string `json:"unit,omitempty"`
	// Min and Max bound a number; nil means unbounded.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Enum lists the values of an Enum.
	Enum     []string `json:"enum,omitempty"`
	Required bool     `json:"required,omitempty"`
}

// Scenario is a governance scene, compiled: parameters are filled in and durations are seconds.
type Scenario struct {
	// CatalogueID is the scene's number in the catalogue, such as "S10", or empty for a local one.
	CatalogueID string `json:"catalogueId,omitempty"`
	// Profile whose devices the scenario listens to.
	Profile string `json:"profile"`
	// AppliesTo is CEL over `device` and `params`; empty applies to every device of the profile.
	AppliesTo string `json:"appliesTo,omitempty"`
	// Trigger that raises an alarm.
	Trigger Trigger `json:"trigger"`
	// Params are the values for CEL's `params`, by name.
	Params map[string]any `json:"params,omitempty"`
	// CaseClass is the class of the case that an alarm opens; empty opens none.
	CaseClass string   `json:"caseClass"`
	Severity  Severity `json:"severity"`
	Title     string   `json:"title"`
	TitleEN   string   `json:"titleEN,omitempty"`
	// Responders in the order in which they are called.
	Responders []Responder `json:"responders,omitempty"`
	// Commands that an alarm sends.
	Commands []ScenarioCommand `json:"commands,omitempty"`
	// DataClass is C0 to C3.
	DataClass string `json:"dataClass"`
}

// ScenarioCommand is a command that an alarm sends to devices.
type ScenarioCommand struct {
	// Command by name, in the profile of the devices that get it.
	Command string `json:"command"`
	// At is "Raised" or "Cleared".
	At string `json:"at"`
	// Target is who gets it: "Device" is the one that sent the signal; "Household", "Building", "Compound", "MicroGrid", "Grid" and
	// "Community" are all devices of Profile in the same.
	Target string `json:"target"`
	// Profile of the devices that get it.
	Profile string `json:"profile"`
	// Arguments by name, in the types of the profile.
	Arguments map[string]any `json:"arguments,omitempty"`
}

// Trigger says when a scenario raises and clears an alarm. CEL sees `msg` (the payload), `device` (the row), `params`, and
// `channel`.
type Trigger struct {
	// When raises as soon as it is true, or once it has been true for ForSeconds.
	When string `json:"when,omitempty"`
	// ForSeconds that When must hold.
	ForSeconds int64 `json:"forSeconds,omitempty"`
	// Absent raises when no message that makes Absent.Event true came for Absent.Seconds.
	Absent *Absent `json:"absent,omitempty"`
	// Count raises when When was true often enough in a window.
	Count *Count `json:"count,omitempty"`
	// Unless suppresses while true.
	Unless string `json:"unless,omitempty"`
	// Clear ends an alarm.
	Clear string `json:"clear,omitempty"`
	// DedupSeconds in which a second alarm of the same device joins the first.
	DedupSeconds int64 `json:"dedupSeconds,omitempty"`
}

// Absent is a trigger by silence.
type Absent struct {
	Event   string `json:"event"`
	Seconds int64  `json:"seconds"`
}

// Count is a trigger by number.
type Count struct {
	AtLeast int64 `json:"atLeast"`
	// DistinctBy is a CEL expression; empty counts messages.
	DistinctBy    string `json:"distinctBy,omitempty"`
	WithinSeconds int64  `json:"withinSeconds"`
}

// Responder is a role called to a case: a post of the grid, or every organisation that holds a duty there.
type Responder struct {
	// Post is a role on the grid, such as "GridWorker"; empty if Duty is set.
	Post string `json:"post,omitempty"`
	// Duty of organisations, such as "fire"; empty if Post is set.
	Duty string `json:"duty,omitempty"`
}
