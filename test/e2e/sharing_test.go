//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/test/e2e/story"
)

const sharingSpace = "sharing"

// sharing is the platform of config/samples/sharing, with its tables filled.
type sharing struct {
	hand
	gateway *story.Forward
	readers map[string]*reader
}

// reader is an organisation that reads.
type reader struct {
	http  *http.Client
	pair  tls.Certificate
	chain []*x509.Certificate
}

// request is what somebody asks, and what is to come of it.
type request struct {
	org, role, dataset string
	// query has the purpose and whatever else; "aggregate?" in front asks for counts and sums.
	query string
	// emergency is the reason of a break-glass.
	emergency string
	// rows is how many records come, or groups.
	rows int
	// reason is that of a refusal; hours says that it may be OutsideHours, too, by the clock of the wall.
	reason string
	hours  bool
	// shows and hides are texts that must, and must not, be in the answer.
	shows, hides string
}

// answer of the gateway.
type answer struct {
	status  int
	reasons []string
	request string
	rows    int
	text    string
}

// TestSharing applies the twelve agreements and what must be denied, reads under each, and holds what the gateway decided against a
// stock opa in the cluster; then pods are killed under readers, agreements are revoked, and the log is checked.
func TestSharing(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 14*time.Minute)
	defer cancel()
	w := &sharing{hand: hand{t, local(t), t.TempDir()}, readers: map[string]*reader{}}
	w.bringUp(ctx)
	t.Cleanup(func() {
		w.kubectl(context.WithoutCancel(ctx), "delete", "--ignore-not-found", "--timeout=180s", "namespace", sharingSpace)
	})
	for _, part := range []struct {
		name string
		run  func(*sharing, context.Context)
	}{{"Reads", (*sharing).reads}, {"Consent", (*sharing).consent}, {"StockOPA", (*sharing).stockOPA}, {"Killed", (*sharing).killed}, {"Revoked", (*sharing).revoked}, {"Verifies", (*sharing).verifies}} {
		if !t.Run(part.name, func(t *testing.T) {
			in := *w
			in.T = t
			part.run(&in, ctx)
		}) {
			return
		}
	}
}

// bringUp applies the samples, waits until they are in force, and fills their tables.
func (w *sharing) bringUp(ctx context.Context) {
	samples := filepath.Join(w.Root, "config", "samples", "sharing")
	w.kubectl(ctx, "apply", "-f", filepath.Join(samples, "platform.yaml"))
	w.feed(ctx, strings.NewReader(w.run(ctx, w.Dizuo, "admit", sharingSpace)), w.Kubectl, "apply", "-f", "-")
	w.kubectl(ctx, "apply", "-f", samples)
	w.kubectl(ctx, "delete", "--ignore-not-found", "-f", filepath.Join(samples, "deny")) // of a run before
	w.kubectl(ctx, "wait", "--timeout=120s", "--for=condition=Ready", "-n", sharingSpace, "gridplatform,organization,dataset", "--all")
	w.kubectl(ctx, "wait", "--timeout=60s", "--for=jsonpath={.status.phase}=InForce", "-n", sharingSpace, "datasharingagreements", "--all")
	w.kubectl(ctx, "apply", "-f", filepath.Join(samples, "deny"))
	seed, err := os.ReadFile(filepath.Join(samples, "seed", "datasets.sql"))
	w.must(err)
	w.feed(ctx, bytes.NewReader(seed), w.Kubectl, "exec", "-n", sharingSpace, "-i", "dizuo-postgres-0", "--", "psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", "dizuo", "-d", "dizuo")
	// A worker of grid-1, and a fire: what the roster and the detectors would have put there.
	w.sql(ctx, `INSERT INTO grid.roster VALUES ('committee', 'worker-1', 'GridWorker', 'pingan', 'grid-1'), ('committee', 'worker-2', 'GridWorker', 'pingan', 'grid-2'),
		('committee', 'office-1', 'CommunityWorker', 'pingan', ''), ('town', 'worker-1', 'GridWorker', 'pingan', 'grid-1') ON CONFLICT DO NOTHING;
		INSERT INTO grid.cases (id, number, community, grid, class, severity, title, state, source, started_at, last_signal_at, opened_at, updated_at)
		VALUES (gen_random_uuid(), '20261101-000001', 'pingan', 'grid-1', 'fire-alarm', 'Critical', 'SYNTHETIC', 'Dispatched', 'System', now(), now(), now(), now()),
			(gen_random_uuid(), '20261101-000002', 'pingan', 'grid-1', 'manhole', 'Low', 'SYNTHETIC', 'Dispatched', 'System', now(), now(), now(), now()) ON CONFLICT DO NOTHING`)
	w.gateway, err = story.OpenForward(ctx, w.Kubectl, sharingSpace, "dizuo-gateway", "8443")
	w.must(err)
}

