package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// maxSourceDSNs bounds the connection strings of all datasets together, in bytes, names included: they share one Secret, and Kubernetes takes
// none that is larger than 1 MiB.
const maxSourceDSNs = 900 << 10

// sourceDSNs gives the connection strings of all datasets that are in force, by dataset. Where they are too many for one Secret, the namespace
// that has most of them goes without its newest, until they fit: else one member could keep all others from a change of theirs. leftOut names
// those datasets, sorted.
func sourceDSNs(s *Snapshot) (out map[string][]byte, leftOut []*v1alpha1.Dataset) {
	out = map[string][]byte{}
	datasets, sources := map[string][]*v1alpha1.Dataset{}, map[*v1alpha1.Dataset]string{}
	sizes, total := map[string]int{}, 0
	count := func(o *v1alpha1.Dataset, sign int) {
		n := sign * (len(sources[o]) + len(out[sources[o]]))
		sizes[o.Namespace], total = sizes[o.Namespace]+n, total+n
	}
	for name := range s.Datasets {
		o, _ := s.Datasets.Get(name)
		var c problems
		if source, dsn := datasetSource(&c, s, o); source.DSN != "" && len(dsn) > 0 {
			out[source.DSN], sources[o] = dsn, source.DSN
			datasets[o.Namespace] = append(datasets[o.Namespace], o)
			count(o, 1)
		}
	}
	byAge := func(a, b *v1alpha1.Dataset) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	}
	for _, list := range datasets {
		slices.SortFunc(list, byAge)
	}
	for total > maxSourceDSNs {
		most := ""
		for namespace, size := range sizes {
			if most == "" || size > sizes[most] || size == sizes[most] && namespace < most {
				most = namespace
			}
		}
		list := datasets[most]
		newest := list[len(list)-1]
		datasets[most], leftOut = list[:len(list)-1], append(leftOut, newest)
		count(newest, -1)
		delete(out, sources[newest])
	}
	slices.SortFunc(leftOut, func(a, b *v1alpha1.Dataset) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out, leftOut
}

// SourcesLeftOut says of which datasets the connection strings have no room; empty where all have.
func SourcesLeftOut(s *Snapshot) string {
	_, datasets := sourceDSNs(s)
	var names []string
	for _, o := range datasets {
		names = append(names, o.Namespace+"/"+o.Name)
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("the connection strings of Datasets %s are left out: those of all take more than %d KiB; write shorter CA bundles, or fewer Datasets in databases of providers", strings.Join(names, ", "), maxSourceDSNs>>10)
}
