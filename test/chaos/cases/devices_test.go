package cases

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

// saying is a message that a device said and heard the acknowledgement of.
type saying struct {
	at time.Time
	on bool
}

// account is what the sender knows of all devices.
type account struct {
	mu    sync.Mutex
	acked map[string][]saying // by kind/name, in order
	// again counts messages that were sent again: what was sent before is in the log, or not.
	again atomic.Int64
}

// leastPause is how long a device is silent at least: doors come not twice within the second in which two alarms are one.
const leastPause = 600 * time.Millisecond

// doubt is how long a device waits for an acknowledgement before it sends again. It is short, so that many messages come twice, and late.
const doubt = 500 * time.Millisecond

// speak lets every device of the plan say all that it has to say within a time. It returns when everything was acknowledged.
func (a *account) speak(ctx context.Context, js jetstream.JetStream, p plan, within time.Duration) {
	var work sync.WaitGroup
	defer work.Wait()
	begin := time.Now()
	for i, d := range p {
		work.Go(func() {
			every := within / time.Duration(d.times)
			for n := range d.times {
				next := begin.Add(time.Duration((float64(n) + d.at) * float64(every)))
				if wait := max(time.Until(next), leastPause*time.Duration(min(n, 1))); !pause(ctx, wait) {
					return
				}
				if !a.say(ctx, js, d, saying{time.Now().Truncate(time.Millisecond), d.kind != door || n%2 == 0}, i%2 == 0) {
					return
				}
			}
		})
	}
}

// say publishes a message, as the role ingest does, until it is acknowledged. named lets the broker tell a message that is sent again; else the
// grid service must, and of these the acknowledgement of every twentieth is lost on the way.
func (a *account) say(ctx context.Context, js jetstream.JetStream, d device, s saying, named bool) bool {
	text := fmt.Sprintf(`{"on":%t,"ts":%q}`, s.on, s.at.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	msg := &nats.Msg{Subject: contract.IngestPrefix + contract.DeviceSubject(d.kind, d.name, contract.ChannelSignal), Data: []byte(text)}
	opts := []jetstream.PublishOpt{jetstream.WithExpectStream(contract.IngestStream)}
	if named {
		opts = append(opts, jetstream.WithMsgID(d.kind+d.name+text))
	}
	lost := !named && s.at.UnixMilli()%20 == 0
	for {
		attempt, cancel := context.WithTimeout(ctx, doubt)
		_, err := js.PublishMsg(attempt, msg, opts...)
		if cancel(); err == nil && !lost {
			break
		}
		lost = false
		a.again.Add(1)
		if !pause(ctx, 200*time.Millisecond) {
			return false
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := d.kind + "/" + d.name
	a.acked[key] = append(a.acked[key], s)
	return true
}

// pause waits and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
