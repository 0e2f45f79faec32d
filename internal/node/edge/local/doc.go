// Package local runs the scenarios on an edge node: it reads what the node's own devices said, in the order of the outbox, and gives the
// commands of alarms to devices of the node, whether the hub is there or not.
//
//	core.go      pure: messages and time in, alarms out, and from these commands
//	orders.go    pure: the life of a command, from its alarm to the device's ack
//	desired.go   pure: what the hub last wanted of each device, for one that comes back while the line is cut
//	snapshot.go  pure: all of it as bytes, with a checksum
//	run.go       the outbox, the file and the broker around it
//
// # The same as at the hub
//
// The hub takes the same messages from the outbox in the same order, reads them with the same reader (package reading), has the same engine
// (package rules), and derives the same ids for the commands of an alarm (package command). So the device's ack, which comes behind the
// alarm in the outbox, ends the hub's copy of the command.
//
// # After a crash
//
// A command is on disk, with the engine's state and the position in the outbox, before it leaves. What came behind that position is read
// again; what has been given is not given again, and what is sent twice bears the id that it had. A file that is torn is said in the log,
// and what the outbox still holds is read from its beginning: the same ids again.
package local
