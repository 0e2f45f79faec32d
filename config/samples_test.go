package config_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/offline"
)

// now lies within the validity of the samples' agreements.
var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// compiled compiles a sample as `dizuo lint` does. It gives the one platform and what was found.
func compiled(t *testing.T, dir string) (*offline.Platform, []offline.Finding) {
	t.Helper()
	ctx := context.Background()
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	set, err := offline.Load(ctx, offline.Source{Paths: []string{dir}}, "default")
	if err != nil {
		t.Fatal(err)
	}
	r, err := offline.Compile(ctx, set, offline.Options{Now: now, Images: compile.Images{Node: "node", Postgres: "postgres"}, Catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Platforms) != 1 {
		t.Fatalf("%s: %d platforms, want 1; findings: %v", dir, len(r.Platforms), r.Findings)
	}
	return r.Platforms[0], r.Findings
}

// kinds counts a platform's members by kind.
func kinds(p *offline.Platform) map[string]int {
	out := map[string]int{}
	for _, m := range p.Members {
		out[m.Kind]++
	}
	return out
}

func plan[T any](t *testing.T, p *offline.Platform, name string) T {
	t.Helper()
	for _, m := range p.Members {
		if got, ok := m.Plan.(T); ok && m.Object.Object.GetName() == name {
			return got
		}
	}
	var none T
	t.Fatalf("no %s with a plan %T", name, none)
	return none
}

func TestMinimal(t *testing.T) {
	p, found := compiled(t, "samples/minimal")
	if len(found) > 0 {
		t.Errorf("findings: %v", found)
	}
	if diff := cmp.Diff(map[string]int{"Community": 1, "DeviceFleet": 1}, kinds(p)); diff != "" {
		t.Error(diff)
	}
	if _, runs := p.Plan.Scenarios["s10-smoke"]; !runs {
		t.Error("s10-smoke does not run")
	}
	for name, s := range p.Plan.Scenarios {
		if s.DataClass != string(v1alpha1.DataClassC0) {
			t.Errorf("%s of class %s runs where nobody named it", name, s.DataClass)
		}
	}
}

// TestEdgeSample: the node serves the community, its outbox lasts for the autonomy that it declares, and the fleet is placed there.
func TestEdgeSample(t *testing.T) {
	p, found := compiled(t, "samples/edge")
	if len(found) > 0 {
		t.Errorf("findings: %v", found)
	}
	if diff := cmp.Diff(map[string]int{"Community": 1, "DeviceFleet": 1, "EdgeNode": 1}, kinds(p)); diff != "" {
		t.Error(diff)
	}
	if box := plan[compile.EdgePlan](t, p, "demo-box"); !slices.Equal(box.Document.Communities, []string{"demo"}) || !box.Autonomy.Known ||
		box.Autonomy.Devices != 2 || box.Autonomy.Covered < 72*time.Hour {
		t.Errorf("%+v, %+v", box.Document, box.Autonomy)
	}
	if f := plan[compile.FleetPlan](t, p, "smoke"); f.Document.Placement != contract.PlacementEdge {
		t.Errorf("the fleet is placed at %q", f.Document.Placement)
	}
}

func TestCounty(t *testing.T) {
	raw, err := os.ReadFile("samples/county/county.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(raw, []byte("\n")); n > 90 {
		t.Errorf("%d lines, want at most 90", n)
	}
	p, found := compiled(t, "samples/county")
	if len(found) > 0 {
		t.Errorf("findings: %v", found)
	}
	want := map[string]int{"Community": 3, "DeviceFleet": 2, "Organization": 2, "Dataset": 1, "DataSharingAgreement": 1, "Scenario": 1}
	if diff := cmp.Diff(want, kinds(p)); diff != "" {
		t.Error(diff)
	}
	if a := plan[compile.AgreementPlan](t, p, "fire-addresses"); a.Phase != v1alpha1.AgreementInForce {
		t.Errorf("agreement is %s, want InForce; run samples/sign.sh", a.Phase)
	}
	if s := plan[compile.ScenarioPlan](t, p, "smoke-detector-tampered"); !s.Running {
		t.Error("the county's own scenario must run")
	}
}

func TestHenanPilots(t *testing.T) {
	p, found := compiled(t, "samples/henan-pilots")
	for _, rule := range []string{"key-population-company", "clearance", "property-compounds"} {
		if !slices.ContainsFunc(found, func(f offline.Finding) bool { return strings.Contains(f.String(), rule) }) {
			t.Errorf("findings %v, want the property company's agreement to be refused by guardrail %s", found, rule)
		}
	}
	if len(found) != 5 || slices.ContainsFunc(found, func(f offline.Finding) bool { return f.Name != "property-elder-visits" }) {
		t.Errorf("findings %v, want five, all of them of the property company's agreement", found)
	}
	want := map[string]int{"Community": 10, "DeviceFleet": 2, "Organization": 17, "Dataset": 1, "DataSharingAgreement": 2}
	if diff := cmp.Diff(want, kinds(p)); diff != "" {
		t.Error(diff)
	}
	good := plan[compile.AgreementPlan](t, p, "civil-affairs-elder-visits")
	if good.Phase != v1alpha1.AgreementInForce || good.Consumer != "zhengzhou-civil-affairs" {
		t.Errorf("civil affairs: %s for %q, want InForce; run samples/sign.sh", good.Phase, good.Consumer)
	}
	grant := good.Grants["elder-visits"]
	masks := map[string]contract.Mask{"name": {Method: "Pseudonym"}, "phone": {Method: "KeepLast", Keep: 4}, "birthDate": {Method: "Generalise", To: "Year"}}
	for field, mask := range masks {
		if grant.Fields[field] != mask {
			t.Errorf("field %s: mask %v, want %v", field, grant.Fields[field], mask)
		}
	}
	if _, given := grant.Fields["careLevel"]; given {
		t.Error("careLevel must not be given")
	}
	bad := plan[compile.AgreementPlan](t, p, "property-elder-visits")
	if len(bad.Grants) > 0 || len(bad.Pending) > 0 || bad.Phase == v1alpha1.AgreementInForce {
		t.Errorf("property company: %s, pending %v, grants %v; want all signatures and no grant", bad.Phase, bad.Pending, bad.Grants)
	}
	directory(t, p, grant)
}

// directory checks whom smoke calls where, and that the permitted rows lie in one city.
func directory(t *testing.T, p *offline.Platform, grant contract.Grant) {
	t.Helper()
	d := contract.Directory{Communities: map[string]contract.Community{}, Organizations: map[string]contract.Organization{}}
	workspaces := 0
	for _, m := range p.Members {
		switch got := m.Plan.(type) {
		case compile.CommunityPlan:
			d.Communities[m.Object.Object.GetName()] = got.Document
			if got.Workspace != nil {
				workspaces++
			}
		case compile.OrganizationPlan:
			d.Organizations[m.Object.Object.GetName()] = got.Document
		}
	}
	if workspaces != 2 {
		t.Errorf("%d workspaces, want 2", workspaces)
	}
	called := map[string]bool{}
	for name := range d.Communities {
		brigades := d.Responsible("fire", contract.Place{Community: name})
		if len(brigades) != 1 || called[brigades[0]] {
			t.Errorf("fire in %s calls %v, want one brigade that no other city calls", name, brigades)
			continue
		}
		called[brigades[0]] = true
	}
	for at, want := range map[contract.Place][]string{
		{Community: "jinghu", Compound: "east"}: {"jinghu-property"}, {Community: "jinghu", Compound: "west"}: nil, {Community: "jinghu", Grid: "grid-1"}: {"jinghu-property"},
	} {
		if got := d.Responsible("property", at); !slices.Equal(got, want) {
			t.Errorf("property at %+v calls %v, want %v", at, got, want)
		}
	}
	if diff := cmp.Diff([]string{"410103014006"}, d.CodesIn(grant.Rows.Divisions, grant.Rows.Communities)); diff != "" {
		t.Errorf("codes that civil affairs of Zhengzhou may read: %s", diff)
	}
}

func TestFleets(t *testing.T) {
	p, _ := compiled(t, "samples/henan-pilots")
	smoke, doors := plan[compile.FleetPlan](t, p, "smoke").Decoded(), plan[compile.FleetPlan](t, p, "doors").Decoded()
	hung := map[string]bool{}
	for _, d := range smoke.Document.Devices {
		hung[d.Community] = true
	}
	if len(hung) != 10 || smoke.Document.Devices["sd-jinghu-01"].Community != "jinghu" {
		t.Errorf("smoke detectors hang in %v, want every community", hung)
	}
	raw, err := os.ReadFile("samples/henan-pilots/demo-passwords.csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
	if err != nil || len(rows) != len(doors.Credentials.Devices)+1 {
		t.Fatalf("%d demo passwords (%v), want one for each of %d devices", len(rows)-1, err, len(doors.Credentials.Devices))
	}
	for _, r := range rows[1:] {
		hash, err := password.Parse(doors.Credentials.Devices[r[0]].PasswordHash)
		if err != nil || !hash.Verify(r[1]) {
			t.Errorf("device %s: the demo password does not fit its hash (%v)", r[0], err)
		}
	}
}
