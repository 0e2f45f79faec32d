// Package grid is the grid service (网格服务): device messages become alarms, alarms become cases, cases go to whoever
// answers for them.
//
//	ingest log --session--> rules.Engine --events--> cases, history, outbox --deliverer--> webhooks
//	                                                   ^
//	                              REST API ------------+
//
// # Nothing lost, nothing twice
//
// Messages of QoS 1 and 2 are read from the ingest log in the order of its sequence. One transaction holds the cases, the
// outbox rows, the engine's state, who was seen, and the sequence up to which all of that is true; the messages are
// acknowledged after it commits. The truth about how far we are is that sequence and not the consumer: every session makes
// the consumer anew behind it. So a crash anywhere, a lost connection and a failed transaction all take one path: the
// session ends, and the next one loads what was committed and goes on behind it.
//
// The transactions run on the very connection that holds the advisory lock of the one working replica. Losing the lock is
// losing the connection, so a replica that was replaced cannot commit.
//
// # QoS 0
//
// The server does not store messages of QoS 0. They are taken from a plain subscription, best effort: what arrives while no
// session runs, or faster than the engine takes it, is lost (dizuo_grid_messages_total{result="dropped"}). The server also
// hands messages of QoS 1 to plain subscribers; the header Nmqtt-Pub, which the server sets itself, tells them apart,
// and only "0" is taken, so nothing is seen twice. What does not come from MQTT has no such header and is not taken at all.
//
// # When the control plane is away
//
// Alarms go on with the last good bundle, even after its lease: a fire does not wait for a lease. The API, which shows and
// changes cases, fails closed.
package grid
