// Package ingest is the role ingest: it takes messages of devices in other ways than over NATS, and stores them in the ingest log in
// NATS, which stays what the platform works from.
//
// From EMQX, where that is the broker that devices connect to:
//
//	device --PUBLISH--> EMQX --ExHook call--> hook.go ------+
//	                     | the call failed                  v
//	                     +--> session of QoS 1 --> fallback.go --> store.go --> ingest log (NATS)
//	device <-- EMQX <-- commands.go <-- cmd, desired (NATS)
//
// From the cloud of a vendor or carrier that speaks for its devices (access mode Platform):
//
//	cloud --HTTPS with its certificate--> http.go --> speaker.go: may it speak for this fleet? --> store.go --> ingest log (NATS)
//
// EMQX waits for the call before it acknowledges, so what it acknowledges is stored; but it cannot be made to refuse: when the call
// fails it routes the message on and acknowledges. What it routes then waits in a persistent session of this role, which confirms
// it once it is stored. So an acknowledged message outlives the loss of any one process. It does not outlive the loss of EMQX while
// this role, or NATS, is away too: that is less than the engine NATS promises (decision 0017). A cloud is told 202 when its message is
// stored, and 503 otherwise, so it has the promise of a PUBACK.
//
// auth lets nobody in who would be acknowledged into nothing: it hears beat.go, and admits while an instance of this role holds its
// session. A cloud is let in by the credentials of the bundle in force, asked anew for each message; without a live one nobody is.
package ingest
