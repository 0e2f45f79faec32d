package contract

import (
	"encoding/json"
	"strings"
	"time"
)

// The decision log has two formats in one chain. Format 1 is LogRecord, all of it under one hash. Format 2 is LogLine: the chain runs
// over headers, each of which holds the digest of its body, so that a body can be erased, or left out of what an auditor of another
// agreement gets, and the chain still verifies.

// LogRecord is one line of the gateway's decision log in format 1. Hash covers the record without Hash; Previous is the hash of the
// line before, so a line cannot be changed, dropped or moved without breaking what follows.
type LogRecord struct {
	// Kind is "decision", "release" or "end".
	Kind string `json:"kind"`
	// Sequence counts lines from 1.
	Sequence int64     `json:"sequence"`
	Time     time.Time `json:"time"`
	// Request joins the records of one request.
	Request string `json:"request"`
	// Instance is the gateway that wrote the record.
	Instance string `json:"instance"`

	Dataset    string   `json:"dataset,omitempty"`
	Consumer   string   `json:"consumer,omitempty"`
	Person     string   `json:"person,omitempty"`
	Role       string   `json:"role,omitempty"`
	Purpose    string   `json:"purpose,omitempty"`
	CaseNumber string   `json:"caseNumber,omitempty"`
	Agreement  string   `json:"agreement,omitempty"`
	UID        string   `json:"uid,omitempty"`
	Generation int64    `json:"generation,omitempty"`
	Fields     []string `json:"fields,omitempty"`
	Revision   string   `json:"revision,omitempty"`
	Lease      int64    `json:"lease,omitempty"`
	Allow      bool     `json:"allow"`
	Reasons    []string `json:"reasons,omitempty"`
	// Rows released by this record.
	Rows int64 `json:"rows,omitempty"`
	// Subjects are keyed pseudonyms of the persons that the released rows are about.
	Subjects []string `json:"subjects,omitempty"`

	// Algorithm of the chain, "sha256".
	Algorithm string `json:"algorithm"`
	Previous  string `json:"previous"`
	Hash      string `json:"hash,omitempty"`
}

// LogFormat is the format of LogLine. A line of format 1 has no member "v".
const LogFormat = 2

// Kinds of a LogLine.
const (
	// LogDecision is what the policy answered, LogRelease what left by it, LogEnd how a request ended.
	LogDecision = "decision"
	LogRelease  = "release"
	LogEnd      = "end"
	// LogRefused is a refusal before a decision: an unknown certificate, a bundle behind its lease.
	LogRefused = "refused"
	// LogReview is a look at uses of break-glass that wait for a review, or the review of one.
	LogReview = "review"
	// LogVault is a call of the vault, LogConsent a consent given or withdrawn.
	LogVault   = "vault"
	LogConsent = "consent"
	// LogCheckpoint marks that a checkpoint was signed over the line before.
	LogCheckpoint = "checkpoint"
)

// LogLine is one line of the gateway's decision log in format 2. Hash covers the line without Hash and Record; Previous is the hash of
// the line before, of either format.
type LogLine struct {
	// V is LogFormat.
	V int `json:"v"`
	// Sequence counts lines of a chain from 1.
	Sequence int64     `json:"seq"`
	At       time.Time `json:"at"`
	// Instance names the chain: the gateway, and another chain where it lost its log.
	Instance string `json:"instance"`
	Kind     string `json:"kind"`
	// Request joins the lines of one request.
	Request string `json:"request,omitempty"`
	// UID of the agreement: it stands in the header so that a line of another agreement can be told by it.
	UID string `json:"uid,omitempty"`
	// Body is the digest (contract.Digest) of the bytes of Record.
	Body string `json:"body"`
	// Algorithm of the chain.
	Algorithm string `json:"algorithm"`
	Previous  string `json:"previous"`
	Hash      string `json:"hash,omitempty"`
	// Record is a LogBody. It is absent where it was erased, or belongs to another agreement than was exported.
	Record json.RawMessage `json:"record,omitempty"`
}

