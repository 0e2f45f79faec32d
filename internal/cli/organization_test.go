package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const organizationFile = `apiVersion: dizuo.io/v1alpha1
kind: Organization
metadata: {name: fire, namespace: qi}
spec:
  type: Fire
  approvers: APPROVERS
`

// A change of approvers is good with the signature of one who stood before, and with no other.
func TestApproversChange(t *testing.T) {
	dir := t.TempDir()
	key, public := map[string]string{}, map[string]string{}
	for _, who := range []string{"chief", "deputy"} {
		key[who] = filepath.Join(dir, who+".pem")
		if r := run(t, "", "key", "new", "--out", key[who]); r.code != ExitOK {
			t.Fatal(r.err)
		}
		public[who] = strings.TrimSpace(run(t, "", "key", "public", "--key", key[who]).out)
	}
	write := func(name string, signature string, who ...string) string {
		var list []string
		for _, w := range who {
			list = append(list, "{name: "+w+", publicKey: "+public[w]+"}")
		}
		text := strings.Replace(organizationFile, "APPROVERS", "["+strings.Join(list, ", ")+"]", 1)
		for line := range strings.Lines(signature) {
			text += "  " + line
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, bare := write("old.yaml", "", "chief"), write("bare.yaml", "", "chief", "deputy")
	sign := func(approver, by string) string {
		r := run(t, "", "organization", "approvers", "sign", "-f", bare, "--approver", approver, "--key", key[by])
		if r.code != ExitOK || !strings.HasPrefix(r.out, "approversSignature:\n  approver: "+approver+"\n  signature: ") {
			t.Fatalf("sign: exit code %d: %s%s", r.code, r.out, r.err)
		}
		return r.out
	}
	good := sign("chief", "chief")
	for name, c := range map[string]struct {
		file string
		code int
		want string
	}{
		"unchanged":           {old, ExitOK, "unchanged"},
		"not signed":          {bare, ExitFailed, "is not signed"},
		"signed":              {write("signed.yaml", good, "chief", "deputy"), ExitOK, "valid"},
		"another list":        {write("other.yaml", good, "deputy"), ExitFailed, "does not fit"},
		"signed by the new":   {write("new.yaml", sign("deputy", "deputy"), "chief", "deputy"), ExitFailed, "was not among the approvers"},
		"in the chief's name": {write("forged.yaml", sign("chief", "deputy"), "chief", "deputy"), ExitFailed, "does not fit"},
	} {
		r := run(t, "", "organization", "approvers", "verify", "-f", c.file, "--from", old)
		if r.code != c.code || !strings.Contains(r.out, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", name, r.code, c.code, c.want, r.out, r.err)
		}
	}
	for name, c := range map[string]struct {
		approver, by string
		more         []string
		code         int
	}{
		"of the list":                 {"chief", "chief", []string{"--from", old}, ExitOK},
		"a stranger's key":            {"chief", "deputy", []string{"--from", old}, ExitFailed},
		"not in the old list":         {"deputy", "deputy", []string{"--from", old}, ExitFailed},
		"a stranger's key, unlisted":  {"chief", "deputy", []string{"--from", old, "--unlisted"}, ExitOK},
		"a stranger's key, not asked": {"chief", "deputy", nil, ExitOK},
	} {
		r := run(t, "", append([]string{"organization", "approvers", "sign", "-f", bare, "--approver", c.approver, "--key", key[c.by]}, c.more...)...)
		if r.code != c.code || (r.out == "") != (c.code != ExitOK) || strings.Contains(r.err, "warning") != (c.code == ExitOK && name != "of the list") {
			t.Errorf("%s: exit code %d, want %d:\n%s%s", name, r.code, c.code, r.out, r.err)
		}
	}
	if r := run(t, "", "organization", "approvers", "sign", "-f", write("empty.yaml", ""), "--approver", "chief", "--key", key["chief"]); r.code != ExitFailed || !strings.Contains(r.err, "leave one approver") {
		t.Errorf("an empty list: exit code %d: %s", r.code, r.err)
	}
}
