package contract

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Edge is what the services at the centre know of an EdgeNode. It stands below dizuo/edges/<name> of ShardEdges.
type Edge struct {
	// Communities that the node serves: it may speak for their devices, and for no others.
	Communities []string `json:"communities"`
	// AutonomySeconds is how long it works alone.
	AutonomySeconds int64 `json:"autonomySeconds"`
}

// EdgeCredential is how an edge node proves who it is. It stands below dizuo/edgeCredentials/<name> of ShardEdgeCredentials, which only
// the roles broker and auth read.
type EdgeCredential struct {
	// TokenHash is the salted SHA-256 of the one-time enrolment token (see Credential.PasswordHash); empty once it was used.
	TokenHash string `json:"tokenHash,omitempty"`
	// KeyDigests are the public keys (SHA-256 of SPKI, see Digest) that were approved. A certificate over another key is refused.
	KeyDigests []string `json:"keyDigests,omitempty"`
	// Issuers are the CA certificates (PEM) under which the node's certificates stand.
	Issuers []string `json:"issuers,omitempty"`
	// Certificate is the newest chain (PEM) for the node to fetch, Server the one for its own listener.
	Certificate string `json:"certificate,omitempty"`
	Server      string `json:"server,omitempty"`
}

// Shards of edge nodes.
const (
	// ShardEdges holds the edge nodes, as the services at the centre know them.
	ShardEdges = "edges"
	// ShardEdgeCredentials holds how they prove who they are.
	ShardEdgeCredentials = "edge-credentials"
)

// ScopeEdge gives the scope of the bundle that is cut to an edge node.
func ScopeEdge(edge string) string { return "edge." + edge }

// edgeHost stands where a fleet's name stands in the URI of a device. No fleet's name holds "_".
const edgeHost = "_edge"

// EdgeDomain gives the host in the URI of every edge node's certificate, to which the CA of edge nodes is constrained.
func EdgeDomain(platform string) string { return edgeHost + "." + TrustDomain(platform) }

// EdgeURI gives the URI subject alternative name of an edge node's certificate.
func EdgeURI(platform, edge string) string {
	return "spiffe://" + EdgeDomain(platform) + "/" + edge
}

// ParseEdgeURI reads the edge node's name from its certificate's URI. It fails for a URI of another platform.
func ParseEdgeURI(platform, uri string) (string, error) {
	edge, ok := strings.CutPrefix(uri, EdgeURI(platform, ""))
	if !ok || !ValidFleet(edge) {
		return "", fmt.Errorf("certificate URI %q: want %s<edge>", uri, EdgeURI(platform, ""))
	}
	return edge, nil
}

// EdgeVerb is the last token of a subject of an edge node.
type EdgeVerb string

// Verbs of an edge node. The first six are requests of the node, the last two are pushed to it.
const (
	// EdgeEnrol asks for a certificate: EnrolRequest, EnrolReply. It is answered by the role auth, for a node with its one-time token
	// and, to renew, with its certificate.
	EdgeEnrol EdgeVerb = "enrol"
	// EdgeHello begins a session: Hello, HelloReply. It is answered by the role grid.
	EdgeHello EdgeVerb = "hello"
	// EdgeUp brings messages of devices: EdgeBatch, EdgeBatchReply. It is answered by the role grid, after the commit.
	EdgeUp EdgeVerb = "up"
	// EdgeTell brings the node's Report. The role auth writes it under the node's own key.
	EdgeTell EdgeVerb = "report"
	// EdgeGet fetches an object of the node's own bundle by its name (see ObjectName), part by part. It is answered by the role auth.
	EdgeGet EdgeVerb = "get"
	// EdgeAsk fetches the present lease of the node's scope. It is answered by the role auth.
	EdgeAsk EdgeVerb = "ask"
	// EdgeLease pushes a lease, signed.
	EdgeLease EdgeVerb = "lease"
	// EdgeCommand pushes a command for a device at the node: the device's subject stands in the header EdgeSubjectHeader.
	EdgeCommand EdgeVerb = "cmd"
)

