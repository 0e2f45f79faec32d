package contract

import "time"

// Modes (平战). A platform that nobody has switched is in ModeRoutine.
const (
	ModeRoutine   = "Routine"
	ModeEmergency = "Emergency"
)

// DutyCommand is the duty (指挥) of organisations whose commanders may switch the mode.
const DutyCommand = "command"

// ModeLongest is for how many seconds a mode may be switched on at once, where its plan does not say.
const ModeLongest = 72 * 3600

// Mode is the plan for a mode: what is other while it lasts. What is other of scenarios is in their Variants.
type Mode struct {
	// DisplayName for people, such as 战时.
	DisplayName string `json:"displayName,omitempty"`
	// SLA of the severities that have their own in this mode.
	SLA map[Severity]SLA `json:"sla,omitempty"`
	// MaxSeconds is for how long it may be switched on at once; 0 is ModeLongest.
	MaxSeconds int64 `json:"maxSeconds,omitempty"`
}

// Longest is for how long the mode may be switched on at once.
func (m Mode) Longest() time.Duration {
	if m.MaxSeconds <= 0 {
		return ModeLongest * time.Second
	}
	return time.Duration(m.MaxSeconds) * time.Second
}

// ModeReport is the mode that a platform is in. Why it was switched, and by whom, is in no report.
type ModeReport struct {
	Name string `json:"name"`
	// Since is zero while nobody has ever switched it.
	Since time.Time `json:"since,omitzero"`
	// ExpiresAt is when it ends by itself; zero is never.
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}
