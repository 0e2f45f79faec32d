// Package rules is the scenario engine: device messages go in, alarms (告警) come out. It is pure: it reads no clock, no file
// and no network, so the centre and an edge node run the same code and a test replays any history.
//
// # Time
//
// The engine works in event time, the time that a message speaks of, not the time at which it arrives. Messages may come
// late, twice or out of order: what is known about a device is kept as a short sorted log, and a message that belongs
// into the past is put there and the log is evaluated again. The alarms in the end are those that the same messages give
// in order. Where an alarm was already told and late evidence shows that it should not have been, the engine says Retracted.
//
// Two kinds of trigger wait for time to pass: "for" and "absent". Tick moves the clock for them. One heap entry per key,
// corrected when it comes up, means that a message starts or stops no timer.
//
// # Silence
//
// A device that missed three heartbeats is offline. Time in which it was offline counts neither as held nor as absent: a
// dead door sensor is a maintenance matter, never a no-exit alarm.
//
// # Bounds
//
// A key (scenario and device) keeps at most maxLog observations and maxSpans intervals; older ones are folded into a base.
// A message older than the base is counted as too late. Expressions have a cost limit.
//
// # Seams
//
// Schedules (active hours), baselines and combinations of scenarios are not here yet: a schedule belongs beside
// rule.applies, a baseline is another mode of series, and a combination reads the events that Step and Tick return.
package rules