// EdgeSubjectHeader names the device subject of what is pushed by EdgeCommand.
const EdgeSubjectHeader = "Dizuo-Subject"

// EdgeErrorHeader stands on a reply to EdgeTell, EdgeGet or EdgeAsk that could not be given and says why; the body is then empty.
const EdgeErrorHeader = "Dizuo-Error"

// Headers of EdgeGet. EdgeNextHeader on a request asks for the part that begins there, "0" for the first; on an answer it says where the
// next one begins. EdgeSizeHeader and EdgeDigestHeader (see Digest) are those of the whole object.
const (
	EdgeNextHeader   = "Dizuo-Next"
	EdgeSizeHeader   = "Dizuo-Size"
	EdgeDigestHeader = "Dizuo-Digest"
)

// Bounds of what an edge node sends and gets, in bytes.
const (
	MaxEdgeReport    = 64 << 10
	MaxEdgeEnrolment = 16 << 10
	// MaxEdgeObject is the largest object that EdgeGet gives, MaxEdgePart how much of it at once, unless a chunk of the store is larger.
	MaxEdgeObject = 64 << 20
	MaxEdgePart   = 256 << 10
	// MaxEdgeWhole is the largest that it gives at once where the node asks for no part: the broker's bound of a message, less a header.
	MaxEdgeWhole = 1<<20 - 4<<10
)

// EdgeRequests lists the verbs that a node may send.
func EdgeRequests() []EdgeVerb {
	return []EdgeVerb{EdgeEnrol, EdgeHello, EdgeUp, EdgeTell, EdgeGet, EdgeAsk}
}

// EdgePushes lists the verbs that are pushed to a node.
func EdgePushes() []EdgeVerb { return []EdgeVerb{EdgeLease, EdgeCommand} }

// EdgeSubject gives the subject of an edge node's verb; "*" as the edge stands for every one.
func EdgeSubject(edge string, v EdgeVerb) string { return "dizuo.v1.e." + edge + "." + string(v) }

// ParseEdgeSubject reads edge and verb from a subject.
func ParseEdgeSubject(subject string) (edge string, v EdgeVerb, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 || parts[0] != "dizuo" || parts[1] != "v1" || parts[2] != "e" || !ValidFleet(parts[3]) {
		return "", "", fmt.Errorf("subject %q: want dizuo.v1.e.<edge>.<verb>", subject)
	}
	return parts[3], EdgeVerb(parts[4]), nil
}

// EnrolRequest asks for the certificates of an edge node.
type EnrolRequest struct {
	// CSR is a certificate request (PEM, PKCS#10) over the node's key for EdgeURI.
	CSR string `json:"csr"`
	// ServerCSR is one for the node's own listener; empty asks for none.
	ServerCSR string `json:"serverCSR,omitempty"`
}

// EnrolReply answers an EnrolRequest.
type EnrolReply struct {
	// State is "Pending" (ask again), "Issued" or "Refused".
	State string `json:"state"`
	// Reason says why not, for State "Refused" and "Pending".
	Reason string `json:"reason,omitempty"`
	// Certificate and Server are chains (PEM), for State "Issued".
	Certificate string `json:"certificate,omitempty"`
	Server      string `json:"server,omitempty"`
	// BundleTrust holds the public keys (PEM) whose signatures on bundles and leases are taken.
	BundleTrust string `json:"bundleTrust,omitempty"`
}

// States of an EnrolReply.
const (
	EnrolPending = "Pending"
	EnrolIssued  = "Issued"
	EnrolRefused = "Refused"
)

// Hello begins a session of an edge node's outbox.
type Hello struct {
	// Incarnation names the outbox: a new one begins when the store was lost or lost its end.
	Incarnation string `json:"incarnation"`
	// Base is the sequence before the first of this incarnation.
	Base uint64 `json:"base"`
	// Last is the last sequence stored.
	Last uint64 `json:"last"`
	// Lost are ranges of sequences that were acknowledged to devices and can be read no more.
	Lost []LostRange `json:"lost,omitempty"`
}

