package compile_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/policies"
)

// A case is testdata/<name>.in.yaml, what people write, and testdata/<name>.out.yaml, what it compiles to; `go test -update`
// writes the second. Beside plain objects a file may hold
//
//	# now: 2026-06-01T00:00:00Z              the time of the Snapshot (this is the default)
//	# show: GridPlatform                     the plan of the platform is printed too
//	${key NAME}                              the public key (SPKI) of a test key of that name
//	${sign ORGANIZATION/APPROVER}            an approval of the agreement in the same document, by the key of that name
//	${sign ORGANIZATION/APPROVER over NAME}  the same, over the text of another agreement: what a changed text looks like
//	${sign ... at UNIX}                      the same, at that time; 1770000000 where none is named
//	${list ORGANIZATION/APPROVER at UNIX}    a signature over the approvers of the Organization in the same document, by the key of that name
//	${gzip TEXT}                             base64 of the gzipped text, with \n for line ends
//
// and annotations that stand for what only a cluster has:
//
//	test/status-yaml: "{...}"                the object's status, as YAML
//	test/claims: Kind=value,...              claims that the object's status records; of a serial number, an IMEI or a client id by its text
//	test/since: 2026-01-01T00:00:00Z         when the object won its name
//	test/artifact: TEXT                      of a fleet: what its artefact holds, with \n for line ends
//	test/artifact-problem: TEXT              of a fleet: why it could not be fetched; Mismatch=TEXT for another digest
//	test/approvers: "{...}"                  of an Organization: the record of its approvers, as JSON
//	test/approvals: "{...}"                  of a DataSharingAgreement: the record of its approvals, as JSON
//	test/secrets: refused                    of a Namespace whose owner has not admitted Dizuo
//	test/missing-apis: cert-manager.io       of a Namespace with a platform: API groups that the cluster does not serve
var update = flag.Bool("update", false, "write the golden files")

// member is what one object compiles to.
type member struct {
	Object   string    `json:"object"`
	Platform string    `json:"platform,omitempty"`
	Fatal    bool      `json:"fatal,omitempty"`
	Problems []problem `json:"problems,omitempty"`
	Plan     any       `json:"plan,omitempty"`
}

// problem is a compile.Problem that leaves out what is not set.
type problem struct {
	Condition string `json:"condition"`
	Reason    string `json:"reason"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Waiting   bool   `json:"waiting,omitempty"`
	Partial   bool   `json:"partial,omitempty"`
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, in := range inputs {
		name := strings.TrimSuffix(filepath.Base(in), ".in.yaml")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			got := golden(t, string(raw))
			path := filepath.Join("testdata", name+".out.yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v; write it with -update", err)
			}
			if diff := gocmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Every reason that compile gives stands in a golden file, so that none is lost unseen.
func TestGoldenHasEveryReason(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`v1alpha1\.Reason(\w+)`).FindAllStringSubmatch(string(raw), -1) {
			named[m[1]] = true
		}
	}
	// Unknown is given when the guardrails themselves fail, which their own tests keep from happening.
	delete(named, "Unknown")
	outputs, err := filepath.Glob("testdata/*.out.yaml")
	if err != nil || len(named) == 0 {
		t.Fatalf("%v, %d reasons", err, len(named))
	}
	for _, path := range outputs {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)reason: (\w+)$`).FindAllStringSubmatch(string(raw), -1) {
			delete(named, m[1])
		}
	}
	if len(named) > 0 {
		t.Errorf("no case gives %v", slices.Sorted(maps.Keys(named)))
	}
}