func (w *sharing) sql(ctx context.Context, query string) string {
	w.Helper()
	return strings.TrimSpace(w.kubectl(ctx, "exec", "-n", sharingSpace, "dizuo-postgres-0", "--", "psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-U", "dizuo", "-d", "dizuo", "-c", query))
}

// reader gives an organisation by its certificate.
func (w *sharing) reader(ctx context.Context, org string) *reader {
	w.Helper()
	if w.readers[org] != nil {
		return w.readers[org]
	}
	name := org + "-gateway-tls"
	pair, err := tls.X509KeyPair(w.secretValue(ctx, sharingSpace, name, "tls.crt"), w.secretValue(ctx, sharingSpace, name, "tls.key"))
	w.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.secretValue(ctx, sharingSpace, name, "ca.crt"))
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool}
	w.readers[org] = &reader{http: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}, pair: pair, chain: []*x509.Certificate{pair.Leaf}}
	return w.readers[org]
}

// ask sends a request as an organisation, for a person in a role if it names one ("role/subject").
func (w *sharing) ask(ctx context.Context, by *reader, r request) (answer, error) {
	form, query := "records", r.query
	if rest, ok := strings.CutPrefix(query, "aggregate?"); ok {
		form, query = "aggregate", rest
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.gateway.URL()+"/v1/datasets/"+r.dataset+"/"+form+"?"+query, nil)
	if err != nil {
		return answer{}, err
	}
	if role, subject, ok := strings.Cut(r.role, "/"); ok {
		audience := contract.PersonAudience(sharingSpace, sharingSpace, contract.RoleGateway)
		token, err := person.Sign(by.pair.PrivateKey.(*ecdsa.PrivateKey), by.chain, r.org, subject, role, audience, time.Now(), contract.MaxPersonTokenLife)
		if err != nil {
			return answer{}, err
		}
		req.Header.Set("Dizuo-Person", token)
	}
	if r.emergency != "" {
		req.Header.Set("Dizuo-Break-Glass", url.PathEscape(r.emergency))
	}
	resp, err := by.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		Records, Groups []json.RawMessage
		Reasons         []string
		Request         string
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return answer{}, fmt.Errorf("%s: %w: %s", resp.Status, err, raw)
	}
	return answer{resp.StatusCode, body.Reasons, body.Request, len(body.Records) + len(body.Groups), string(raw)}, nil
}

const ours = "20261101-000001" // the number of the fire

