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
}

// Kind says what happened to an alarm.
type Kind string

// Kinds of events.
const (
	// Raised: a new alarm.
	Raised Kind = "Raised"
	// Joined: another signal for an alarm that is there.
	Joined Kind = "Joined"
	// Cleared: the device says that the cause is gone.
	Cleared Kind = "Cleared"
	// Retracted: late evidence shows that the alarm should not have been raised.
	Retracted Kind = "Retracted"
)

// Event is what the engine says about an alarm of one scenario and one device.
type Event struct {
	Kind          Kind
	Scenario      string
	Fleet, Device string
	// Start of the alarm: when its trigger came true. With scenario and device it names the alarm.
	Start time.Time
	// At is when this event happened, in event time.
	At time.Time
}

// Lookup gives the registry row of a device and the profile of its fleet; false if it is registered no more.
type Lookup func(fleet, device string) (row contract.Device, profile string, ok bool)
