package grid

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// every lists all states.
func every() []State {
	var out []State
	for s := range chineseStates {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func TestLifeOfACase(t *testing.T) {
	for _, c := range []struct {
		from State
		act  Action
		by   Role
		want State // empty: refused
	}{
		{Reported, File, RoleSystem, Filed}, {Reported, Decline, RoleDispatcher, NotFiled}, {Reported, Acknowledge, RoleGridWorker, ""},
		{Filed, Dispatch, RoleSystem, Dispatched}, {Filed, Close, RoleDispatcher, ""},
		{Dispatched, Acknowledge, RoleGridWorker, Handling}, {Dispatched, Return, RoleGridWorker, Returned}, {Dispatched, Close, RoleGridWorker, ""},
		{Handling, Reassign, RoleDispatcher, Dispatched}, {Handling, Reassign, RoleGridWorker, ""}, {Handling, Reassign, RoleSystem, ""}, {Verifying, Reassign, RoleDispatcher, ""},
		{Returned, Dispatch, RoleDispatcher, Dispatched}, {Returned, Dispatch, RoleGridWorker, ""},
		{Handling, Handle, RoleGridWorker, Handling}, {Handling, Arrive, RoleGridWorker, Handling}, {Dispatched, Arrive, RoleGridWorker, ""}, {Handling, Extend, RoleDispatcher, Extended}, {Handling, Extend, RoleGridWorker, ""},
		{Handling, Suspend, RoleDispatcher, Suspended}, {Extended, Resume, RoleDispatcher, Handling}, {Suspended, Resume, RoleCommunityWorker, Handling},
		{Handling, RequestVerification, RoleGridWorker, Verifying}, {Verifying, Verify, RoleCommunityWorker, Verifying},
		{Verifying, Rework, RoleDispatcher, Handling}, {Verifying, Close, RoleGridWorker, Closed}, {Closed, Rate, RoleDispatcher, Rated},
		{Closed, Reopen, RoleDispatcher, Reopened}, {Rated, Reopen, RoleDispatcher, Reopened}, {Reopened, Dispatch, RoleDispatcher, Dispatched},
		{Closed, Close, RoleDispatcher, ""}, {Void, MarkVoid, RoleDispatcher, ""}, {Handling, MarkVoid, RoleGridWorker, Void},
		{Dispatched, Acknowledge, RoleAuditor, ""}, {Dispatched, Acknowledge, RoleResident, ""}, {Dispatched, Acknowledge, "Mayor", ""}, {Dispatched, "Fly", RoleDispatcher, ""},
	} {
		got, err := Next(c.from, c.act, c.by)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s %s by %q: want a refusal, got %s", c.from, c.act, c.by, got)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s %s by %q: got %s, %v; want %s", c.from, c.act, c.by, got, err, c.want)
		}
	}
}

// TestStatesAreReachableAndLeave walks the table: every state can be reached, has a Chinese name, and an open one can be left.
func TestStatesAreReachableAndLeave(t *testing.T) {
	reached, todo := map[State]bool{Reported: true}, []State{Reported}
	for len(todo) > 0 {
		s := todo[0]
		todo = todo[1:]
		left := false
		for a := range transitions {
			for _, by := range []Role{RoleSystem, RoleDispatcher} {
				n, err := Next(s, a, by)
				if err != nil {
					continue
				}
				left = left || n != s
				if !reached[n] {
					reached[n] = true
					todo = append(todo, n)
				}
			}
		}
		if s.Open() && !left {
			t.Errorf("%s is open and nothing leads on", s)
		}
	}
	for _, s := range every() {
		if !reached[s] || s.ChineseName() == "" {
			t.Errorf("%s: reached %v, name %q", s, reached[s], s.ChineseName())
		}
	}
}

