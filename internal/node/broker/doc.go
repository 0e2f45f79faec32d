// Package broker is the role broker: nats-server as a library, never forked, with a thin wrapper around it.
//
//	options.go     configuration -> server options: accounts, the auth callout, listeners
//	users.go       pure: the platform's own users and the subjects that each may use
//	tls.go         the two listeners' TLS: gate, hot reload, fleets' CAs
//	edge.go        the edge nodes' listener, and the only ways between their account and that of the devices
//	cluster.go     a broker is always a cluster: founds one of one, and keeps a lone one company at its start
//	join.go        what a broker with an empty store does: found, join, or wait
//	streams.go     creates or corrects streams, buckets and the object store
//	replicas.go    raises the copies of the streams, gathers them on the first broker, waits for copies that lag
//	violations.go  reads the server's log: forwards it, counts publishes outside permissions by fleet
//	broker.go      starts and stops the server
//	run.go         the role
//
// # Who comes in, and how
//
// Devices come over MQTT, with a certificate or without. The listener asks for one but does not demand it, and verifies what
// it gets against the CAs of the fleets in the present bundle. Everything else is decided by the role auth, in the auth
// callout. The listener does its own verification (tls.RequestClientCert with VerifyConnection) instead of
// tls.VerifyClientCertIfGiven, because that sends the names of all CAs to whoever connects: some 60 bytes a fleet, which would
// disclose the vendors and, at a few hundred fleets, overflow the TLS buffer of a small device. The callout sees the chain
// as certs, not as verified_chains, and verifies it again against the issuers of the one fleet that it claims.
//
// The platform's own roles come over the client listener with a certificate of the platform's CA. The server maps the URI in
// it to a user (verify_and_map) whose account and permissions stand in users.go. Those users are the callout's auth_users, so
// the callout is skipped for them; a mapped user has no password, so nobody can name one over MQTT (the server refuses an
// empty password for a user that a listener maps). The broker's own connection is in process, where there is no TLS to map,
// and signs with a key that is made at start and never leaves the process.
//
// Edge nodes come over WebSocket with TLS, with a certificate or, to enrol, with a token; the callout decides as for devices. They are
// in an account of their own, without JetStream, into which named subjects are imported and nothing else. Who asks is told by the
// subject: a node may publish on its own only. See decision 0019 for why an answer cannot be led astray.
//
// # What a PUBACK means
//
// It means that the message is in the ingest log, contract.IngestStream. Left alone, the server would make that stream with
// interest retention and drop what nobody reads, so it is made here before a listener finishes its first handshake. When it
// is full, no PUBACK is sent and the connection closes. QoS 2 is refused: the server stores such a message before it checks
// the permission to publish it. A subscription at QoS 1 is refused too; see auth.Permissions.
//
// A message waits up to syncInterval for fsync: the death of the process loses nothing that was acknowledged, the death of
// the machine (power) may lose that long; "always" loses nothing and costs throughput.
package broker
