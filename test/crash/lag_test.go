//go:build envtest

package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// lagging makes the caches of an operator lag behind: each event of a watch comes up to lag late, and now and then one does not
// come at all, until the API server says that the watch is too old and all is listed anew.
type lagging struct {
	next http.RoundTripper
	lag  time.Duration
	// lose is the chance of an event to be lost.
	lose float64

	mu   sync.Mutex
	rand *rand.Rand
}

func (l *lagging) draw() (delay time.Duration, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.rand.Int64N(int64(l.lag))), l.rand.Float64() < l.lose
}

// RoundTrip implements http.RoundTripper.
func (l *lagging) RoundTrip(r *http.Request) (*http.Response, error) {
	watching := r.Method == http.MethodGet && r.URL.Query().Get("watch") != ""
	if !watching || strings.Contains(r.Header.Get("Accept"), "as=") {
		return l.next.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Accept", "application/json") // an event is then a JSON value
	answer, err := l.next.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		return answer, err
	}
	in := answer.Body
	reader, out := io.Pipe()
	answer.Body = body{reader, in}
	whole := r.URL.Query().Get("sendInitialEvents") != ""
	go func() { _ = out.CloseWithError(l.pass(in, out, whole)) }()
	return answer, nil
}

type body struct {
	*io.PipeReader
	in io.Closer
}

// Close ends both sides.
func (b body) Close() error { _ = b.PipeReader.Close(); return b.in.Close() }

const tooOld = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":"Expired","code":410}}` + "\n"

// late is an event and when it is due.
type late struct {
	event json.RawMessage
	due   time.Time
}

// pass passes events on, in order, each late and not all of them; a second after the first lost one the watch is too old. whole
// says that the watch begins with a list: of that nothing is lost, or no watch would ever begin.
func (l *lagging) pass(in io.Reader, out io.Writer, whole bool) error {
	queue := make(chan late, 10_000)
	var once sync.Once
	go func() {
		defer close(queue)
		for events := json.NewDecoder(in); ; {
			var event json.RawMessage
			if events.Decode(&event) != nil {
				return
			}
			delay, lost := l.draw()
			if whole {
				whole = !bytes.Contains(event, []byte("k8s.io/initial-events-end"))
			} else if lost {
				once.Do(func() { time.AfterFunc(time.Second, func() { _, _ = io.WriteString(out, tooOld) }) })
				continue
			}
			queue <- late{event, time.Now().Add(delay)}
		}
	}()
	for e := range queue {
		time.Sleep(time.Until(e.due)) // that it lags is what is tested
		if _, err := fmt.Fprintf(out, "%s\n", e.event); err != nil {
			return err
		}
	}
	return io.EOF
}

// TestLaggingCaches makes every phase with an operator whose caches lag and lose events, which is killed somewhere as well: the
// end is that of an undisturbed run.
func TestLaggingCaches(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	times := 3
	if testing.Short() {
		times = 1
	}
	for _, p := range phases {
		t.Run(p.name, func(t *testing.T) {
			letter := "l" + p.name[:2]
			w := newWorld(t, "minimal", letter+"0")
			start, want, writes := undisturbed(t, w, p)
			t.Run("lagging", func(t *testing.T) {
				for i := range times {
					k, own := 1+r.IntN(len(writes)), r.Uint64()
					t.Run(fmt.Sprint("killed after write ", k), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, "minimal", fmt.Sprint(letter, i+1))
						w.perturb = func(next http.RoundTripper) http.RoundTripper {
							return &lagging{next: next, lag: 300 * time.Millisecond, lose: 0.05, rand: rand.New(rand.NewPCG(own, 1))}
						}
						defer w.clear()
						killed(t, w, p, k, start, want)
					})
				}
			})
		})
	}
}
