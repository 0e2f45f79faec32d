package devicefleet

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

func parsedAs(version string) func() (string, *compile.Source, error) {
	return func() (string, *compile.Source, error) {
		return version, compile.SourceOfSecret("s", nil), nil
	}
}

// A source is parsed once for each version, and kept while a fleet reads it and no longer.
func TestSourcesAreKeptWhileTheyAreRead(t *testing.T) {
	var m remembered
	one, two := types.NamespacedName{Namespace: "v", Name: "one"}, types.NamespacedName{Namespace: "v", Name: "two"}
	at := origin{"Secret", types.NamespacedName{Namespace: "v", Name: "s"}}
	get := func(reader types.NamespacedName, version string, parse func() (string, *compile.Source, error)) *compile.Source {
		t.Helper()
		s, err := m.source(reader, at, version, parse)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	never := func() (string, *compile.Source, error) { return "", nil, errors.New("parsed again") }
	first := get(one, "1", parsedAs("1"))
	if get(one, "1", never) != first || get(two, "1", never) != first {
		t.Error("another source for the same version")
	}
	second := get(one, "2", parsedAs("3")) // it changed once more before it was read
	if second == first || get(one, "3", never) != second {
		t.Error("a source is not the one of the version that was read")
	}
	if s, err := m.source(one, at, "4", func() (string, *compile.Source, error) { return "", nil, nil }); s != nil || err != nil {
		t.Errorf("a Secret that went has a source (%v)", err)
	}
	m.forget(one)
	if len(m.sources) != 1 {
		t.Error("what another fleet reads was let go")
	}
	m.reads(two, map[origin]bool{})
	if len(m.sources) != 0 || len(m.fleets) != 1 {
		t.Errorf("%d sources and %d fleets are kept", len(m.sources), len(m.fleets))
	}
	m.forget(two)
	if len(m.fleets) != 0 {
		t.Error("a fleet that is gone is kept")
	}
}

// A community calls the fleets whose rows name it, and those with a misplaced grid that it may have.
func TestCommunitiesCallWhoNamesThem(t *testing.T) {
	var m remembered
	o, c := &v1alpha1.DeviceFleet{}, &v1alpha1.Community{}
	o.Namespace, o.Name, c.Name = "v", "f", "jinghu"
	c.Spec.Grids = []v1alpha1.Grid{{Name: "g1"}}
	at := types.NamespacedName{Namespace: "v", Name: "f"}
	if m.placed(c, o) || m.maintained("fire", o) {
		t.Error("a fleet that was not looked at is called")
	}
	m.names(at, compile.NamedInRows{Communities: []string{"other"}, Grids: []string{"g1"}, Maintainers: []string{"fire"}})
	if !m.placed(c, o) || !m.maintained("fire", o) || m.maintained("police", o) {
		t.Error("before a plan is made any community with the grid may matter")
	}
	m.planned(at, compile.FleetPlan{}, true)
	if m.placed(c, o) {
		t.Error("a community is no row's, and all grids are where they belong")
	}
	m.planned(at, compile.FleetPlan{ByCode: []v1alpha1.RejectedCount{{Code: v1alpha1.RowUnknownGrid, Rows: 1}}}, true)
	if !m.placed(c, o) {
		t.Error("a grid is looked for, and this community has it")
	}
	m.names(at, compile.NamedInRows{Communities: []string{"jinghu"}})
	m.planned(at, compile.FleetPlan{}, true)
	if !m.placed(c, o) {
		t.Error("a fleet whose rows name the community is not called")
	}
}
