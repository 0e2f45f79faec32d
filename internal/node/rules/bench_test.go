package rules

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// manyRules gives rules over profiles of ten fields each: ten rules a profile, one for each field, so that a message with one field runs one.
func manyRules(n int) contract.Rules {
	r := contract.Rules{Profiles: map[string]contract.Profile{}, Scenarios: map[string]contract.Scenario{}}
	for i := range n {
		name := fmt.Sprintf("p%d", i/10)
		if i%10 == 0 {
			p := contract.Profile{Fields: map[string]contract.Field{}}
			for f := range 10 {
				p.Fields[fmt.Sprintf("f%d", f)] = contract.Field{Type: "Number"}
			}
			r.Profiles[name] = p
		}
		r.Scenarios[fmt.Sprintf("s%d", i)] = contract.Scenario{Profile: name, Severity: contract.SeverityHigh, Params: map[string]any{"max": float64(50 + i%10)}, DedupSeconds: 60,
			Terms: []contract.Term{{When: fmt.Sprintf("msg.f%d > params.max", i%10)}}, Clear: fmt.Sprintf("msg.f%d < 20.0", i%10)}
	}
	return r
}

// BenchmarkEvaluations is 10,000 rules on 1,000 profiles, from the bytes of a message: JSON is decoded and checked, ten rules are evaluated,
// two expressions each, and their states are kept. The ratio is to ten hand-written comparisons after the same decoding.
func BenchmarkEvaluations(b *testing.B) {
	const rules = 10_000
	set := manyRules(rules)
	e := mustNew(b, set, Options{})
	raw := []byte(`{"f0":30,"f1":31,"f2":32,"f3":33,"f4":34,"f5":35,"f6":36,"f7":37,"f8":38,"f9":39}`)
	names := make([]string, rules/10)
	for i := range names {
		names[i] = fmt.Sprintf("p%d", i)
	}
	decode := func(n int) Payload {
		p, err := Decode(set.Profiles[names[n%len(names)]], raw)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	n := 0
	for b.Loop() {
		p := decode(n)
		e.Step(Message{Time: t0.Add(time.Duration(n) * time.Millisecond), Fleet: "f", Device: "d", Profile: names[n%len(names)], Payload: p.Fields})
		n++
	}
	perMessage := b.Elapsed().Seconds() / float64(n)
	start, raised := time.Now(), 0
	for i := range n {
		f := decode(i).Fields
		for k, limit := range [...]float64{50, 51, 52, 53, 54, 55, 56, 57, 58, 59} {
			if f["f"+string(rune('0'+k))].(float64) > limit {
				raised++
			}
		}
	}
	byHand := time.Since(start).Seconds() / float64(n)
	b.ReportMetric(10/perMessage, "evaluations/s")
	b.ReportMetric(perMessage/byHand, "times-by-hand")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFieldIndex is 10,000 rules on one profile and messages that concern ten of them.
func BenchmarkFieldIndex(b *testing.B) {
	r := contract.Rules{Profiles: map[string]contract.Profile{"p": {Fields: map[string]contract.Field{}}}, Scenarios: map[string]contract.Scenario{}}
	for i := range 10_000 {
		f := fmt.Sprintf("f%d", i/10)
		r.Profiles["p"].Fields[f] = contract.Field{Type: "Number"}
		r.Scenarios[fmt.Sprintf("s%d", i)] = contract.Scenario{Profile: "p", Terms: []contract.Term{{When: "msg." + f + " > 50.0"}}, DedupSeconds: 60}
	}
	e := mustNew(b, r, Options{})
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("f%d", i)
	}
	n := 0
	for b.Loop() {
		e.Step(Message{Time: t0.Add(time.Duration(n) * time.Millisecond), Fleet: "f", Device: "d", Profile: "p", Payload: map[string]any{names[n%1000]: 10.0}})
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkRuleMemory is the heap of a compiled rule, its text included.
func BenchmarkRuleMemory(b *testing.B) {
	for b.Loop() {
		const rules = 10_000
		before := heap()
		set := manyRules(rules)
		e := mustNew(b, set, Options{})
		b.ReportMetric((heap()-before)/rules, "B/rule")
		runtime.KeepAlive(e)
		runtime.KeepAlive(set)
	}
}

// BenchmarkKeyMemory is the heap of a key that waits, its name included: dense, and as the long form that a key with an alarm has.
func BenchmarkKeyMemory(b *testing.B) {
	const keys = 200_000
	for b.Loop() {
		for _, form := range []string{"dense", "long"} {
			r := testRules()
			r.Scenarios = map[string]contract.Scenario{"s01": r.Scenarios["s01"], "s10": r.Scenarios["s10"]}
			n := keys
			before := heap()
			e := mustNew(b, r, Options{})
			for i := range n {
				m := door(0, "exit")
				if form == "long" {
					m = smoke(0, true)
				}
				m.Device = fmt.Sprintf("d%07d", i)
				e.Step(m)
				for h := range 3 {
					m.Time = m.Time.Add(time.Hour)
					if form == "dense" {
						m.Payload = map[string]any{"event": "heartbeat"}
					}
					_ = h
					e.Step(m)
				}
			}
			clear(e.dirty)
			e.dirty, e.events, e.due = map[keyRef]struct{}{}, nil, nil
			b.ReportMetric((heap()-before)/float64(e.Keys()), form+"-B/key")
		}
	}
}

// BenchmarkAbsenceOfAMillion is a million keys that wait for silence: a message moves no timer, and a tick reads when they are due. One key alone is
// due, and the next tick raises it and no other; then a thousand are due in each second.
func BenchmarkAbsenceOfAMillion(b *testing.B) {
	const keys, every = 1_000_000, time.Second // as the grid service ticks
	e := mustNew(b, testRules(), Options{})
	names := make([]string, keys)
	m := door(0, "exit")
	early := keys / 2 // it went out before all others
	went := func(i int) time.Time {
		if i == early {
			return t0.Add(-time.Minute)
		}
		return t0.Add(time.Duration(i) * time.Millisecond)
	}
	for i := range names {
		names[i] = fmt.Sprintf("d%07d", i)
		m.Device, m.Time = names[i], went(i)
		e.Step(m)
	}
	lookup := func(string, string) (contract.Device, string, bool) { return alone, "door", true }
	beat := func(h int) {
		for i := range names {
			m.Device, m.Time, m.Payload = names[i], t0.Add(time.Duration(h)*time.Hour+time.Duration(i)*time.Millisecond), map[string]any{"event": "heartbeat"}
			e.Step(m)
		}
		clear(e.dirty)
	}
	for h := 2; h <= 22; h += 2 {
		beat(h)
	}
	ticks, n := time.Duration(0), 0
	for b.Loop() { // seconds in which nobody is due
		e.set.rules["s01"].table.least = 0 // as if one were: all are read through
		start := time.Now()
		if got := e.Tick(t0.Add(23*time.Hour+time.Duration(n%1000)*time.Millisecond), lookup); len(got) > 0 {
			b.Fatal(len(got), " alarms before their time")
		}
		ticks += time.Since(start)
		n++
	}
	due := func(i int) time.Time { return went(i).Add(24*time.Hour + 2*time.Minute) } // the lateness is waited for
	late := 0
	for now := due(early).Add(-2500 * time.Millisecond); late == 0; now = now.Add(every) { // its time is between two ticks
		got := e.Tick(now, lookup)
		if since := now.Sub(due(early)); since >= 0 {
			late = int((since + every - 1) / every)
			if len(got) != 1 || got[0].Device != names[early] || got[0].Kind != Raised {
				b.Fatalf("%s after one of a million keys is due: %+v, want its alarm", since, got)
			}
		} else if len(got) > 0 {
			b.Fatalf("%s before one of a million keys is due: %+v", -since, got)
		}
	}
	e.Tick(due(0).Add(-time.Millisecond), lookup)
	worst := time.Duration(0)
	for second := range 10 {
		start := time.Now()
		got := e.Tick(due(0).Add(time.Duration(second+1)*every-time.Millisecond), lookup)
		worst = max(worst, time.Since(start))
		if len(got) != 1000 {
			b.Fatalf("second %d: %d alarms, want the 1000 that are due in it", second, len(got))
		}
	}
	b.ReportMetric(float64(ticks.Microseconds())/1000/float64(n), "ms/tick")
	b.ReportMetric(float64(late), "ticks-to-alarm")
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms/1000-alarms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDecode is what every message costs before the engine.
func BenchmarkDecode(b *testing.B) {
	p := testRules().Profiles["smoke"]
	raw, _ := json.Marshal(map[string]any{"smoke": true, "density": 3.5, "battery": 90})
	for b.Loop() {
		if _, err := Decode(p, raw); err != nil {
			b.Fatal(err)
		}
	}
}
