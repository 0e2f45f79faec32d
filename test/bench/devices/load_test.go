package devices

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// player is a device that a process plays.
type player struct {
	ID, User, Password, Cert, Key, Topic string
	// Stay asks for a session that outlives the connection.
	Stay bool
}

// name gives the device's name within its fleet.
func (p player) name() string {
	_, name, _ := strings.Cut(p.User, ".")
	return name
}

// load is what a process of players does.
type load struct {
	// Kind is "connect" (each once, then away), "hold" (all stay until the input ends) or "publish".
	Kind    string
	Address string
	// CA of the broker's certificate, PEM.
	CA      string
	Players []player
	// Workers connect at a time.
	Workers int
	// Warm and Measure are how long is published before counting and while.
	Warm, Measure time.Duration
	// InFlight messages of a connection without PUBACK, of Payload bytes.
	InFlight, Payload int
}

// result is what a process of players did.
type result struct {
	Count  int64
	Took   time.Duration
	Failed int64
	Why    string
	// Total is Count and what came before it was counted.
	Total int64
	// CPU is the processor time of the players over Total.
	CPU time.Duration
}

func (r result) rate() float64 { return float64(r.Count) / r.Took.Seconds() }

// running is a process of players.
type running struct {
	t   *testing.T
	in  io.WriteCloser
	out *json.Decoder
}

func startLoad(t *testing.T, l load) *running {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envLoad+"=1")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	begin(t, cmd)
	if err := json.NewEncoder(in).Encode(l); err != nil {
		t.Fatal(err)
	}
	return &running{t, in, json.NewDecoder(out)}
}

// result waits for what was done.
func (r *running) result() (out result) {
	r.t.Helper()
	if err := r.out.Decode(&out); err != nil {
		r.t.Fatalf("the players ended: %v", err)
	}
	if out.Failed > 0 {
		r.t.Logf("%d failed, the first: %s", out.Failed, out.Why)
	}
	if out.Count == 0 {
		r.t.Fatalf("nothing was done: %s", out.Why)
	}
	return out
}

func playDevices(in io.Reader, out io.Writer) error {
	var l load
	buffered := json.NewDecoder(in)
	if err := buffered.Decode(&l); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(l.CA)) {
		return errors.New("no CA")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "localhost"}
	var done result
	var held []net.Conn
	switch l.Kind {
	case "publish":
		done = l.publish(config)
	default:
		done, held = l.connect(config, l.Kind == "hold")
	}
	if err := json.NewEncoder(out).Encode(done); err != nil || l.Kind != "hold" {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	runtime.KeepAlive(held) // a connection that nobody names is closed by the collector
	return err
}

