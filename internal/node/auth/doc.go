// Package auth decides which device may connect to the broker, and as whom. It answers the broker's auth callout:
//
//	callout.go     request JWT -> Request ... Identity or Refusal -> signed answer
//	identity.go    pure: Request + Registry -> Identity, or why not
//	permissions.go pure: Identity -> permissions and the user JWT
//	registry.go    pure: bundle -> Registry, who may connect
//	revoke.go      pure: old and new Registry -> does anybody have to go; does this connection stay
//	kick.go        lists connections and cuts those that may not stay
//	enforce.go     new bundle -> new Registry -> cut -> applied
//	run.go         the role
//	local.go       the role inside an edge node
//	returning.go   whom an edge node let in, for when its lease has ended
//
//	edge_identity.go pure: which edge node a connection speaks for, its permissions, whether it stays
//	edge_csr.go      pure: may an edge node ask for this certificate
//	edge_book.go     what edge nodes said: reports, and which key asked first
//	edge_lease.go    leases of edge nodes, and which objects belong to whose bundle
//	edge_serve.go    answers edge nodes
//
// Default is no. Only MQTT connections of devices and WebSocket connections of edge nodes whose credentials stand in the live bundle
// are let in; the platform's own roles never come here, because the broker maps their certificates to users itself.
//
// A connection is named "<fleet>.<device>/<stamp>". The stamp is a digest of everything that the admission rested on: the
// credential, the issuing key, the client id, the prefixes. Whether a connection may stay can so be told from its name and
// the present bundle alone, whoever admitted it and however long ago; nothing has to be remembered across a crash.
package auth
