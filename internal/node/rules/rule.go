package rules

import (
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// rule is a compiled scenario. Durations are milliseconds.
type rule struct {
	name     string
	scenario contract.Scenario
	profile  contract.Profile
	// scope of its keys.
	scope Scope

	applies, unless, clear *expression
	base                   plan
	// variants by mode and community, "mode/community"; either may be empty.
	variants map[string]*plan
	// plans are the base and all variants.
	plans     []*plan
	zone      *time.Location
	baselines []*baseline

	late int64
	// dedupMost is the longest dedup of all plans.
	dedupMost int64
	// closes says that a condition that is no longer true ends the alarm.
	closes bool
	// effect says that single messages do something by themselves, subject and amount what they enter in a ledger; bare that there is nothing else: no
	// alarm, and no key.
	effect, bare    bool
	subject, amount *expression
	// stateful says that a log keeps the fields that expressions use, for they are evaluated again when it is.
	stateful bool
	// timed says that time alone can move a key.
	timed bool
	// packs says that a key may be dense.
	packs bool
	// facts that its expressions name, fields that a stateful log keeps.
	facts, keeps []string
	// conditions are the flags of the terms that a message can make true by itself: one that does clears nothing.
	conditions uint32
	// stamp is the last step that ran the rule, so that two fields of a message run it once.
	stamp uint64
	table *table
	// cost is the estimated cost of its costliest expression at worst, in CEL's units.
	cost int64
}

// plan is what differs by mode and community.
type plan struct {
	off      bool
	params   map[string]any
	terms    []term
	dedup    int64
	schedule *schedule
	raises   []raise
	combines []combine
}

// term is one thing that can happen.
type term struct {
	mode mode
	// when is the condition; of absent, what must not be absent.
	when, distinct       *expression
	hold, within, absent int64
	// wait is for how long late evidence is waited for before time raises an alarm.
	wait     int64
	whole    bool // absent from a whole window
	atLeast  int
	remember []string
}

// raise makes an alarm graver.
type raise struct {
	name     string
	severity contract.Severity
	when     *expression
	// A raise by number counts alarms of the scenario.
	count    bool
	scope    Scope
	atLeast  int
	within   int64
	distinct *expression
}

// combine makes two scenarios' alarms graver.
type combine struct {
	other    string
	scope    Scope
	within   int64
	severity contract.Severity
}

// planFor gives the variant for a mode and a community, as contract.Scenario.Variant does.
func (r *rule) planFor(mode, community string) *plan {
	if len(r.variants) == 0 {
		return &r.base
	}
	for _, k := range [...]string{mode + "/" + community, "/" + community, mode + "/"} {
		if p := r.variants[k]; p != nil {
			return p
		}
	}
	return &r.base
}

// alive is how long a message of a device of a profile proves that it is there; 0 is for ever.
func alive(p contract.Profile) int64 { return p.OfflineSeconds() * 1000 }