// golden compiles a text twice, the second time with the objects in another order, and gives what comes out as YAML.
func golden(t *testing.T, text string) []byte {
	t.Helper()
	set := load(t, signed(t, text))
	reversed := &offline.Set{}
	for _, o := range set.Objects {
		another := *o
		another.Object = o.Object.DeepCopyObject().(client.Object)
		reversed.Objects = append(reversed.Objects, &another)
	}
	out := encode(t, results(t, set, text))
	if diff := gocmp.Diff(reversed.Objects, set.Objects, cmpopts.IgnoreFields(offline.Object{}, "Document")); diff != "" {
		t.Errorf("compile changed its input:\n%s", diff)
	}
	slices.Reverse(reversed.Objects)
	if diff := gocmp.Diff(string(out), string(encode(t, results(t, reversed, text)))); diff != "" {
		t.Errorf("the order of objects changes what they compile to:\n%s", diff)
	}
	return out
}

func encode(t *testing.T, list []member) []byte {
	t.Helper()
	raw, err := yaml.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// load reads a text as the API server would and refuses what it would refuse: a case is about compile, not about the schema.
func load(t *testing.T, text string) *offline.Set {
	t.Helper()
	set, err := offline.Load(context.Background(), offline.Source{Paths: []string{"-"}, Stdin: strings.NewReader(text)}, "henan")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range set.Findings {
		t.Errorf("the schema refuses the case: %s", f)
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, o := range set.Objects {
		fromCluster(t, o.Object)
	}
	return set
}

// fromCluster gives an object what only a cluster gives it.
func fromCluster(t *testing.T, o client.Object) {
	t.Helper()
	if o.GetUID() == "" {
		o.SetUID(types.UID("uid-of-" + o.GetNamespace() + "-" + o.GetName()))
	}
	if o.GetGeneration() == 0 {
		o.SetGeneration(1)
	}
	if text := o.GetAnnotations()["test/status-yaml"]; text != "" {
		if err := yaml.Unmarshal([]byte("status: "+text), o); err != nil {
			t.Fatalf("%s: status: %v", o.GetName(), err)
		}
	}
	h, ok := o.(interface {
		GetCommonStatus() *v1alpha1.CommonStatus
	})
	if !ok {
		return
	}
	common := h.GetCommonStatus()
	if at, err := time.Parse(time.RFC3339, o.GetAnnotations()["test/since"]); err == nil {
		common.Claims = append(common.Claims, v1alpha1.Claim{Kind: compile.ClaimName, Value: o.GetName(), Since: &metav1.Time{Time: at}})
	}
	for c := range strings.SplitSeq(o.GetAnnotations()["test/claims"], ",") {
		kind, value, _ := strings.Cut(c, "=")
		switch kind {
		case "":
		case compile.ClaimClientID, compile.ClaimSerial, compile.ClaimIMEI:
			common.Claims = append(common.Claims, compile.NewDeviceClaim(kind, value).Record())
		default:
			common.Claims = append(common.Claims, v1alpha1.Claim{Kind: kind, Value: value})
		}
	}
}

var guardrails = sync.OnceValues(func() (*policies.Guard, error) { return policies.Guardrails(context.Background()) })

// results compiles every object, in the order of kind, namespace and name.
func results(t *testing.T, set *offline.Set, text string) []member {
	t.Helper()
	ctx := context.Background()
	guard, err := guardrails()
	if err != nil {
		t.Fatal(err)
	}
	shared := snapshotOf(t, set, now(t, text))
	var out []member
	for _, o := range set.Objects {
		switch typed := o.Object.(type) {
		case *corev1.Namespace, *corev1.Secret, *corev1.ConfigMap:
			continue
		case *v1alpha1.GridPlatform:
			out = append(out, platformResult(world{shared}.of(set, typed), typed, strings.Contains(text, "# show: GridPlatform")))
		default:
			out = append(out, memberResult(ctx, t, shared, set, o, guard))
		}
	}
	slices.SortFunc(out, func(a, b member) int { return cmp.Compare(a.Object, b.Object) })
	return out
}

func platformResult(s *compile.Snapshot, o *v1alpha1.GridPlatform, show bool) member {
	plan, problems := compile.Platform(s)
	m := result("GridPlatform", o, o, problems, nil)
	if show && !problems.Fatal() {
		var names []string
		for _, g := range plan.Secrets {
			names = append(names, g.Name)
		}
		m.Plan = map[string]any{
			"document": plan.Document, "profiles": slices.Sorted(maps.Keys(plan.Profiles)), "scenarios": plan.Scenarios, "images": plan.Spec.Images, "secrets": names,
			"webhookSecrets": texts(plan.WebhookSecrets), "trust": string(plan.TrustPEM),
		}
	}
	return m
}

func memberResult(ctx context.Context, t *testing.T, w *compile.Snapshot, set *offline.Set, o *offline.Object, guard *policies.Guard) member {
	home, problems := compile.Membership(w, o.Kind, o.GetNamespace())
	if problems.Fatal() {
		return result(o.Kind, o.Object, home, problems, nil)
	}
	s := world{w}.of(set, home)
	var plan any
	switch typed := o.Object.(type) {
	case *v1alpha1.Community:
		plan, problems = both(compile.Community(s, typed))
	case *v1alpha1.Organization:
		plan, problems = both(compile.Organization(s, typed))
	case *v1alpha1.DeviceProfile:
		plan, problems = both(compile.Profile(s, typed))
	case *v1alpha1.DeviceFleet:
		s.Claimed = compile.Contests(s).Lost
		fleet, found := compile.Fleet(s, typed)
		plan, problems = fleet.Decoded(), found
	case *v1alpha1.EdgeNode:
		typed = typed.DeepCopy()
		s.Edge = standing(t, s, typed)
		plan, problems = both(compile.Edge(s, typed))
	case *v1alpha1.Scenario:
		plan, problems = both(compile.Scenario(s, typed))
	case *v1alpha1.Dataset:
		plan, problems = both(compile.Dataset(s, typed))
	case *v1alpha1.DataSharingAgreement:
		plan, problems = both(compile.Agreement(ctx, s, guard, typed))
	}
	return result(o.Kind, o.Object, home, problems, plan)
}

func both[T any](plan T, problems compile.Problems) (any, compile.Problems) { return plan, problems }

func result(kind string, o client.Object, home *v1alpha1.GridPlatform, problems compile.Problems, plan any) member {
	m := member{Object: kind + " " + o.GetNamespace() + "/" + o.GetName(), Fatal: problems.Fatal()}
	for _, p := range problems.Sorted() {
		m.Problems = append(m.Problems, problem(p))
	}
	if home != nil {
		m.Platform = home.Namespace + "/" + home.Name
	}
	if _, agreement := plan.(compile.AgreementPlan); !problems.Fatal() || agreement {
		m.Plan = plan // what does not compile has no plan; of an agreement the phase is told nevertheless
	}
	return m
}

func texts(m map[string][]byte) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = string(v)
	}
	return out
}

