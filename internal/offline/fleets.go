package offline

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// Fleet is a DeviceFleet of the files.
type Fleet struct {
	*Object
	Fleet *v1alpha1.DeviceFleet
	// Snapshot of the platform that it is on; without a platform where the files hold none.
	Snapshot *compile.Snapshot
}

// Fleets gives the fleets of the files, each with what is needed to check its rows. Findings are those of reading and of the schema, and
// of fleets that belong to no platform though there is one; missing says what was not in the files and so not checked.
func (s *Set) Fleets(o Options) (fleets []Fleet, findings []Finding, missing []string) {
	findings = s.Findings
	if !s.HasPlatform() {
		alone := &compile.Snapshot{Now: o.Now, Secrets: s.secrets(), Namespaces: map[string]compile.Namespace{}, Artifacts: map[types.NamespacedName]compile.Artifact{}}
		for _, object := range s.Objects {
			if fleet, ok := object.Object.(*v1alpha1.DeviceFleet); ok && !object.Invalid {
				p := Platform{Snapshot: alone}
				p.artifact(fleet, func(string, string, string, map[string][]byte) {})
				missing = append(missing, p.Missing...)
				fleets = append(fleets, Fleet{object, fleet, alone})
			}
		}
		return fleets, findings, missing
	}
	platforms, more := s.platforms(o)
	findings = append(findings, more...)
	for _, p := range platforms {
		contests(p.Snapshot)
		missing = append(missing, p.Missing...)
		for _, m := range p.Members {
			if fleet, ok := m.Object.Object.(*v1alpha1.DeviceFleet); ok {
				fleets = append(fleets, Fleet{m.Object, fleet, p.Snapshot})
			}
		}
	}
	return fleets, sorted(findings), missing
}

// Problems turns problems of the fleet into findings.
func (f Fleet) Problems(list compile.Problems) []Finding { return f.problems(list) }

// Oversized gives a finding for each inventory Secret of the fleet that is larger than a Secret should be.
func (f Fleet) Oversized() []Finding {
	var out []Finding
	if f.Fleet.Spec.Inventory == nil {
		return nil
	}
	for i, ref := range f.Fleet.Spec.Inventory.Secrets {
		size := 0
		for _, value := range f.Snapshot.Secrets[types.NamespacedName{Namespace: f.Fleet.Namespace, Name: ref.Name}] {
			size += len(value)
		}
		if size > compile.MaxSecretBytes {
			out = append(out, f.finding(secretPath(i), oversized(ref.Name, size), v1alpha1.ReasonSecretInvalid))
		}
	}
	return out
}

func secretPath(i int) string { return fmt.Sprintf("spec.inventory.secrets[%d]", i) }

func oversized(name string, size int) string {
	return fmt.Sprintf("Secret %s holds %d KiB; at most %d KiB fit: gzip the CSV (a key that ends in .csv.gz), or split it", name, (size+1023)>>10, compile.MaxSecretBytes>>10)
}
