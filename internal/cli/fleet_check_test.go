package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// put writes files into a folder and gives the folder.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const badRows = `device,community,grid,serial,clientID,household
sd-1,jinghu,grid-1,SN-1,,
sd-2,jinghu,grid-9,SN-2,,
sd-3,jinghu,lake-1,SN-3,,
sd-4,nowhere,,SN-4,,
sd-5,jinghu,grid-1,SN-1,,
sd-6,jinghu,grid-1,SN-6,a.b,
张三,jinghu,grid-1,SN-7,,
sd-8,jinghu,grid-1,SN-8,,金水路1号301
sd-9,jinghu,grid-1,SN-other,,
`

// platformYAML is a platform with two communities and two fleets, of which one holds SN-other.
const platformYAML = `
apiVersion: dizuo.io/v1alpha1
kind: GridPlatform
metadata: {name: henan, namespace: henan}
spec: {divisions: ["41"]}
---
apiVersion: dizuo.io/v1alpha1
kind: Community
metadata: {name: jinghu, namespace: henan}
spec: {division: "410103014006", grids: [{name: grid-1}]}
---
apiVersion: dizuo.io/v1alpha1
kind: Community
metadata: {name: longhu, namespace: henan}
spec: {division: "410103014007", grids: [{name: lake-1}]}
---
apiVersion: dizuo.io/v1alpha1
kind: DeviceFleet
metadata: {name: doors, namespace: henan}
spec: {profileRef: {name: door-sensor}, inventory: {rows: [{device: d-1, community: jinghu, serial: SN-other}]}}
---
apiVersion: dizuo.io/v1alpha1
kind: DeviceFleet
metadata: {name: smoke, namespace: henan}
spec: {profileRef: {name: smoke-detector}}
`

// codes gives the codes of a table by device.
func codes(t *testing.T, out string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 3 && strings.Contains(f[0], ".csv:") {
			found[f[1]] = f[2]
		}
	}
	return found
}

// A vendor with a CSV and nothing else learns all that can be known of it.
func TestFleetCheckOfACSVAlone(t *testing.T) {
	dir := put(t, map[string]string{"devices.csv": badRows})
	r := run(t, "", "fleet", "check", "-f", filepath.Join(dir, "devices.csv"))
	if r.code != ExitFailed {
		t.Errorf("exit code %d, %s", r.code, r.err)
	}
	want := map[string]string{"sd-5": "Duplicate", "sd-6": "Malformed", "-": "Malformed", "sd-8": "Malformed"}
	if got := codes(t, r.out); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v\n%s", got, want, r.out)
	}
	for _, say := range []string{"devices.csv:6 ", "9 rows, 4 rejected: 1 Duplicate, 3 Malformed", "fits 1 Secret of 900 KiB"} {
		if !strings.Contains(r.out, say) {
			t.Errorf("does not say %q:\n%s", say, r.out)
		}
	}
	if strings.Contains(r.out, "张三") || strings.Contains(r.out, "金水路") {
		t.Errorf("repeats a name or an address:\n%s", r.out)
	}
}

func TestFleetCheckWithThePlatform(t *testing.T) {
	dir := put(t, map[string]string{"devices.csv": badRows, "platform.yaml": platformYAML})
	args := []string{"fleet", "check", "-f", filepath.Join(dir, "devices.csv"), "--with", dir, "--fleet", "smoke"}
	r := run(t, "", args...)
	want := map[string]string{
		"sd-2": "UnknownGrid", "sd-3": "GridOfOtherCommunity", "sd-4": "UnknownCommunity", "sd-5": "Duplicate", "sd-6": "Malformed", "-": "Malformed", "sd-8": "Malformed", "sd-9": "Claimed",
	}
	if got := codes(t, r.out); r.code != ExitFailed || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("exit code %d, got %v, want %v\n%s%s", r.code, got, want, r.out, r.err)
	}
	if r := run(t, "", args[:len(args)-2]...); r.code != ExitUsage || !strings.Contains(r.err, "--fleet") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	r = run(t, "", append(args, "-o", "json")...)
	var list []checkedFleet
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || r.code != ExitFailed {
		t.Fatalf("exit code %d, %v: %s", r.code, err, r.err)
	}
	if got := list[0]; got.Fleet != "smoke" || got.Rows != 9 || got.Rejected != 8 || len(got.RejectedRows) != 8 || got.RejectedRows[0].Code != v1alpha1.RowUnknownGrid || got.Size.Secrets != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestFleetCheckOfYAML(t *testing.T) {
	secret := func(key, text string) string {
		return "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: rows, namespace: henan}\nstringData:\n  " + key + ": |\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
	}
	fleet := "apiVersion: dizuo.io/v1alpha1\nkind: DeviceFleet\nmetadata: {name: smoke, namespace: henan}\nspec: {profileRef: {name: smoke-detector}, inventory: {secrets: [{name: rows}]}}\n"
	long := "device,attribute.a,attribute.b,attribute.c,attribute.d\n" + strings.Repeat("d"+strings.Repeat(","+strings.Repeat("x", 250), 4)+"\n", 950)
	for name, c := range map[string]struct {
		yaml, says string
		code       int
	}{
		"good":           {fleet + secret("a.csv", "device,community\nsd-1,jinghu"), "DeviceFleet smoke: 1 rows, 0 rejected\n", ExitOK},
		"a bad row":      {fleet + secret("a.csv", badRows), "9 rows, 4 rejected: 1 Duplicate, 3 Malformed\n", ExitFailed},
		"on a platform":  {strings.Replace(platformYAML, "smoke-detector}", "smoke-detector}, inventory: {secrets: [{name: rows}]}", 1) + secret("a.csv", badRows), "1 Claimed, 1 Duplicate, 1 GridOfOtherCommunity", ExitFailed},
		"Secret missing": {fleet, "Secret henan/rows is not there", ExitFailed},
		"Secret too big": {fleet + secret("a.csv", long), "at most 900 KiB fit", ExitFailed},
		"refused":        {strings.Replace(fleet, "smoke-detector", "NoName", 1), "profileRef", ExitFailed},
		"no fleet":       {"apiVersion: v1\nkind: Namespace\nmetadata: {name: henan}\n", "", ExitFailed},
		"an artefact": {strings.Replace(fleet, "secrets: [{name: rows}]", `artifact: {url: "https://vendor.example/a.csv", sha256: "`+strings.Repeat("0", 64)+`"}`, 1),
			"0 rows, 0 rejected", ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, c.yaml, "fleet", "check", "-f", "-")
			if r.code != c.code || !strings.Contains(r.out, c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", r.code, c.code, c.says, r.out, r.err)
			}
			if name == "an artefact" && !strings.Contains(r.err, "not fetched") {
				t.Errorf("does not say that nothing was fetched: %s", r.err)
			}
		})
	}
}

// A quarter of a million rows that are all good, and one more; gzipped, too. Under -short a tenth of them, all within the bound.
func TestFleetCheckIsBounded(t *testing.T) {
	n, code, says := 250_001, ExitFailed, []string{"1 rejected: 1 LimitExceeded", "fits 3 Secrets of 900 KiB, about 83334 rows each"}
	if testing.Short() {
		n, code, says = 25_001, ExitOK, []string{"25001 rows, 0 rejected", "fits 1 Secret of 900 KiB"}
	}
	var text strings.Builder
	text.WriteString("device,community,serial\n")
	for i := range n {
		fmt.Fprintf(&text, "sd-%d,jinghu,SN-%x\n", i, i*2654435761)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(text.String()))
	_ = z.Close()
	dir := put(t, map[string]string{"many.csv": text.String(), "many.csv.gz": packed.String()})
	for _, name := range []string{"many.csv", "many.csv.gz"} {
		r := run(t, "", "fleet", "check", "-f", filepath.Join(dir, name))
		for _, say := range says {
			if r.code != code || !strings.Contains(r.out, say) {
				t.Errorf("%s: exit code %d, want %d and %q:\n%s", name, r.code, code, say, r.out)
			}
		}
	}
}

func TestFleetCheckUsage(t *testing.T) {
	dir := put(t, map[string]string{"a.csv": "device\nd\n", "a.yaml": "{}"})
	for name, args := range map[string][]string{
		"CSV and YAML": {"-f", filepath.Join(dir, "a.csv"), "-f", filepath.Join(dir, "a.yaml")},
		"format":       {"-f", filepath.Join(dir, "a.csv"), "-o", "xml"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := run(t, "", append([]string{"fleet", "check"}, args...)...); r.code != ExitUsage {
				t.Errorf("exit code %d: %s", r.code, r.err)
			}
		})
	}
	if r := run(t, "", "fleet", "check", "-f", filepath.Join(dir, "none.csv")); r.code == ExitOK {
		t.Error("a file that is not there passes for a good one")
	}
}
