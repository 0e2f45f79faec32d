package edge

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// reserve is what the agent wants of a disk beside its outbox.
	reserve = 256 << 20
	// nearly is what is left free on a disk that is nearly full: below what the agent lets devices in with, above nothing.
	nearly = 90 << 20
	// ownDisk holds the state of an agent whose disk is filled.
	ownDisk = 448 << 20
)

// filler is another program's file on the agent's disk.
type filler struct {
	t    *testing.T
	file string
}

func (a *agent) filler() *filler { return &filler{a.t, filepath.Join(a.state, "another-program.log")} }

// fill writes until so much is free, or nothing at all.
func (f *filler) fill(leave int64) {
	f.t.Helper()
	out, err := os.OpenFile(f.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	for block := make([]byte, 1<<20); len(block) > 0; {
		var s syscall.Statfs_t
		if err := syscall.Statfs(f.file, &s); err != nil {
			f.t.Fatal(err)
		}
		if int64(s.Bavail)*s.Bsize <= leave {
			return
		}
		if _, err := out.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2] // to the last byte
		} else if err != nil {
			f.t.Fatal(err)
		}
	}
}

// brim keeps the disk full for so long, whatever anybody gives up.
func (f *filler) brim(long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		f.fill(0)
	}
}

// shrink gives back until so much is free.
func (f *filler) shrink(leave int64) {
	f.t.Helper()
	info, err := os.Stat(f.file)
	if err == nil {
		err = os.Truncate(f.file, max(0, info.Size()-leave))
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *filler) remove() {
	if err := os.Remove(f.file); err != nil {
		f.t.Fatal(err)
	}
}

// quiet waits until nothing was acknowledged for a while.
func (h *hub) quiet() {
	h.t.Helper()
	last, since := -1, time.Now()
	eventually(h.t, "nothing is acknowledged", time.Minute, func() bool {
		if now := ackedOf(h); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 5*time.Second
	})
}

// acknowledges waits until so many more are acknowledged.
func (h *hub) acknowledges(what string, n int) {
	h.t.Helper()
	before := ackedOf(h)
	eventually(h.t, what, time.Minute, func() bool { return ackedOf(h) > before+n })
}

// outbox is how the agent's outbox stands, as the control plane hears of it.
func (h *hub) outbox() (o contract.Outbox) {
	h.t.Helper()
	bucket, err := h.JetStream().KeyValue(h.t.Context(), contract.ReportBucket)
	if err != nil {
		h.t.Fatal(err)
	}
	var r contract.Report
	if entry, err := bucket.Get(h.t.Context(), contract.ReportKey(contract.RoleEdge, edgeName)); err != nil || json.Unmarshal(entry.Value(), &r) != nil || r.Outbox == nil {
		return o
	}
	return *r.Outbox
}

// TestFullDisk lets another program fill the disk of a node whose line is cut, first nearly and then to the last byte, whatever the agent
// gives up, and kills the agent meanwhile: nothing is acknowledged that is not kept, and with room again the agent goes on by itself.
func TestFullDisk(t *testing.T) {
	asked(t)
	network := newNetwork(t)
	h := newHub(t, 20)
	a := newAgent(t, network, h, ownDisk)
	l := a.begin(h, number(t, "DIZUO_CUT_RATE", 200))
	starts, other := a.supervise(), a.filler()
	l.start()
	h.acknowledges("devices publish", 500)
	network.cut()
	h.acknowledges("devices go on behind the cut line", 500)

	other.fill(nearly)
	h.quiet()
	if !a.said("disk is nearly full") {
		t.Error("the log does not say that the disk is nearly full")
	}
	if ready := a.ready(); !strings.HasPrefix(ready, "503") || !strings.Contains(ready, "disk is nearly full") {
		t.Errorf("readiness: %q", ready)
	}
	other.remove()
	h.acknowledges("it goes on with room again", 500)
	if n := starts(); n != 0 {
		t.Errorf("the agent ended %d times on a disk that was nearly full", n)
	}

	other.brim(5 * time.Second)
	h.quiet()
	other.remove()
	h.acknowledges("it goes on with room again, though its store may have ended", 500)
	if !a.said("the store has ended") {
		t.Log("the store did not end: nothing was written while there was no room")
	}

	other.brim(5 * time.Second)
	h.quiet()
	a.crash()
	other.brim(10 * time.Second)
	h.quiet()
	full := ackedOf(h)
	if starts() < 1 {
		t.Error("the agent was not started again")
	}

	other.shrink(nearly) // room to work, and not to let anybody in
	network.restore()
	eventually(t, "what waits gets out while the disk is nearly full", time.Minute, func() bool { return h.outbox().DiskFull && h.position().sequence >= int64(full) })
	if now := ackedOf(h); now != full {
		t.Errorf("%d messages were acknowledged on a full disk", now-full)
	}
	other.remove()
	h.acknowledges("it goes on by itself", 500)
	l.stop()
	once := h.settled(0, 0)
	acked, arrived := h.ledger.counts()
	t.Logf("%d acknowledged, %d of them counted once, %d arrived, the agent was started again %d times", acked, once, arrived, starts())
}
