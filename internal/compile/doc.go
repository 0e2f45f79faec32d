// Package compile turns a Snapshot of a platform into plans and problems. It is pure: no client, no clock, no randomness;
// the time and every generated secret are fields of the Snapshot.
//
// There is one function and one file per kind. Each takes the Snapshot and one object and gives the plan of that object, so
// that a change of one object costs what that object costs. An object that does not compile gives problems and no plan; it
// never touches the plan of another.
//
//	snapshot.go -> membership.go, claims.go -> <kind>.go -> Plan + Problems -> internal/render, internal/bundle
package compile
