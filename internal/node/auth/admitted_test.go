package auth

import (
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestKnownConnectionsAreCutByName: whom a revocation names is cut without a look, one connection of it, and not what was let in since.
func TestKnownConnectionsAreCutByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	known := &admitted{}
	sweep := sweeper{w.user(contract.UserAuthSystem), known}
	s1, s2 := w.connect(w.x509("smoke", "s1")), w.connect(w.x509("smoke", "s2"))
	brokers, err := sweep.brokers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	page, err := sweep.page(t.Context(), brokers[0], contract.AccountDevices, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range page.Conns {
		known.add(c.MQTTClient, page.ID, c.Cid)
	}
	everybody := func(string, string) bool { return true }
	if _, err := sweep.Sweep(t.Context(), everybody, []string{"smoke_s1", "nobody"}); err != nil || s1.alive() != nil {
		t.Errorf("cut though it was let in under this registry: %v", err)
	}
	known.begin()
	if _, err := sweep.Sweep(t.Context(), everybody, []string{"smoke_s1", "nobody"}); err != nil {
		t.Fatal(err)
	}
	if s1.alive() == nil {
		t.Error("it was named and stays")
	}
	if err := s2.alive(); err != nil {
		t.Errorf("another was cut: %v", err)
	}
	if _, _, ok := known.take("smoke_s1"); ok {
		t.Error("a connection that is cut is remembered")
	}
}
