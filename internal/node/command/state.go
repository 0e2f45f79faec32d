package command

import "time"

// State of a command.
type State string

// States of a command.
const (
	// Pending: it is sent, again and again, until the device acknowledges it or it expires.
	Pending State = "Pending"
	// StateReceived: the device has it, and has not said yet what came of it. It is not sent again and does not expire.
	StateReceived State = "Received"
	// StateDone: the device says that it did it.
	StateDone State = "Done"
	// StateFailed: the device says that it could not.
	StateFailed State = "Failed"
	// Expired: no ack came in time. The safe state was sent, if the profile has one.
	Expired State = "Expired"
	// Withdrawn: taken back by who may send it, or by the scenario. The safe state was sent, if the profile has one.
	Withdrawn State = "Withdrawn"
	// Superseded: a newer command of the same name for the same device took its place before it was acknowledged.
	Superseded State = "Superseded"
	// Void: it does not fit the registry or the profile any more, and is sent no more.
	Void State = "Void"
)

// Final reports whether nothing that the device says changes the state any more.
func (s State) Final() bool { return s != Pending && s != StateReceived }

// Withdrawable reports whether a command in the state can be taken back: one that may still take effect, or has.
func (s State) Withdrawable() bool { return s == Pending || s == StateReceived || s == StateDone }

// After gives the state to which an ack leads, and false if it changes nothing: repeated, or after the end.
func After(s State, r Result) (State, bool) {
	next := map[Result]State{Received: StateReceived, Done: StateDone, Failed: StateFailed}[r]
	if s.Final() || next == s || next == "" {
		return s, false
	}
	return next, true
}

// MaxPause is the longest time between two sendings of a command.
const MaxPause = 30 * time.Second

// FirstPause is the time from the first sending to the second. A device that speaks gets what waits for it no sooner either.
const FirstPause = 2 * time.Second

// Pause gives the time until a message is sent again that was sent so many times: it doubles up to most.
func Pause(sent int, most time.Duration) time.Duration {
	pause := FirstPause
	for ; sent > 1 && pause < most; sent-- {
		pause *= 2
	}
	return min(pause, most)
}
