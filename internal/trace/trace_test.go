package trace

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

var profiles = map[string]contract.Profile{
	"smoke-detector": {Fields: map[string]contract.Field{"smoke": {Type: "Boolean"}, "battery": {Type: "Integer"}}, HeartbeatSeconds: 3600},
	"door-sensor":    {Fields: map[string]contract.Field{"event": {Type: "String"}}, HeartbeatSeconds: 6 * 3600},
}

// city is a fire scene over a fleet of the files, and an absence over one that is only named.
func city() World {
	return World{
		Rules: contract.Rules{Profiles: profiles, Scenarios: map[string]contract.Scenario{
			"fire": {Profile: "smoke-detector", Trigger: contract.Trigger{When: "msg.smoke == true", Clear: "msg.smoke == false", DedupSeconds: 600},
				Severity: contract.SeverityCritical, Title: "${community}${building}烟感", Commands: []contract.ScenarioCommand{{Command: "ring", At: "Raised", Target: "Building"}}},
			"still": {Profile: "door-sensor", Trigger: contract.Trigger{Absent: &contract.Absent{Event: `msg.event == "exit"`, Seconds: 6 * 3600}, Unless: "context.away"},
				AppliesTo: `device.attributes.livesAlone == "true"`, Severity: contract.SeverityHigh, Title: "未出门"},
		}},
		Fleets: map[string]contract.Fleet{"acme": {Namespace: "v", Profile: "smoke-detector", AccessMode: "Device", Devices: map[string]contract.Device{
			"sd-1": {Community: "jinghu", Building: "3号楼"}}}},
		Communities: map[string]contract.Community{"jinghu": {DisplayName: "荆胡社区"}},
		Zone:        time.FixedZone("CST", 8*3600),
	}
}

