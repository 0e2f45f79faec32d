package broker

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
)

// violation matches the line that the server logs when a device publishes outside its permissions: the message is dropped
// but, by MQTT 3.1.1, acknowledged, so this line is the only trace. The quoted part is the client id, which auth has bound
// to the device.
//
//	10.0.0.7:41234 - mid:17 - "fleet_device" - Publish Violation - Subject "dizuo.v1.d.other.device.signal"
var violation = regexp.MustCompile(`^\S+ - mid(?:_ws)?:\d+ - ("(?:[^"\\]|\\.)*") - (Publish|Subscription) Violation`)

// noise are lines that any stranger can cause at will. auth counts the refusals with their reasons.
var noise = []string{"authentication error", "uth callout service returned an error", "TLS handshake error", "Client parser ERROR",
	"websocket handshake error", "Not configured to accept leaf node connections"}

// sampleEvery is the pause between two log lines about violations of one fleet.
const sampleEvery = time.Minute

// serverLog takes the server's log lines: it forwards them and counts what only they tell.
type serverLog struct {
	log   *slog.Logger
	fatal chan error
	now   func() time.Time

	violations *prometheus.CounterVec
	refused    prometheus.Counter
	handshakes prometheus.Counter
	edges      *prometheus.CounterVec

	mu sync.Mutex
	// bound maps client ids that rows bind to fleets.
	bound  map[string]string
	fleets map[string]*fleetViolations
	// tally keeps fleets over a restart; saved is the sum that it has.
	tally tally
	saved int64
	// edgeSampled is when a violation of an edge node was last logged.
	edgeSampled time.Time
}

type fleetViolations struct {
	count         int64
	last, sampled time.Time
}

func newServerLog(log *slog.Logger, reg prometheus.Registerer) *serverLog {
	l := &serverLog{log: log, fatal: make(chan error, 1), now: time.Now, fleets: map[string]*fleetViolations{},
		violations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_broker_violations_total",
			Help: "Publishes and subscriptions of devices outside their permissions."}, []string{"fleet", "kind"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_broker_refused_total",
			Help: "Connections that auth refused or did not answer in time."}),
		handshakes: prometheus.NewCounter(prometheus.CounterOpts{Name: "dizuo_broker_tls_failures_total",
			Help: "TLS handshakes that failed."}),
		edges: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_broker_edge_violations_total",
			Help: "Publishes and subscriptions of edge nodes outside their permissions."}, []string{"kind"})}
	reg.MustRegister(l.violations, l.refused, l.handshakes, l.edges)
	return l
}

// Noticef and its siblings implement server.Logger.
func (l *serverLog) Noticef(format string, v ...any) { l.line(slog.LevelInfo, format, v) }

// Warnf takes a warning.
func (l *serverLog) Warnf(format string, v ...any) { l.line(slog.LevelWarn, format, v) }

// Errorf takes an error; violations come here.
func (l *serverLog) Errorf(format string, v ...any) { l.line(slog.LevelError, format, v) }

// Debugf takes a debug line.
func (l *serverLog) Debugf(format string, v ...any) { l.line(slog.LevelDebug, format, v) }

// Tracef drops: a trace holds payloads.
func (l *serverLog) Tracef(string, ...any) {}

// Fatalf makes the role end with the error; the process decides what to do.
func (l *serverLog) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	l.log.Error("server", "err", err)
	select {
	case l.fatal <- err:
	default:
	}
}

func (l *serverLog) line(level slog.Level, format string, v []any) {
	text := fmt.Sprintf(format, v...)
	if m := violation.FindStringSubmatch(text); m != nil {
		l.violated(m[1], strings.ToLower(m[2]))
		return
	}
	if m := edgeViolation.FindStringSubmatch(text); m != nil {
		l.edgeViolated(m[1], strings.ToLower(m[2]))
		return
	}
	if level == slog.LevelInfo && (text == "" || strings.ContainsAny(text[:1], " |_-")) {
		level = slog.LevelDebug // the server's banner
	}
	for n, s := range noise {
		if strings.Contains(text, s) {
			switch n {
			case 0:
				l.refused.Inc()
			case 2:
				l.handshakes.Inc()
			}
			level = slog.LevelDebug
			break
		}
	}
	l.log.Log(context.Background(), level, text)
}

// remember reads the counts of before a restart. A copy that cannot be read is said and left behind.
func (l *serverLog) remember(t tally) {
	kept, err := t.load()
	if err != nil {
		l.log.Warn("counts of violations begin anew", "err", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fleets, l.tally = kept, t
	l.saved = l.sum()
}

// keep saves the counts if they changed. The caller holds the lock.
func (l *serverLog) keep() {
	sum := l.sum()
	if l.tally.path == "" || sum == l.saved {
		return
	}
	if err := l.tally.save(l.fleets); err != nil {
		l.log.Warn("counts of violations not kept", "err", err)
		return
	}
	l.saved = sum
}

func (l *serverLog) sum() (n int64) {
	for _, v := range l.fleets {
		n += v.count
	}
	return n
}

func (l *serverLog) violated(quoted, kind string) {
	clientID, err := strconv.Unquote(quoted)
	if err != nil {
		clientID = strings.Trim(quoted, `"`)
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	fleet := l.fleetOf(clientID)
	l.violations.WithLabelValues(fleet, kind).Inc()
	if kind != "publish" {
		return
	}
	f := l.fleets[fleet]
	if f == nil {
		f = &fleetViolations{}
		l.fleets[fleet] = f
	}
	f.count++
	f.last = now
	if now.Sub(f.sampled) >= sampleEvery {
		f.sampled = now
		l.log.Warn("publish outside permissions dropped", "fleet", fleet, "client", clientID, "violations", f.count)
	}
}

// fleetOf gives the fleet of a client id: bound in a row, or made from names, where the fleet holds no "_". The caller
// holds the lock.
func (l *serverLog) fleetOf(clientID string) string {
	if fleet, ok := l.bound[clientID]; ok {
		return fleet
	}
	fleet, _, _ := strings.Cut(clientID, "_")
	if !contract.ValidFleet(fleet) {
		return ""
	}
	return fleet
}

// bind takes the client ids that the rows of a bundle bind.
func (l *serverLog) bind(credentials map[string]contract.Credentials) {
	bound := map[string]string{}
	for fleet, c := range credentials {
		for _, d := range c.Devices {
			if d.ClientID != "" {
				bound[d.ClientID] = fleet
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound = bound
}

// report adds the violations of each fleet to a report.
func (l *serverLog) report(r *contract.Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep()
	for fleet, v := range l.fleets {
		if fleet == "" {
			continue
		}
		if r.Fleets == nil {
			r.Fleets = map[string]contract.FleetReport{}
		}
		f := r.Fleets[fleet]
		f.Violations += v.count
		f.LastViolationAt = v.last.UTC()
		r.Fleets[fleet] = f
	}
}
