package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/test/pki"
)

func TestReadsMaskedRowsOfItsCommunities(t *testing.T) {
	w := newWorld(t)
	r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits")
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	name := func(n string) string { return pseudonym(w.server.keys.mask("uid-visits"), n) }
	want := []map[string]any{
		{"community": jinghu, "level": 40.0, "phone": "*******0001", "name": name("张一"), "born": "1941", "seen": "2026-03-02"},
		{"community": jinghu, "level": -10.0, "phone": "***", "name": name("李二"), "born": "1942", "seen": "2026-03-01"},
		{"community": old, "level": nil, "phone": nil, "name": name("王三"), "born": "1943", "seen": nil},
	}
	if diff := cmp.Diff(want, r.Records); diff != "" {
		t.Error(diff)
	}
	if r.Masked["health"] != maskDrop || r.Masked["phone"] != maskKeepLast || r.Masked["community"] != "" {
		t.Errorf("masked %v", r.Masked)
	}
	for _, secret := range []string{"张一", "13800000001", "h1", east, "赵四"} {
		if strings.Contains(r.raw, secret) {
			t.Errorf("%q left the gateway", secret)
		}
	}
	w.checkTrail(r.Request)
}

// checkTrail looks for decision, release and end of a good request.
func (w *world) checkTrail(request string) {
	w.t.Helper()
	w.server.close()
	got := w.records()
	if len(got) != 3 {
		w.t.Fatalf("%d records, want 3", len(got))
	}
	for i, kind := range []string{"decision", "release", "end"} {
		r := got[i]
		if r.Kind != kind || r.Request != request || !r.Allow || r.UID != "uid-visits" || r.Generation != 3 || r.Consumer != "town" ||
			r.Person != "p-1" || r.Role != "GridWorker" || r.Purpose != "HomeVisits" || r.Revision != "sha256:r1" || r.Lease != 1 {
			w.t.Errorf("record %d: %+v", i, r)
		}
	}
	subjects := []string{pseudonym(w.server.keys.subject, "s1"), pseudonym(w.server.keys.subject, "s2"), pseudonym(w.server.keys.subject, "s3")}
	if diff := cmp.Diff(subjects, got[1].Subjects); diff != "" || got[1].Rows != 3 {
		w.t.Errorf("release: rows %d, %s", got[1].Rows, diff)
	}
}

