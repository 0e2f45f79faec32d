package devices

import (
	"testing"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// TestBenchConnect measures whole admissions (TCP, TLS 1.3, CONNECT, callout, CONNACK) of devices that never came before, so that
// no TLS session is resumed.
func TestBenchConnect(t *testing.T) {
	needed(t)
	s := newStack(t, "2m")
	for name, players := range map[string][]player{"certificate": s.certificates(2000), "password": s.passwords(2000)} {
		s.publish(&players[0])
		got := s.load(load{Kind: "connect", Players: players[1:], Workers: 16}).result()
		if got.Failed > 0 {
			t.Errorf("%s: %d of %d did not come in", name, got.Failed, len(players))
		}
		record(figure.AtLeast("connects with "+name, got.rate(), "1/s", 0))
	}
}