// HelloReply answers Hello.
type HelloReply struct {
	// Mark is the last sequence of that incarnation which is committed; Base if none is.
	Mark uint64 `json:"mark"`
	// Now is the hub's time, for the node to know its skew.
	Now time.Time `json:"now"`
	// Error says why the node is not heard; then nothing else counts.
	Error string `json:"error,omitempty"`
}

// LostRange is a range of sequences that is gone from an outbox, both ends included.
type LostRange struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// EdgeBatch is a run of messages from an outbox, in order.
type EdgeBatch struct {
	Incarnation string `json:"incarnation"`
	// Messages with growing sequences.
	Messages []EdgeMessage `json:"messages"`
	// Lost are ranges that the hub may step over, and says so.
	Lost []LostRange `json:"lost,omitempty"`
	// Last is the last sequence stored when the batch was made, DrainedTo the time up to which all messages are in this batch or
	// before it.
	Last      uint64    `json:"last"`
	DrainedTo time.Time `json:"drainedTo,omitzero"`
	// Known is what the node's scenarios know.
	Known *EdgeKnown `json:"known,omitempty"`
}

// Bounds of an EdgeBatch.
const (
	MaxEdgeBatch      = 256
	MaxEdgeBatchBytes = 256 << 10
)

// EdgeMessage is one message of a device, as an edge node heard it.
type EdgeMessage struct {
	Sequence uint64 `json:"s"`
	// At is when it came, by the node's clock, in Unix milliseconds.
	At      int64   `json:"t"`
	Fleet   string  `json:"f"`
	Device  string  `json:"d"`
	Channel Channel `json:"c"`
	// Payload as the device sent it.
	Payload []byte `json:"p"`
}

// EdgeBatchReply answers an EdgeBatch after its effect is committed.
type EdgeBatchReply struct {
	// Mark is the last sequence committed. What is at or below it may be forgotten.
	Mark uint64 `json:"mark"`
	// Again asks for Hello: the hub knows another incarnation, or another replica works now.
	Again bool `json:"again,omitempty"`
	// Error says why nothing more was taken.
	Error string `json:"error,omitempty"`
	// Context is what the node does not know; nil is nothing, or that it did not ask.
	Context *EdgeContext `json:"context,omitempty"`
}

// EdgeReport is what the role auth tells of an edge node: what it asks. The node's own Report stands under its own key, see ReportKey.
type EdgeReport struct {
	// Report as the node sent it, and HeardAt when it did; from instances of auth that do not write it under a key yet.
	Report  json.RawMessage `json:"report,omitempty"`
	HeardAt time.Time       `json:"heardAt,omitzero"`
	// Enrolment is what the node asks certificates for; nil if it asks for none.
	Enrolment *EnrolRequest `json:"enrolment,omitempty"`
	// KeyDigest is the key in Enrolment.
	KeyDigest string `json:"keyDigest,omitempty"`
}

// Outbox is how an edge node's outbox stands; part of its own report.
type Outbox struct {
	// Messages and Bytes that wait.
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
	// Oldest is the time of the oldest that waits.
	Oldest time.Time `json:"oldest,omitzero"`
	// Full says that the outbox takes nothing more: devices get no PUBACK.
	Full bool `json:"full,omitempty"`
	// DiskFull says that the disk beneath it has no room: devices are not let in.
	DiskFull bool `json:"diskFull,omitempty"`
	// Lost counts messages that were acknowledged and can be read no more.
	Lost int64 `json:"lost,omitempty"`
	// SkewMillis is how far the node's clock is ahead of the hub's.
	SkewMillis int64 `json:"skewMillis,omitempty"`
	// Architecture such as "linux/arm64".
	Architecture string `json:"architecture,omitempty"`
}
