package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// opened is a running stream.
type opened struct {
	*bufio.Scanner
	response *http.Response
}

func (w *world) open1(query string) opened { return w.openAs(query, "") }

// openAs starts a stream that claims an emergency, if a reason is given.
func (w *world) openAs(query, emergency string) opened {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.http.URL+"/v1/datasets/elders/records?purpose=HomeVisits&"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", ndjson)
	req.Header.Set("Dizuo-Person", w.token("town", "GridWorker"))
	if emergency != "" {
		req.Header.Set("Dizuo-Break-Glass", emergency)
	}
	resp, err := w.client("town").Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return opened{lines, resp}
}

// rest reads to the end.
func (o opened) rest(t *testing.T) (records int, end streamEnd) {
	t.Helper()
	for o.Scan() {
		var line struct {
			End *streamEnd `json:"dizuo:end"`
		}
		if err := json.Unmarshal(o.Bytes(), &line); err != nil {
			t.Fatalf("%q: %v", o.Text(), err)
		}
		if line.End != nil {
			return records, *line.End
		}
		records++
	}
	t.Fatalf("the stream ended after %d records without its last line: %v", records, o.Err())
	return 0, streamEnd{}
}

// many fills the table with rows of the town, each so large that a client who does not read stops the stream.
func (w *world) many(n, size int) {
	w.exec(`INSERT INTO datasets.`+w.bundle.Access.Datasets["elders"].Source.Table+` (id, community, subject, phone) SELECT 100 + i, $1, 'm' || i, repeat('x', $2) || i FROM generate_series(1, $3) i`, jinghu, size, n)
}

// unmasked gives phone, community and level as they are.
func unmasked(w *world) {
	g := w.bundle.Access.Grants["elders"]["town"]["a6"]
	g.Fields = map[string]contract.Mask{"phone": {}, "community": {}, "level": {}, "name": {Method: maskPseudonym}}
	w.bundle.Access.Grants["elders"]["town"]["a6"] = g
}

// regrant puts another grant in force, or none: a new document, for the one in force is being read.
func (w *world) regrant(change func(*contract.Grant)) {
	grants := map[string]contract.Grant{}
	if g := w.bundle.Access.Grants["elders"]["town"]["a6"]; change != nil {
		change(&g)
		grants["a6"] = g
	}
	w.bundle.Access.Grants = map[string]map[string]map[string]contract.Grant{"elders": {"town": grants}}
	w.next()
}

func TestStream(t *testing.T) {
	w := newWorld(t, unmasked)
	w.many(2497, 10)
	o := w.open1("fields=phone")
	if got := o.response.Header.Get("Content-Type"); o.response.StatusCode != 200 || got != ndjson {
		t.Fatalf("%d %s", o.response.StatusCode, got)
	}
	n, end := o.rest(t)
	if n != 2500 || end.Outcome != outcomeSent || end.Records != 2500 || end.Agreement != "a6" || end.Next != "" || end.Request == "" {
		t.Errorf("%d records, end %+v", n, end)
	}
	w.close()
	var kinds []string
	rows := int64(0)
	for _, r := range w.records() {
		if kinds = append(kinds, r.Kind); r.Kind == contract.LogRelease {
			rows += r.Rows
		}
	}
	if got := strings.Join(kinds, " "); got != "decision release release release end" || rows != 2500 {
		t.Errorf("log %s, %d rows released", got, rows)
	}
}

