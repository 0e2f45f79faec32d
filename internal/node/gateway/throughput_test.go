package gateway

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// TestBenchThroughput measures pages of 100 records through the gateway, with its log synced, beside a handler that does nothing but run
// the same SQL over the same pool and TLS. DIZUO_BENCH_OUT says where the figures go; without it nothing is measured.
func TestBenchThroughput(t *testing.T) {
	out := os.Getenv("DIZUO_BENCH_OUT")
	if out == "" {
		t.Skip("set DIZUO_BENCH_OUT to measure")
	}
	w := newWorld(t, unmasked)
	w.many(2000, 10)
	w.server.limits.each = rate.Inf
	bare := w.bare()
	defer bare.Close()
	var figures []figure.Figure
	for _, clients := range []int{1, 8, 32} {
		var ratios, p99s, pace []float64
		for range 5 { // one beside the other, so that both have the same machine
			plain, _ := w.load(bare.URL, clients)
			through, p99 := w.load(w.http.URL, clients)
			ratios, p99s, pace = append(ratios, through/plain), append(p99s, p99.Seconds()*1000), append(pace, through)
		}
		slices.Sort(ratios)
		slices.Sort(p99s)
		slices.Sort(pace)
		target := 0.0
		if clients == 8 {
			target = 0.7
		}
		name := fmt.Sprintf("read_%d_clients_", clients)
		figures = append(figures, figure.AtLeast(name+"throughput_ratio", ratios[2], "x", target),
			figure.AtMost(name+"throughput", pace[2], "pages/s", 0), figure.AtMost(name+"p99", p99s[2], "ms", 0))
	}
	told(t, out, figures)
}

// bare serves the statement of a page as it is.
func (w *world) bare() *httptest.Server {
	s := w.server
	r := &reading{caller: caller{organization: "town", policy: s.policy.Load().policy, at: time.Now()}, limit: 100}
	r.grant = w.bundle.Access.Grants["elders"]["town"]["a6"]
	r.in.Dataset, r.in.Consumer, r.decision.Fields, r.decision.Rows = "elders", "town", r.grant.Fields, &r.grant.Rows
	sel, err := s.selection(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	sel.limit = 100
	st, err := build(sel)
	if err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		rows, err := s.db.pool.Query(in.Context(), st.sql, st.args...)
		if err == nil {
			var found []row
			if found, _, err = collect(rows, sel, st); err == nil {
				err = json.NewEncoder(out).Encode(Records{Records: pageOf(found, false).records})
			}
		}
		if err != nil {
			http.Error(out, err.Error(), http.StatusInternalServerError)
		}
	}))
	server.TLS = &tls.Config{Certificates: w.http.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	return server
}

// load reads pages for a while and gives how many in a second, and the p99 of one.
func (w *world) load(base string, clients int) (pace float64, p99 time.Duration) {
	token, client := w.token("town", "GridWorker"), w.client("town")
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	url := base + "/v1/datasets/elders/records?purpose=HomeVisits&limit=100"
	const lasts = 2 * time.Second
	var mu sync.Mutex
	var all []time.Duration
	var group sync.WaitGroup
	read := func() (time.Duration, error) {
		began := time.Now()
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("Dizuo-Person", token)
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		return time.Since(began), err
	}
	began := time.Now()
	for range clients {
		group.Go(func() {
			var own []time.Duration
			for time.Since(began) < lasts {
				took, err := read()
				if err != nil {
					w.t.Error(err)
					return
				}
				own = append(own, took)
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	group.Wait()
	if len(all) == 0 {
		w.t.Fatal("nothing was read")
	}
	slices.Sort(all)
	return float64(len(all)) / time.Since(began).Seconds(), all[len(all)*99/100]
}