// TestRefusals is the must-deny list: each case changes one thing of a request that is allowed.
func TestRefusals(t *testing.T) {
	w := newWorld(t, func(w *world) {
		elders := w.bundle.Access.Datasets["elders"]
		hidden := elders
		hidden.Sharing = "None"
		w.bundle.Access.Datasets["hidden"] = hidden
		g := func(change func(*contract.Grant)) contract.Grant { v := visits(); change(&v); return v }
		w.bundle.Access.Grants["hidden"] = map[string]map[string]contract.Grant{"town": {"h": visits()}}
		a := w.bundle.Access.Grants["elders"]["town"]
		a["past"] = g(func(g *contract.Grant) { g.NotAfter = 1000 })
		a["future"] = g(func(g *contract.Grant) { g.NotBefore = time.Now().Unix() + 1000 })
		a["case"] = g(func(g *contract.Grant) { g.CaseNumberRequired = true })
		a["twin"] = visits()
		w.bundle.Access.Grants["elders"]["health"] = map[string]contract.Grant{"doctor": g(func(g *contract.Grant) { g.Roles = []string{"Doctor"} })}
	})
	worker := w.token("town", "GridWorker")
	for name, c := range map[string]struct {
		organization, token, dataset, query string
		status                              int
		reasons                             string
	}{
		"property company has no agreement": {"property", w.token("property", "GridWorker"), "elders", "purpose=HomeVisits", 403, "NoAgreement"},
		"unknown dataset looks the same":    {"property", "", "nothing", "purpose=HomeVisits", 403, "NoAgreement"},
		"hidden dataset looks the same":     {"property", "", "hidden", "purpose=HomeVisits", 403, "NoAgreement"},
		"dataset that is not shared":        {"town", worker, "hidden", "purpose=HomeVisits&agreement=h", 403, "SharingNone"},
		"agreement of another":              {"town", worker, "elders", "purpose=HomeVisits&agreement=doctor", 403, "NoAgreement"},
		"two fit":                           {"town", worker, "elders", "purpose=HomeVisits", 409, "AgreementAmbiguous"},
		"expired":                           {"town", worker, "elders", "purpose=HomeVisits&agreement=past", 403, "Expired"},
		"not yet valid":                     {"town", worker, "elders", "purpose=HomeVisits&agreement=future", 403, "NotYetValid"},
		"purpose":                           {"town", worker, "elders", "purpose=Marketing&agreement=a6", 403, "PurposeNotAllowed"},
		"no purpose":                        {"town", worker, "elders", "agreement=a6", 403, "PurposeNotAllowed"},
		"field":                             {"town", worker, "elders", "purpose=HomeVisits&agreement=a6&fields=phone,id", 403, "FieldNotGranted"},
		"dropped field alone":               {"town", worker, "elders", "purpose=HomeVisits&agreement=a6&fields=health", 403, "NothingGranted"},
		"no person":                         {"town", "", "elders", "purpose=HomeVisits&agreement=a6&fields=phone", 403, "PersonRequired"},
		"wrong role":                        {"town", w.token("town", "Dispatcher"), "elders", "purpose=HomeVisits&agreement=a6", 403, "RoleNotAllowed"},
		"no case number":                    {"town", worker, "elders", "purpose=HomeVisits&agreement=case&caseNumber=%20", 403, "CaseNumberRequired"},
		"person of another organisation":    {"town", w.token("health", "GridWorker"), "elders", "purpose=HomeVisits&agreement=a6", 401, "PersonInvalid"},
		"broken token":                      {"town", worker + "x", "elders", "purpose=HomeVisits&agreement=a6", 401, "PersonInvalid"},
		"made-up cursor":                    {"town", worker, "elders", "purpose=HomeVisits&agreement=a6&cursor=AAAA", 400, "InvalidCursor"},
	} {
		r := w.get(c.organization, c.token, c.dataset, c.query)
		if r.status != c.status || strings.Join(r.problem.Reasons, ",") != c.reasons || len(r.Records) > 0 {
			t.Errorf("%s: %d %s; want %d %s", name, r.status, r.raw, c.status, c.reasons)
		}
		if r.header.Get("Content-Type") != "application/problem+json" || r.problem.Request == "" {
			t.Errorf("%s: content type %q, request %q", name, r.header.Get("Content-Type"), r.problem.Request)
		}
		if !slices.ContainsFunc(w.records(), func(l contract.LogRecord) bool {
			return l.Request == r.problem.Request && l.Kind == "decision" && (!l.Allow || c.status == 400)
		}) {
			t.Errorf("%s: no decision record of request %s", name, r.problem.Request)
		}
	}
	for name, query := range map[string]string{"mistyped parameter": "purpose=HomeVisits&agreement=a6&field=phone", "page too large": "limit=1001", "page too small": "limit=0"} {
		if r := w.get("town", worker, "elders", query); r.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if r := w.get("town", worker, "elders", "purpose=HomeVisits&agreement=case&caseNumber=C-1"); r.status != 200 {
		t.Errorf("with a case number: %d %s", r.status, r.raw)
	}
}

func TestUnknownCertificates(t *testing.T) {
	w := newWorld(t)
	town := contract.OrganizationURI("henan", "henan", "town", "id")
	w.certs["stranger"] = pki.New(t, "somebody").Client(t, town)
	w.certs["expired"] = w.ca.Client(t, town, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	w.certs["server"] = w.ca.Client(t, town, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	w.certs["other"] = w.ca.Client(t, contract.OrganizationURI("henan", "henan", "nobody", "id"))
	pinned := pki.New(t, "somebody").Client(t, town, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	w.certs["pinned and expired"] = pinned
	w.bundle.Directory.Organizations["pinned"] = contract.Organization{KeyDigests: []string{contract.Digest(pinned.Leaf.RawSubjectPublicKeyInfo)}}
	w.next()
	for _, name := range []string{"stranger", "expired", "server", "other", "pinned and expired", "none"} {
		if r := w.get(name, "", "elders", "purpose=HomeVisits"); r.status != 401 || r.problem.Reasons[0] != reasonUnknownOrganization {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
}

func TestDatasetsListsOwnAgreementsOnly(t *testing.T) {
	w := newWorld(t)
	for organization, want := range map[string]int{"town": 1, "health": 0} {
		resp, err := w.client(organization).Get(w.http.URL + "/v1/datasets")
		if err != nil {
			t.Fatal(err)
		}
		var list DatasetList
		err = json.NewDecoder(resp.Body).Decode(&list)
		_ = resp.Body.Close()
		if err != nil || len(list.Datasets) != want || list.Revision != "sha256:r1" {
			t.Fatalf("%s: %+v, %v", organization, list, err)
		}
		if want == 1 && list.Datasets[0].Agreements["a6"].Fields["phone"].Mask != maskKeepLast {
			t.Errorf("entry %+v", list.Datasets[0])
		}
	}
}

// TestSuccessorToAName: who comes by the name of an organisation that is gone does not come by its agreements, also not before these were
// looked at again.
func TestSuccessorToAName(t *testing.T) {
	w := newWorld(t)
	read := func() reply { return w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits") }
	named := func(namespace string) {
		o := w.bundle.Directory.Organizations["town"]
		o.Namespace = namespace
		w.bundle.Directory.Organizations = map[string]contract.Organization{"town": o}
		w.next()
	}
	w.regrant(func(g *contract.Grant) { g.ConsumerNamespace = "county-a" })
	if r := read(); r.status != 200 {
		t.Errorf("a directory that says no namespace: %d %s", r.status, r.raw)
	}
	named("county-a")
	if r := read(); r.status != 200 {
		t.Errorf("the organisation itself: %d %s", r.status, r.raw)
	}
	named("county-b")
	if r := read(); r.status != 403 || r.problem.Reasons[0] != reasonNoAgreement {
		t.Errorf("another of its name: %d %s", r.status, r.raw)
	}
	for path, of := range map[string]string{"/v1/datasets": "datasets", "/v1/catalog": "items"} {
		resp, err := w.client("town").Get(w.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var list map[string]json.RawMessage
		err = json.NewDecoder(resp.Body).Decode(&list)
		_ = resp.Body.Close()
		if err != nil || string(list[of]) != "[]" {
			t.Errorf("%s tells it %s, %v", path, list[of], err)
		}
	}
}

func TestRevocationAndStaleBundle(t *testing.T) {
	w := newWorld(t)
	read := func() reply { return w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits") }
	if r := read(); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	w.bundle.Access.Grants = map[string]map[string]map[string]contract.Grant{}
	w.next()
	if r := read(); r.status != 403 || r.problem.Reasons[0] != reasonNoAgreement {
		t.Errorf("after the agreement is gone: %d %s", r.status, r.raw)
	}
	if seq, rev, _ := w.server.applied(); seq != 2 || rev != "sha256:r2" {
		t.Errorf("applied %d %s", seq, rev)
	}
	late := w.bundle.Lease.ExpiresAt.Add(time.Second)
	w.now = func() time.Time { return late }
	if r := read(); r.status != 503 || r.problem.Reasons[0] != reasonStaleBundle {
		t.Errorf("after the lease: %d %s", r.status, r.raw)
	}
	w.bundle.Lease.ExpiresAt = w.bundle.Lease.ExpiresAt.Add(time.Hour)
	w.bundle.Lease.Sequence++
	w.apply() // renewed: same revision
	if r := w.get("town", "", "elders", "purpose=HomeVisits"); r.status != 403 {
		t.Errorf("after renewal: %d %s", r.status, r.raw)
	}
}

// TestBadPolicyChangesNothing gives bundles that cannot be enforced: the one before stays, until its lease ends.
func TestBadPolicyChangesNothing(t *testing.T) {
	w := newWorld(t)
	for name, modules := range map[string]map[string]string{
		"none": nil, "syntax": {"a.rego": "package dizuo.access\n\ndecision := {"},
		"network": {"a.rego": "package dizuo.access\n\ndecision := http.send({\"url\": \"https://example.com\", \"method\": \"get\"})\n"},
	} {
		bad := w.bundle
		bad.Lease.Revision, bad.Lease.Sequence, bad.Lease.ExpiresAt, bad.Modules = "sha256:"+name, 9, time.Now().Add(9*time.Hour), modules
		if err := w.server.apply(t.Context(), &bad); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	if r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.raw)
	}
	w.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if r := w.get("town", "", "elders", "purpose=HomeVisits"); r.status != 503 || r.problem.Reasons[0] != reasonStaleBundle {
		t.Errorf("an old policy lives on under a lease that is not its own: %d", r.status)
	}
}

// TestPolicyCannotGiveMoreThanTheGrant lets a signed but foolish policy allow everything.
func TestPolicyCannotGiveMoreThanTheGrant(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.bundle.Modules = map[string]string{"a.rego": `package dizuo.access

decision := {"allow": true, "reasons": [], "agreement": "a6", "fields": {"health": {}}, "rows": {"divisions": [""]}}
`}
	})
	if r := w.get("town", "", "elders", "purpose=HomeVisits"); r.status != 503 || r.problem.Reasons[0] != reasonPolicyError {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

func TestQuotaSurvivesRestart(t *testing.T) {
	w := newWorld(t, func(w *world) {
		g := visits()
		g.RequestsPerDay, g.RecordsPerDay = 3, 5
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	})
	began := time.Now()
	w.now = func() time.Time { return began } // no midnight falls into the test
	read := func() reply { return w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits") }
	if r := read(); len(r.Records) != 3 {
		t.Fatalf("%d %s", r.status, r.raw)
	}
	w.close()
	w.open()
	if r := read(); r.status != 200 || len(r.Records) != 2 || r.Next == "" {
		t.Errorf("two of five records were left: %d %s", r.status, r.raw)
	}
	r := read()
	if r.status != 429 || r.problem.Reasons[0] != reasonQuotaExceeded || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s, Retry-After %q", r.status, r.raw, r.header.Get("Retry-After"))
	}
}

func TestConsent(t *testing.T) {
	scope := fmt.Sprintf("scope-%d", time.Now().UnixNano())
	w := newWorld(t, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		d.ConsentScope = scope
		w.bundle.Access.Datasets["elders"] = d
	})
	w.exec(`INSERT INTO grid.consents VALUES ('s1', $1, now() - interval '1 day', NULL), ('s2', $1, now() - interval '1 day', now()), ('s3', 'other', now(), NULL), ('s4', $1, now(), NULL)`, scope)
	names := func() int {
		return len(w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits").Records)
	}
	if got := names(); got != 1 {
		t.Errorf("%d records, want the one of s1", got)
	}
	w.exec(`UPDATE grid.consents SET expires_at = now() + interval '1 hour' WHERE scope = $1`, scope)
	if got := names(); got != 1 {
		t.Errorf("%d records while the consent of s1 lasts", got)
	}
	w.exec(`UPDATE grid.consents SET expires_at = now() WHERE scope = $1`, scope)
	if got := names(); got != 0 {
		t.Errorf("%d records when it is over", got)
	}
	w.exec(`UPDATE grid.consents SET expires_at = NULL WHERE scope = $1`, scope)
	w.exec(`UPDATE grid.consents SET withdrawn_at = now() WHERE scope = $1`, scope)
	if got := names(); got != 0 {
		t.Errorf("%d records after withdrawal", got)
	}
}

// TestPaging walks over a table with a primary key and over one without, which has equal rows.
func TestPaging(t *testing.T) {
	for name, key := range map[string]string{"primary key": "", "no primary key": "no"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			table := w.bundle.Access.Datasets["elders"].Source.Table
			if key == "no" {
				w.exec(`ALTER TABLE datasets.` + table + ` DROP CONSTRAINT ` + table + `_pkey`)
				w.exec(`INSERT INTO datasets.` + table + ` SELECT 7,'` + jinghu + `','s7','1','x','1950-01-01',NULL,7,'h' FROM generate_series(1,11)`)
			} else {
				w.exec(`INSERT INTO datasets.` + table + ` SELECT i,'` + jinghu + `','s7','1','x','1950-01-01',NULL,7,'h' FROM generate_series(10,20) i`)
			}
			token, cursor, total := w.token("town", "GridWorker"), "", 0
			for range 20 {
				r := w.get("town", token, "elders", "purpose=HomeVisits&fields=born&limit=4&cursor="+url.QueryEscape(cursor))
				if r.status != 200 {
					t.Fatalf("%d %s", r.status, r.raw)
				}
				total += len(r.Records)
				if cursor = r.Next; cursor == "" {
					break
				}
				if strings.Contains(cursor, "10") && len(cursor) < 20 {
					t.Errorf("cursor %q is not sealed", cursor)
				}
			}
			if total != 14 {
				t.Errorf("%d records over all pages, want 14", total)
			}
		})
	}
}

func TestCursorIsBoundToTheAgreement(t *testing.T) {
	w := newWorld(t, func(w *world) {
		other := visits()
		other.UID = "uid-other"
		w.bundle.Access.Grants["elders"]["town"]["other"] = other
	})
	token := w.token("town", "GridWorker")
	first := w.get("town", token, "elders", "purpose=HomeVisits&agreement=a6&limit=1")
	if first.Next == "" {
		t.Fatalf("%d %s", first.status, first.raw)
	}
	if r := w.get("town", token, "elders", "purpose=HomeVisits&agreement=other&limit=1&cursor="+first.Next); r.status != 400 {
		t.Errorf("a cursor of another agreement was taken: %d %s", r.status, r.raw)
	}
}

// TestWithoutLogNothingLeaves closes the log under the running gateway.
func TestWithoutLogNothingLeaves(t *testing.T) {
	w := newWorld(t)
	if err := w.server.log.Close(); err != nil {
		t.Fatal(err)
	}
	r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits")
	if r.status != 503 || r.problem.Reasons[0] != reasonLogUnavailable {
		t.Errorf("%d %s", r.status, r.raw)
	}
	if r := w.get("property", "", "elders", "purpose=HomeVisits"); r.status != 503 {
		t.Errorf("a refusal that was not logged was answered: %d %s", r.status, r.raw)
	}
}

func TestSourceErrorsCarryNoValues(t *testing.T) {
	w := newWorld(t, func(w *world) {
		g := visits()
		g.Fields = map[string]contract.Mask{"health": {Method: maskGeneralise, To: "Year"}}
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
	})
	r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits")
	if r.status != 503 || r.problem.Reasons[0] != reasonSourceUnavailable || strings.Contains(r.raw, "column") {
		t.Errorf("%d %s", r.status, r.raw)
	}
}

func TestConcurrentRequestsWhileBundlesChange(t *testing.T) {
	w := newWorld(t)
	w.server.limits.each = rate.Inf
	token := w.token("town", "GridWorker")
	client := w.client("town")
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 15 {
				r, err := fetchReply(client, w.http.URL, token, "elders", "purpose=HomeVisits")
				if err != nil || r.status != 200 || len(r.Records) != 3 {
					t.Errorf("%d %s %v", r.status, r.raw, err)
				}
			}
		}()
	}
	for range 10 {
		w.next()
	}
	wg.Wait()
	w.server.close()
	if got := len(w.records()); got != 8*15*3 {
		t.Errorf("%d records in the log, want %d", got, 8*15*3)
	}
	var report contract.Report
	w.server.report(&report)
	if report.Decisions["a6"].Allowed != 120 || report.Decisions["a6"].Since.IsZero() {
		t.Errorf("report %+v", report.Decisions)
	}
}

const childWorld = "DIZUO_TEST_GATEWAY"

type childConfig struct {
	Config contract.GatewayConfig
	Bundle intake.Bundle
}

// child is a gateway in a process of its own. It prints its address.
func child(path string) {
	raw, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	var c childConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		panic(err)
	}
	s, err := newServer(context.Background(), c.Config, "gateway-0", prometheus.NewRegistry(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		panic(err)
	}
	if err := s.apply(context.Background(), &c.Bundle); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	h := s.http(c.Config)
	fmt.Println("https://" + l.Addr().String())
	panic(h.Serve(tls.NewListener(l, h.TLSConfig)))
}

// TestKill kills a gateway under load: every answer that a client got must be in the log, and the log must verify.
func TestKill(t *testing.T) {
	w := newWorld(t)
	w.close()
	raw, err := json.Marshal(childConfig{w.config, w.bundle})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "world.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	answered := map[string]int{}
	for round := range 4 {
		w.runAndKill(path, 15+20*round, answered)
	}
	w.open() // repairs the tail
	logged := map[string]map[string]bool{}
	for _, r := range w.records() {
		if logged[r.Request] == nil {
			logged[r.Request] = map[string]bool{}
		}
		logged[r.Request][r.Kind] = true
	}
	for id, status := range answered {
		if !logged[id]["decision"] || status == 200 && !logged[id]["release"] {
			t.Errorf("answered request %s (%d) is not in the log", id, status)
		}
	}
	t.Logf("%d answers, %d requests in the log, 4 kills", len(answered), len(logged))
}

// runAndKill starts a gateway, reads from it with several clients, and kills it after n answers.
func (w *world) runAndKill(path string, n int, answered map[string]int) {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childWorld+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		w.t.Fatal("the gateway did not start")
	}
	base := lines.Text()
	var mu sync.Mutex
	var wg sync.WaitGroup
	count := 0
	token := w.token("town", "GridWorker")
	for i := range 6 {
		who, query := "town", "purpose=HomeVisits"
		if i == 0 {
			query = "purpose=Marketing"
		}
		client := w.client(who)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				r, err := fetchReply(client, base, token, "elders", query)
				if err != nil {
					return // killed
				}
				mu.Lock()
				answered[r.Request+r.problem.Request] = r.status
				if count++; count == n {
					_ = cmd.Process.Kill()
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	_ = cmd.Wait()
	if count < n {
		w.t.Fatalf("%d answers, want %d", count, n)
	}
}

func TestTamperedLogStopsTheGateway(t *testing.T) {
	w := newWorld(t)
	w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits")
	w.close()
	names, err := chain.Files(os.DirFS(w.logDir))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.logDir, names[0])
	data, _ := os.ReadFile(path)
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), `"rows":3`, `"rows":1`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Verify(os.DirFS(w.logDir), nil); err == nil {
		t.Error("verify does not find it")
	}
	if _, err := newServer(t.Context(), w.config, "gateway-0", prometheus.NewRegistry(), slog.Default()); err == nil {
		t.Error("the gateway goes on with a log that was changed")
	}
}

// Whoever reads is told what it has agreed to keep to.
func TestAnswersTellObligations(t *testing.T) {
	w := newWorld(t, func(w *world) {
		g := w.bundle.Access.Grants["elders"]["town"]["a6"]
		g.NoOnward, g.RetentionSeconds = true, 2592000
		w.bundle.Access.Grants["elders"]["town"]["a6"] = g
		c := census()
		c.NoOnward = true
		w.bundle.Access.Grants["elders"]["town"]["census"] = c
	})
	const want = `"obligations":{"noOnward":true,"retentionSeconds":2592000}`
	if r := w.ask("town", plain+"&agreement=a6", nil); r.status != http.StatusOK || !strings.Contains(r.raw, want) {
		t.Errorf("records: %d %s", r.status, r.raw)
	}
	if r := w.aggregate("town", "purpose=Statistics"); r.status != http.StatusOK || !strings.Contains(r.raw, `"obligations":{"noOnward":true}`) {
		t.Errorf("aggregate: %d %s", r.status, r.raw)
	}
	o := w.open1("fields=phone&agreement=a6")
	last := ""
	for o.Scan() {
		last = o.Text()
	}
	if !strings.Contains(last, want) {
		t.Errorf("stream: %s", last)
	}
	req, err := http.NewRequest(http.MethodGet, w.http.URL+"/v1/datasets", nil)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := send(w.client("town"), req); err != nil || !strings.Contains(list.raw, want) {
		t.Errorf("list: %s, %v", list.raw, err)
	}
}
