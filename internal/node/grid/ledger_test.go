package grid

import (
	"fmt"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestLedger: drops make entries, once however often they are sent, up to the most of a day; committees read them of their own communities, and nobody else.
func TestLedger(t *testing.T) {
	t.Parallel()
	w := newPeopleWorldWith(t, func(b *intake.Bundle) {
		b.Rules.Profiles["bin"] = contract.Profile{HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"memberId": {Type: "String"}, "weightKg": {Type: "Number"}}}
		b.Fleets["bins"] = contract.Fleet{Vendor: "vendor", Profile: "bin", AccessMode: "Device", Devices: map[string]contract.Device{
			"b1": {Community: "jinghu", Grid: "g1"}, "b2": {Community: "jinghu", Grid: "g2"}, "far": {Community: "other", Grid: "g1"}}}
		most := 12.0
		b.Rules.Scenarios["s19"] = contract.Scenario{Profile: "bin", DataClass: "C1", Params: map[string]any{"points": 5.0}, Trigger: contract.Trigger{When: "msg.weightKg > 0.0 && has(msg.memberId)"},
			Ledger: &contract.Ledger{Name: "sorting-points", Subject: "msg.memberId", Amount: "params.points", DailyCap: &most}}
	}, func(*service) {})
	device := mqttClient(t, w.broker, "bins")
	drop := func(bin, id, member string) {
		t.Helper()
		wait(t, device.Publish("dizuo/v1/d/bins/"+bin+"/signal", 1, false, fmt.Sprintf(`{"id":%q,"memberId":%q,"weightKg":1}`, id, member)))
	}
	entered := func(where string) int64 { return number(t, w.pool, "SELECT count(*) FROM grid.ledger WHERE "+where) }
	for _, n := range []int{1, 1, 2} {
		drop("b1", fmt.Sprint("d", n), "m-1")
	}
	drop("b1", "d3", "m-2")
	drop("far", "d4", "m-3")
	eventually(t, "entries", func() bool { return entered("true") == 4 })
	w.stop()
	w.begin() // and by another session
	drop("b1", "d2", "m-1")
	drop("b2", "d5", "m-1") // two of five: twelve are the most
	drop("b2", "d6", "m-1")
	drop("b2", "d7", "m-2")
	eventually(t, "the last", func() bool { return entered("subject = 'm-2'") == 2 })
	read := func(org string, role Role, query string) (l Ledger, status int) {
		t.Helper()
		status = w.call("GET", "/v1/ledger/sorting-points"+query, w.token(org, "p-9", role), nil, &l)
		return l, status
	}
	l, got := read("committee", RoleDispatcher, "")
	if got != 200 || fmt.Sprint(l.Accounts) != "[{m-1 12 3} {m-2 10 2}]" || l.Entries != nil {
		t.Errorf("%d %+v", got, l)
	}
	if l, got = read("committee", RoleAuditor, "?subject=m-2"); got != 200 || fmt.Sprint(l.Accounts) != "[{m-2 10 2}]" || len(l.Entries) != 2 || l.Entries[0].Amount != 5 || l.Entries[0].Community != "jinghu" {
		t.Errorf("one account: %d %+v", got, l)
	}
	if l, got = read("township", RoleCommunityWorker, "?to=2020-01-01"); got != 200 || len(l.Accounts) != 0 {
		t.Errorf("before all: %d %+v", got, l)
	}
	if _, got = read("committee", RoleDispatcher, "?from=2026-13-01"); got != 422 {
		t.Errorf("no day: %d", got)
	}
	for org, roles := range map[string][]Role{"committee": {RoleGridWorker, RoleResident, RoleCommander, RoleHotline, "Mayor"}, "property": {RoleDispatcher, RoleAuditor}, "fire-xinxiang": {RoleDispatcher}, "vendor": {RoleDispatcher, RoleAuditor, RoleTechnician}} {
		for _, role := range roles {
			if l, got := read(org, role, ""); got != 403 || len(l.Accounts) > 0 {
				t.Errorf("%s of %s reads: %d %+v", role, org, got, l)
			}
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.cases"); n != 0 {
		t.Errorf("%d cases", n)
	}
	k := &retainer{pool: w.pool, log: quiet(), now: func() time.Time { return time.Now().Add(time.Hour) }, profiles: noProfiles}
	if _, err := k.forget(t.Context(), contract.Retention{CommandSeconds: 60, CommandClasses: map[string]int64{"C1": 7200}}); err != nil {
		t.Fatal(err)
	}
	if n := entered("true"); n != 6 {
		t.Errorf("of 6 entries %d are left before their time", n)
	}
	if _, err := k.forget(t.Context(), contract.Retention{CommandSeconds: 7200, CommandClasses: map[string]int64{"C1": 3000}}); err != nil {
		t.Fatal(err)
	}
	if n := entered("true"); n != 0 {
		t.Errorf("%d entries outlive their class", n)
	}
}