// world is a Snapshot with what all platforms share.
type world struct{ *compile.Snapshot }

func snapshotOf(t *testing.T, set *offline.Set, now time.Time) *compile.Snapshot {
	t.Helper()
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	// Two scenes of the catalogue stand for all: what a scene says is played by its trace, and each more would be in every file here.
	maps.DeleteFunc(catalog.Scenarios, func(name string, _ *v1alpha1.Scenario) bool {
		return name != "s01-no-exit" && name != "s02-no-power" && name != "s10-smoke"
	})
	s := &compile.Snapshot{
		Now: now, Catalog: catalog, Images: compile.Images{Node: "node:test", Postgres: "postgres:test"},
		Namespaces: map[string]compile.Namespace{}, Secrets: map[types.NamespacedName]map[string][]byte{},
		Generated: map[types.NamespacedName]map[string][]byte{}, Artifacts: map[types.NamespacedName]compile.Artifact{},
	}
	for _, o := range set.Objects {
		switch typed := o.Object.(type) {
		case *corev1.Namespace:
			s.Namespaces[typed.Name] = compile.Namespace{Labels: typed.Labels, SecretsRefused: typed.Annotations["test/secrets"] == "refused"}
			if missing := typed.Annotations["test/missing-apis"]; missing != "" {
				s.MissingAPIs = strings.Split(missing, ",")
			}
		case *corev1.Secret:
			s.Secrets[client.ObjectKeyFromObject(typed)] = typed.Data
		case *v1alpha1.GridPlatform:
			s.Platforms = append(s.Platforms, typed)
		case *v1alpha1.Organization:
			recorded(t, s, typed)
		case *v1alpha1.DataSharingAgreement:
			if text, ok := typed.Annotations["test/approvals"]; ok {
				if s.Approvals == nil {
					s.Approvals = map[types.NamespacedName]compile.ApprovalsRecord{}
				}
				s.Approvals[client.ObjectKeyFromObject(typed)], _ = compile.ParseApprovals(text)
			}
		case *v1alpha1.DeviceFleet:
			s.Artifacts[client.ObjectKeyFromObject(typed)] = artifactOf(typed)
		}
	}
	return s
}

