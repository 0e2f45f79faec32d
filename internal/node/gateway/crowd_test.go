package gateway

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Reads that take long take an organisation's own places, and none of another's.
func TestSlowReadsLeaveOthersAlone(t *testing.T) {
	w := newWorld(t, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		d.Source.Table += "_slow"
		w.exec(`CREATE VIEW datasets.` + d.Source.Table + ` AS SELECT *, pg_sleep(0.9)::text AS slow FROM datasets.` + w.bundle.Access.Datasets["elders"].Source.Table + ` WHERE id <= 3`)
		d.Fields = map[string]contract.DatasetField{"slow": {Type: "String", Column: "slow", Personal: "None"}}
		w.bundle.Access.Datasets["slow"] = d
		g := visits()
		g.Fields = map[string]contract.Mask{"slow": {}}
		w.bundle.Access.Grants["slow"] = map[string]map[string]contract.Grant{"town": {"a7": g}}
		w.bundle.Access.Grants["elders"]["health"] = map[string]contract.Grant{"a8": visits()}
	})
	slow := make(chan int, 12)
	for range cap(slow) {
		go func() {
			r, err := fetchReply(w.client("town"), w.http.URL, "", "slow", "purpose=HomeVisits")
			if err != nil || r.status != http.StatusOK && (r.problem.Reasons[0] != reasonRateLimited || r.header.Get("Retry-After") == "") {
				t.Errorf("%d %s %v", r.status, r.raw, err)
			}
			slow <- r.status
		}()
	}
	for deadline := time.Now().Add(10 * time.Second); w.server.db.pool.Stat().AcquiredConns() < readsAtOnce; {
		if time.Now().After(deadline) {
			t.Fatal("nobody reads")
		}
		runtime.Gosched()
	}
	for range 3 {
		if busy := w.server.db.pool.Stat().AcquiredConns(); busy > readsAtOnce {
			t.Errorf("one organisation holds %d connections", busy)
		}
		if r := w.get("health", "", "elders", plain); r.status != http.StatusOK {
			t.Errorf("another organisation: %d %s", r.status, r.raw)
		}
	}
	served := map[int]int{}
	for range cap(slow) {
		served[<-slow]++
	}
	if served[http.StatusOK] < readsAtOnce || served[http.StatusTooManyRequests] == 0 {
		t.Errorf("by status %v", served)
	}
	if r := w.get("town", "", "elders", plain); r.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", r.status, r.raw)
	}
}

func TestStreamsAtOnce(t *testing.T) {
	w := newWorld(t, unmasked)
	w.many(30_000, 1500)
	var open []opened
	for i := range streamsAtOnce {
		o := w.open1("fields=phone")
		if open = append(open, o); !o.Scan() {
			t.Fatal(i, o.response.Status)
		}
	}
	o := w.open1("fields=phone")
	if o.response.StatusCode != http.StatusTooManyRequests || o.response.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s", o.response.Status)
	}
	if _, err := w.server.crowds.stream("health"); err != nil {
		t.Errorf("another organisation: %v", err)
	}
	if r := w.ask("town", plain, nil); r.status != http.StatusOK {
		t.Errorf("a page meanwhile: %d %s", r.status, r.raw)
	}
	n, end := open[0].rest(t)
	if n == 0 || end.Outcome != outcomeSent {
		t.Errorf("%d records, %+v", n, end)
	}
	deadline := time.Now().Add(10 * time.Second)
	for { // the place is free a moment after the last line
		if o = w.open1("fields=phone&where=phone:In:x"); o.response.StatusCode == http.StatusOK || time.Now().After(deadline) {
			break
		}
	}
	if o.response.StatusCode != http.StatusOK {
		t.Errorf("after one has ended: %s", o.response.Status)
	}
}
