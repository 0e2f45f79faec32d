package contract

// Rules is the document below "dizuo" of ShardRules.
type Rules struct {
	// Profiles by name.
	Profiles map[string]Profile `json:"profiles"`
	// Scenarios by name.
	Scenarios map[string]Scenario `json:"scenarios"`
	// TimeZone of the platform, an IANA name. Only what is cut to an edge node has it: the services at the centre read it in the directory.
	TimeZone string `json:"timeZone,omitempty"`
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
	// Profile whose devices the scenario listens to; CaseProfile or CommandProfile where it listens to none.
	Profile string `json:"profile"`
	// AppliesTo is CEL over `device` and `params`; empty applies to every device of the profile.
	AppliesTo string `json:"appliesTo,omitempty"`
	// Trigger that raises an alarm.
	Trigger Trigger `json:"trigger"`
	// Registers are sets of which the household must be in one; ConsentScope is a consent that must be on record. Empty asks for none.
	Registers    []string `json:"registers,omitempty"`
	ConsentScope string   `json:"consentScope,omitempty"`
	// Terms of which one must come true; a plain trigger is one term. Trigger is of the version before: terms go before it.
	Terms []Term `json:"terms,omitempty"`
	// Schedule is when the scenario looks; nil is always.
	Schedule *Schedule `json:"schedule,omitempty"`
	// Unless suppresses while true; Clear ends an alarm.
	Unless string `json:"unless,omitempty"`
	Clear  string `json:"clear,omitempty"`
	// DedupSeconds in which a second alarm of the same key joins the first; LatenessSeconds that a message may be late, 0 is 120.
	DedupSeconds    int64 `json:"dedupSeconds,omitempty"`
	LatenessSeconds int64 `json:"latenessSeconds,omitempty"`
	// Baselines are figures from the history of a key, `baseline` in CEL.
	Baselines []Baseline `json:"baselines,omitempty"`
	// Off says that the scenario runs only where a variant says so.
	Off bool `json:"off,omitempty"`
	// Variants hold what differs, by "<mode>/<community>"; either may be empty. The most special counts.
	Variants map[string]Variant `json:"variants,omitempty"`
	// Raise and Combines make an alarm graver.
	Raise    []Raise       `json:"raise,omitempty"`
	Combines []Combination `json:"combines,omitempty"`
	// Params are the values for CEL's `params`, by name.
	Params map[string]any `json:"params,omitempty"`
	// CaseClass is the class of the case that an alarm opens; empty opens none.
	CaseClass string `json:"caseClass"`
	// MergeBy is the scope whose signals are one case; empty is that of the alarm. Scenarios of one class share it.
	MergeBy string `json:"mergeBy,omitempty"`
	// AfterSeconds is how long an alarm must stand before its case is opened; 0 opens it at once.
	AfterSeconds int64    `json:"afterSeconds,omitempty"`
	Severity     Severity `json:"severity"`
	Title        string   `json:"title"`
	TitleEN      string   `json:"titleEN,omitempty"`
	// GBClass is the class of its cases in GB/T 30428; nil if the scenario names none.
	GBClass *GBClass `json:"gbClass,omitempty"`
	// Closing are the steps to check before the case may be closed.
	Closing []string `json:"closing,omitempty"`
	// RetentionSeconds is how long the closed case is kept; 0 is as the platform says for DataClass.
	RetentionSeconds int64 `json:"retentionSeconds,omitempty"`
	// Responders in the order in which they are called.
	Responders []Responder `json:"responders,omitempty"`
	// Commands that an alarm sends.
	Commands []ScenarioCommand `json:"commands,omitempty"`
	// Ledger is the entry that each message makes for which the trigger is true; nil is none.
	Ledger *Ledger `json:"ledger,omitempty"`
	// Act is done to a case by each change of it for which the trigger is true: ActReopen or ActEscalate; empty is nothing.
	Act string `json:"act,omitempty"`
	// DataClass is C0 to C3.
	DataClass string `json:"dataClass"`
}

// GBClass is a class of GB/T 30428 (数字化城市管理信息系统): a code in a part of the standard, of an edition.
type GBClass struct {
	Part int32  `json:"part"`
	Year int32  `json:"year"`
	Code string `json:"code"`
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
	// WholeWindow is for the whole window of the schedule, whatever Seconds say.
	WholeWindow bool `json:"wholeWindow,omitempty"`
	// Scope is whose message counts: "Device" (or empty), "Household", "Building", "Compound", "MicroGrid", "Grid", "Community" or "Platform".
	Scope string `json:"scope,omitempty"`
}

// Count is a trigger by number.
type Count struct {
	AtLeast int64 `json:"atLeast"`
	// DistinctBy is a CEL expression; empty counts messages.
	DistinctBy    string `json:"distinctBy,omitempty"`
	WithinSeconds int64  `json:"withinSeconds"`
	// Scope is what is counted together, as in Absent.
	Scope string `json:"scope,omitempty"`
}

