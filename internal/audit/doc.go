// Package audit lets somebody who trusts nobody check a decision log: signed checkpoints and receipts of witnesses (sign.go),
// a witness (witness.go), the proof that a log is whole (verify.go), one archive with all that an outside auditor needs
// (archive.go, export.go), and the decisions made again with stock opa (replay.go).
//
// The chain itself is internal/contract/decisionlog's.
package audit
