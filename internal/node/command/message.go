package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// Message is what a device gets on its topic cmd.
type Message struct {
	// ID is what the device writes into its ack. A command that is sent again bears the same one.
	ID      uuid.UUID `json:"id"`
	Command string    `json:"command"`
	// Arguments by name; all of the command's.
	Arguments map[string]any `json:"arguments"`
	// ExpiresAt is when the command is void: a device that reads it later leaves it.
	ExpiresAt time.Time `json:"expiresAt"`
}

// Desired is what a device gets on its topic desired: all that it is to keep, by command. A command that is not named is no longer wanted.
type Desired struct {
	// ID changes with the desired state. The device writes it into its ack.
	ID      uuid.UUID                 `json:"id"`
	Desired map[string]map[string]any `json:"desired"`
}

// Result is what a device says about a command.
type Result string

// Results.
const (
	// Received: the device has the command and works on it; it need not be sent again.
	Received Result = "Received"
	// Done: the device did it.
	Done Result = "Done"
	// Failed: the device could not do it, or will not.
	Failed Result = "Failed"
)

// Ack is what a device says on its topic ack.
type Ack struct {
	ID     uuid.UUID
	Result Result
	// Detail is the device's own words: at most maxDetail bytes on one line.
	Detail string
}

const (
	// maxAck bounds an ack in bytes.
	maxAck = 4 << 10
	// maxDetail bounds the detail that is kept, in bytes.
	maxDetail = 256
)

// ErrResult says that an ack bears a result that is none of Received, Done and Failed.
var ErrResult = errors.New("result is unknown: write Received, Done or Failed")

// ParseAck reads an ack: one JSON object with id, result and maybe detail; other members are passed over. The error is ErrResult for a
// result that is unknown, and another one for what is no ack at all.
func ParseAck(raw []byte) (Ack, error) {
	if len(raw) > maxAck {
		return Ack{}, fmt.Errorf("ack is longer than %d bytes", maxAck)
	}
	var in struct {
		ID     string `json:"id"`
		Result Result `json:"result"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return Ack{}, errors.New("ack is no JSON object with texts id, result and detail")
	}
	id, err := uuid.Parse(in.ID)
	if err != nil {
		return Ack{}, errors.New("ack has no id of a command: write the id that the command bore")
	}
	switch in.Result {
	case Received, Done, Failed:
		return Ack{id, in.Result, oneLine(in.Detail)}, nil
	}
	return Ack{}, ErrResult
}

// oneLine keeps what a database column and a terminal can hold.
func oneLine(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
	if len(s) > maxDetail {
		s = s[:maxDetail]
	}
	return strings.ToValidUTF8(s, "")
}