func play(t *testing.T, w World, text string) Played {
	t.Helper()
	lines, err := Read(strings.NewReader(text), "t.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Play(w, lines, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func texts(p Played) string {
	var out []string
	for _, o := range p.Outputs {
		out = append(out, o.Text())
	}
	return strings.Join(out, "\n")
}

const burns = `{"ts":"2026-03-01T08:00:00+08:00","topic":"dizuo/v1/d/acme/sd-1/signal","payload":{"smoke":true}}
# a comment
{"ts":"2026-03-01T08:00:30+08:00","topic":"dizuo/v1/d/acme/sd-1/signal","payload":{"smoke":true,"battery":"full"}}

{"ts":"2026-03-01T08:05:00+08:00","topic":"dizuo/v1/d/acme/sd-1/signal","payload":{"smoke":false}}
`

func TestPlay(t *testing.T) {
	p := play(t, city(), burns)
	want := `{"ts":"2026-03-01T08:00:00+08:00","scenario":"fire","community":"jinghu","device":"acme/sd-1","kind":"raised","severity":"Critical","title":"荆胡社区3号楼烟感"}
{"ts":"2026-03-01T08:00:00+08:00","scenario":"fire","community":"jinghu","device":"acme/sd-1","kind":"command","command":"ring","target":"Building"}
{"ts":"2026-03-01T08:05:00+08:00","scenario":"fire","community":"jinghu","device":"acme/sd-1","kind":"cleared","severity":"Critical","title":"荆胡社区3号楼烟感"}`
	if got := texts(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(p.Notes) != 1 || p.Notes[0].Line != 3 || !strings.Contains(p.Notes[0].Text, "battery") {
		t.Errorf("notes %v", p.Notes)
	}
}

// What fires by time fires on the trace's clock, also where the trace ends just then; a fact keeps it down.
func TestTimePasses(t *testing.T) {
	const row = `{"ts":"2026-03-01T08:00:00+08:00","device":"door-sensor/d-1","row":{"community":"jinghu","attributes":{"livesAlone":"true"}}}
`
	const exit = `{"ts":"2026-03-01T08:00:00+08:00","topic":"dizuo/v1/d/door-sensor/d-1/signal","payload":{"event":"exit"}}
{"ts":"2026-03-01T12:00:00+08:00","topic":"dizuo/v1/d/door-sensor/d-1/signal","payload":{"event":"opened"}}
`
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"a second before":      {row + exit + `{"ts":"2026-03-01T13:59:59+08:00"}`, 0},
		"to the second":        {row + exit + `{"ts":"2026-03-01T14:00:00+08:00"}`, 1},
		"away":                 {row + exit + `{"ts":"2026-03-01T12:30:00+08:00","context":{"away":true}}` + "\n" + `{"ts":"2026-03-01T15:00:00+08:00"}`, 0},
		"nobody lives alone":   {exit + `{"ts":"2026-03-01T15:00:00+08:00"}`, 0},
		"an exit that is late": {row + exit + `{"ts":"2026-03-01T14:00:30+08:00","topic":"dizuo/v1/d/door-sensor/d-1/signal","payload":{"event":"exit","ts":"2026-03-01T13:59:30+08:00"}}`, 0},
	} {
		if p := play(t, city(), c.text); len(p.Outputs) != c.want {
			t.Errorf("%s: %d lines, want %d:\n%s", name, len(p.Outputs), c.want, texts(p))
		}
	}
}

func TestWrongTraces(t *testing.T) {
	const at = `{"ts":"2026-03-01T08:00:00+08:00",`
	for text, want := range map[string]string{
		``:                              "t.ndjson: holds no line",
		`{`:                             "t.ndjson:1: the line is cut off; remove it or write it whole",
		`{} {}`:                         "more than one JSON object",
		`{"ts":"yesterday"}`:            `ts "yesterday" is not a time`,
		at + `"topc":"x"}`:              "unknown field",
		at + `"topic":"x"}`:             "topic and payload go together",
		at + `"mode":"E","context":{}}`: "write a line for each",
		at + `"scope":"Household"}`:     "scope and id are those of a context",
		at + `"context":{},"scope":"House","id":"h"}`:                        `scope "House" is none; write one of Platform`,
		at + `"context":{},"scope":"Household"}`:                             "needs the id of the place",
		at + `"context":{},"id":"h"}`:                                        "scope says of which kind",
		at + `"row":{}}`:                                                     "device and row go together",
		at + `"device":"x","row":{}}`:                                        "write <fleet>/<device>",
		at + `"device":"x/y","row":{"comunity":"a"}}`:                        "unknown field",
		"\n" + at + "\"mode\":\"\"}\n{\"ts\":\"2026-03-01T07:59:59+08:00\"}": "t.ndjson:3: ts 2026-03-01T07:59:59+08:00 lies before that of line 2",
	} {
		if _, err := Read(strings.NewReader(text), "t.ndjson"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		at + `"topic":"dizuo/v1/d/other/x/signal","payload":{"smoke":true}}`: `line 1: fleet "other" is in no file, or is refused there; add its DeviceFleet, or name the fleet after its profile`,
		at + `"topic":"door","payload":{}}`:                                  `line 1: topic "door"`,
	} {
		lines, err := Read(strings.NewReader(text), "t.ndjson")
		if err == nil {
			_, err = Play(city(), lines, time.Time{})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// A device that the fleet's inventory does not have is told and not invented.
func TestUnknownDevice(t *testing.T) {
	p := play(t, city(), strings.ReplaceAll(burns, "sd-1", "sd-2"))
	if len(p.Outputs) != 0 || len(p.Notes) != 3 || !strings.Contains(p.Notes[0].Text, "no such device") {
		t.Errorf("%s, notes %v", texts(p), p.Notes)
	}
}

func TestDifference(t *testing.T) {
	p := play(t, city(), burns)
	expected, err := ReadExpected([]byte(strings.ReplaceAll(texts(p), "08:05:00+08:00", "00:06:00Z")+"\n# the end\n"), "e")
	if err != nil {
		t.Fatal(err)
	}
	got := Difference(expected, p.Outputs)
	if len(got) != 2 || !strings.HasPrefix(got[0], `+ {"ts":"2026-03-01T00:05:00Z"`) || !strings.HasPrefix(got[1], `- {"ts":"2026-03-01T00:06:00Z"`) {
		t.Errorf("%v", got)
	}
	if same, _ := ReadExpected([]byte(texts(p)), "e"); len(Difference(same, p.Outputs)) != 0 {
		t.Error("the same differs")
	}
	if _, err := ReadExpected([]byte("{\"ts\":\"2026-"), "e"); err == nil || !strings.Contains(err.Error(), "e:1: the line is cut off") {
		t.Errorf("a line that is cut off: %v", err)
	}
	if _, err := ReadExpected([]byte("\n{\"sceanrio\":1}"), "e"); err == nil || !strings.Contains(err.Error(), "e:2:") {
		t.Errorf("%v", err)
	}
}

// A world is played without being changed: the next trace begins anew.
func TestWorldStays(t *testing.T) {
	w := city()
	before := maps.Clone(w.Fleets)
	play(t, w, `{"ts":"2026-03-01T08:00:00+08:00","topic":"dizuo/v1/d/smoke-detector/x/signal","payload":{"smoke":true}}`)
	if len(w.Fleets) != len(before) {
		t.Errorf("fleets %v", w.Fleets)
	}
}
