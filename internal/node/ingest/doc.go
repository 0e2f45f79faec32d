// Package ingest is the role ingest: it stands between EMQX, where that is the broker that devices connect to, and the ingest log
// in NATS, which stays what the platform works from.
//
//	device --PUBLISH--> EMQX --ExHook call--> hook.go ------+
//	                     | the call failed                  v
//	                     +--> session of QoS 1 --> fallback.go --> store.go --> ingest log (NATS)
//	device <-- EMQX <-- commands.go <-- cmd, desired (NATS)
//
// EMQX waits for the call before it acknowledges, so what it acknowledges is stored; but it cannot be made to refuse: when the call
// fails it routes the message on and acknowledges. What it routes then waits in a persistent session of this role, which confirms
// it once it is stored. So an acknowledged message outlives the loss of any one process. It does not outlive the loss of EMQX while
// this role, or NATS, is away too: that is less than the engine NATS promises (decision 0017).
//
// auth lets nobody in who would be acknowledged into nothing: it hears beat.go, and admits while an instance of this role holds its
// session.
package ingest
