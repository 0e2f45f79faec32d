// Package trace plays recorded messages of devices through the scenario engine, on the trace's own clock, and gives the alarms that all
// evidence leaves. A vendor proves a device with it, and every shipped scenario has a trace beside it.
//
//	read.go    NDJSON lines -> Line, or the line and what to write instead
//	world.go   compiled files -> the rules, fleets and devices that a trace is played against
//	play.go    lines -> engine -> settled list
//	output.go  settled list -> NDJSON lines, and the difference between two of them
//
// It is pure: it reads no clock and no network.
package trace