func recorded(t *testing.T, s *compile.Snapshot, o *v1alpha1.Organization) {
	t.Helper()
	text, ok := o.Annotations["test/approvers"]
	if s.Approvers == nil && strings.Contains(text, "{") {
		s.Approvers = map[string]compile.ApproversRecord{}
	}
	if !ok {
		return
	}
	record, err := compile.ParseApprovers(text)
	if err != nil {
		t.Fatal(err)
	}
	s.Approvers[o.Name] = record
}

func artifactOf(o client.Object) compile.Artifact {
	a := compile.Artifact{}
	if text, ok := o.GetAnnotations()["test/artifact"]; ok {
		a.Data = []byte(strings.ReplaceAll(text, `\n`, "\n"))
	}
	a.Problem, a.Mismatch = strings.CutPrefix(o.GetAnnotations()["test/artifact-problem"], "Mismatch=")
	return a
}

// of gives the Snapshot of one platform: its own members and nobody else's.
func (w world) of(set *offline.Set, home *v1alpha1.GridPlatform) *compile.Snapshot {
	s := *w.Snapshot
	s.Platform = home
	s.Communities, s.Organizations = compile.Named[*v1alpha1.Community]{}, compile.Named[*v1alpha1.Organization]{}
	s.Profiles, s.Fleets = compile.Named[*v1alpha1.DeviceProfile]{}, compile.Named[*v1alpha1.DeviceFleet]{}
	s.Scenarios, s.Datasets = compile.Named[*v1alpha1.Scenario]{}, compile.Named[*v1alpha1.Dataset]{}
	s.Agreements, s.Edges = compile.Named[*v1alpha1.DataSharingAgreement]{}, compile.Named[*v1alpha1.EdgeNode]{}
	for _, o := range set.Objects {
		if p, problems := compile.Membership(w.Snapshot, o.Kind, o.GetNamespace()); p != home || problems.Fatal() {
			continue
		}
		switch typed := o.Object.(type) {
		case *v1alpha1.Community:
			s.Communities.Add(typed)
		case *v1alpha1.Organization:
			s.Organizations.Add(typed)
		case *v1alpha1.DeviceProfile:
			s.Profiles.Add(typed)
		case *v1alpha1.DeviceFleet:
			s.Fleets.Add(typed)
			s.Clouds = s.Clouds || typed.Spec.AccessMode == v1alpha1.AccessPlatform
		case *v1alpha1.EdgeNode:
			s.Edges.Add(typed)
		case *v1alpha1.Scenario:
			s.Scenarios.Add(typed)
		case *v1alpha1.Dataset:
			s.Datasets.Add(typed)
		case *v1alpha1.DataSharingAgreement:
			s.Agreements.Add(typed)
		}
	}
	return &s
}

