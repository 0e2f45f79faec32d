// Package vault is the role that knows who a subject is, and does what residents ask for: consents given and withdrawn, "who read my
// father's record?", have it put right, have it erased.
//
//	api.go rights.go (who may ask) -> consents.go subjects.go access.go correct.go erase.go -> journal.go (said so)
//
// What says who somebody is lies sealed under a key of that subject (keys.go); to erase the subject is to destroy the key. Each act is a
// line of the vault's own chain in the platform's store, committed with the act itself: without the line nothing is done and nothing is told.
// It runs by itself, as a database user that reads no dataset, so that a gateway that is taken over learns of nobody who they are.
package vault
