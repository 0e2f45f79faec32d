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
	// Facts is the EdgeContext.FactsDigest under which it has facts, Position up to which number.
	Facts    string `json:"facts,omitempty"`
	Position int64  `json:"position,omitempty"`
}

// EdgeContext is what an edge node knows less of than the hub, or otherwise. It stands in the answer to an EdgeBatch.
type EdgeContext struct {
	// ModesDigest names Modes, the switches of the mode that matter to messages on their way, oldest first. Empty says that the node has them.
	ModesDigest string       `json:"modesDigest,omitempty"`
	Modes       []ModeSwitch `json:"modes,omitempty"`
	// Facts of the node's own places that its scenarios name, in the order of their numbers, up to Position. FactsDigest names those places and names:
	// under another one, Facts are all of them anew (Reset). More says that there are more to be asked for.
	FactsDigest string     `json:"factsDigest,omitempty"`
	Reset       bool       `json:"reset,omitempty"`
	Facts       []EdgeFact `json:"facts,omitempty"`
	Position    int64      `json:"position,omitempty"`
	More        bool       `json:"more,omitempty"`
}

// EdgeFact is what somebody said of a place, or a consent. The later number goes before the earlier one.
type EdgeFact struct {
	N int64 `json:"n"`
	// Scope and ID are the place, as the engine names it.
	Scope  string `json:"scope"`
	ID     string `json:"id"`
	Name   string `json:"name"`
	Member string `json:"member,omitempty"`
	// Value is a bool, number or text; nil takes the fact back.
	Value any `json:"value,omitempty"`
	// Since is from when it holds, Until when it ends by itself; zero is never.
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
}