// LogBody is what a line says. It never holds the data that was read.
type LogBody struct {
	// Salt is 128 random bits in hex: from a digest alone nobody may guess a body.
	Salt string `json:"salt"`
	// Input and Decision are the very ones: with Policy they let anybody decide again. In "decision" lines only.
	Input    *DecisionInput `json:"input,omitempty"`
	Decision *Decision      `json:"decision,omitempty"`
	// Generation and Digest of the agreement.
	Generation int64  `json:"generation,omitempty"`
	Digest     string `json:"digest,omitempty"`
	// Policy that decided.
	Policy *PolicyRef `json:"policy,omitempty"`
	// Rows released by this line.
	Rows int64 `json:"rows,omitempty"`
	// Subjects are keyed pseudonyms of the persons that the released rows are about; beyond MaxLogSubjects SubjectList stands for them.
	Subjects    []string     `json:"subjects,omitempty"`
	SubjectList *SubjectList `json:"subjectList,omitempty"`
	// Masks gives the method of every masked field that left.
	Masks map[string]string `json:"masks,omitempty"`
	// Outcome of an "end" line: "Sent", or how it failed, as a stable code.
	Outcome string `json:"outcome,omitempty"`
	// LatencyMicros is the time from the request's beginning, in microseconds.
	LatencyMicros int64 `json:"latencyMicros,omitempty"`
	// Reason of a "refused" line, as a stable code; of "vault", "consent" and "review" lines, what was done. Count says how many refusals
	// the line stands for.
	Reason string `json:"reason,omitempty"`
	Count  int64  `json:"count,omitempty"`
}

// MaxLogSubjects is how many subjects a line names itself.
const MaxLogSubjects = 1000

// SubjectList is a list of subjects kept beside the log, as a file subjects/<digest>: one pseudonym a line, sorted.
type SubjectList struct {
	Digest string `json:"digest"`
	Count  int64  `json:"count"`
}

// PolicyRef names the signed parts of the bundle by which was decided.
type PolicyRef struct {
	Revision string `json:"revision"`
	// Sequence of the lease.
	Sequence int64 `json:"sequence"`
	// Access, Grants and Directory are digests of shards as they were sent. Grants is empty while grants are in the shard access.
	Access    string `json:"access"`
	Grants    string `json:"grants,omitempty"`
	Directory string `json:"directory"`
}

// Formats of what is signed about a log, and the JWS header "typ" of each.
const (
	CheckpointFormat = "dizuo-checkpoint/1"
	CheckpointType   = "dizuo-checkpoint"
	ReceiptFormat    = "dizuo-receipt/1"
	ReceiptType      = "dizuo-receipt"
)

// Checkpoint is the payload of a JWS by which a gateway says how far its log goes.
type Checkpoint struct {
	// Format is CheckpointFormat.
	Format string `json:"format"`
	// Platform is namespace and name, joined by a slash.
	Platform string    `json:"platform"`
	Instance string    `json:"instance"`
	Sequence int64     `json:"sequence"`
	Hash     string    `json:"hash"`
	At       time.Time `json:"at"`
}

// Receipt is the payload of a JWS by which a witness says that it saw a checkpoint that goes on from what it knew.
type Receipt struct {
	// Format is ReceiptFormat.
	Format string `json:"format"`
	// Witness by its name in the GridPlatform.
	Witness string `json:"witness"`
	// Checkpoint is the digest of the compact JWS.
	Checkpoint string `json:"checkpoint"`
	Platform   string `json:"platform"`
	Instance   string `json:"instance"`
	Sequence   int64  `json:"sequence"`
	Hash       string `json:"hash"`
	// ReceivedAt by the witness's clock.
	ReceivedAt time.Time `json:"receivedAt"`
}

// LogGateway gives the gateway of a chain: a chain of format 2 has its name and random digits.
func LogGateway(instance string) string {
	name, _, _ := strings.Cut(instance, ".")
	return name
}

// Format, and JWS header "typ", of a receipt of an erasure.
const (
	ErasureFormat = "dizuo-erasure/1"
	ErasureType   = "dizuo-erasure"
)

// Format, and JWS header "typ", of a receipt of an answer: of what a person was told of their record, or of a correction that was asked for.
const (
	AnswerFormat = "dizuo-answer/1"
	AnswerType   = "dizuo-answer"
)

// ErasureSigner gives the common name of the certificate by which a platform's vault signs receipts.
func ErasureSigner(platform string) string { return "Dizuo receipts of " + platform }

// ErasureClaim is what a receipt of an erasure says about the decision log.
type ErasureClaim struct {
	Format string `json:"format"`
	// ID of the receipt. Erasure is that of the receipt of the erasure which this one belongs to; it names no person.
	ID      string `json:"id,omitempty"`
	Erasure string `json:"erasure,omitempty"`
	// Platform is namespace and name, joined by a slash.
	Platform string    `json:"platform"`
	At       time.Time `json:"at"`
	// Records of the decision log that were erased.
	Records []ErasedRecord `json:"records,omitempty"`
}

// ErasedRecord names a line whose record was erased.
type ErasedRecord struct {
	Instance string `json:"instance"`
	Sequence int64  `json:"sequence"`
}
