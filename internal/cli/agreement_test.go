package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/internal/schema"
)

// agreementFile is an agreement with its parties; KEY and APPROVALS are put in by each test.
const agreementFile = `# who may read what
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: civil-affairs, namespace: qi}
spec:
  type: Department
  approvers: [{name: director, publicKey: KEY-civil-affairs}]
---
apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: fire, namespace: qi}
spec:
  type: Fire
  jurisdiction: ["41"]
  approvers: [{name: chief, publicKey: KEY-fire}]
---
apiVersion: dizuo.io/v1alpha1
kind: Dataset
metadata: {name: addresses, namespace: qi}
spec:
  provider: {name: civil-affairs}
  source: {schema: datasets}
  divisionColumn: division
  fields: [{name: division, personal: None}]
---
apiVersion: dizuo.io/v1alpha1
kind: DataSharingAgreement # the matter itself
metadata:
  name: fire-addresses
  namespace: qi
spec:
  consumer: {name: fire}
  purposes: [FireResponse] # nothing else
APPROVALS  datasets:
    - name: addresses
      fields: [division]

# what follows
---
apiVersion: v1
kind: Namespace
metadata: {name: qi}
`

// signers makes keys and a file with their public halves.
func signers(t *testing.T, approvals string) (file string, keys map[string]string) {
	t.Helper()
	dir := t.TempDir()
	text, keys := strings.Replace(agreementFile, "APPROVALS", approvals, 1), map[string]string{}
	for _, org := range []string{"civil-affairs", "fire"} {
		keys[org] = filepath.Join(dir, org+".pem")
		if r := run(t, "", "key", "new", "--out", keys[org]); r.code != ExitOK {
			t.Fatal(r.err)
		}
		public := strings.TrimSpace(run(t, "", "key", "public", "--key", keys[org]).out)
		text = strings.Replace(text, "KEY-"+org, public, 1)
	}
	file = filepath.Join(dir, "agreement.yaml")
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return file, keys
}

func approve(t *testing.T, file, organization, approver, key string, more ...string) ran {
	t.Helper()
	return run(t, "", append([]string{"agreement", "approve", "-f", file, "--organization", organization, "--approver", approver, "--key", key}, more...)...)
}

func TestApproveAndVerify(t *testing.T) {
	for name, approvals := range map[string]string{
		"no list":         "",
		"empty list":      "  approvals: [] # by the parties\n",
		"null":            "  approvals:\n",
		"list":            "  approvals:\n    - organization: civil-affairs # old\n      approver: director\n      signature: aa..bb\n    # between\n    - {organization: fire, approver: chief, signature: cc..dd}\n",
		"unindented list": "  approvals:\n  - organization: fire\n    approver: chief\n    signature: cc..dd\n",
	} {
		t.Run(name, func(t *testing.T) {
			file, keys := signers(t, approvals)
			if r := run(t, "", "agreement", "verify", "-f", file); r.code != ExitFailed {
				t.Errorf("before: exit code %d: %s", r.code, r.out)
			}
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for organization, approver := range map[string]string{"civil-affairs": "director", "fire": "chief"} {
				if r := approve(t, file, organization, approver, keys[organization], "-w"); r.code != ExitOK || strings.Contains(r.err, "warning") {
					t.Fatalf("approve: exit code %d: %s", r.code, r.err)
				}
			}
			r := run(t, "", "agreement", "verify", "-f", file)
			if r.code != ExitOK || strings.Count(r.out, " valid") != 2 {
				t.Errorf("after: exit code %d:\n%s%s", r.code, r.out, r.err)
			}
			keepsComments(t, file, before)
		})
	}
}

