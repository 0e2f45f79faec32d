package compile

import (
	"fmt"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// Membership resolves the platform of an object of the given kind in the given namespace: the platform in that namespace,
// or the one that the namespace's label names, if it admits the namespace in a role that may hold such objects.
func Membership(s *Snapshot, kind, namespace string) (*v1alpha1.GridPlatform, Problems) {
	var c problems
	if p := platformIn(s.Platforms, namespace); p != nil {
		if !p.DeletionTimestamp.IsZero() {
			c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonPlatformDeleting, "", "GridPlatform "+p.Namespace+"/"+p.Name+" is being deleted")
		}
		return p, c.list
	}
	home := s.Namespaces[namespace].Labels[LabelPlatform]
	if home == "" {
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonPlatformNotFound, "metadata.namespace",
			fmt.Sprintf("namespace %s holds no GridPlatform: create one there, or label the namespace %s=<namespace of the platform>", namespace, LabelPlatform))
		return nil, c.list
	}
	p := platformIn(s.Platforms, home)
	if p == nil {
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonPlatformNotFound, "metadata.namespace",
			fmt.Sprintf("label %s of namespace %s names namespace %s, which holds no GridPlatform", LabelPlatform, namespace, home))
		return nil, c.list
	}
	return p, append(c.list, admitted(p, kind, namespace)...)
}

// admitted checks that a platform admits a namespace in a role that may hold objects of the kind.
func admitted(p *v1alpha1.GridPlatform, kind, namespace string) Problems {
	var c problems
	i := slices.IndexFunc(p.Spec.Members, func(m v1alpha1.Member) bool { return m.Namespace == namespace })
	switch {
	case i < 0:
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonNamespaceNotAdmitted, "metadata.namespace",
			fmt.Sprintf("GridPlatform %s/%s does not list namespace %s in spec.members", p.Namespace, p.Name, namespace))
	case !p.Spec.Members[i].Role.MayHold(kind):
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonNamespaceRoleNotAllowed, "metadata.namespace",
			fmt.Sprintf("GridPlatform %s/%s admits namespace %s as %s, which may not hold a %s", p.Namespace, p.Name, namespace, p.Spec.Members[i].Role, kind))
	case !p.DeletionTimestamp.IsZero():
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonPlatformDeleting, "", "GridPlatform "+p.Namespace+"/"+p.Name+" is being deleted")
	}
	return c.list
}

// MembersInDoubt says of each member namespace that does not belong to the platform why that is so, sorted. The platform runs
// all the same: a misspelt name shuts out one vendor, who alone would see it.
func MembersInDoubt(s *Snapshot) []string {
	p := s.Platform
	var out []string
	for i, m := range p.Spec.Members {
		field := fmt.Sprintf("spec.members[%d].namespace: ", i)
		ns, known := s.Namespaces[m.Namespace]
		switch home := ns.Labels[LabelPlatform]; {
		case !known:
		case ns.Absent:
			out = append(out, field+"there is no namespace "+m.Namespace+"; create it, or correct the name")
		case m.Namespace != p.Namespace && home != p.Namespace:
			out = append(out, fmt.Sprintf("%snamespace %s does not name this platform in return; its owner labels it %s=%s", field, m.Namespace, LabelPlatform, p.Namespace))
		}
	}
	return out
}

// Divisions gives the code prefixes that objects of a namespace may speak for: those of the member, else of the platform.
func Divisions(p *v1alpha1.GridPlatform, namespace string) []string {
	for _, m := range p.Spec.Members {
		if m.Namespace == namespace && len(m.Divisions) > 0 {
			return m.Divisions
		}
	}
	return p.Spec.Divisions
}

func platformIn(platforms []*v1alpha1.GridPlatform, namespace string) *v1alpha1.GridPlatform {
	var rivals []*v1alpha1.GridPlatform
	for _, p := range platforms {
		if p.Namespace == namespace {
			rivals = append(rivals, p)
		}
	}
	if len(rivals) == 0 {
		return nil
	}
	return winner(rivals, ClaimNamespace, namespace)
}
