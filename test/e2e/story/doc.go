// Package story tells, on a running cluster, what a county does with Dizuo on its first day: one numbered step after the
// other, each with the command a person could run, what was seen, and how long it took. It uses what stands in
// config/samples/henan-pilots, undoes what it deletes, and can be told again and again.
//
// A step fails when what must hold does not hold: the story is the end-to-end test of the platform and its demonstration alike.
package story