// keepsComments checks that every comment, and every line outside the approvals, is still there.
func keepsComments(t *testing.T, file string, before []byte) {
	t.Helper()
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(before), "\n") {
		_, comment, found := strings.Cut(line, "#")
		replaced := strings.Contains(line, "signature") || strings.Contains(line, "# old") || strings.Contains(line, "approver: ") || strings.HasPrefix(line, "  - organization: ")
		switch {
		case found && !replaced && !strings.Contains(string(after), "#"+comment):
			t.Errorf("comment is gone: %s", line)
		case !found && !replaced && !strings.Contains(string(after), line):
			t.Errorf("line is gone: %s", line)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v: want it as it was", info.Mode(), err)
	}
}

func TestApprovalIsVoidAfterAChange(t *testing.T) {
	file, keys := signers(t, "")
	approve(t, file, "civil-affairs", "director", keys["civil-affairs"], "-w")
	approve(t, file, "fire", "chief", keys["fire"], "-w")
	for name, c := range map[string]struct {
		old, new string
		code     int
	}{
		"a purpose more":   {"purposes: [FireResponse]", "purposes: [FireResponse, Statistics]", ExitFailed},
		"another name":     {"name: fire-addresses", "name: all-addresses", ExitFailed},
		"another column":   {"name: division, personal: None", "name: division, personal: None, column: address", ExitFailed},
		"a wider consumer": {`jurisdiction: ["41"]`, `jurisdiction: ["41", "42"]`, ExitFailed},
		"a comment":        {"# nothing else", "# as agreed", ExitOK},
		"suspended":        {"  consumer: {name: fire}", "  consumer: {name: fire}\n  suspended: true", ExitOK},
		"a default said":   {"  consumer: {name: fire}", "  consumer: {name: fire}\n  relationship: Sharing", ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			changed := filepath.Join(t.TempDir(), "f.yaml")
			text := strings.Replace(string(raw), c.old, c.new, 1)
			if text == string(raw) {
				t.Fatal("nothing was changed")
			}
			if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if r := run(t, "", "agreement", "verify", "-f", changed); r.code != c.code {
				t.Errorf("exit code %d, want %d:\n%s", r.code, c.code, r.out)
			}
		})
	}
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	file, keys := signers(t, "")
	if r := approve(t, file, "fire", "chief", keys["civil-affairs"], "-w", "--unlisted"); r.code != ExitOK || !strings.Contains(r.err, "will not be taken") {
		t.Errorf("another's key: exit code %d, %q", r.code, r.err)
	}
	approve(t, file, "stranger", "anyone", keys["fire"], "-w", "--unlisted")
	r := run(t, "", "agreement", "verify", "-f", file)
	for _, want := range []string{"does not fit", "is no party", "civil-affairs   -          missing", "fire            -          missing"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("want %q in:\n%s", want, r.out)
		}
	}
	if r.code != ExitFailed {
		t.Errorf("exit code %d", r.code)
	}
}

func TestApprovePrints(t *testing.T) {
	file, keys := signers(t, "")
	before, _ := os.ReadFile(file)
	r := approve(t, file, "fire", "chief", keys["fire"])
	if r.code != ExitOK || !strings.HasPrefix(r.out, "- approver: chief\n  organization: fire\n  signature: ") {
		t.Errorf("exit code %d: %q", r.code, r.out)
	}
	after, _ := os.ReadFile(file)
	if string(before) != string(after) {
		t.Error("the file was changed without -w")
	}
}

// A layout that the editor does not know must be left alone, and the entry handed out.
func TestApproveLeavesUnknownLayoutAlone(t *testing.T) {
	file, keys := signers(t, "  approvals: [{organization: fire, approver: chief, signature: cc..dd}]\n")
	before, _ := os.ReadFile(file)
	r := approve(t, file, "fire", "chief", keys["fire"], "-w")
	if r.code != ExitFailed || !strings.Contains(r.err, "put it there yourself:\n- {organization: fire") {
		t.Errorf("exit code %d: %q", r.code, r.err)
	}
	after, _ := os.ReadFile(file)
	if string(before) != string(after) {
		t.Error("the file was changed")
	}
}

func TestApproveRefusesWhatTheServerWould(t *testing.T) {
	file, keys := signers(t, "  purpose: [x]\n")
	if r := approve(t, file, "fire", "chief", keys["fire"]); r.code != ExitFailed || !strings.Contains(r.err, "spec.purpose: is not a field") {
		t.Errorf("exit code %d: %q", r.code, r.err)
	}
}

