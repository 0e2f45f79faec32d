package cli

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/fleetverify"
	"github.com/dizuo/dizuo/test/dataplane"
)

// The report of payloads in both languages, and its width.
func TestFleetVerifyPayloads(t *testing.T) {
	for _, lang := range []string{"en", "zh"} {
		r := run(t, "", "fleet", "verify", "--offline", "--profile", "smoke-detector", "--payload", "testdata/verify/day.ndjson", "--lang", lang)
		if r.code != ExitFailed || r.err != "" {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
		golden(t, "verify/report."+lang+".txt", strings.ReplaceAll(r.out, version(), "VERSION"))
		for _, line := range strings.Split(r.out, "\n") {
			if wide.StringWidth(line) > verifyColumns {
				t.Errorf("%d columns: %s", wide.StringWidth(line), line)
			}
		}
	}
	good := filepath.Join(t.TempDir(), "good.ndjson")
	if err := os.WriteFile(good, []byte(`{"smoke":false}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "", "fleet", "verify", "--offline", "--profile", "smoke-detector", "--payload", good, "--strict"); r.code != ExitOK {
		t.Errorf("a good payload: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
}

func TestFleetVerifyUsage(t *testing.T) {
	for args, says := range map[string]string{
		"":                        "--connection",
		"--offline":               "nothing to check",
		"--offline --out r.pdf":   ".html, .md or .json",
		"--offline -o xml":        "json or yaml",
		"--offline --profile nil": "neither in the files nor in the catalogue",
		"--offline --payload testdata/verify/day.ndjson": "--profile",
	} {
		if r := run(t, "", append([]string{"fleet", "verify"}, strings.Fields(args)...)...); r.code == ExitOK || !strings.Contains(r.err, says) {
			t.Errorf("%q: exit code %d: %s; want it to say %s", args, r.code, r.err, says)
		}
	}
}

// The command as a vendor runs it, against a real broker: folders as kubectl and `fleet enroll` leave them.
func TestFleetVerifyLive(t *testing.T) {
	now := time.Now()
	cert, key := fleetCA(t, contract.FleetDomain("smoke", "qi"), now.Add(-time.Hour), now.Add(time.Hour))
	out := filepath.Join(t.TempDir(), "out")
	enrol := []string{"fleet", "enroll", "--ca-cert", cert, "--ca-key", key, "--fleet", "smoke", "--platform", "qi", "--out", out, "--device", "sd-1"}
	if r := runAt(t, time.Now, "", enrol...); r.code != ExitOK {
		t.Fatal(r.err)
	}
	issuer, err1 := os.ReadFile(cert)
	hash, err2 := password.HashGenerated("generated-0123456789", rand.Reader)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	w := dataplane.Start(t, dataplane.Options{Platform: "qi", Credentials: map[string]contract.Credentials{
		"smoke": {Method: "X509", Issuers: []string{string(issuer)}, Devices: map[string]contract.Credential{"sd-1": {}}},
		"door":  {Method: "Password", Devices: map[string]contract.Credential{"d1": {PasswordHash: hash}}}}})
	folder := func(fleet, method string) string {
		dir := t.TempDir()
		for name, data := range w.Connection(fleet, method, "") {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	document := filepath.Join(t.TempDir(), "report.json")
	r := runAt(t, time.Now, "", "fleet", "verify", "--connection", folder("smoke", "X509"), "--credential", filepath.Join(out, "sd-1"), "--address", w.Address,
		"--profile", "smoke-detector", "--out", document)
	raw, err := os.ReadFile(document)
	var report fleetverify.Report
	if err != nil || json.Unmarshal(raw, &report) != nil {
		t.Fatalf("%v: %s%s", err, r.out, r.err)
	}
	if r.code != ExitOK || report.Failed != 0 || report.Passed < 30 || report.Sent != 2 || !strings.Contains(r.out, "not proven  publish.wrong-topics") {
		t.Errorf("exit code %d, %d passed, %d failed, %d sent:\n%s%s", r.code, report.Passed, report.Failed, report.Sent, r.out, r.err)
	}
	door := []string{"fleet", "verify", "--connection", folder("door", "Password"), "--device", "d1", "--address", w.Address, "--dry", "-o", "json"}
	if r := runAt(t, time.Now, "generated-0123456789\n", append(door, "--password-file", "-")...); r.code != ExitOK {
		t.Errorf("exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	secrets := filepath.Join(t.TempDir(), "secrets.csv")
	if err := os.WriteFile(secrets, []byte("device,password\nd0,x\nd1,wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runAt(t, time.Now, "", append(door, "--passwords", secrets)...); r.code != ExitFailed || strings.Contains(r.out+r.err, "wrong\"") {
		t.Errorf("a wrong password: exit code %d:\n%s%s", r.code, r.out, r.err)
	}
}