func TestDeadlines(t *testing.T) {
	p := contract.Platform{TimeZone: "Asia/Shanghai", SLA: map[contract.Severity]contract.SLA{
		contract.SeverityCritical: {AcknowledgeSeconds: 120, OnSiteSeconds: 300, ResolveSeconds: 600},
		contract.SeverityLow:      {AcknowledgeSeconds: 4 * 3600, ResolveSeconds: 20 * 3600, Working: true},
	}}
	zone := location(p)
	friday := time.Date(2026, 3, 6, 16, 0, 0, 0, zone)
	dues := func(s contract.Severity) *Case {
		c := &Case{Severity: s}
		clocks{}.begin(p, c, friday, timerKinds...)
		return c
	}
	c := dues(contract.SeverityCritical)
	if !c.AcknowledgeDue.Equal(friday.Add(2*time.Minute)) || !c.OnSiteDue.Equal(friday.Add(5*time.Minute)) || !c.ResolveDue.Equal(friday.Add(10*time.Minute)) {
		t.Errorf("critical: %s, %s, %s", c.AcknowledgeDue, c.OnSiteDue, c.ResolveDue)
	}
	c = dues(contract.SeverityLow)
	if want := time.Date(2026, 3, 9, 11, 30, 0, 0, zone); !c.AcknowledgeDue.Equal(want) { // 1.5 h on Friday, 2.5 h on Monday
		t.Errorf("low: acknowledge by %s, want %s", c.AcknowledgeDue.In(zone), want)
	}
	if want := time.Date(2026, 3, 11, 15, 0, 0, 0, zone); !c.ResolveDue.Equal(want) { // 1.5 + 7 + 7 + 4.5
		t.Errorf("low: resolve by %s, want %s", c.ResolveDue.In(zone), want)
	}
	if c = dues(contract.SeverityHigh); c.AcknowledgeDue != nil || c.OnSiteDue != nil || c.ResolveDue != nil {
		t.Error("no SLA, no deadline")
	}
	// Who asks for verification was there, and is not late for not having said so; what is left is the time to resolve.
	c, k := &Case{Severity: contract.SeverityCritical, State: Verifying}, clocks{}
	k.begin(p, c, friday, timerKinds...)
	asked := friday.Add(time.Minute)
	k.after(p, c, RequestVerification, nil, asked)
	if _, runs := k[timerOnSite]; runs || c.OnSiteAt == nil || !c.OnSiteAt.Equal(asked) || k[timerResolve].Due == nil || !touches(RequestVerification, Verifying) {
		t.Errorf("verification is asked for: on site at %v, timers %v", c.OnSiteAt, k)
	}
}