// Whatever ends an agreement ends its running streams at the next chunk, and a client sees that it was cut.
func TestStreamIsCut(t *testing.T) {
	const n = 30_000
	for name, c := range map[string]struct {
		change func(*world)
		reason string
	}{
		"revoked":  {func(w *world) { w.regrant(nil) }, reasonNoAgreement},
		"over":     {func(w *world) { w.regrant(func(g *contract.Grant) { g.NotAfter = time.Now().Unix() - 1 }) }, "Expired"},
		"replaced": {func(w *world) { w.regrant(func(g *contract.Grant) { g.UID = "uid-other" }) }, reasonNoAgreement},
		"key removed": {func(w *world) {
			w.bundle.Directory.Organizations = map[string]contract.Organization{"town": {Type: "Township"}}
			w.next()
		}, reasonUnknownOrganization},
		"lease over": {func(w *world) { w.bundle.Lease.ExpiresAt = time.Now().Add(-time.Second); w.next() }, reasonStaleBundle},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, unmasked)
			w.t = t
			w.many(n, 1500)
			o := w.open1("fields=phone")
			if !o.Scan() {
				t.Fatal(o.Err())
			}
			c.change(w)
			got, end := o.rest(t)
			if got >= n || end.Outcome == outcomeSent || len(end.Reasons) != 1 || end.Reasons[0] != c.reason {
				t.Errorf("%d records, end %+v", got, end)
			}
			if o.Scan() || o.Err() == nil {
				t.Error("to a client that does not look at the last line the stream looks whole")
			}
			released := int64(0)
			w.close()
			for _, r := range w.records() {
				if r.Kind == contract.LogRelease {
					released += r.Rows
				}
			}
			if released < int64(got+1) {
				t.Errorf("%d records arrived, %d are in the log", got+1, released)
			}
		})
	}
}

// A stream that began within the hours does not turn into an emergency that nobody wrote down; one that began as an emergency is written
// down once, and goes on.
func TestStreamDoesNotBecomeAnEmergency(t *testing.T) {
	const n = 30_000
	day := func(g *contract.Grant) { g.Hours = &contract.Hours{From: 0, To: 0} } // the whole day
	for name, c := range map[string]struct {
		begin func(*contract.Grant)
		uses  int
	}{"within hours": {day, 0}, "as an emergency": {func(*contract.Grant) {}, 1}} {
		t.Run(name, func(t *testing.T) {
			w := withEmergencies(t)
			unmasked(w)
			closed := w.bundle.Access.Grants["elders"]["town"]["a6"].Hours
			w.regrant(c.begin)
			w.many(n, 1500)
			o := w.openAs("fields=phone", "fire")
			if !o.Scan() {
				t.Fatal(o.Err())
			}
			w.regrant(func(g *contract.Grant) { g.Hours = closed })
			got, end := o.rest(t)
			if c.uses == 0 && (got >= n || end.Outcome != outcomeRevoked || !slices.Equal(end.Reasons, []string{"OutsideHours"})) ||
				c.uses == 1 && (got < n || end.Outcome != outcomeSent) {
				t.Errorf("%d records, end %+v", got, end)
			}
			uid := w.bundle.Access.Grants["elders"]["town"]["a6"].UID
			defer w.exec("DELETE FROM audit.break_glass WHERE uid = $1", uid) // else other tests count it
			var uses int
			if err := w.server.emergencies.pool.QueryRow(t.Context(), "SELECT count(*) FROM audit.break_glass WHERE uid = $1", uid).Scan(&uses); err != nil || uses != c.uses {
				t.Errorf("%d uses are written down, want %d: %v", uses, c.uses, err)
			}
		})
	}
}

// A consent that is withdrawn while a stream runs holds from the next chunk on.
func TestStreamKeepsToConsent(t *testing.T) {
	const n = 12_000
	scope := fmt.Sprintf("stream-%d", time.Now().UnixNano())
	w := newWorld(t, unmasked, func(w *world) {
		g := w.bundle.Access.Grants["elders"]["town"]["a6"]
		g.ConsentScope = scope
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	})
	w.many(n, 1500)
	w.exec(`INSERT INTO grid.consents (subject, scope, given_at) SELECT 'm' || i, $1, now() - interval '1 hour' FROM generate_series(1, $2) i`, scope, n)
	w.exec(`CREATE INDEX IF NOT EXISTS consents_key ON grid.consents (subject, scope)`)
	w.exec(`ANALYZE grid.consents`)
	o := w.open1("fields=phone")
	if !o.Scan() {
		t.Fatal(o.Err())
	}
	w.exec(`UPDATE grid.consents SET withdrawn_at = now() WHERE scope = $1`, scope)
	got, end := o.rest(t)
	if got+1 >= n || end.Outcome != outcomeSent {
		t.Errorf("%d of %d records after the withdrawal, end %+v", got+1, n, end)
	}
}