// connect connects every player; they stay if hold says so.
func (l load) connect(config *tls.Config, hold bool) (out result, held []net.Conn) {
	var next, good, bad atomic.Int64
	var mu sync.Mutex
	var why atomic.Value
	var workers sync.WaitGroup
	began := time.Now()
	for range max(1, l.Workers) {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(l.Players); i = next.Add(1) - 1 {
				c, err := l.Players[i].connect(l.Address, config)
				if err != nil {
					bad.Add(1)
					why.CompareAndSwap(nil, err.Error())
					continue
				}
				good.Add(1)
				if !hold {
					_ = c.Close()
					continue
				}
				mu.Lock()
				held = append(held, c)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	out = result{Count: good.Load(), Took: time.Since(began), Failed: bad.Load()}
	out.Why, _ = why.Load().(string)
	return out, held
}

// publish sends from all players as fast as acknowledgements come back, and counts these.
func (l load) publish(config *tls.Config) result {
	var acked, bad atomic.Int64
	var why atomic.Value
	fail := func(err error) { bad.Add(1); why.CompareAndSwap(nil, err.Error()) }
	for _, p := range l.Players {
		c, err := p.connect(l.Address, config)
		if err != nil {
			fail(err)
			continue
		}
		window := make(chan struct{}, l.InFlight)
		go func() {
			packet := publishPacket(p.Topic, l.Payload)
			for id := uint16(1); ; id = id%60_000 + 1 {
				window <- struct{}{}
				binary.BigEndian.PutUint16(packet.bytes[packet.id:], id)
				if _, err := c.Write(packet.bytes); err != nil {
					return
				}
			}
		}()
		go func() {
			in := bufio.NewReader(c)
			for {
				kind, _, err := readPacket(in)
				if err != nil {
					fail(err)
					return
				}
				if kind == 0x40 {
					acked.Add(1)
					<-window
				}
			}
		}()
	}
	time.Sleep(l.Warm)
	before, began := acked.Load(), time.Now()
	time.Sleep(l.Measure) // what happens in that time is the measurement
	out := result{Count: acked.Load() - before, Took: time.Since(began), Failed: bad.Load(), Total: acked.Load()}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err == nil {
		out.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	out.Why, _ = why.Load().(string)
	return out
}

type packet struct {
	bytes []byte
	id    int // where the packet id is
}

func publishPacket(topic string, payload int) packet {
	body := text(topic)
	p := packet{id: len(body)}
	body = append(body, 0, 0)
	value := `{"smoke":false,"battery":97,"note":"`
	body = append(body, value...)
	for n := len(value); n < payload-2; n++ {
		body = append(body, 'x')
	}
	body = append(body, `"}`...)
	head := binary.AppendUvarint([]byte{0x32}, uint64(len(body)))
	p.id += len(head)
	p.bytes = append(head, body...)
	return p
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

// connect opens an MQTT 3.1.1 connection and waits for its CONNACK.
func (p player) connect(address string, config *tls.Config) (net.Conn, error) {
	if p.Cert != "" {
		cert, err := tls.X509KeyPair([]byte(p.Cert), []byte(p.Key))
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.Certificates = []tls.Certificate{cert}
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", address, config)
	if err != nil {
		return nil, err
	}
	flags, body := byte(0x02), text(p.ID) // a clean session
	if p.Stay {
		flags = 0
	}
	if p.User != "" {
		flags, body = flags|0xC0, append(append(body, text(p.User)...), text(p.Password)...)
	}
	head := append(text("MQTT"), 4, flags, 0, 0) // no keep-alive: an idle connection is idle
	body = append(head, body...)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err = c.Write(append(binary.AppendUvarint([]byte{0x10}, uint64(len(body))), body...)); err == nil {
		answer := make([]byte, 4)
		if _, err = io.ReadFull(c, answer); err == nil && (answer[0] != 0x20 || answer[3] != 0) {
			err = fmt.Errorf("CONNACK % x", answer)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, c.SetDeadline(time.Time{})
}

// receives comes back to a session that stayed and gives how many messages of n come within a time.
func (p player) receives(address string, config *tls.Config, n int, within time.Duration) (got int, err error) {
	p.Stay = true
	c, err := p.connect(address, config)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return 0, err
	}
	for in := bufio.NewReader(c); got < n; {
		kind, body, err := readPacket(in)
		if err != nil {
			return got, err
		}
		if kind != 0x30 {
			continue
		}
		got++
		id := 2 + int(binary.BigEndian.Uint16(body)) // behind the topic
		if _, err := c.Write([]byte{0x40, 2, body[id], body[id+1]}); err != nil {
			return got, err
		}
	}
	return got, nil
}

// subscribeAndLeave makes a session that stays, for which the broker keeps what comes.
func (p player) subscribeAndLeave(address string, config *tls.Config, topic string) error {
	p.Stay = true
	c, err := p.connect(address, config)
	if err != nil {
		return err
	}
	body := append(append([]byte{0, 1}, text(topic)...), 1)
	if _, err := c.Write(append(binary.AppendUvarint([]byte{0x82}, uint64(len(body))), body...)); err != nil {
		return errors.Join(err, c.Close())
	}
	kind, answer, err := readPacket(bufio.NewReader(c))
	if err == nil && (kind != 0x90 || len(answer) != 3 || answer[2] != 1) {
		err = fmt.Errorf("SUBACK %x % x", kind, answer)
	}
	return errors.Join(err, c.Close())
}

func readPacket(in *bufio.Reader) (kind byte, body []byte, err error) {
	if kind, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(in, body)
	return kind & 0xF0, body, err
}
