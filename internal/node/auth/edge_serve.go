package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// edgeQueue lets replicas share what only asks.
	edgeQueue = "auth"
	// maxEdgeInFlight bounds the requests in work; more are refused at once, which costs nothing and keeps no way back open.
	maxEdgeInFlight = 64
	// edgeBacklog bounds what waits in a subscription, in messages and in bytes.
	edgeBacklog, edgeBacklogBytes = 4096, 32 << 20
	// edgeTimeout bounds the work on one request.
	edgeTimeout = 10 * time.Second
)

// edgePace is how often an edge node may ask for one thing: a second, and at once.
var edgePace = map[contract.EdgeVerb]struct {
	second rate.Limit
	burst  int
}{
	contract.EdgeEnrol: {1, 10},
	contract.EdgeTell:  {1, 5},
	contract.EdgeAsk:   {1, 10},
	contract.EdgeGet:   {50, 200},
}

// edgeRefusal is why an edge node gets no answer, as the node is told: asking again changes nothing. Any other error is told as
// edgeUnavailable, because its text is none of the node's business.
type edgeRefusal string

// Error gives the reason.
func (r edgeRefusal) Error() string { return string(r) }

// Refusals, in EdgeErrorHeader and in an EnrolReply.
const (
	edgeUnknown     edgeRefusal = "UnknownEdgeNode"
	edgeNoLease     edgeRefusal = "NoLease"
	edgeNotNamed    edgeRefusal = "NotInYourBundle"
	edgeTooLarge    edgeRefusal = "TooLarge"
	edgeKeyMismatch edgeRefusal = "KeyMismatch"
)

// Reasons to ask again later.
const (
	edgeBusy        = "Busy"
	edgeUnavailable = "Unavailable"
	enrolAwaits     = "AwaitingApproval"
	enrolNotIssued  = "CertificateNotIssuedYet"
)

var errEdgeBusy = errors.New("too much at once")

// desk answers edge nodes. Which node asks is read from the subject: the broker lets each publish on its own only, and an answer that is
// led astray does not come back into the devices' account.
type desk struct {
	platform  string
	trustFile string
	nc        *nats.Conn
	js        jetstream.JetStream
	present   func() *Registry
	now       func() time.Time
	log       *slog.Logger
	book      *edgeBook
	scopes    *edgeScopes
	stats     *stats

	busy chan struct{}
	work sync.WaitGroup

	mu    sync.Mutex
	paces map[string]map[contract.EdgeVerb]*rate.Limiter
}

func newDesk(cfg contract.NodeConfig, nc *nats.Conn, js jetstream.JetStream, e *enforcer, log *slog.Logger) *desk {
	book, err := openBook(cfg.StateDir)
	if err != nil {
		log.Warn("edge nodes", "err", err)
	}
	return &desk{platform: path.Base(cfg.Platform), trustFile: cfg.TrustFile, nc: nc, js: js, present: e.present, now: e.now, log: log,
		book: book, scopes: newEdgeScopes(cfg.Platform, cfg.TrustFile), stats: e.stats,
		busy: make(chan struct{}, maxEdgeInFlight), paces: map[string]map[contract.EdgeVerb]*rate.Limiter{}}
}

// present gives the registry in force, whatever the age of its lease, or nil.
func (e *enforcer) present() *Registry {
	e.switching.RLock()
	defer e.switching.RUnlock()
	return e.registry
}

// run answers until ctx ends.
func (d *desk) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.listen(ctx) })
	g.Go(func() error {
		return d.scopes.follow(ctx, d.js, func(edge, jws string) {
			if err := d.nc.Publish(contract.EdgeSubject(edge, contract.EdgeLease), []byte(jws)); err != nil {
				d.log.Warn("lease not pushed", "edge", edge, "err", err)
			}
		}, func(err error) { d.log.Warn("leases of edge nodes", "err", err) })
	})
	return g.Wait()
}

// answer does one verb for one edge node.
type answer func(ctx context.Context, edge string, e *edgeEntry, m *nats.Msg) ([]byte, nats.Header, error)

// plain is an answer without headers to a request whose headers do not count.
func plain(do func(ctx context.Context, edge string, e *edgeEntry, body []byte) ([]byte, error)) answer {
	return func(ctx context.Context, edge string, e *edgeEntry, m *nats.Msg) ([]byte, nats.Header, error) {
		body, err := do(ctx, edge, e, m.Data)
		return body, nil, err
	}
}

