package devicefleet

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// remembered is what fleets were compiled from and to, so that a change costs what changed. It begins empty; what is of a fleet that is gone
// is let go. The zero value is ready.
type remembered struct {
	mu      sync.Mutex
	sources map[origin]version
	fleets  map[types.NamespacedName]*fleet
}

// origin is where a source stands: a Secret, or the artefact of a fleet.
type origin struct {
	kind string
	types.NamespacedName
}

// version is a source as it was parsed.
type version struct {
	of     string
	source *compile.Source
}

// fleet is what is remembered of a fleet.
type fleet struct {
	// reads are the origins of its rows and of those of its gateways.
	reads map[origin]bool
	// names are in its rows.
	names compile.NamedInRows
	// misplaced says that a row may name a grid that its community has not: then it matters which other community has it.
	misplaced bool
	plan      compile.FleetPlan
}

func (m *remembered) fleet(name types.NamespacedName) *fleet {
	if m.fleets == nil {
		m.fleets, m.sources = map[types.NamespacedName]*fleet{}, map[origin]version{}
	}
	if m.fleets[name] == nil {
		m.fleets[name] = &fleet{reads: map[origin]bool{}}
	}
	return m.fleets[name]
}

// source gives what a fleet reads at an origin: as it was parsed, if it was of this version, else as parse makes it. parse gives the version
// that it saw, and nil where nothing is there.
func (m *remembered) source(reader types.NamespacedName, at origin, of string, parse func() (string, *compile.Source, error)) (*compile.Source, error) {
	m.mu.Lock()
	m.fleet(reader).reads[at] = true
	known := m.sources[at]
	m.mu.Unlock()
	if known.source != nil && known.of == of {
		return known.source, nil
	}
	of, source, err := parse()
	if err != nil || source == nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sources[at] = version{of, source}
	return source, nil
}

// reads notes all that a fleet reads, and lets go of what nobody reads any more.
func (m *remembered) reads(reader types.NamespacedName, all map[origin]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(reader, all)
}

func (m *remembered) release(reader types.NamespacedName, all map[origin]bool) {
	f := m.fleet(reader)
	before := f.reads
	f.reads = all
	for at := range before {
		if !all[at] && !m.read(at) {
			delete(m.sources, at)
		}
	}
}

func (m *remembered) read(at origin) bool {
	for _, f := range m.fleets {
		if f.reads[at] {
			return true
		}
	}
	return false
}

// forget lets go of a fleet.
func (m *remembered) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(name, nil)
	delete(m.fleets, name)
}

// names notes what a fleet's rows name, before that is read: what changes afterwards calls the fleet.
func (m *remembered) names(name types.NamespacedName, names compile.NamedInRows) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fleet(name)
	f.names, f.misplaced = names, true
}

// planned notes the plan of a fleet, to compile it again from if its claims were entered into the index.
func (m *remembered) planned(name types.NamespacedName, plan compile.FleetPlan, entered bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fleet(name)
	f.plan = compile.FleetPlan{}
	if entered {
		f.plan = plan
	}
	f.misplaced = slices.ContainsFunc(plan.ByCode, func(n v1alpha1.RejectedCount) bool {
		return n.Code == v1alpha1.RowGridOfOtherCommunity || n.Code == v1alpha1.RowUnknownGrid
	})
}

// plan gives the plan of a fleet; the zero plan where there is none.
func (m *remembered) plan(name types.NamespacedName) compile.FleetPlan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fleet(name).plan
}

// maintained reports whether the rows of a fleet name an organisation as maintainer.
func (m *remembered) maintained(organization string, by client.Object) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fleets[client.ObjectKeyFromObject(by)]
	return f != nil && slices.Contains(f.names.Maintainers, organization)
}

// placed reports whether it may matter to the rows of a fleet what a community is.
func (m *remembered) placed(in, by client.Object) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fleets[client.ObjectKeyFromObject(by)]
	if f == nil {
		return false // it was not looked at yet, and will be
	}
	return slices.Contains(f.names.Communities, in.GetName()) || f.misplaced && slices.ContainsFunc(in.(*v1alpha1.Community).Spec.Grids, func(g v1alpha1.Grid) bool {
		return slices.Contains(f.names.Grids, g.Name)
	})
}
