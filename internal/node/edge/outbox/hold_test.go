package outbox

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestAReaderInsideKeepsWhatItHasNotOnDisk: what the hub has committed goes, but not behind the position that a reader inside the node wants to
// begin at; and one that says nothing any more keeps nothing.
func TestAReaderInsideKeepsWhatItHasNotOnDisk(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("broker does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), StreamConfig(16<<20)); err != nil {
		t.Fatal(err)
	}
	o, err := Open(t.Context(), js, t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := js.Publish(t.Context(), contract.IngestPrefix+contract.DeviceSubject("f", "d", contract.ChannelSignal), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	behind := func(from uint64, messages int, position uint64) {
		t.Helper()
		b, at, done, err := o.Behind(t.Context(), from)
		if err != nil || len(b.Messages) != messages || at != position || !done || b.DrainedTo.IsZero() {
			t.Errorf("behind %d: %d messages, position %d, done %v, %v; want %d and %d", from, len(b.Messages), at, done, err, messages, position)
		}
	}
	behind(0, 5, 5)
	behind(3, 2, 5)
	behind(9, 0, 5) // of an end that was lost
	if o.s.Sent != 0 {
		t.Errorf("%d is on record as sent", o.s.Sent)
	}
	now := time.Now()
	o.now = func() time.Time { return now }
	first := func(want uint64) {
		t.Helper()
		if err := o.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		info, err := o.stream.Info(t.Context())
		if err != nil || info.State.FirstSeq != want {
			t.Errorf("the first is %d, want %d: %v", info.State.FirstSeq, want, err)
		}
	}
	o.Committed(contract.EdgeBatch{}, 5)
	first(1) // nobody has said yet where to begin
	o.Hold(2)
	first(3)
	if out, err := o.Count(t.Context()); err != nil || out.Messages != 0 {
		t.Errorf("%+v, %v: what is held does not wait for the hub", out, err)
	}
	now = now.Add(holdFor)
	first(6)
	behind(2, 0, 5)
}
