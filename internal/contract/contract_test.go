package contract_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

func TestLeaseFollows(t *testing.T) {
	at := time.Unix(1000, 0)
	lease := contract.Lease{Platform: "ns/p", Scope: "center", Sequence: 5, ExpiresAt: at.Add(time.Hour)}
	for name, c := range map[string]struct {
		platform, scope string
		seen            int64
		now             time.Time
		ok              bool
	}{
		"renewed":          {"ns/p", "center", 5, at, true},
		"newer":            {"ns/p", "center", 4, at, true},
		"older":            {"ns/p", "center", 6, at, false},
		"another platform": {"ns/q", "center", 4, at, false},
		"another scope":    {"ns/p", "edge.a", 4, at, false},
		"expired":          {"ns/p", "center", 4, at.Add(time.Hour), false},
	} {
		if err := lease.Follows(c.platform, c.scope, c.seen, c.now); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseDeviceURI(t *testing.T) {
	fleet, device, err := contract.ParseDeviceURI("henan", contract.DeviceURI("henan", "smoke", "D_1"))
	if err != nil || fleet != "smoke" || device != "D_1" {
		t.Errorf("got %q %q %v", fleet, device, err)
	}
	for _, uri := range []string{
		"", "spiffe://smoke.henan.dizuo.internal", "spiffe://smoke.other.dizuo.internal/D1", "spiffe://henan.dizuo.internal/role/operator",
		"spiffe://a.smoke.henan.dizuo.internal/D1", "spiffe://smoke.henan.dizuo.internal/D1/x", "https://smoke.henan.dizuo.internal/D1",
		"spiffe://smoke.henan.dizuo.internal/D.1", "spiffe://smoke.henan.dizuo.internal/",
	} {
		if f, d, err := contract.ParseDeviceURI("henan", uri); err == nil {
			t.Errorf("%q was read as %s.%s", uri, f, d)
		}
	}
}

func TestParseDeviceSubject(t *testing.T) {
	for _, prefix := range []string{"", contract.IngestPrefix} {
		f, d, c, err := contract.ParseDeviceSubject(prefix + contract.DeviceSubject("smoke", "D1", contract.ChannelSignal))
		if err != nil || f != "smoke" || d != "D1" || c != contract.ChannelSignal {
			t.Errorf("got %q %q %q %v", f, d, c, err)
		}
	}
	if _, _, _, err := contract.ParseDeviceSubject("dizuo.v1.c.smoke.D1.signal"); err == nil {
		t.Error("a community subject was read as a device subject")
	}
}

func TestResponsibleTakesTheLongestMatch(t *testing.T) {
	d := contract.Directory{Organizations: map[string]contract.Organization{
		"province":  {Duties: []string{"fire"}, Jurisdiction: []string{"41"}},
		"zhengzhou": {Duties: []string{"fire"}, Jurisdiction: []string{"4101"}},
		"luoyang":   {Duties: []string{"fire"}, Jurisdiction: []string{"4103"}},
		"health":    {Duties: []string{"health"}, Jurisdiction: []string{"410103014006"}},
	}}
	for division, want := range map[string][]string{
		"410103014006": {"zhengzhou"}, "410303003003": {"luoyang"}, "411522002005": {"province"}, "110101001001": nil,
	} {
		d.Communities = map[string]contract.Community{"c": {Division: division}}
		if got := d.Responsible("fire", contract.Place{Community: "c"}); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", division, got, want)
		}
	}
}

func TestResponsibleIsOfTheType(t *testing.T) {
	d := contract.Directory{Communities: map[string]contract.Community{"c": {Division: "410103014006"}}, Organizations: map[string]contract.Organization{
		"brigade": {Type: "Fire", Duties: []string{"fire"}, Jurisdiction: []string{"4101"}},
		"estate":  {Type: "PropertyCompany", Duties: []string{"fire", "property"}, Jurisdiction: []string{"410103014006"}}, // nearer, and no brigade
		"clinic":  {Type: "Hospital", Duties: []string{"ambulance"}, Jurisdiction: []string{"41"}},
	}}
	for _, c := range []struct {
		duty  string
		types []string
		want  []string
	}{
		{"fire", []string{"Fire"}, []string{"brigade"}}, {"fire", nil, []string{"estate"}}, // a bundle that says no types
		{"property", []string{"Fire"}, nil}, {"ambulance", []string{"Health", "Hospital"}, []string{"clinic"}},
	} {
		if got := d.Responsible(c.duty, contract.Place{Community: "c"}, c.types...); !slices.Equal(got, c.want) {
			t.Errorf("duty %s of %v: got %v, want %v", c.duty, c.types, got, c.want)
		}
	}
}

// TestACompanyActsInItsCompounds: within its jurisdiction, and nowhere else, and keeps nobody away there; a grid stands for its compounds where none is known.
func TestACompanyActsInItsCompounds(t *testing.T) {
	property := func(jurisdiction []string, compounds ...string) contract.Organization {
		return contract.Organization{Type: "PropertyCompany", Duties: []string{"property"}, Jurisdiction: jurisdiction, Compounds: compounds}
	}
	d := contract.Directory{
		Communities: map[string]contract.Community{
			"jinghu": {Division: "410103014006", Compounds: []string{"east", "west", "old"}, Grids: []contract.Grid{{Name: "g1", Compounds: []string{"east"}}, {Name: "g2", Compounds: []string{"east", "west"}}, {Name: "g3"}}},
			"jing":   {Division: "410303003003", Compounds: []string{"east", "office"}, Grids: []contract.Grid{{Compounds: []string{"east"}}}},
		},
		Organizations: map[string]contract.Organization{
			"office": {Type: "Township", Duties: []string{"property"}, Jurisdiction: []string{"410103014006"}},
			"bureau": {Type: "Township", Duties: []string{"property"}, Jurisdiction: []string{"4101"}},
			"east":   {Type: "PropertyCompany", Duties: []string{"property"}, Within: []string{"41010"}, Compounds: []string{"jinghu/east", "gone/east"}},
			"west":   property([]string{"4101"}, "jinghu/west", "jing/east"),
		},
	}
	for at, want := range map[contract.Place][]string{
		{Community: "jinghu", Compound: "east"}:             {"east", "office"},
		{Community: "jinghu", Compound: "west", Grid: "g1"}: {"office", "west"}, // the compound is known, so the grid does not count
		{Community: "jinghu", Compound: "old"}:              {"office"},
		{Community: "jinghu", Grid: "g1"}:                   {"east", "office"},
		{Community: "jinghu", Grid: "g2"}:                   {"east", "office", "west"},
		{Community: "jinghu", Grid: "g3"}:                   {"office"},
		{Community: "jinghu"}:                               {"office"},
		{Community: "jing", Compound: "east"}:               nil, // outside the jurisdiction of the one, and of a like name for the other
		{Community: "jing"}:                                 nil,
		{Community: "gone", Compound: "east"}:               nil,
	} {
		if got := d.Responsible("property", at); !slices.Equal(got, want) {
			t.Errorf("%+v: got %v, want %v", at, got, want)
		}
	}
	if got := d.Responsible("property", contract.Place{Community: "jinghu", Compound: "east"}, "PropertyCompany"); !slices.Equal(got, []string{"east"}) {
		t.Errorf("property companies of the east: %v", got)
	}
	for _, c := range []struct {
		organization, community string
		want                    bool
	}{{"east", "jinghu", true}, {"east", "jing", false}, {"west", "jinghu", true}, {"west", "jing", false}, {"office", "jinghu", true}, {"office", "jing", false}, {"east", "gone", false}} {
		if got := d.ActsIn(d.Organizations[c.organization], c.community); got != c.want {
			t.Errorf("%s acts in %s: %v", c.organization, c.community, got)
		}
	}
}

func TestCodesIn(t *testing.T) {
	d := contract.Directory{Communities: map[string]contract.Community{
		"a": {Division: "410103014006", FormerDivisions: []string{"410103014001"}},
		"b": {Division: "410303003003"},
	}}
	for _, c := range []struct{ prefixes, names, want []string }{
		{[]string{"41"}, nil, []string{"410103014001", "410103014006", "410303003003"}},
		{[]string{"4101"}, nil, []string{"410103014001", "410103014006"}},
		{[]string{"41"}, []string{"b"}, []string{"410303003003"}},
		{[]string{"4101"}, []string{"b"}, []string{}},
		{nil, nil, []string{}},
	} {
		if got := d.CodesIn(c.prefixes, c.names); !slices.Equal(got, c.want) {
			t.Errorf("%v %v: got %v, want %v", c.prefixes, c.names, got, c.want)
		}
	}
}

func TestRevisionFollowsContentNotOrder(t *testing.T) {
	a, b := contract.ShardRef{Name: "a", Digest: "1"}, contract.ShardRef{Name: "b", Digest: "2"}
	one := contract.Index{Shards: []contract.ShardRef{a, b}}.Revision()
	if two := (contract.Index{Shards: []contract.ShardRef{b, a}}).Revision(); one != two {
		t.Error("order changed the revision")
	}
	if three := (contract.Index{Shards: []contract.ShardRef{a}}).Revision(); one == three {
		t.Error("a dropped shard left the revision as it was")
	}
}

func TestClientIDsOfNames(t *testing.T) {
	for id, want := range map[string]string{"smoke_s1": "smoke.s1", "smoke_a_b": "smoke.a_b", "IMEI_1": "", "nounderscore": "", "_x": "", "smoke_": "", "smoke_" + strings.Repeat("x", 65): "", "": ""} {
		got := ""
		if fleet, device, ok := contract.ParseClientID(id); ok {
			got = contract.DeviceID(fleet, device)
			if contract.ClientID(fleet, device) != id {
				t.Errorf("%q does not come back", id)
			}
		}
		if got != want {
			t.Errorf("%q is of %q, want %q", id, got, want)
		}
	}
}
