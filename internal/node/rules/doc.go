// Package rules is the scenario engine: device messages go in, alarms (告警) come out. It is pure: it reads no clock, no file
// and no network, so the centre and an edge node run the same code and a test replays any history.
//
// # Time
//
// The engine works in event time, the time that a message speaks of, not the time at which it arrives. Messages may come late, twice or out
// of order. A key (a scenario, and the device or place that it is about) has a base, which is settled, and a short sorted log of what is
// younger than the scenario's lateness. A message that belongs into the past is put there and the log is evaluated again. So the alarms in
// the end, the settled list, are a function of the set of messages. What was told before late evidence came is corrected: Retracted, Moved.
//
// "for", "absent" and "offline" wait for time to pass. Tick moves the clock for them, and waits a little longer for what is late: the
// lateness, but not more than a tenth of what they wait for themselves. When a key is due is one number in a slice that a tick reads
// through, so a message starts or stops no timer.
//
// # Silence
//
// A device that missed its heartbeats is offline. Time in which it was offline counts neither as held nor as absent: a dead door sensor is a
// maintenance matter, never a no-exit alarm. Only the term "offline" says so. Of a place with several devices, any of them speaks for it.
//
// # Other inputs
//
// Facts (SetFact) hold from a time on and are judged as if they had been known then. Modes (SetMode) choose among a scenario's variants.
// Baselines are sums by day that end before what may still be late. Raises and combinations weigh the alarms of a place against each other.
//
// # Bounds
//
// A key keeps at most maxLog observations, maxOpen open alarms and maxVerdicts verdicts; a board maxEntries alarms, a fact maxVersions
// versions. What comes too late, or too fast to wait for what is late, is counted. Expressions have a cost limit. A key that waits for nothing
// but time is dense: it has a fixed size; see table.
package rules
