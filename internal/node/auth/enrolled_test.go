package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

func (w *world) enrolled(now func() time.Time) *enrolled {
	w.t.Helper()
	js, err := jetstream.New(w.user(contract.UserAuthBundle))
	if err != nil {
		w.t.Fatal(err)
	}
	return &enrolled{js: js, now: now}
}

// TestEnrolmentHasAnExactBound: two replicas take in devices at once, some of them twice; never one more than the limit, and not one less.
func TestEnrolmentHasAnExactBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	const limit, devices = 40, 60
	replicas := []*enrolled{w.enrolled(time.Now), w.enrolled(time.Now)}
	nobody := func(string) bool { return false }
	var wg sync.WaitGroup
	for _, e := range replicas {
		for d := range devices {
			wg.Go(func() {
				_, err := e.take(context.Background(), "f", fmt.Sprint("d", d), limit, nobody)
				for errors.Is(err, errContended) { // the device comes again
					_, err = e.take(context.Background(), "f", fmt.Sprint("d", d), limit, nobody)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	admitted := 0
	for d := range devices { // who was taken in comes again
		if ok, err := replicas[d%2].take(t.Context(), "f", fmt.Sprint("d", d), limit, nobody); err != nil {
			t.Fatal(err)
		} else if ok {
			admitted++
		}
	}
	if admitted != limit {
		t.Errorf("%d devices are in, want %d", admitted, limit)
	}
}

// TestARecountHealsAndForgetsRows: a count that a crash left too high comes down, and a device that has a row by now gives up its place.
func TestARecountHealsAndForgetsRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	at := time.Now()
	e := w.enrolled(func() time.Time { return at })
	rows := map[string]bool{}
	take := func(device string) bool {
		t.Helper()
		ok, err := e.take(t.Context(), "f", device, 2, func(d string) bool { return rows[d] })
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !take("a") || !take("b") || take("c") {
		t.Fatal("want a and b in, and c not")
	}
	rows["a"] = true
	if take("c") {
		t.Fatal("counted anew too soon")
	}
	at = at.Add(recountEvery)
	if !take("c") || take("d") {
		t.Fatal("want c in the place of a, and d not")
	}
	if _, err := e.add(t.Context(), "f", 1, 100); err != nil { // what a crash between count and device leaves
		t.Fatal(err)
	}
	at = at.Add(recountEvery)
	rows["b"] = true
	if !take("d") {
		t.Fatal("a leaked place was not found")
	}
}

// TestOpenEnrolment: a device that no row names comes in under the fleet's own CA, up to the limit, and goes when the fleet closes.
func TestOpenEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	smoke := w.creds["smoke"]
	smoke.Open = 1
	w.creds["smoke"] = smoke
	w.start()
	s := w.connect(w.x509("smoke", "unheard"))
	if err := s.publish("dizuo/v1/d/smoke/unheard/signal", "1", 1); err != nil || w.stored("dizuo.v1.d.smoke.unheard.signal") != "1" {
		t.Errorf("it cannot speak: %v", err)
	}
	named := w.connect(w.x509("smoke", "s1")) // a row needs no place
	for name, d := range map[string]device{"one too many": w.x509("smoke", "second"), "another fleet's CA": w.x509By(w.cas["other"], "smoke", "third"),
		"a closed fleet": w.x509("other", "unheard"), "no device's name": w.x509("smoke", "a.b")} {
		if _, err := w.dial(w.broker.MQTTAddress(), d); !errors.As(err, new(errRefused)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	smoke.Open = 0
	w.creds["smoke"] = smoke
	w.publish()
	if s.alive() == nil {
		t.Error("it stays though its fleet is closed")
	}
	if err := named.alive(); err != nil {
		t.Errorf("a device with a row was cut: %v", err)
	}
}

// TestRefusedOfAnOpenFleet: one device that no row names, or that a row names, is cut and stays out; the others stay, and it comes back
// when it is refused no more.
func TestRefusedOfAnOpenFleet(t *testing.T) {
	w := newWorld(t)
	smoke := w.creds["smoke"]
	smoke.Open = 9
	w.creds["smoke"] = smoke
	w.start()
	lost, placed, other := w.x509("smoke", "lost"), w.x509("smoke", "s1"), w.x509("smoke", "other")
	in := map[string]*session{"lost": w.connect(lost), "s1": w.connect(placed), "other": w.connect(other), "s2": w.connect(w.x509("smoke", "s2"))}
	was := smoke.Devices["s1"]
	smoke.Devices["lost"], smoke.Devices["s1"] = contract.Credential{Stored: true}, contract.Credential{Stored: true}
	w.publish()
	for name, s := range in {
		if refused := name == "lost" || name == "s1"; (s.alive() == nil) == refused {
			t.Errorf("%s: refused %v, connected %v", name, refused, s.alive() == nil)
		}
	}
	for name, d := range map[string]device{"lost": lost, "s1": placed} {
		if _, err := w.dial(w.broker.MQTTAddress(), d); !errors.As(err, new(errRefused)) {
			t.Errorf("%s comes back: %v", name, err)
		}
	}
	delete(smoke.Devices, "lost")
	smoke.Devices["s1"] = was
	w.publish()
	w.connect(lost)
	w.connect(placed)
}
