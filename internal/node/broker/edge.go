package broker

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"sync/atomic"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

const (
	// serviceReplies are the subjects that the server makes for answers to what comes out of another account: one each, random, gone
	// when the answer was given. A static right costs the grid service nothing, where a right to respond would be noted for each
	// message that JetStream delivers to it.
	serviceReplies = "_R_.>"
	// answerWithin is how long the server keeps the way back for an answer: a commit under load takes seconds.
	answerWithin = "30s"
	// edgeVoid is where an answer goes whose asker named a subject of another edge node. Nobody may subscribe to it.
	edgeVoid = "dizuo.internal.edge-void"
)

// edgeOfAuth are the requests of edge nodes that the role auth answers.
func edgeOfAuth() []contract.EdgeVerb {
	return []contract.EdgeVerb{contract.EdgeEnrol, contract.EdgeTell, contract.EdgeGet, contract.EdgeAsk}
}

// edgeOfGrid are those that the role grid answers.
func edgeOfGrid() []contract.EdgeVerb {
	return []contract.EdgeVerb{contract.EdgeHello, contract.EdgeUp}
}

// edgeSubjects are those of every edge node.
func edgeSubjects(verbs ...contract.EdgeVerb) []string {
	var out []string
	for _, v := range verbs {
		out = append(out, contract.EdgeSubject("*", v))
	}
	return out
}

// answerEdges lets a role answer edge nodes and push to them.
func answerEdges(push contract.EdgeVerb) []string {
	return append(edgeSubjects(push), serviceReplies)
}

// edgeExports are the only ways between the devices' account and that of edge nodes: requests are services, so that an answer goes
// back to the account it came from and to no other, whatever reply subject the asker named; pushes are streams.
func edgeExports() []any {
	to := []string{contract.AccountEdge}
	var out []any
	for _, s := range edgeSubjects(contract.EdgeRequests()...) {
		out = append(out, map[string]any{"service": s, "accounts": to, "response": "singleton", "threshold": answerWithin})
	}
	for _, s := range edgeSubjects(contract.EdgePushes()...) {
		out = append(out, map[string]any{"stream": s, "accounts": to})
	}
	return out
}

// edgeImports are the other side of edgeExports.
func edgeImports() []any {
	from := func(subject string) map[string]any {
		return map[string]any{"account": contract.AccountDevices, "subject": subject}
	}
	var out []any
	for _, s := range edgeSubjects(contract.EdgeRequests()...) {
		out = append(out, map[string]any{"service": from(s)})
	}
	for _, s := range edgeSubjects(contract.EdgePushes()...) {
		out = append(out, map[string]any{"stream": from(s)})
	}
	return out
}

// edgeMappings close what permissions leave open. The server checks where a client publishes, but not which reply subject it names
// with a request, and delivers the answer there: an edge node could have the hub's answer put before another node as if it were
// pushed. A mapping of the account holds for answers, and not for what comes from the devices' account as a stream, so the subjects
// of pushes lead nowhere from within.
func edgeMappings() map[string]any {
	out := map[string]any{}
	for _, s := range edgeSubjects(contract.EdgePushes()...) {
		out[s] = edgeVoid
	}
	return out
}

// edgeTLS serves edge nodes: a certificate is asked for, not demanded, because a node that enrols has none; it must stand under a CA
// in pool if it comes. It is nil without a listener. The server replaces GetConfigForClient on this listener, so the gate is in the
// check of the connection.
func edgeTLS(l *contract.EdgeListener, g *gate, pool *atomic.Pointer[x509.CertPool]) (*tls.Config, error) {
	if l == nil {
		return nil, nil //nolint:nilnil // no listener, no configuration
	}
	c := process.ServerTLS(l.TLS)
	if _, err := c.GetCertificate(nil); err != nil {
		return nil, fmt.Errorf("broker.edge.tls: %w", err)
	}
	c.ClientAuth = tls.RequestClientCert
	c.SessionTicketsDisabled = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if err := g.checkDevices(); err != nil {
			return err
		}
		return verifyDevice(s.PeerCertificates, pool.Load())
	}
	return c, nil
}

// UpdateEdges takes the credentials of edge nodes of a new bundle.
func (b *Broker) UpdateEdges(credentials map[string]contract.EdgeCredential) {
	pool := x509.NewCertPool()
	for _, c := range credentials {
		for _, text := range c.Issuers {
			pool.AppendCertsFromPEM([]byte(text)) // what cannot be parsed is left out: auth says so
		}
	}
	b.edgePool.Store(pool)
}

// EdgeURL is where edge nodes connect; empty without a listener.
func (b *Broker) EdgeURL() string {
	if b.options.Websocket.Port == 0 {
		return ""
	}
	return "wss://" + net.JoinHostPort(b.options.Websocket.Host, strconv.Itoa(b.options.Websocket.Port))
}

// edgeViolation matches the line that the server logs when an edge node does what it may not. The name in it is the client's own word,
// so it is not told on.
//
//	10.0.0.7:41234 - wid:17 - "v1.55.0:go:edge" - Publish Violation - Subject "dizuo.v1.d.fleet.device.signal"
var edgeViolation = regexp.MustCompile(`^(\S+) - wid:\d+ - (?:.* - )?(Publish|Subscription) Violation`)

// edgeViolated counts it and, now and then, says so.
func (l *serverLog) edgeViolated(from, kind string) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edges.WithLabelValues(kind).Inc()
	if now.Sub(l.edgeSampled) >= sampleEvery {
		l.edgeSampled = now
		l.log.Warn("an edge node did what it may not", "from", from, "kind", kind)
	}
}