// samples are questions under each agreement of the twelve, and those that must be refused.
var samples = []request{
	{org: "police", role: "PoliceOfficer/officer-1", dataset: "video-elements", query: "purpose=PublicSafety&caseNumber=SYN-1", rows: 1, shows: "豫A00001", hides: "豫A00002"},
	{org: "police", role: "PoliceOfficer/officer-1", dataset: "video-elements", query: "purpose=PublicSafety", reason: "CaseNumberRequired"},
	{org: "police", dataset: "video-elements", query: "purpose=PublicSafety&caseNumber=SYN-1", reason: "PersonRequired"},
	{org: "police", role: "PoliceOfficer/officer-1", dataset: "face-elements", query: "purpose=PublicSafety&caseNumber=SYN-1", rows: 1},
	{org: "police-station", role: "PoliceOfficer/officer-2", dataset: "tenants", query: "purpose=CoManagement", rows: 2, shows: "*******0001", hides: "12000000001"},
	{org: "police-station", role: "PoliceOfficer/officer-2", dataset: "tenants", query: "purpose=CoManagement&fields=idNumber", reason: "FieldNotGranted"},
	{org: "property", role: "PropertyManager/manager-1", dataset: "visitor-passes", query: "purpose=CoManagement", rows: 0, hours: true}, // nobody consented yet
	{org: "town", dataset: "property-service", query: "aggregate?purpose=CommunityGovernance&by=kind&sum=amount", rows: 1, shows: "Fee", hides: "Complaint"},
	{org: "town", dataset: "property-service", query: "purpose=CommunityGovernance", reason: "AggregatesOnly"},
	{org: "housing", dataset: "property-access-log", query: "purpose=Audit", rows: 1},
	{org: "town", role: "GridWorker/worker-1", dataset: "home-use-flags", query: "purpose=SafetyAlert", rows: 0}, // nobody consented yet
	{org: "civil-affairs", role: "CivilAffairsOfficer/officer-3", dataset: "elder-health", query: "purpose=ElderCare", emergency: "跌倒，无人应答", rows: 0},
	{org: "clinic", role: "CommunityDoctor/doctor-1", dataset: "elder-care-services", query: "purpose=HealthCare", rows: 0},
	{org: "committee", role: "CommunityWorker/office-1", dataset: "difficult-elders", query: "purpose=HomeVisit&agreement=a06-elders", rows: 3},
	{org: "committee", role: "GridWorker/worker-1", dataset: "difficult-elders", query: "purpose=HomeVisit&agreement=a06-elders", rows: 2, hides: "平安路3号"},
	{org: "committee", role: "GridWorker/worker-2", dataset: "difficult-elders", query: "purpose=HomeVisit&agreement=a06-elders", rows: 1, hides: "平安路1号"},
	{org: "committee", role: "GridWorker/nobody", dataset: "difficult-elders", query: "purpose=HomeVisit&agreement=a06-elders", rows: 0},
	{org: "police", role: "PoliceOfficer/officer-1", dataset: "risk-persons", query: "purpose=PublicSafety", rows: 1, hides: "合成患者乙"},
	{org: "governance", role: "CaseHandler/handler-1", dataset: "care-tasks", query: "purpose=CommunityGovernance", rows: 1},
	{org: "fire", dataset: "hazard-alarms", query: "purpose=FireResponse&caseNumber=" + ours, rows: 1, shows: ours},
	{org: "fire", role: "FireOfficer/officer-4", dataset: "household-contacts", query: "purpose=FireResponse&caseNumber=" + ours, rows: 1, shows: "12000000031"},
	{org: "fire", role: "FireOfficer/officer-4", dataset: "household-contacts", query: "purpose=FireResponse&caseNumber=20261101-000099", reason: "CaseUnknown"},
	{org: "city-operations", dataset: "facility-events", query: "purpose=UrbanOperation", rows: 1},
	{org: "city-operations", role: "CaseHandler/handler-2", dataset: "parking-events", query: "purpose=UrbanOperation", rows: 1, hides: "豫A00006"},
	{org: "town", dataset: "addresses", query: "purpose=MasterData", rows: 2},
	{org: "statistics", dataset: "one-form", query: "aggregate?purpose=UnifiedReporting&by=indicator&sum=value", rows: 1, shows: "elders", hides: "disabled"},
	{org: "statistics", dataset: "one-form", query: "purpose=UnifiedReporting", reason: "AggregatesOnly"},
	{org: "data-office", role: "DataOfficer/officer-5", dataset: "social-organisations", query: "purpose=DataPooling", rows: 1, shows: "合成丁"},
	{org: "credit-center", dataset: "social-organisations", query: "purpose=CreditInformation", rows: 1, hides: "合成丁"},
	{org: "civil-affairs", role: "CivilAffairsOfficer/officer-3", dataset: "pooled-civil-affairs", query: "purpose=DataPooling", rows: 1},

	{org: "advertiser", role: "PropertyManager/x", dataset: "tenants", query: "purpose=PublicService", reason: "NoAgreement"},
	{org: "merchant", role: "Merchant/x", dataset: "difficult-elders", query: "purpose=PublicService", reason: "NoAgreement"},
	{org: "property", role: "PropertyManager/manager-1", dataset: "face-elements", query: "purpose=CoManagement", reason: "NoAgreement"},
	{org: "property", role: "PropertyManager/manager-1", dataset: "care-tasks", query: "purpose=CoManagement", reason: "NoAgreement"},
	{org: "committee", role: "CommunityWorker/office-1", dataset: "video-elements", query: "purpose=CommunityGovernance", reason: "NoAgreement"},
	{org: "committee", dataset: "one-form", query: "purpose=UnifiedReporting", reason: "NoAgreement"},
	{org: "fire", dataset: "addresses", query: "purpose=UrbanOperation&agreement=deny-purpose", reason: "PurposeNotAllowed"},
	{org: "fire", dataset: "addresses", query: "purpose=FireResponse&agreement=deny-expired", reason: "NoAgreement"},
	{org: "fire", dataset: "addresses", query: "purpose=FireResponse&agreement=deny-revoked", reason: "NoAgreement"},
}

