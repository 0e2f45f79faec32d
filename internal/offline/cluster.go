package offline

import (
	"context"
	"maps"

	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// FromCluster is the file name of objects that were read from a cluster.
const FromCluster = "cluster"

// LoadObjects makes a set of objects as a cluster gives them. What the server keeps of them is left out.
func LoadObjects(ctx context.Context, objects []map[string]any) (*Set, error) {
	set := &Set{}
	for _, o := range objects {
		raw, err := yaml.Marshal(written(o))
		if err != nil {
			return nil, err
		}
		docs, findings := Parse(FromCluster, raw)
		set.Findings = append(set.Findings, findings...)
		for _, d := range docs {
			if err := set.add(ctx, d, ""); err != nil {
				return nil, err
			}
		}
	}
	return set, nil
}

// written gives the part of an object that somebody wrote.
func written(o map[string]any) map[string]any {
	out := maps.Clone(o)
	delete(out, "status")
	was, _ := out["metadata"].(map[string]any)
	meta := map[string]any{}
	for _, field := range []string{"name", "namespace", "labels", "annotations"} {
		if v, ok := was[field]; ok {
			meta[field] = v
		}
	}
	if annotations, ok := meta["annotations"].(map[string]any); ok {
		annotations = maps.Clone(annotations)
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		meta["annotations"] = annotations
	}
	out["metadata"] = meta
	return out
}

// Over lays a set over another: what both hold is taken from the upper one.
func Over(upper, lower *Set) *Set {
	out := &Set{Objects: append([]*Object{}, upper.Objects...), Findings: upper.Findings}
	for _, o := range lower.Objects {
		if upper.object(o.Kind, o.GetNamespace(), o.GetName()) == nil {
			out.Objects = append(out.Objects, o)
		}
	}
	return out
}

// LastGood gives the set with those objects of the former one whose present form the API server would refuse: they stay.
func LastGood(s, former *Set) *Set {
	out := &Set{Findings: s.Findings}
	for _, o := range s.Objects {
		was := former.object(o.Kind, o.GetNamespace(), o.GetName())
		if o.Invalid && was != nil {
			out.Objects = append(out.Objects, was)
			continue
		}
		out.Objects = append(out.Objects, o)
	}
	return out
}

// Namespaces gives every namespace that the set speaks of: those of its objects, those that it holds, those of the platforms that
// these name, and those that its platforms list as members.
func (s *Set) Namespaces() map[string]bool {
	out := map[string]bool{}
	for _, o := range s.Objects {
		if o.Kind == "Namespace" {
			out[o.GetName()] = true
			if home := o.GetLabels()[v1alpha1.LabelPlatform]; home != "" {
				out[home] = true
			}
		} else {
			out[o.GetNamespace()] = true
		}
		if p, ok := o.Object.(*v1alpha1.GridPlatform); ok {
			for _, m := range p.Spec.Members {
				out[m.Namespace] = true
			}
		}
	}
	return out
}

// Context gives what of the set a prune by the files leaves alone: namespaces, and the objects in namespaces in which the files
// have none.
func (s *Set) Context(files *Set) *Set {
	held := map[string]bool{}
	for _, o := range files.Objects {
		if kindOrder(o.Kind) >= 0 {
			held[o.GetNamespace()] = true
		}
	}
	out := &Set{}
	for _, o := range s.Objects {
		if kindOrder(o.Kind) < 0 || !held[o.GetNamespace()] {
			out.Objects = append(out.Objects, o)
		}
	}
	return out
}

// Brought gives the findings that are in the second list and not in the first, wherever they stand.
func Brought(was, is []Finding) []Finding {
	known := map[Finding]bool{}
	for _, f := range was {
		f.File, f.Line = "", 0
		known[f] = true
	}
	var out []Finding
	for _, f := range is {
		bare := f
		bare.File, bare.Line = "", 0
		if !known[bare] {
			out = append(out, f)
		}
	}
	return out
}
