package rules

import (
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Message is one message of a device, validated by Validate.
type Message struct {
	// Time that the message speaks of; millisecond resolution.
	Time time.Time
	// ID makes a repeated message known as such. Without one, a message with the same Time is taken for another.
	ID string
	// Fleet and Device that sent it, and its registry row.
	Fleet, Device string
	Row           contract.Device
	// Profile of the fleet.
	Profile string
	Channel contract.Channel
	// Payload holds the profile's fields: float64, int64, bool, string or time.Time.
	Payload map[string]any
	// Derived says of a change of a case that a scenario opened the case upon changes of cases or answers of commands: it is shown to acts only.
	Derived bool
}

// Kind says what happened to an alarm.
type Kind string

// Kinds of events.
const (
	// Raised: a new alarm. One that was retracted may be raised again under the same name.
	Raised Kind = "Raised"
	// Joined: another signal for an alarm that is there; one that was cleared is open again.
	Joined Kind = "Joined"
	// Worse: the alarm is graver than before.
	Worse Kind = "Worse"
	// Moved: late evidence shows that the alarm began at another time, or is less grave.
	Moved Kind = "Moved"
	// Cleared: the cause is gone.
	Cleared Kind = "Cleared"
	// Retracted: late evidence shows that the alarm should not have been raised.
	Retracted Kind = "Retracted"
	// Entered and Acted are no alarms: a message makes an entry in a ledger, or acts on a case.
	Entered Kind = "Entered"
	Acted   Kind = "Acted"
)

// Event is what the engine says about an alarm of one scenario and one key.
type Event struct {
	Kind     Kind
	Scenario string
	// Scope and ID are the key; see Place.
	Scope Scope
	ID    string
	// Fleet and Device whose message caused it; of a scope that is not the device, the one that spoke last.
	Fleet, Device string
	// Start with scenario and key names the alarm, and never changes. Began is when its trigger came true, as evidence has it now.
	Start, Began time.Time
	// At is when this event happened, in event time.
	At time.Time
	// Mode (平战) of the platform at that time; empty before the first that the engine heard of.
	Mode string
	// Severity of the alarm now.
	Severity contract.Severity
	// Along says of Cleared that a younger alarm of the key was cleared by the same: what is to be done once is done for that one.
	Along bool
	// With are the scenarios whose alarms make this one graver, or the names of the raises that do.
	With []string
	// Effect is what Entered and Acted do.
	Effect *Effect
}

// Lookup gives the registry row of a device and the profile of its fleet; false if it is registered no more.
type Lookup func(fleet, device string) (row contract.Device, profile string, ok bool)
