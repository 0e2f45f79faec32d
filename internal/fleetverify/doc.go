// Package fleetverify is a vendor's self-check: it connects to a platform as one of the vendor's devices, tries what must be
// taken and what must be refused, checks sample payloads against the fleet's profile, and reports what was proven and how.
//
//	input.go    what is checked: connection, device, profile, samples
//	run.go      the order of the phases
//	tls.go, certificate.go, connect.go, publish.go, subscribe.go, payload.go   the phases
//	catalogue.go, report.go, document.go   the checks by id, and the report
//
// A check passes only on evidence that this side can see. An MQTT 3.1.1 broker acknowledges a publish that it drops, so a
// PUBACK is never taken for proof that something was kept, nor its absence asked for: see publish.go.
package fleetverify