func now(t *testing.T, text string) time.Time {
	t.Helper()
	m := regexp.MustCompile(`(?m)^# now: (\S+)`).FindStringSubmatch(text)
	if m == nil {
		return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	}
	at, err := time.Parse(time.RFC3339, m[1])
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// testKey gives the key of a name. Ed25519, because its signatures are the same each time.
func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("dizuo test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicKey(t *testing.T, name string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(testKey(name).Public())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

var (
	markKey  = regexp.MustCompile(`\$\{key ([^ }]+)\}`)
	markSign = regexp.MustCompile(`\$\{sign ([^ /}]+)/([^ }]+)(?: over ([^ }]+))?(?: at ([0-9]+))?\}`)
	markList = regexp.MustCompile(`\$\{list ([^ /}]+)/([^ }]+) at ([0-9]+)\}`)
	markEdge = regexp.MustCompile(`\$\{edgekey ([^ }]+)\}`)
	markGzip = regexp.MustCompile(`\$\{gzip ([^}]*)\}`)
	agreed   = regexp.MustCompile(`(?s)kind: DataSharingAgreement\b.*?name: ([-a-z0-9]+)`)
)

// signed fills in keys, gzipped texts and approvals. Digests need the defaults of the schema, so the text is read once with
// stand-ins first.
func signed(t *testing.T, text string) string {
	t.Helper()
	text = markKey.ReplaceAllStringFunc(text, func(m string) string { return publicKey(t, markKey.FindStringSubmatch(m)[1]) })
	text = markEdge.ReplaceAllStringFunc(text, func(m string) string { return fingerprint(t, markEdge.FindStringSubmatch(m)[1]) })
	text = markGzip.ReplaceAllStringFunc(text, func(m string) string { return gzipped(t, markGzip.FindStringSubmatch(m)[1]) })
	text = listsSigned(t, text)
	if !markSign.MatchString(text) {
		return text
	}
	digests := map[string]string{}
	unsigned := load(t, markSign.ReplaceAllString(text, "AAAA..AAAA"))
	for _, o := range unsigned.Objects {
		if a, ok := o.Object.(*v1alpha1.DataSharingAgreement); ok {
			digest, err := unsigned.Digest(a)
			if err != nil {
				digest = "sha256:none" // it relies on what is not there
			}
			digests[a.Name] = digest
		}
	}
	docs := strings.Split(text, "\n---\n")
	for i, doc := range docs {
		own := agreed.FindStringSubmatch(doc)
		docs[i] = markSign.ReplaceAllStringFunc(doc, func(m string) string {
			part := markSign.FindStringSubmatch(m)
			digest := digests[part[3]]
			if part[3] == "" && own != nil {
				digest = digests[own[1]]
			}
			if digest == "" {
				t.Fatalf("%s: no such agreement", m)
			}
			signedAt := time.Unix(1770000000, 0)
			if at, err := strconv.ParseInt(part[4], 10, 64); err == nil {
				signedAt = time.Unix(at, 0)
			}
			signature, err := approval.Sign(testKey(part[1]+"/"+part[2]), part[1], part[2], digest, signedAt)
			if err != nil {
				t.Fatal(err)
			}
			return signature
		})
	}
	return strings.Join(docs, "\n---\n")
}

// listsSigned fills in signatures over lists of approvers.
func listsSigned(t *testing.T, text string) string {
	t.Helper()
	docs := strings.Split(text, "\n---\n")
	for i, doc := range docs {
		if !markList.MatchString(doc) {
			continue
		}
		o := load(t, markList.ReplaceAllString(doc, "AAAA..AAAA")).Objects[0].Object.(*v1alpha1.Organization)
		docs[i] = markList.ReplaceAllStringFunc(doc, func(m string) string {
			part := markList.FindStringSubmatch(m)
			at, err := strconv.ParseInt(part[3], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			signature, err := approval.SignApprovers(testKey(part[1]+"/"+part[2]), o, part[2], time.Unix(at, 0))
			if err != nil {
				t.Fatal(err)
			}
			return signature
		})
	}
	return strings.Join(docs, "\n---\n")
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := fmt.Fprint(z, strings.ReplaceAll(text, `\n`, "\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes())
}