func TestRespond(t *testing.T) {
	d := testBundle("https://example.test", "").Directory
	got := respond(d, &Case{Community: "jinghu", Grid: "g1"}, []contract.Responder{{Post: "GridWorker"}, {Duty: "fire"}, {Post: "Diver"}, {Duty: "fire"}, {Duty: "sea-rescue"}})
	want := called{Posts: []string{"GridWorker"}, Organizations: []string{"fire-xinxiang"}, Unanswered: []string{"post Diver", "duty sea-rescue"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := respond(d, &Case{Community: "other", Grid: "g1"}, []contract.Responder{{Duty: "fire"}}); !slices.Equal(got.Organizations, []string{"fire-luoyang"}) {
		t.Errorf("the other city's brigade must answer there: %+v", got)
	}
	typed := []contract.Responder{{Duty: "fire", Types: []string{"Police"}}, {Duty: "fire", Types: []string{"Police", "Fire"}}}
	if diff := cmp.Diff(called{Organizations: []string{"fire-xinxiang"}, Unanswered: []string{"duty fire"}}, respond(d, &Case{Community: "jinghu"}, typed)); diff != "" {
		t.Errorf("a brigade was called as police, or was not as a brigade: %s", diff)
	}
	// S04, S06, S30 and S31 call posts of the community, which its grids do not have beside their own.
	com := d.Communities["jinghu"]
	com.Posts = []string{"community-worker"}
	d.Communities["jinghu"] = com
	for _, grid := range []string{"g1", ""} {
		got := respond(d, &Case{Community: "jinghu", Grid: grid}, []contract.Responder{{Post: "GridWorker"}, {Post: "community-worker"}})
		if diff := cmp.Diff(called{Posts: []string{"GridWorker", "community-worker"}}, got); diff != "" {
			t.Errorf("grid %q: %s", grid, diff)
		}
	}
}

func TestWebhookTargets(t *testing.T) {
	for raw, want := range map[string][2]bool{ // allowed without and with plain webhooks
		"https://fire.example/x":            {true, true},
		"http://fire.example/x":             {false, false},
		"http://fire.ns.svc/x":              {false, true},
		"http://fire.ns.svc.cluster.local/": {false, true},
		"http://127.0.0.1:9/":               {false, true},
		"http://evil.svc.example/":          {false, false},
		"http://169.254.169.254/":           {false, false},
		"https://user:pw@fire.example/":     {false, false},
		"ftp://fire.example/":               {false, false},
		"https:///x":                        {false, false},
	} {
		for i, plain := range []bool{false, true} {
			d := &deliverer{plain: plain}
			if _, err := d.target(raw); (err == nil) != want[i] {
				t.Errorf("%s with plain=%v: %v", raw, plain, err)
			}
		}
	}
	for address, want := range map[string]bool{"10.0.0.1:443": true, "127.0.0.1:443": false, "169.254.169.254:80": false, "[::1]:443": false, "[::ffff:169.254.169.254]:80": false} {
		if err := (&deliverer{}).refuseOwn("tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestPauseGrowsAndEnds(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 5: 32 * time.Second, 12: time.Hour, 1000: time.Hour} {
		if got := pause(attempts, 0); got != want {
			t.Errorf("attempt %d: %s, want %s", attempts, got, want)
		}
		if got := pause(attempts, 1); got != want*3/4 {
			t.Errorf("attempt %d with jitter: %s", attempts, got)
		}
	}
}

func TestCloudEventHoldsNoHousehold(t *testing.T) {
	b := testBundle("https://example.test", "")
	c := &Case{Community: "jinghu", Fleet: "doors", Device: "d1", Scenario: "s01", Title: "t", Severity: contract.SeverityHigh}
	raw, err := cloudEvent(b.Directory, c, "fire-xinxiang", EventDispatched, c.ID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), `"specversion":"1.0"`) || strings.Contains(string(raw), "hh-secret") {
		t.Errorf("event: %s", raw)
	}
}

func ptr(x float64) *float64 { return &x }

// testBundle is a platform of two cities.
func testBundle(hook, ca string) *intake.Bundle {
	devices := map[string]contract.Device{}
	for _, n := range testDevices() {
		devices[n] = contract.Device{Community: "jinghu", Grid: "g1", Building: "7"}
	}
	webhook := func(path string) *contract.Webhook { return &contract.Webhook{URL: hook + path, CABundle: ca} }
	return &intake.Bundle{
		Lease: contract.Lease{Platform: "henan/henan", Scope: contract.ScopeCenter, Revision: "sha256:test", Sequence: 1, ExpiresAt: time.Now().Add(time.Hour)},
		Directory: contract.Directory{
			Platform: contract.Platform{Name: "henan", Namespace: "henan", TimeZone: "Asia/Shanghai", SLA: map[contract.Severity]contract.SLA{
				contract.SeverityCritical: {AcknowledgeSeconds: 120, ResolveSeconds: 600}}},
			Communities: map[string]contract.Community{
				"jinghu": {Division: "410702001001", Grids: []contract.Grid{{Name: "g1", Posts: []string{"GridWorker"}}, {Name: "g2"}}},
				"other":  {Division: "410302001001", Grids: []contract.Grid{{Name: "g1", Posts: []string{"GridWorker"}}}},
			},
			Organizations: map[string]contract.Organization{
				"fire-xinxiang": {Type: "Fire", Jurisdiction: []string{"4107"}, Duties: []string{"fire"}, Webhook: webhook("/fire-xinxiang")},
				"fire-luoyang":  {Type: "Fire", Jurisdiction: []string{"4103"}, Duties: []string{"fire"}, Webhook: webhook("/fire-luoyang")},
				"committee":     {Type: "Committee", Jurisdiction: []string{"410702001001"}},
				"vendor":        {Type: "Company", Jurisdiction: []string{"41"}},
			},
		},
		Rules: contract.Rules{
			Profiles: map[string]contract.Profile{
				"smoke": {HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"smoke": {Type: "Boolean", Required: true}, "density": {Type: "Number", Min: ptr(0), Max: ptr(100)}}},
			},
			Scenarios: map[string]contract.Scenario{
				"s10": {CatalogueID: "S10", Profile: "smoke", CaseClass: "fire", Severity: contract.SeverityCritical, Title: "烟感报警", DataClass: "C0",
					Trigger:    contract.Trigger{When: "msg.smoke == true", Clear: "msg.smoke == false", DedupSeconds: 600},
					Responders: []contract.Responder{{Post: "GridWorker"}, {Duty: "fire"}}},
			},
		},
		Fleets: map[string]contract.Fleet{"smokes": {Vendor: "vendor", Profile: "smoke", AccessMode: "Device", Devices: devices}},
	}
}

func testDevices() (out []string) {
	for i := range 60 {
		out = append(out, "s"+string(rune('0'+i/10))+string(rune('0'+i%10)))
	}
	return append(out, "s1", "s2", "s3")
}

// TestRouteToAnEdge: what is for a device behind edge nodes goes to those of its community alone, under the device's own subject.
func TestRouteToAnEdge(t *testing.T) {
	b := &intake.Bundle{
		Fleets: map[string]contract.Fleet{
			"here":  {Devices: map[string]contract.Device{"d": {Community: "c1"}}},
			"there": {Placement: contract.PlacementEdge, Devices: map[string]contract.Device{"d": {Community: "c1"}, "lost": {Community: "c9"}}},
		},
		Edges: map[string]contract.Edge{"e1": {Communities: []string{"c1", "c2"}}, "e2": {Communities: []string{"c3"}}},
	}
	for _, tc := range []struct{ fleet, device, subject string }{
		{"here", "d", "dizuo.v1.d.here.d.cmd"}, {"there", "d", "dizuo.v1.e.e1.cmd"}, {"there", "lost", ""}, {"there", "gone", ""},
	} {
		subject := contract.DeviceSubject(tc.fleet, tc.device, contract.ChannelCommand)
		out := route(b, outgoing{subject, []byte("{}")})
		if tc.subject == "" {
			if len(out) != 0 {
				t.Errorf("%s.%s: goes to %s", tc.fleet, tc.device, out[0].Subject)
			}
			continue
		}
		if len(out) != 1 || out[0].Subject != tc.subject || (tc.fleet == "there") != (out[0].Header.Get(contract.EdgeSubjectHeader) == subject) {
			t.Errorf("%s.%s: %+v", tc.fleet, tc.device, out)
		}
	}
}

// TestOneEdgeTakesNobodysRoom: a node that asks without waiting for an answer is told that it is too much; others are heard.
func TestOneEdgeTakesNobodysRoom(t *testing.T) {
	e := &edges{requests: make(chan *nats.Msg, maxEdgeRequests), waiting: map[string]int{}}
	hear := func(edge string) { e.hear(&nats.Msg{Subject: contract.EdgeSubject(edge, contract.EdgeUp)}) }
	for range 3 * maxEdgeRequests {
		hear("loud")
	}
	hear("quiet")
	var heard []string
	for _, m := range append(e.drain(time.Now()), e.drain(time.Now())...) {
		heard = append(heard, m.Subject)
	}
	loud, quiet := contract.EdgeSubject("loud", contract.EdgeUp), contract.EdgeSubject("quiet", contract.EdgeUp)
	if !slices.Equal(heard, []string{loud, loud, quiet}) {
		t.Errorf("heard %v", heard)
	}
	if hear("loud"); len(e.drain(time.Now())) != 1 || len(e.waiting) != 0 {
		t.Errorf("a node is not heard again, or %v are remembered", e.waiting)
	}
}