func TestDigestAsksForANamespace(t *testing.T) {
	file, _ := signers(t, "")
	raw, _ := os.ReadFile(file)
	bare := strings.Replace(string(raw), "  name: fire-addresses\n  namespace: qi\n", "  name: fire-addresses\n", 1)
	if r := run(t, bare, "agreement", "digest", "-f", "-"); r.code != ExitUsage {
		t.Errorf("exit code %d: %s", r.code, r.out)
	}
	with, without := run(t, bare, "agreement", "digest", "-f", "-", "-n", "qi"), run(t, "", "agreement", "digest", "-f", file)
	if with.out != without.out || with.out == "" {
		t.Errorf("with -n %q, with metadata.namespace %q", with.out, without.out)
	}
}

// The digest of the short text must be that of the object as the API server stores it: defaulted, and read back by the
// operator, which may print durations and quantities in another form.
func TestDigestIsTheSameAfterStorage(t *testing.T) {
	file, _ := signers(t, "")
	raw, _ := os.ReadFile(file)
	docs, _ := offline.Parse(file, raw)
	k, err := schema.For("DataSharingAgreement")
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	object := docs[3].Object
	for _, pass := range []string{"file", "stored", "applied again"} {
		p, err := k.Prepare(object)
		if err != nil {
			t.Fatal(err)
		}
		var a v1alpha1.DataSharingAgreement
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(p.Object, &a); err != nil {
			t.Fatal(err)
		}
		set, err := offline.Load(t.Context(), offline.Source{Paths: []string{file}}, "")
		if err != nil {
			t.Fatal(err)
		}
		if digests[pass], err = set.Digest(&a); err != nil {
			t.Fatal(err)
		}
		if object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(&a); err != nil {
			t.Fatal(err)
		}
	}
	if digests["file"] != digests["stored"] || digests["file"] != digests["applied again"] {
		t.Error(cmp.Diff(digests["file"], digests))
	}
	if r := run(t, "", "agreement", "digest", "-f", file); !strings.HasPrefix(r.out, digests["file"]+"  qi/fire-addresses") {
		t.Errorf("the command prints %q", r.out)
	}
}

// What the cluster would not take replaces no valid signature in a file.
func TestApproveWritesNothingVoid(t *testing.T) {
	file, keys := signers(t, "")
	approve(t, file, "fire", "chief", keys["fire"], "-w")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][3]string{
		"a stranger's key":   {"fire", "chief", keys["civil-affairs"]},
		"no such approver":   {"fire", "deputy", keys["fire"]},
		"no such party":      {"ghost", "chief", keys["fire"]},
		"another's approver": {"civil-affairs", "chief", keys["fire"]},
	} {
		r := approve(t, file, c[0], c[1], c[2], "-w")
		after, err := os.ReadFile(file)
		if err != nil || r.code != ExitFailed || !strings.Contains(r.err, "--unlisted") || string(after) != string(before) {
			t.Errorf("%s: exit code %d, %v, changed: %v: %s", name, r.code, err, string(after) != string(before), r.err)
		}
		if r := approve(t, file, c[0], c[1], c[2]); r.code != ExitOK || !strings.Contains(r.err, "# warning: ") || !strings.Contains(r.out, "signature: ") {
			t.Errorf("%s, printed only: exit code %d: %s%s", name, r.code, r.out, r.err)
		}
	}
	if r := approve(t, file, "fire", "deputy", keys["fire"], "-w", "--unlisted"); r.code != ExitOK || !strings.Contains(r.err, "# warning: ") {
		t.Errorf("--unlisted: exit code %d: %s", r.code, r.err)
	}
	if after, err := os.ReadFile(file); err != nil || strings.Count(string(after), "approver: ") != 2 {
		t.Errorf("--unlisted, %v:\n%s", err, after)
	}
}
