package contract

import "time"

// ModeSwitch says that a mode (平战) holds from a time on, until the next one.
type ModeSwitch struct {
	Mode  string    `json:"mode"`
	Since time.Time `json:"since"`
	// ExpiresAt is when it gives way to ModeRoutine by itself; zero is never, or that another follows.
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

// EdgeKnown is what an edge node's scenarios know beside what its devices say. It stands in an EdgeBatch; nil asks for nothing.
type EdgeKnown struct {
	// Modes is the EdgeContext.ModesDigest of what it has; empty is nothing.
	Modes string `json:"modes,omitempty"`
}

// EdgeContext is what an edge node knows less of than the hub, or otherwise. It stands in the answer to an EdgeBatch.
type EdgeContext struct {
	// ModesDigest names Modes, the switches of the mode that matter to messages on their way, oldest first. Empty says that the node has them.
	ModesDigest string       `json:"modesDigest,omitempty"`
	Modes       []ModeSwitch `json:"modes,omitempty"`
}