// outsideHours says whether it is outside 06:00 to 23:00 where the sample lives.
func outsideHours() bool {
	h := time.Now().In(time.FixedZone("CST", 8*60*60)).Hour()
	return h < 6 || h >= 23
}

// reads asks every sample and holds the answer against what is expected.
func (w *sharing) reads(ctx context.Context) {
	for _, r := range samples {
		name := r.org + " " + r.dataset + "?" + r.query
		got, err := w.ask(ctx, w.reader(ctx, r.org), r)
		if err != nil {
			w.Errorf("%s: %v", name, err)
			continue
		}
		if r.hours && outsideHours() {
			r.reason = "OutsideHours"
		}
		switch {
		case r.reason != "" && (got.status/100 != 4 || !slices.Contains(got.reasons, r.reason)):
			w.Errorf("%s: %d %v, want %s", name, got.status, got.reasons, r.reason)
		case r.reason == "" && (got.status != http.StatusOK || got.rows != r.rows):
			w.Errorf("%s: %d %v with %d rows, want %d: %s", name, got.status, got.reasons, got.rows, r.rows, got.text)
		case r.shows != "" && !strings.Contains(got.text, r.shows), r.hides != "" && strings.Contains(got.text, r.hides):
			w.Errorf("%s: want %q in it, and %q not: %s", name, r.shows, r.hides, got.text)
		}
	}
	for _, name := range []string{"town-places", "town-addresses"} {
		w.kubectl(ctx, "wait", "--timeout=30s", "--for=condition=Ready=False", "-n", sharingSpace, "dataset/"+name)
	}
	w.Logf("%d reads answered as expected, of them %d refused", len(samples), len(slices.DeleteFunc(slices.Clone(samples), func(r request) bool { return r.reason == "" })))
}

// consent: the doctor reads nothing of somebody who did not consent, reads it from the next read on after the consent, and not after its withdrawal.
func (w *sharing) consent(ctx context.Context) {
	vault, err := story.OpenForward(ctx, w.Kubectl, sharingSpace, "dizuo-vault", "8443")
	w.must(err)
	defer vault.Close()
	for _, key := range []string{"tls.crt", "tls.key", "ca.crt"} {
		w.must(os.WriteFile(filepath.Join(w.dir, key), w.secretValue(ctx, sharingSpace, "committee-gateway-tls", key), 0o600))
	}
	as := []string{"--server", vault.URL(), "--ca", filepath.Join(w.dir, "ca.crt"), "--platform", sharingSpace + "/" + sharingSpace, "--organization", "committee", "--subject", "recorder-1",
		"--role", "PrivacyOfficer", "--key", filepath.Join(w.dir, "tls.key"), "--cert", filepath.Join(w.dir, "tls.crt")}
	dizuo := func(args ...string) string { return w.run(ctx, w.Dizuo, append(args, as...)...) }
	w.must(os.WriteFile(filepath.Join(w.dir, "key"), []byte("410199194105060012\n"), 0o600))
	dizuo("subject", "register", "syn-e-1", "--source", "resident-id", "--key-file", filepath.Join(w.dir, "key"), "--division", "410199001001")
	rows := func() int {
		got, err := w.ask(ctx, w.reader(ctx, "clinic"), request{org: "clinic", role: "CommunityDoctor/doctor-1", dataset: "elder-care-services", query: "purpose=HealthCare"})
		w.must(err)
		return got.rows
	}
	// The legal basis is a consent, so the agreement itself is asked for too, by its UID.
	uid := strings.TrimSpace(w.run(ctx, w.Kubectl, "get", "datasharingagreement", "-n", sharingSpace, "a05-services", "-o", "jsonpath={.metadata.uid}"))
	dizuo("consent", "give", "syn-e-1", "--scope", "agreement."+uid, "--purpose", "HealthCare", "--evidence", "form 2")
	var given struct{ ID string }
	if err := json.Unmarshal([]byte(dizuo("consent", "give", "syn-e-1", "--scope", "combined-care", "--purpose", "HealthCare", "--evidence", "form 1", "-o", "json")), &given); err != nil || given.ID == "" {
		var list []struct{ ID string }
		w.must(json.Unmarshal([]byte(dizuo("consent", "list", "syn-e-1", "-o", "json")), &list))
		given = list[0]
	}
	if n := rows(); n != 1 {
		w.Errorf("%d records after the consent, want 1", n)
	}
	dizuo("consent", "withdraw", given.ID, "--evidence", "letter 1")
	if n := rows(); n != 0 {
		w.Errorf("%d records after the consent was withdrawn, want none", n)
	}
	w.eventually("the read in the answer to the resident", func() error {
		if out := dizuo("subject", "access", "syn-e-1"); !strings.Contains(out, "elder-care-services") {
			return errors.New(out)
		}
		return nil
	})
}