// listen takes requests. What a node asks certificates for is heard by every replica, so that each one's report has it and none is missed
// with a replica that dies; all else is shared.
func (d *desk) listen(ctx context.Context) error {
	for _, v := range []struct {
		verb  contract.EdgeVerb
		queue string
		do    answer
	}{{contract.EdgeEnrol, "", plain(d.enrol)}, {contract.EdgeTell, edgeQueue, plain(d.tell)}, {contract.EdgeGet, edgeQueue, d.get}, {contract.EdgeAsk, edgeQueue, plain(d.ask)}} {
		take := func(m *nats.Msg) { d.take(ctx, m, v.verb, v.do) }
		sub, err := d.subscribe(contract.EdgeSubject("*", v.verb), v.queue, take)
		if err != nil {
			return fmt.Errorf("requests of edge nodes: %w", err)
		}
		if err := sub.SetPendingLimits(edgeBacklog, edgeBacklogBytes); err != nil {
			return fmt.Errorf("requests of edge nodes: %w", err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone, and the subscription with it
	}
	<-ctx.Done()
	d.work.Wait()
	return ctx.Err()
}

func (d *desk) subscribe(subject, queue string, take nats.MsgHandler) (*nats.Subscription, error) {
	if queue == "" {
		return d.nc.Subscribe(subject, take)
	}
	return d.nc.QueueSubscribe(subject, queue, take)
}

// take answers one request, or says at once why not.
func (d *desk) take(ctx context.Context, m *nats.Msg, verb contract.EdgeVerb, do answer) {
	edge, got, err := contract.ParseEdgeSubject(m.Subject)
	if err != nil || got != verb {
		return
	}
	var e *edgeEntry
	if r := d.present(); r != nil {
		e = r.edges[edge]
	}
	if e == nil {
		d.reply(m, verb, nil, nil, edgeUnknown)
		return
	}
	if !d.allow(edge, verb) {
		d.reply(m, verb, nil, nil, errEdgeBusy)
		return
	}
	select {
	case d.busy <- struct{}{}:
	default:
		d.reply(m, verb, nil, nil, errEdgeBusy)
		return
	}
	d.work.Go(func() {
		defer func() { <-d.busy }()
		ctx, cancel := context.WithTimeout(ctx, edgeTimeout)
		defer cancel()
		body, header, err := do(ctx, edge, e, m)
		d.reply(m, verb, body, header, err)
	})
}

// reply answers always, so that the broker need not keep a way back open.
func (d *desk) reply(m *nats.Msg, verb contract.EdgeVerb, body []byte, header nats.Header, err error) {
	result := "answered"
	if err != nil {
		result = "refused"
		level := slog.LevelDebug
		if _, reason := why(err); reason == edgeUnavailable {
			level = slog.LevelWarn
		}
		d.log.Log(context.Background(), level, "edge node not served", "subject", m.Subject, "err", err)
	}
	d.stats.edges.WithLabelValues(string(verb), result).Inc()
	if m.Reply == "" {
		return
	}
	out := nats.NewMsg(m.Reply)
	state, reason := why(err)
	switch {
	case err == nil:
		out.Data, out.Header = body, header
	case verb == contract.EdgeEnrol:
		out.Data, _ = json.Marshal(contract.EnrolReply{State: state, Reason: reason})
	default:
		out.Header.Set(contract.EdgeErrorHeader, reason)
	}
	if err := m.RespondMsg(out); err != nil {
		d.log.Warn("edge node not answered", "subject", m.Subject, "err", err)
	}
}

// why gives what a node is told of an error: whether to ask again, and a reason.
func why(err error) (state, reason string) {
	var no edgeRefusal
	switch {
	case errors.As(err, &no):
		return contract.EnrolRefused, string(no)
	case errors.Is(err, errEdgeBusy):
		return contract.EnrolPending, edgeBusy
	}
	return contract.EnrolPending, edgeUnavailable
}

// allow keeps a node to its pace. Nodes that are registered no more are forgotten when others come.
func (d *desk) allow(edge string, verb contract.EdgeVerb) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.paces[edge]
	if p == nil {
		if r := d.present(); r != nil && len(d.paces) >= len(r.edges) {
			for name := range d.paces {
				if r.edges[name] == nil {
					delete(d.paces, name)
				}
			}
		}
		p = map[contract.EdgeVerb]*rate.Limiter{}
		d.paces[edge] = p
	}
	if p[verb] == nil {
		p[verb] = rate.NewLimiter(edgePace[verb].second, edgePace[verb].burst)
	}
	return p[verb].AllowN(d.now(), 1)
}

// enrol answers a request for certificates.
func (d *desk) enrol(_ context.Context, edge string, e *edgeEntry, body []byte) ([]byte, error) {
	if len(body) > contract.MaxEdgeEnrolment {
		return nil, edgeTooLarge
	}
	var req contract.EnrolRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, edgeRefusal("BadRequest: not the JSON of an EnrolRequest")
	}
	key, err := checkEnrolment(d.platform, edge, req)
	if err != nil {
		return nil, edgeRefusal("BadRequest: " + err.Error())
	}
	taken, err := d.book.ask(edge, e.EdgeCredential, key, req, d.now())
	switch {
	case err != nil:
		return nil, err
	case !taken:
		return nil, edgeKeyMismatch
	}
	trust, err := os.ReadFile(d.trustFile)
	if err != nil {
		return nil, fmt.Errorf("bundle trust: %w", err)
	}
	reply := contract.EnrolReply{State: contract.EnrolPending, Reason: enrolAwaits}
	if slices.Contains(e.KeyDigests, key) {
		reply.Reason = enrolNotIssued
		if over(e.Certificate, key) {
			reply = contract.EnrolReply{State: contract.EnrolIssued, Certificate: e.Certificate, Server: e.Server, BundleTrust: string(trust)}
		}
	}
	return json.Marshal(reply)
}

