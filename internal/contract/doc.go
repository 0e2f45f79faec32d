// Package contract says what travels between the control plane and the data plane: the documents inside a signed bundle,
// the lease that gives a bundle time and order, the reports that come back, the configuration of a node, and every name
// (topic, subject, bucket, identity) that two processes must agree on.
//
// internal/bundle writes what is declared here and internal/node reads it; nothing else joins the two. The package holds
// values and pure functions only: no client, no clock, no randomness.
//
//	Plan --internal/bundle--> Shard --seal--> object store      Lease --seal--> key-value bucket
//	                                             \                    /
//	                                              internal/node/bundle -> Shelf of documents -> broker, auth, grid, gateway
//	                                                                                 |
//	                                            operator  <---- Report ----------- /
package contract
