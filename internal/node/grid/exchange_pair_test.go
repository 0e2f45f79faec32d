package grid

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// connectTo lets w exchange with another platform: it calls it by the certificate of the organisation that speaks for w there.
func (w *exchangeWorld) connectTo(other *exchangeWorld, poll int64) {
	w.t.Helper()
	key := other.keys["hotline-office"]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	name, us := other.bundle.Directory.Platform.Name, w.bundle.Directory.Platform.Name
	w.file(name, contract.IntegrationCertificate, "CERTIFICATE", der)
	w.file(name, contract.IntegrationKey, "EC PRIVATE KEY", sec1(w.t, key))
	w.bundle.Directory.Platform.Integrations = map[string]contract.Integration{name: {
		URL: other.tls + "/v1/exchange/" + us, CABundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.server.Certificate().Raw})),
		PollSeconds: poll, Inbound: true, Outbound: true, Organization: "hotline-office",
	}}
	w.name = name
}

func sec1(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (w *exchangeWorld) file(name, kind, block string, der []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.x.secretDir, contract.IntegrationFile(name, kind)), pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// byOrigin gives the state of each case by where it comes from, as the database has it.
func (w *exchangeWorld) byOrigin() map[string]string {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), "SELECT CASE WHEN source_system = '' THEN $1 || ':' || id ELSE source_system || ':' || external_id END, state FROM grid.cases", w.bundle.Directory.Platform.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]string{}
	for rows.Next() {
		var id, state string
		if err := rows.Scan(&id, &state); err != nil {
			w.t.Fatal(err)
		}
		out[id] = state
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestTwoPlatformsExchange connects two platforms to each other, with nothing in between: people act on both, each asks and each calls. It ends, and
// where one of them does not take what the other asks for, that is told and not tried for ever.
func TestTwoPlatformsExchange(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			a, b := newExchangeWorld(t, func(*contract.Integration) {}), newExchangeWorld(t, func(*contract.Integration) {})
			b.bundle.Directory.Platform.Name = "helan"
			poll := int64(30)
			if seed == 0 {
				poll = 0 // each only calls
			}
			a.connectTo(b, poll)
			b.connectTo(a, poll)
			r := mathrand.New(mathrand.NewPCG(seed, 55))
			both := []*exchangeWorld{a, b}
			for range 100 {
				w := both[r.IntN(2)]
				switch r.IntN(4) {
				case 0:
					w.ours("C0")
				case 1, 2:
					w.somebodyActs(r)
				}
				_ = both[r.IntN(2)].turn(time.Duration(r.IntN(40)) * time.Second)
			}
			settle := func(rounds int) {
				for range rounds {
					for _, w := range both {
						if err := w.turn(longestExchangePause); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			settle(8)
			changes := func() int64 {
				return number(t, a.pool, "SELECT count(*) FROM grid.changes") + number(t, b.pool, "SELECT count(*) FROM grid.changes")
			}
			sent := func() int64 {
				return number(t, a.pool, "SELECT sent + conflicts FROM grid.exchange") + number(t, b.pool, "SELECT sent + conflicts FROM grid.exchange")
			}
			was, calls := changes(), sent()
			settle(4)
			if n, m := changes()-was, sent()-calls; n != 0 || m != 0 {
				t.Errorf("with nobody acting, %d changes and %d documents", n, m)
			}
			here, there := a.byOrigin(), b.byOrigin()
			differ := 0
			for id, state := range here {
				if there[id] != state && there[id] != "" {
					differ++
					t.Logf("case %s: %s here, %s there", id, state, there[id])
				}
				if there[id] == "" && State(state).Open() {
					t.Errorf("case %s is %s here and not there", id, state)
				}
			}
			for id, state := range there {
				if here[id] == "" && State(state).Open() {
					t.Errorf("case %s is %s there and not here", id, state)
				}
			}
			// Two platforms have states that only their own people give. What differs for that is told by both.
			for _, w := range both {
				unreconciled := number(t, w.pool, "SELECT count(*) FROM grid.mirrors WHERE problem <> ''")
				if int(unreconciled) < differ {
					t.Errorf("%d cases differ, and %d are told", differ, unreconciled)
				}
			}
			t.Logf("%d and %d cases, %d differ, %d documents and conflicts", len(here), len(there), differ, calls)
		})
	}
}
