// Package edge cuts the line of an edge node. The hub is real (roles broker, auth and grid over PostgreSQL), the node is the built binary
// in a network namespace of its own, and the line between is a pair of virtual interfaces.
//
// Two things are stand-ins: the control plane's publication (test/dataplane signs and writes as the operator does), and enrolment, whose
// outcome lies in the node's folder when it starts.
package edge

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// Targets.
const (
	maxResident = 64 // MiB
	maxBinary   = 48 // MiB
)

// number reads a whole number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q: write a whole number", name, text)
	}
	return n
}

// asked skips a test that nobody asked for.
func asked(t *testing.T) {
	t.Helper()
	if os.Getenv(out) == "" {
		t.Skip("make chaos-edge runs it")
	}
}

// begin starts the agent and gives the devices of the hub that publish so many messages a second together, once the first is let in.
func (a *agent) begin(h *hub, rate int) *load {
	a.t.Helper()
	a.start()
	l := &load{ledger: h.ledger, address: a.address(), roots: h.edges.Pool(), every: time.Duration(len(h.ledger.devices)) * time.Second / time.Duration(rate)}
	eventually(a.t, "a device is let in", 30*time.Second, func() bool {
		if a.serves() {
			if c, err := l.connect(deviceName(0)); err == nil {
				c.Disconnect(0)
				return true
			}
		}
		return false
	})
	return l
}

// settled waits until the hub knows all that was acknowledged, and holds what it counted against that: each once, in order. It gives
// how many of the acknowledged were counted. others are messages that the ledger does not have.
func (h *hub) settled(lost int64, others int) (once int) {
	h.t.Helper()
	end := time.Now()
	eventually(h.t, "the hub knows everything", time.Minute, func() bool { return h.position().drainedTo.After(end) })
	p := h.position()
	_, arrived := h.ledger.counts()
	once = h.ledger.check(h.t, int(lost))
	if p.lost != lost || p.sequence != int64(arrived+others)+lost {
		h.t.Errorf("the hub is at sequence %d with %d lost, and %d messages came", p.sequence, p.lost, arrived+others)
	}
	if counted := h.counted(h.t); counted["taken"] != arrived+others || counted["violation"]+counted["unregistered"] > 0 {
		h.t.Errorf("counters of the grid service: %v, and %d messages came", counted, arrived)
	}
	return once
}

// TestCutLine publishes at full rate, cuts the line, kills the agent twice meanwhile, and gives the line back: every acknowledged message
// is counted once at the hub, in the order of its device. While the line is cut a leak of gas closes a valve, and the hub learns of it.
func TestCutLine(t *testing.T) {
	asked(t)
	cut := time.Duration(number(t, "DIZUO_CUT_SECONDS", 60)) * time.Second
	rate, kills, devices := max(1, number(t, "DIZUO_CUT_RATE", 200)), number(t, "DIZUO_CUT_KILLS", 2), 20
	network := newNetwork(t)
	h := newHub(t, devices)
	a := newAgent(t, network, h, 0)
	size, err := os.Stat(a.binary)
	if err != nil {
		t.Fatal(err)
	}
	l := a.begin(h, rate)
	time.Sleep(10 * time.Second) // what start took is given back
	idle := a.memory("VmRSS")

	l.start()
	time.Sleep(10 * time.Second)
	_, arrived := h.ledger.counts()
	online := a.memory("VmRSS")
	if arrived == 0 {
		t.Fatal("nothing arrives while the line is there")
	}

	network.cut()
	began, before := time.Now(), ackedOf(h)
	told, others, id := l.leak(t)
	for kill := range kills {
		time.Sleep(time.Until(began.Add(cut * time.Duration(kill+1) / time.Duration(kills+1))))
		a.kill()
		a.start()
	}
	time.Sleep(time.Until(began.Add(cut)))
	if _, now := h.ledger.counts(); now > arrived+2*rate*11 { // all that may have been on the way before the cut
		t.Errorf("%d messages arrived while the line was cut", now-arrived)
	}
	acked, arrived := h.ledger.counts()
	during, backlog := float64(acked-before)/time.Since(began).Seconds(), acked-arrived
	resident := a.memory("VmRSS")
	network.restore()
	restored := time.Now()
	eventually(t, "the first message after the cut", 2*time.Minute, func() bool { _, now := h.ledger.counts(); return now > arrived })
	first := time.Now()
	eventually(t, "the outbox is drained while devices go on", 10*time.Minute, func() bool { acked, now := h.ledger.counts(); return now >= acked-rate/10 })
	took := time.Since(first)
	_, now := h.ledger.counts()
	drained, peak := float64(now-arrived)/took.Seconds(), a.memory("VmHWM")
	l.stop()
	once := h.settled(0, others)
	var state string
	var times int
	if err := h.pool.QueryRow(t.Context(), "SELECT state, sent FROM grid.commands WHERE id = $1", id).Scan(&state, &times); err != nil || state != "Done" || times != 0 {
		t.Errorf("the hub has the node's command as %q, sent %d times: %v", state, times, err)
	}
	acked, _ = h.ledger.counts()
	record(t, figure.AtLeast("edge: messages acknowledged", float64(acked), "messages", 0),
		figure.AtLeast("edge: of these counted once at the hub, in order", 100*float64(once)/float64(acked), "%", 100),
		figure.AtLeast(fmt.Sprintf("edge: acknowledged a second while cut, agent killed %d times", kills), during, "1/s", 0.8*float64(rate)),
		figure.AtMost("edge: line cut, from a leak to the valve's command", float64(told.Milliseconds()), "ms", 500),
		figure.AtLeast("edge: backlog at the end of the cut", float64(backlog), "messages", 0),
		figure.AtMost("edge: from line back to first message", first.Sub(restored).Seconds(), "s", 0),
		figure.AtLeast("edge: drained a second, devices going on", drained, "1/s", 0),
		figure.AtMost("edge: resident, idle", idle, "MiB", maxResident),
		figure.AtMost("edge: resident, under load with the line", online, "MiB", maxResident),
		figure.AtMost("edge: resident, at the end of the cut", resident, "MiB", maxResident),
		figure.AtMost("edge: most resident since the last start, drain included", peak, "MiB", maxResident),
		figure.AtMost("edge: binary", float64(size.Size())/(1<<20), "MiB", maxBinary))
}

func ackedOf(h *hub) int {
	acked, _ := h.ledger.counts()
	return acked
}

// record prints figures and writes them.
func record(t *testing.T, figures ...figure.Figure) {
	t.Helper()
	for _, f := range figures {
		fmt.Printf("%-64s %10g %-8s target %g, met: %t\n", f.Name, f.Value, f.Unit, f.Target, f.Met)
	}
	if err := figure.Write(os.Getenv(out), figures); err != nil {
		t.Fatal(err)
	}
}

// counted gives the grid service's own counters of messages from the node, by result.
func (h *hub) counted(t *testing.T) map[string]int {
	t.Helper()
	answer, err := http.Get("http://" + h.health + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(raw)) {
		rest, ok := strings.CutPrefix(line, `dizuo_grid_edge_messages_total{edge="`+edgeName+`",result="`)
		if !ok {
			continue
		}
		result, value, _ := strings.Cut(rest, `"} `)
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			t.Fatal(err)
		}
		counts[result] = int(n)
	}
	return counts
}