func TestFilters(t *testing.T) {
	w := newWorld(t, unmasked)
	for where, want := range map[string]struct {
		status  int
		reason  string
		records int
	}{
		"phone:In:13800000001":      {200, "", 1},
		"phone:In:13800000001,123":  {200, "", 2},
		"phone:NotIn:13800000001":   {200, "", 1}, // one phone is NULL
		"phone:DoesNotExist":        {200, "", 1},
		"level:AtLeast:47":          {200, "", 1},
		"level:AtMost:47":           {200, "", 2},
		"phone:In:' OR true --":     {200, "", 0},
		"name:In:张一":                {403, reasonFilterNotGranted, 0}, // masked
		"health:Exists":             {403, reasonFilterNotGranted, 0}, // not given
		"level:In:47; DROP TABLE x": {400, reasonInvalidFilter, 0},
		"phone:Like:1%":             {400, reasonInvalidFilter, 0},
		"phone:AtLeast:1":           {400, reasonInvalidFilter, 0},
		"phone":                     {400, reasonInvalidFilter, 0},
		"phone:In:a\x00b":           {400, reasonInvalidFilter, 0},
	} {
		r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&where="+url.QueryEscape(where))
		if r.status != want.status || len(r.Records) != want.records || want.reason != "" && r.problem.Reasons[0] != want.reason {
			t.Errorf("%q: %d %s, want %+v", where, r.status, r.raw, want)
		}
	}
	// A field that was not asked for is not given, so no filter reaches it.
	r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&fields=level&where=phone:Exists")
	if r.status != 403 {
		t.Errorf("filter on a field that was not asked for: %d %s", r.status, r.raw)
	}
	// A cursor holds good for its own filter, fields and person.
	first := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&limit=1&where=community:Exists")
	if first.Next == "" {
		t.Fatalf("%d %s", first.status, first.raw)
	}
	for query, want := range map[string]int{"where=community:Exists": 200, "where=level:Exists": 400, "where=community:Exists&fields=community": 400, "": 400} {
		if r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&cursor="+first.Next+"&"+query); r.status != want {
			t.Errorf("cursor with %q: %d %s, want %d", query, r.status, r.raw, want)
		}
	}
}

func TestParseFilter(t *testing.T) {
	got, err := parseFilter([]string{`a:In:x\,y,z\\,`, "b:Exists", "c:AtLeast:2026-03-01T00:00:00+08:00"})
	want := `[{"field":"a","operator":"In","values":["x,y","z\\",""]},{"field":"b","operator":"Exists"},{"field":"c","operator":"AtLeast","values":["2026-03-01T00:00:00+08:00"]}]`
	if raw, _ := json.Marshal(got); err != nil || string(raw) != want {
		t.Errorf("%s, %v", raw, err)
	}
	for _, bad := range [][]string{{"a"}, {":In:x"}, {"a:Exists:x"}, {"a:In"}, {"a:Or:1"}, strings.Split(strings.Repeat("a:Exists ", 9), " "), {"a:In:" + strings.Repeat("x,", 200)}} {
		if got, err := parseFilter(bad); err == nil {
			t.Errorf("%q was taken: %+v", bad, got)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add(`a:In:x\,y`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFilter([]string{text})
		if err == nil && (len(got) != 1 || valuesOf[got[0].Operator] == "" || (valuesOf[got[0].Operator] == "none") != (len(got[0].Values) == 0)) {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

// stubVault knows some keys, and which of them consent.
type stubVault map[string]string

func (v stubVault) consenting(_ context.Context, _ string, keys, _ []string, _ string) (map[string]string, error) {
	out := map[string]string{}
	for _, k := range keys {
		if subject, ok := v[k]; ok {
			out[k] = subject
		}
	}
	return out, nil
}
