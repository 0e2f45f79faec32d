package rules

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	engine "github.com/dizuo/dizuo/internal/node/rules"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/internal/trace"
)

const catalogue = "../../../config/scenarios"

// shipped compiles the catalogue of the release, all of it.
func shipped(t testing.TB) contract.Rules {
	t.Helper()
	ctx := t.Context()
	set, err := offline.Load(ctx, offline.Source{Paths: []string{catalogue}}, "default")
	if err != nil {
		t.Fatal(err)
	}
	if set, err = offline.Alone(ctx, set, "default"); err != nil {
		t.Fatal(err)
	}
	release, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	result, err := offline.Compile(ctx, set, offline.Options{Now: time.Now(), Catalog: release})
	if err != nil || len(result.Findings) > 0 {
		t.Fatal(err, result.Findings)
	}
	in, err := result.Platforms[0].Playable(true)
	if err != nil {
		t.Fatal(err)
	}
	return in.Rules
}

// said is a message of the catalogue's traces.
type said struct {
	after           time.Duration // the beginning of its trace
	device, profile string
	channel         contract.Channel
	row             contract.Device
	raw             []byte
}

// traces reads the messages of all traces, as if all began at once.
func traces(t testing.TB, r contract.Rules) (out []said) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(catalogue, "*.trace.ndjson"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := trace.Read(f, name)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		rows := map[string]contract.Device{}
		for _, l := range lines {
			if l.Row != nil {
				rows[l.Device] = *l.Row
			}
			fleet, device, channel, err := contract.ParseDeviceSubject(strings.ReplaceAll(l.Topic, "/", "."))
			if _, known := r.Profiles[fleet]; err != nil || !known { // no message, or one of a cloud
				continue
			}
			out = append(out, said{l.At.Sub(lines[0].At), filepath.Base(name) + device, fleet, channel, rows[fleet+"/"+device], l.Payload})
		}
	}
	slices.SortStableFunc(out, func(a, b said) int { return cmp.Compare(a.after, b.after) })
	return out
}

// BenchmarkCatalogue is the shipped catalogue, all scenarios at once, and the messages of its traces, from their bytes on: a scenario of the message's
// profile is an evaluation. The traces come again and again, the next a day after the one before.
func BenchmarkCatalogue(b *testing.B) {
	set := shipped(b)
	messages := traces(b, set)
	of := map[string]int{}
	for _, s := range set.Scenarios {
		for profile := range set.Profiles {
			if s.Profile == profile || s.Profile == "" {
				of[profile]++
			}
		}
	}
	e, problems := engine.New(set, engine.Options{})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	span := messages[len(messages)-1].after + 24*time.Hour
	begin := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	n, evaluations := 0, 0
	for b.Loop() {
		m := &messages[n%len(messages)]
		p, err := engine.Decode(set.Profiles[m.profile], m.raw)
		if err != nil {
			b.Fatal(err)
		}
		e.Step(engine.Message{Time: begin.Add(time.Duration(n/len(messages))*span + m.after), Fleet: m.profile, Device: m.device, Row: m.row, Profile: m.profile, Channel: m.channel, Payload: p.Fields})
		n++
		evaluations += of[m.profile]
	}
	b.ReportMetric(float64(evaluations)/b.Elapsed().Seconds(), "evaluations/s")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(len(set.Scenarios)), "scenarios")
	b.ReportMetric(0, "ns/op")
}
