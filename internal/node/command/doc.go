// Package command says what may be told to a device, and in which words.
//
//	Check     holds a command against the device's profile: declared, every argument given, of its type and in range, sender allowed
//	Message   what goes down on cmd        {"id", "command", "arguments", "expiresAt"}
//	Desired   what goes down on desired    {"id", "desired": {command: arguments}}
//	ParseAck  what comes up on ack         {"id", "result": "Received" | "Done" | "Failed", "detail"}
//	State     the life of a command, and what an ack does to it
//	Alarm     the commands of a scenario's alarm: who gets them, and under which ids
//
// The package is pure: no clock, no client. The grid service and an edge node use it alike, and derive the same ids for the
// commands of an alarm. A device obeys what it is told, so everything that is not said is refused: a command that the profile does not
// declare, an argument that the command does not have, a number without a range.
package command