// tell puts a report under the node's own key in the bucket of reports.
func (d *desk) tell(ctx context.Context, edge string, _ *edgeEntry, body []byte) ([]byte, error) {
	nodes := 1
	if r := d.present(); r != nil {
		nodes = max(1, len(r.edges))
	}
	said, err := readEdgeReport(edge, body, edgeRoom/nodes)
	if err != nil {
		return nil, err
	}
	reports, err := d.js.KeyValue(ctx, contract.ReportBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", contract.ReportBucket, err)
	}
	d.book.heard(edge)
	_, err = reports.Put(ctx, contract.ReportKey(contract.RoleEdge, edge), said)
	return nil, err
}

// forget takes the reports of nodes that are registered no more out of the bucket. One that it misses is gone with its age.
func (d *desk) forget(edges []string) {
	ctx, cancel := context.WithTimeout(context.Background(), edgeTimeout)
	defer cancel()
	for _, edge := range edges {
		reports, err := d.js.KeyValue(ctx, contract.ReportBucket)
		if err == nil {
			err = reports.Delete(ctx, contract.ReportKey(contract.RoleEdge, edge))
		}
		if err != nil {
			d.log.Warn("report of an edge node that is gone", "edge", edge, "err", err)
		}
	}
}

// successions gives the signed chain of keys. What it proves is the node's to see.
func (d *desk) successions() ([]byte, error) {
	body, err := os.ReadFile(filepath.Join(filepath.Dir(d.trustFile), contract.SuccessionsFile))
	if errors.Is(err, fs.ErrNotExist) { // no key was followed by another
		return nil, nil
	}
	return body, err
}

// get gives an object of the node's own bundle, or the part of it that is asked for.
func (d *desk) get(ctx context.Context, edge string, _ *edgeEntry, m *nats.Msg) ([]byte, nats.Header, error) {
	name := string(m.Data)
	if name == contract.ObjectSuccessions {
		body, err := d.successions()
		return body, nil, err
	}
	store, err := d.js.ObjectStore(ctx, contract.BundleStore)
	if err != nil {
		return nil, nil, fmt.Errorf("object store: %w", err)
	}
	if err := d.scopes.allows(ctx, store, edge, name); err != nil {
		return nil, nil, err
	}
	next := m.Header.Get(contract.EdgeNextHeader)
	if next == "" { // a node of the version before
		body, err := readObject(ctx, store, name)
		return body, nil, err
	}
	from, err := strconv.ParseUint(next, 10, 64)
	if err != nil {
		return nil, nil, edgeRefusal("BadRequest: " + contract.EdgeNextHeader + ": want a number")
	}
	return readPart(ctx, d.js, store, name, from)
}

// ask gives the present lease.
func (d *desk) ask(_ context.Context, edge string, _ *edgeEntry, _ []byte) ([]byte, error) {
	if jws := d.scopes.lease(edge); jws != "" {
		return []byte(jws), nil
	}
	return nil, edgeNoLease
}

// report adds what edge nodes ask to the report of auth.
func (d *desk) report(r *contract.Report) {
	if p := d.present(); p != nil {
		d.forget(d.book.follow(p.edges))
	}
	d.book.report(r, d.now())
}
