package auth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// clock is one that a test sets.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(0, c.at.Load()) }
func (c *clock) set(at time.Time)     { c.at.Store(at.UnixNano()) }
func (c *clock) pass(d time.Duration) { c.at.Add(int64(d)) }

// doorkeeper is the role of an edge node short of its broker: what is decided here is what the callout answers.
type doorkeeper struct {
	*Local
	t *testing.T
}

// newDoorkeeper starts one over a folder. A second one over the same folder is the node after a restart.
func newDoorkeeper(t *testing.T, dir string, c *clock, in *intake.Intake) *doorkeeper {
	t.Helper()
	key, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	before, err := openReturning(dir)
	if err != nil {
		t.Log(err)
	}
	s := newStats(prometheus.NewRegistry())
	e := &enforcer{platform: platform, in: in, now: c.now, log: logger(), stats: s, admitted: &admitted{}, returning: before,
		flush: func(context.Context) error { return nil }, sweep: func(context.Context, func(string, string) bool, []string) (int, error) { return 0, nil }}
	r := responderOf(key, issuer, e, s, logger())
	r.now = c.now
	k := &doorkeeper{&Local{enforce: e, responder: r, stats: s}, t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	await(t, "registry", func() error {
		if e.present() == nil {
			return errors.New("none")
		}
		return nil
	})
	return k
}

// comes gives why a device is not let in, or "".
func (k *doorkeeper) comes(device, secret string) Reason {
	k.t.Helper()
	_, no := k.responder.decide(context.Background(), Request{Type: "mqtt", ClientID: contract.ClientID("door", device),
		Username: contract.DeviceID("door", device), Password: secret}, func(Identity) error { return nil })
	if no == nil {
		return ""
	}
	return no.Reason
}

// save is what happens each second.
func (k *doorkeeper) save() {
	k.t.Helper()
	if err := k.enforce.returning.save(); err != nil {
		k.t.Fatal(err)
	}
}

func (k *doorkeeper) want(what string, wants map[string]Reason) {
	k.t.Helper()
	for device, want := range wants {
		if got := k.comes(device, "secret of "+device); got != want {
			k.t.Errorf("%s: %s: %q, want %q", what, device, got, want)
		}
	}
}

// TestAfterTheLease: when the lease has ended, who was let in under it may come back, also after a restart; nobody new, and nobody by
// another credential. A new lease forgets whom it does not name.
func TestAfterTheLease(t *testing.T) {
	dir, c := t.TempDir(), &clock{}
	start := time.Now()
	c.set(start)
	bundle := func(sequence int64, devices ...string) *intake.Bundle {
		all := map[string]contract.Credential{}
		for _, d := range devices {
			hash, err := password.HashGenerated("secret of "+d, zeros{})
			if err != nil {
				t.Fatal(err)
			}
			all[d] = contract.Credential{PasswordHash: hash}
		}
		return &intake.Bundle{Credentials: map[string]contract.Credentials{"door": {Method: methodPassword, Devices: all}},
			Lease: contract.Lease{Revision: fmt.Sprint(devices), Sequence: sequence, IssuedAt: c.now(), ExpiresAt: c.now().Add(time.Hour)}}
	}
	in := intake.NewStatic(bundle(1, "d1", "d2", "d3"))
	k := newDoorkeeper(t, dir, c, in)
	k.want("under the lease", map[string]Reason{"d1": "", "d3": "", "stranger": ReasonNoDevice})
	if err := k.Lapsed(); err != nil {
		t.Errorf("lapsed under the lease: %v", err)
	}
	k.save()

	c.pass(2 * time.Hour)
	after := map[string]Reason{"d1": "", "d2": ReasonNoBundle, "d3": "", "stranger": ReasonNoDevice}
	k.want("after the lease", after)
	if no := k.comes("d1", "guess"); no != ReasonBadPassword {
		t.Errorf("a device that was in before shows a wrong password: %q", no)
	}
	k.want("again: being refused, or let in again, makes nobody known", after)
	if k.Live() == nil {
		t.Error("commands would be passed on")
	}
	var report contract.Report
	if k.Report(&report); report.Problem == "" {
		t.Error("the report does not say that the lease has ended")
	}

	k = newDoorkeeper(t, dir, c, in)
	k.want("after a restart", after)

	in.Set(bundle(2, "d1", "d2"))
	await(t, "the new lease", func() error {
		if n, _, _ := k.Applied(); n != 2 {
			return fmt.Errorf("sequence %d", n)
		}
		return nil
	})
	k.want("under the new lease", map[string]Reason{"d2": "", "d3": ReasonNoDevice})
	k.save()
	c.pass(2 * time.Hour)
	k.want("after the new lease", map[string]Reason{"d1": "", "d2": "", "d3": ReasonNoDevice})
}

// zeros makes salts that do not change: the same password is the same credential in every bundle.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestCredentialOfAReturningDeviceIsItsOwn: a rotation meanwhile makes what was let in before somebody else.
func TestCredentialOfAReturningDeviceIsItsOwn(t *testing.T) {
	r, err := openReturning(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{Fleet: "door", Device: "d1", ClientID: "door_d1", Stamp: "1"}
	r.note(id)
	id.Stamp = "2"
	if r.knows(id) {
		t.Error("another stamp is taken for the one before")
	}
	if r.note(Identity{Fleet: "door", Device: "d2", Stamp: "1"}); r.knows(Identity{Fleet: "door", Device: "d2", Stamp: "1"}) {
		t.Error("somebody without a client id is known")
	}
	for n := range maxReturning + 10 {
		r.note(Identity{Fleet: "door", Device: fmt.Sprint(n), ClientID: fmt.Sprint(n), Stamp: "1"})
	}
	if len(r.users) != maxReturning {
		t.Errorf("%d are remembered, at most %d may be", len(r.users), maxReturning)
	}
}

// TestDamagedFileShutsOut: whom it named is not known any more.
func TestDamagedFileShutsOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "returning.json"), []byte(`{"door_d1":"door.d1/1"`), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := openReturning(dir)
	if err == nil || r == nil {
		t.Fatalf("%v, %v: want an error and an empty book", r, err)
	}
	id := Identity{Fleet: "door", Device: "d1", ClientID: "door_d1", Stamp: "1"}
	if r.knows(id) {
		t.Error("known by a damaged file")
	}
	r.note(id)
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	if r, err = openReturning(dir); err != nil || !r.knows(id) {
		t.Errorf("%v after it was written anew", err)
	}
}