// log gives the folder of the gateway's decision log on this machine: its image has no shell to read it with, by intent.
func (w *sharing) log(ctx context.Context) fs.FS {
	volume := w.kubectl(ctx, "get", "pvc", "-n", sharingSpace, "data-dizuo-gateway-0", "-o", "jsonpath={.spec.volumeName}")
	path := w.kubectl(ctx, "get", "pv", volume, "-o", "jsonpath={.spec.local.path}")
	return os.DirFS(filepath.Join(path, "decisions"))
}

// lines gives every line of the log, which must verify.
func (w *sharing) lines(ctx context.Context) (out []decisionlog.Line) {
	w.Helper()
	_, err := decisionlog.Verify(w.log(ctx), func(l decisionlog.Line) { out = append(out, l) })
	w.must(err)
	return out
}

// stockOPA brings an opa up as docs/guides/opa.md says, and asks it whatever the gateway decided until now.
func (w *sharing) stockOPA(ctx context.Context) {
	var platform struct {
		Status struct {
			Bundle struct{ Keys []struct{ ID string } }
		}
	}
	w.must(json.Unmarshal([]byte(w.kubectl(ctx, "get", "gridplatform", "-n", sharingSpace, sharingSpace, "-o", "json")), &platform))
	if len(platform.Status.Bundle.Keys) != 1 {
		w.Fatalf("status.bundle.keys %v, want one", platform.Status.Bundle.Keys)
	}
	kit := filepath.Join(w.Root, "hack", "cluster.sh")
	opa := strings.TrimSpace(w.run(ctx, "sh", "-c", "command -v opa"))
	w.run(ctx, kit, "image", "--name", "dizuo/opa:dev", "--bin", opa, "--user", "65532")
	ca := string(w.secretValue(ctx, "dizuo-system", "dizuo-operator-bundles-tls", "tls.crt"))
	public := w.bundleKeys(ctx, ca)
	raw, err := os.ReadFile(filepath.Join(w.Root, "test", "e2e", "testdata", "opa.yaml"))
	w.must(err)
	manifest := strings.NewReplacer("${KEY_ID}", platform.Status.Bundle.Keys[0].ID, "${KEY}", strings.ReplaceAll(strings.TrimSpace(public), "\n", "\n            "),
		"${CA}", strings.ReplaceAll(strings.TrimSpace(ca), "\n", "\n    ")).Replace(string(raw))
	w.feed(ctx, strings.NewReader(manifest), w.Kubectl, "apply", "-f", "-")
	w.kubectl(ctx, "wait", "--timeout=90s", "--for=condition=Ready", "-n", sharingSpace, "pod/opa")
	address := "http://" + w.kubectl(ctx, "get", "pod", "-n", sharingSpace, "opa", "-o", "jsonpath={.status.podIP}") + ":8181/v1/data/dizuo/access/decision"
	same, own := 0, 0
	for _, l := range w.lines(ctx) {
		if l.Kind != contract.LogDecision || l.Said == nil || l.Said.Input == nil {
			continue
		}
		body, err := json.Marshal(map[string]any{"input": l.Said.Input})
		w.must(err)
		resp, err := http.Post(address, "application/json", bytes.NewReader(body)) //nolint:noctx // a test
		w.must(err)
		var out struct{ Result json.RawMessage }
		w.must(json.NewDecoder(resp.Body).Decode(&out))
		_ = resp.Body.Close()
		switch err := audit.Same(out.Result, l.Said.Decision); {
		case err == nil:
			same++
		case l.Said.Decision.By == contract.DecidedByGateway:
			own++
		default:
			w.Errorf("%s as %s: %v", l.Said.Input.Dataset, l.Said.Input.Consumer, err)
		}
	}
	if same < len(samples) {
		w.Errorf("opa decided the same on %d, want at least the %d samples", same, len(samples))
	}
	w.Logf("opa decides the same on %d of %d decisions", same, same+own)
}

