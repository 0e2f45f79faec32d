package edge

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// store is the file in which the agent's last messages lie, as a dead agent left it.
type store struct {
	t    *testing.T
	file string
	raw  []byte
	// last is where the last record begins.
	last int
}

// Form of a record (nats-server, filestore.go): length, whose highest bit says that there is a header, sequence, whose highest bit says
// that the message is gone, time, and so on.
const (
	recordHeader = 4 + 8 + 8
	hasHeader    = 1 << 31
)

func (a *agent) store() *store {
	a.t.Helper()
	files, err := filepath.Glob(filepath.Join(a.state, "store", "jetstream", contract.AccountDevices, "streams", contract.IngestStream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		a.t.Fatalf("no store: %v", err)
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) }) // 9.blk before 10.blk
	s := &store{t: a.t, file: files[len(files)-1]}
	if s.raw, err = os.ReadFile(s.file); err != nil {
		a.t.Fatal(err)
	}
	for at := 0; at+recordHeader <= len(s.raw); {
		length := int(binary.LittleEndian.Uint32(s.raw[at:]) &^ hasHeader)
		if length < recordHeader || at+length > len(s.raw) {
			break // what the kill tore
		}
		s.last, at = at, at+length
	}
	if len(s.raw) == 0 {
		a.t.Fatal("the store is empty")
	}
	return s
}

// begun leaves half of a further record, of a message that came when the power went: it was not acknowledged.
func (s *store) begun() {
	s.t.Helper()
	record := slices.Clone(s.raw[s.last:])
	sequence := binary.LittleEndian.Uint64(record[4:])
	binary.LittleEndian.PutUint64(record[4:], sequence+1)
	s.write(append(slices.Clone(s.raw), record[:len(record)/2]...))
}

// torn takes the end of the last record, whose message was acknowledged: this is what a disk does that lies about what it has written.
func (s *store) torn() { s.write(s.raw[:len(s.raw)-3]) }

func (s *store) write(raw []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.file, raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// seen is how far the agent has put on record that it stored.
func (a *agent) seen() (n int64) {
	raw, err := os.ReadFile(filepath.Join(a.state, "outbox.json"))
	var s struct{ Seen int64 }
	if err != nil || json.Unmarshal(raw, &s) != nil {
		return 0
	}
	return s.Seen
}

// TestTornRecord kills the agent behind a cut line and finds its store with a record that was only begun: nothing is lost, nothing is
// said. Then it finds the last record torn that was acknowledged: one message is lost, the agent says so in its log and to the hub, and
// all others are counted once, also those that get the place of the torn one in the store.
func TestTornRecord(t *testing.T) {
	asked(t)
	network := newNetwork(t)
	h := newHub(t, 20)
	a := newAgent(t, network, h, 0)
	l := a.begin(h, number(t, "DIZUO_CUT_RATE", 200))
	const lost = "outbox has lost its end"

	l.start()
	h.acknowledges("devices publish", 500)
	network.cut()
	h.acknowledges("devices go on behind the cut line", 500)
	a.kill()
	a.store().begun()
	a.start()
	h.acknowledges("devices go on after a torn record", 500)
	l.stop()
	if a.said(lost) {
		t.Error("the agent speaks of a loss where a record was only begun")
	}

	eventually(t, "all is on record", 10*time.Second, func() bool { return a.seen() >= int64(ackedOf(h)) })
	time.Sleep(2 * time.Second) // a checkpoint with nothing after it
	a.kill()
	a.store().torn()
	a.start()
	l.start()
	h.acknowledges("devices go on after damage", 500)
	if !a.said(lost) {
		t.Error("the agent does not say that an acknowledged message is gone")
	}
	network.restore()
	eventually(t, "the control plane hears of the loss", time.Minute, func() bool { return h.outbox().Lost == 1 })
	l.stop()
	once := h.settled(1, 0)
	acked, arrived := h.ledger.counts()
	if once != acked-1 {
		t.Errorf("%d of %d acknowledged messages were counted, and one was torn", once, acked)
	}
	t.Logf("%d acknowledged, %d counted once, %d arrived", acked, once, arrived)
}
