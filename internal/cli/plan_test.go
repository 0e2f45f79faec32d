package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/offline"
)

func TestPlanBetweenFolders(t *testing.T) {
	r := run(t, "", "plan", "--from", "testdata/plan/was", "--to", "testdata/plan/is")
	golden(t, "plan.golden", r.out+"--- standard error\n"+r.err)
	if r.code != ExitFailed { // it brings problems
		t.Errorf("exit code %d, want %d", r.code, ExitFailed)
	}
	if again := run(t, "", "plan", "--from", "testdata/plan/was", "--to", "testdata/plan/is"); again.out != r.out {
		t.Error("the order is not stable")
	}
	if same := run(t, "", "plan", "--from", "testdata/plan/was", "--to", "testdata/plan/was"); same.code != ExitOK || same.out != "no difference\n" {
		t.Errorf("nothing changes: %+v", same)
	}
	back := run(t, "", "plan", "--from", "testdata/plan/is", "--to", "testdata/plan/was", "-o", "json")
	var changes []offline.Change
	if err := json.Unmarshal([]byte(back.out), &changes); err != nil {
		t.Fatal(err)
	}
	if back.code != ExitDifferent || len(changes) == 0 {
		t.Errorf("the way back: exit code %d, %d changes", back.code, len(changes))
	}
}

// What a Secret holds is never shown, neither that of the files nor what is rendered.
func TestPlanHidesSecrets(t *testing.T) {
	const platform = "apiVersion: dizuo.io/v1alpha1\nkind: GridPlatform\nmetadata: {name: p, namespace: p}\nspec: {divisions: [\"41\"]}\n---\n" +
		"apiVersion: dizuo.io/v1alpha1\nkind: Organization\nmetadata: {name: o, namespace: p}\nspec: {type: Fire, jurisdiction: [\"41\"], duties: [fire], webhook: {url: \"https://a.example\", secretRef: {name: s}}}\n---\n" +
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: p}\nstringData: {secret: whsec_"
	dir := t.TempDir()
	for name, key := range map[string]string{"a": strings.Repeat("A", 43), "b": strings.Repeat("B", 43)} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(platform+key+"=}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, "", "plan", "--from", dir+"/a.yaml", "--to", dir+"/b.yaml")
	const want = "made for GridPlatform p/p:\n  ~ Secret p/dizuo-webhooks\n      data.o: \"(not shown)\" -> \"(not shown)\"\n0 to create, 1 to change, 0 to delete\n"
	if r.code != ExitDifferent || r.out != want {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.err)
	}
}

// An object that does not compile changes nothing: what the operator made of it stays, so the plan must not say that it goes.
func TestPlanKeepsWhatAnInvalidObjectMade(t *testing.T) {
	dir := t.TempDir()
	for name, zone := range map[string]string{"a": "Asia/Shanghai", "b": "Asia/Nowhere"} {
		text := "apiVersion: dizuo.io/v1alpha1\nkind: GridPlatform\nmetadata: {name: p, namespace: p}\nspec: {divisions: [\"41\"], timeZone: " + zone + "}\n---\n" +
			"apiVersion: dizuo.io/v1alpha1\nkind: Community\nmetadata: {name: c, namespace: p}\nspec: {division: \"410102001001\", workspace: {}}\n"
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, "", "plan", "--from", dir+"/a.yaml", "--to", dir+"/b.yaml")
	if r.code != ExitFailed || !strings.Contains(r.err, "Asia/Nowhere") || !strings.HasSuffix(r.out, "\n0 to create, 1 to change, 0 to delete\n") {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.err)
	}
}