// bundleKeys pulls the keys that sign the bundle, as whoever has the right role; and is refused without.
func (w *sharing) bundleKeys(ctx context.Context, ca string) string {
	service, err := story.OpenForward(ctx, w.Kubectl, "dizuo-system", "dizuo-operator-bundles", "443")
	w.must(err)
	defer service.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "dizuo-operator-bundles.dizuo-system.svc"}}}
	get := func(token string) (int, string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, service.URL()+"/v1/platforms/sharing/sharing/bundles/keys.pem", nil)
		w.must(err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		w.must(err)
		defer func() { _ = resp.Body.Close() }()
		raw, err := io.ReadAll(resp.Body)
		w.must(err)
		return resp.StatusCode, string(raw)
	}
	token := strings.TrimSpace(w.kubectl(ctx, "create", "token", "default", "-n", sharingSpace, "--audience", "dizuo-bundles"))
	if status, _ := get(token); status != http.StatusForbidden {
		w.Errorf("the bundle's keys for a service account without the role: %d, want 403", status)
	}
	w.kubectl(ctx, "delete", "--ignore-not-found", "-n", sharingSpace, "serviceaccount/keys", "rolebinding/keys-bundle")
	w.kubectl(ctx, "create", "serviceaccount", "keys", "-n", sharingSpace)
	w.kubectl(ctx, "create", "rolebinding", "keys-bundle", "-n", sharingSpace, "--clusterrole", "dizuo-bundle-reader", "--serviceaccount", sharingSpace+":keys")
	if status, _ := get(strings.TrimSpace(w.kubectl(ctx, "create", "token", "keys", "-n", sharingSpace))); status != http.StatusUnauthorized {
		w.Errorf("the bundle's keys with a token of another audience: %d, want 401", status)
	}
	status, text := get(strings.TrimSpace(w.kubectl(ctx, "create", "token", "keys", "-n", sharingSpace, "--audience", "dizuo-bundles")))
	if status != http.StatusOK {
		w.Fatalf("the bundle's keys: %d %s", status, text)
	}
	w.bundlesOfTwoReplicas(ctx, func() int {
		status, _ := get(strings.TrimSpace(w.kubectl(ctx, "create", "token", "keys", "-n", sharingSpace, "--audience", "dizuo-bundles")))
		client.CloseIdleConnections()
		return status
	})
	return text
}

// bundlesOfTwoReplicas asks again and again, each time on a connection of its own, while a second replica of the operator stands by.
func (w *sharing) bundlesOfTwoReplicas(ctx context.Context, ask func() int) {
	const operator = "deployment/dizuo-operator"
	w.kubectl(ctx, "scale", "-n", "dizuo-system", operator, "--replicas=2")
	defer w.kubectl(ctx, "scale", "-n", "dizuo-system", operator, "--replicas=1")
	w.kubectl(ctx, "rollout", "status", "-n", "dizuo-system", operator, "--timeout=90s")
	for range 20 {
		if status := ask(); status != http.StatusOK {
			w.Fatalf("the bundle's keys with two replicas: %d", status)
		}
	}
}
