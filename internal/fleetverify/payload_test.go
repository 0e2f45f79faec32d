package fleetverify_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/fleetverify"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var at = time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)

// offline are the options of a check of payloads alone.
func offline(t *testing.T, lines ...string) fleetverify.Options {
	return fleetverify.Options{Offline: true, Profile: profile(), Samples: samples(t, lines...), PayloadBytes: 200, Tool: "v1", Now: func() time.Time { return at }}
}

var broken = []string{
	`{"smoke":false,"battery":80,"ts":"2026-06-01T15:59:00+08:00"}`,
	`{"smoke":"false","Battery":80,"density":0.5,"tmep":1}`,
	`{"battery":101,"mode":"Home","since":"yesterday","density":0.25}`,
	`{"smoke":true,"ts":"2026-06-01T08:00:00"}`,
	`{"smoke":true,"ts":"2026-06-01T09:00:00Z"}`,
	`[1]`,
	`{"smoke":true} {"smoke":false}`,
	`{"smoke":true,"name":"` + strings.Repeat("x", 200) + `"}`,
	`{"smoke":true,"` + "\\u0007" + strings.Repeat("长", 40) + `":1}`,
}

func TestPayloadProblemsAreNamed(t *testing.T) {
	r := want(t, offline(t, broken...), []string{"payload.format", "payload.names", "payload.ranges", "payload.required", "payload.size", "payload.time", "payload.types"}, nil)
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.Sample+" "+p.Reason+": "+p.Message.EN)
	}
	if diff := cmp.Diff([]string{
		"day.ndjson:2 Unknown: Battery is not a field of the profile; did you mean battery?",
		"day.ndjson:2 WrongType: smoke: want the type Boolean",
		"day.ndjson:2 Unknown: tmep is not a field of the profile",
		"day.ndjson:3 OutOfRange: battery: out of the declared range 0 … 100 %",
		"day.ndjson:3 OutOfRange: mode: want one of home, away",
		"day.ndjson:3 WrongType: since: want the type Time",
		"day.ndjson:3 Missing: smoke is required and missing",
		"day.ndjson:4 BadTime: ts: write an RFC 3339 time with a zone, such as 2026-06-01T08:00:00+08:00",
		"day.ndjson:5 TimeInFuture: ts lies 1h0m0s in the future; set the clock by NTP",
		"day.ndjson:6 NotAnObject: payload is no JSON object: send one object with the fields of the profile",
		"day.ndjson:7 NotAnObject: payload goes on after its JSON object: send one object only",
		"day.ndjson:8 TooLarge: 224 bytes, at most 200 are taken",
	}, got[:min(12, len(got))]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if last := got[len(got)-1]; !strings.Contains(last, `\a长`) || len(last) > 160 {
		t.Errorf("a name that is neither short nor printable: %q", last)
	}
	if len(r.Units) != 2 || r.Units[1].Field != "density" || r.Units[1].Hint == nil || r.Units[0].Hint != nil {
		t.Errorf("units %+v: want a hint for density alone, which looks like a share", r.Units)
	}
}

func TestNothingToCheck(t *testing.T) {
	if _, err := fleetverify.Run(context.Background(), fleetverify.Options{Offline: true}); err == nil {
		t.Error("a run without anything to check must not pass")
	}
	for _, text := range []string{"", "\n\n"} {
		if _, err := fleetverify.ReadSamples("x", strings.NewReader(text)); err == nil {
			t.Error("a file without a payload must not pass for good ones")
		}
	}
}

// report is one as an online run gives it, with fixed evidence.
func report(t *testing.T) *fleetverify.Report {
	r, err := fleetverify.Run(context.Background(), offline(t, append(broken[:3:3], `{"smoke":true,"<b>|x`+"`"+`":1}`)...))
	if err != nil {
		t.Fatal(err)
	}
	r.Fleet, r.Device, r.ClientID, r.Method, r.Address, r.Dialled = "smoke", "sd-1", "smoke_sd-1", "X509", "broker.example:8883", "localhost:8883"
	r.ServerCertificate, r.BrokerCA = "AB:CD", "EF:01"
	return r
}

// TestDocuments compares both languages of both documents with testdata.
func TestDocuments(t *testing.T) {
	r := report(t)
	for suffix, l := range map[string]fleetverify.Language{"en": fleetverify.English, "zh": fleetverify.Chinese} {
		for form, write := range map[string]func(*bytes.Buffer) error{
			"md": func(b *bytes.Buffer) error { return r.Markdown(b, l) }, "html": func(b *bytes.Buffer) error { return r.HTML(b, l) }} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "report."+suffix+"."+form)
			if *update {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(golden), b.String()); diff != "" {
				t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, diff)
			}
			if strings.Contains(b.String(), "<b>") || form == "html" && strings.Contains(b.String(), "http") {
				t.Errorf("%s: a name of a payload is not escaped, or the page needs something else", path)
			}
		}
	}
}

func TestParseConnection(t *testing.T) {
	good := map[string][]byte{"host": []byte("h"), "port": []byte("8883\n"), "method": []byte("Password"), "topicPrefix": []byte("dizuo/v1/d/smoke/"), "ca.crt": []byte("x")}
	for key, value := range map[string]string{"host": "", "port": "70000", "method": "None", "topicPrefix": "dizuo/v1/d/Smoke/", "uriPrefix": "", "ca.crt": "-----"} {
		data := map[string][]byte{}
		for k, v := range good {
			data[k] = v
		}
		if key == "uriPrefix" {
			data["method"] = []byte("X509")
		}
		data[key] = []byte(value)
		if _, err := fleetverify.ParseConnection(data); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s %q: %v; want an error that names the key", key, value, err)
		}
	}
}

// TestCatalogue holds what others rely on: ids are unique, in their group, and every text is there in both languages.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, method := range []string{"X509", "Password"} {
		for _, id := range fleetverify.IDs(method) {
			seen[id] = true
		}
		if n := len(fleetverify.IDs(method)); n < 40 {
			t.Errorf("%s: %d checks", method, n)
		}
	}
	for _, c := range report(t).Checks {
		if !seen[c.ID] || !strings.HasPrefix(c.ID, string(c.Group)+".") {
			t.Errorf("%s: group %s", c.ID, c.Group)
		}
		for _, text := range []fleetverify.Text{c.Title, c.Meaning, c.Evidence} {
			if text.EN == "" || text.ZH == "" {
				t.Errorf("%s: %+v", c.ID, text)
			}
		}
	}
}