// Responder is a role called to a case: a post of the grid, or every organisation that holds a duty there.
type Responder struct {
	// Post is a role on the grid, such as "GridWorker"; empty if Duty is set.
	Post string `json:"post,omitempty"`
	// Duty of organisations, such as "fire"; empty if Post is set.
	Duty string `json:"duty,omitempty"`
	// Types of organisation, such as "Fire", of which those with the duty are; empty is any.
	Types []string `json:"types,omitempty"`
	// Order is the step at which it is called: the next when nobody of the one before acknowledges in time. 0 is 1.
	Order int32 `json:"order,omitempty"`
	// MinSeverity calls it from this severity on; empty is always.
	MinSeverity Severity `json:"minSeverity,omitempty"`
}

// Term is one thing that can happen: When, with ForSeconds or Count; Absent; or Offline.
type Term struct {
	When       string  `json:"when,omitempty"`
	ForSeconds int64   `json:"forSeconds,omitempty"`
	Absent     *Absent `json:"absent,omitempty"`
	Count      *Count  `json:"count,omitempty"`
	// Offline: the device missed its heartbeats.
	Offline bool `json:"offline,omitempty"`
	// Remember are fields whose value at the opening of the window, or at the last missed message, is state.first.<field> in CEL.
	Remember []string `json:"remember,omitempty"`
}

// Schedule is when a scenario looks, in local time.
type Schedule struct {
	// Windows of the day; none is all day.
	Windows []Window `json:"windows,omitempty"`
	// Weekdays on which a window opens, a bit for each time.Weekday; 0 is every day.
	Weekdays uint8 `json:"weekdays,omitempty"`
	// TimeZone is an IANA name.
	TimeZone string `json:"timeZone"`
}

// Window is a part of the day, in minutes since midnight. One that ends at or before its beginning ends on the next day.
type Window struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Variant is what is other in a mode or a community. What it does not say is as in the scenario.
type Variant struct {
	Off bool `json:"off,omitempty"`
	// Params that differ.
	Params map[string]any `json:"params,omitempty"`
	// Terms that differ in their values, all of them.
	Terms []Term `json:"terms,omitempty"`
	// DedupSeconds and AfterSeconds, where they differ.
	DedupSeconds *int64 `json:"dedupSeconds,omitempty"`
	AfterSeconds *int64 `json:"afterSeconds,omitempty"`
	// Schedule that differs; a scenario without one has none here either.
	Schedule *Schedule `json:"schedule,omitempty"`
	// Raise, Combines and Commands that differ in their numbers and arguments, all of them and in the scenario's order.
	Raise    []Raise           `json:"raise,omitempty"`
	Combines []Combination     `json:"combines,omitempty"`
	Commands []ScenarioCommand `json:"commands,omitempty"`
}

// Variant gives what is other in a mode and a community, either of which may be empty: the most special counts. Found is false where the
// scenario runs as it says itself.
func (s Scenario) Variant(mode, community string) (v Variant, found bool) {
	for _, key := range [...]string{mode + "/" + community, "/" + community, mode + "/"} {
		if v, found = s.Variants[key]; found {
			return v, true
		}
	}
	return Variant{}, false
}

// CommandsIn gives what an alarm sends in a mode and a community.
func (s Scenario) CommandsIn(mode, community string) []ScenarioCommand {
	if v, ok := s.Variant(mode, community); ok && len(v.Commands) == len(s.Commands) {
		return v.Commands
	}
	return s.Commands
}

// AfterIn gives how long an alarm must stand before its case is opened, in seconds, in a mode and a community.
func (s Scenario) AfterIn(mode, community string) int64 {
	if v, ok := s.Variant(mode, community); ok && v.AfterSeconds != nil {
		return *v.AfterSeconds
	}
	return s.AfterSeconds
}

// Waits says whether an alarm may have to stand for a while, in some mode or community, before its case is opened.
func (s Scenario) Waits() bool {
	for _, v := range s.Variants {
		if v.AfterSeconds != nil && *v.AfterSeconds > 0 {
			return true
		}
	}
	return s.AfterSeconds > 0
}

// Baseline is a figure from the history of a key.
type Baseline struct {
	Name string `json:"name"`
	// Value is CEL that gives the number remembered.
	Value string `json:"value"`
	// Daily makes one figure of a day: "Mean" (or empty), "Min", "Max", "Sum" or "Count". Statistic makes one of the days: "Mean" (or empty),
	// "Median", "Min", "Max" or "DaysAbove", which counts the days above what the CEL in Above gives.
	Daily     string `json:"daily,omitempty"`
	Statistic string `json:"statistic,omitempty"`
	Above     string `json:"above,omitempty"`
	// WindowSeconds is how far back the history goes, MinDays how many days it must have.
	WindowSeconds int64 `json:"windowSeconds"`
	MinDays       int32 `json:"minDays,omitempty"`
	// Hours of the day that count; nil is all.
	Hours *Window `json:"hours,omitempty"`
}

// Raise makes an alarm graver when a message says so, or when there are more alarms of the scenario.
type Raise struct {
	Name       string      `json:"name"`
	Severity   Severity    `json:"severity"`
	When       string      `json:"when,omitempty"`
	Count      *Count      `json:"count,omitempty"`
	Responders []Responder `json:"responders,omitempty"`
}

// Combination makes the alarms of two scenarios in one place graver. Without WithinSeconds both must be open.
type Combination struct {
	Scenario      string   `json:"scenario"`
	Scope         string   `json:"scope,omitempty"`
	WithinSeconds int64    `json:"withinSeconds,omitempty"`
	Severity      Severity `json:"severity"`
}
