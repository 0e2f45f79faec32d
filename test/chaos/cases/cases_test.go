// Package cases kills the parts of a centre while devices speak, and holds what became of it against what was acknowledged: every acknowledged
// signal is in one case, every message came under one id, no time of a case was lost or came twice. All parts are processes, see test/stack.
package cases

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// perSecond is how many signals are sent, so that the doors have their time.
const perSecond = 80

// number reads a whole number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: write a whole number", name, text)
	}
	return n
}

// TestKilledWhileDevicesSpeak kills a part at random again and again, DIZUO_CASE_KILLS times, while DIZUO_SIGNALS signals are sent and their cases
// run through their times. DIZUO_SEED repeats the order of kills.
func TestKilledWhileDevicesSpeak(t *testing.T) {
	if testing.Short() {
		t.Skip("make chaos-cases and make test-fault run it: it takes minutes")
	}
	signals, kills := int(number(t, "DIZUO_SIGNALS", 1000)), int(number(t, "DIZUO_CASE_KILLS", 4))
	seed := number(t, "DIZUO_SEED", uint64(time.Now().UnixNano()))
	if signals < 100 || signals%100 != 0 {
		t.Fatalf("DIZUO_SIGNALS=%d: write hundreds", signals)
	}
	t.Logf("DIZUO_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	p, r := planFor(signals, random.Float64), newReceiver(t, seed)
	s := stack.Start(t, world(p, r.URL))
	a := &account{acked: map[string][]saying{}}

	within := time.Duration(signals) * time.Second / perSecond
	began, spoken := time.Now(), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	js := s.Connect(contract.UserIngest)
	go func() {
		defer close(spoken)
		a.speak(ctx, js, p, within)
	}()
	// Some are killed while nobody speaks any more: times are missed and messages go out still.
	every := (within + 15*time.Second) / time.Duration(kills+1)
	var next []string
	killed := map[string]int{}
	for kill := range kills {
		time.Sleep(time.Until(began.Add(time.Duration((float64(kill) + 0.5 + random.Float64()) * float64(every)))))
		if len(next) == 0 { // each part has its turn, in another order each time
			next = s.Parts()
			random.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
		}
		name := next[0]
		next = next[1:]
		t.Logf("%5.1f s: kill -9 of %s", time.Since(began).Seconds(), name)
		s.Kill(name, time.Duration(random.IntN(1500))*time.Millisecond)
		killed[name]++
	}
	<-spoken
	took := time.Since(began)
	r.bestBehaviour()
	drained := a.drained(t, s, p, r)
	var acked int
	for _, said := range a.copy() {
		acked += len(said)
	}
	if acked != signals {
		t.Errorf("%d signals were acknowledged, want %d", acked, signals)
	}
	_, attempts := r.said()
	t.Logf("%d signals acknowledged in %s, %d sent again, kills %v, ended by themselves %v, all settled %s later, %d messages in %d attempts",
		acked, took.Round(time.Second), a.again.Load(), killed, s.Unasked(), drained.Round(time.Second), len(r.byID), attempts)
}

// drained waits, up to DIZUO_SETTLE seconds, until all is settled, looks once more after the time in which what comes twice would come, and gives how long it took.
func (a *account) drained(t *testing.T, s *stack.Stack, p plan, r *receiver) time.Duration {
	t.Helper()
	began := time.Now()
	var wrong []string
	patience := time.Duration(number(t, "DIZUO_SETTLE", uint64(longest/time.Second))) * time.Second
	for time.Since(began) < patience {
		var err error
		if wrong, err = a.balance(t.Context(), s.Pool, p, r); err == nil && len(wrong) == 0 {
			break
		} else if err != nil {
			wrong = []string{err.Error()}
		}
		time.Sleep(500 * time.Millisecond)
	}
	took := time.Since(began)
	if len(wrong) == 0 {
		time.Sleep(2 * allowed * time.Second)
		var err error
		if wrong, err = a.balance(t.Context(), s.Pool, p, r); err != nil {
			t.Fatal(err)
		}
	}
	if len(wrong) > 0 {
		t.Error(errors.New(fmt.Sprintf("%d things are not as acknowledged:\n", len(wrong)) + strings.Join(wrong[:min(40, len(wrong))], "\n")))
	}
	return took
}
