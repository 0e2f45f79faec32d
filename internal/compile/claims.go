package compile

import (
	"cmp"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// Kinds of claims: things that one object holds and no other may.
const (
	ClaimName      = "Name"
	ClaimDivision  = "Division"
	ClaimTable     = "Table"
	ClaimItem      = v1alpha1.ClaimItem
	ClaimNamespace = "Namespace"
	// ClaimCommunity is a community that an edge node serves.
	ClaimCommunity = "Community"
	// ClaimKey is a public key, by its digest, that speaks for an organisation.
	ClaimKey = "Key"
)

// holder is an object whose status records what it won.
type holder interface{ GetCommonStatus() *v1alpha1.CommonStatus }

// winner decides who holds a claim: an object that already won it keeps it until it lets go; the first contest goes by
// creation time, then namespace and name. Creation time has one second of resolution and changes on restore, so it
// decides only once.
func winner[T client.Object](rivals []T, kind, value string) T {
	sorted := slices.SortedFunc(slices.Values(rivals), func(a, b T) int {
		return cmp.Or(
			-cmp.Compare(recorded(a, kind, value), recorded(b, kind, value)),
			a.GetCreationTimestamp().Time.Compare(b.GetCreationTimestamp().Time),
			cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return sorted[0]
}

func recorded(o client.Object, kind, value string) int {
	h, ok := o.(holder)
	if ok && slices.ContainsFunc(h.GetCommonStatus().Claims, func(c v1alpha1.Claim) bool { return c.Kind == kind && c.Value == value }) {
		return 1
	}
	return 0
}

// HoldsName reports whether an object holds its name on the platform: what nodes report of the name is of the one that does, and a rival is
// told nothing of it.
func HoldsName[T client.Object](o T, named Named[T]) bool {
	held, ok := named.Get(o.GetName())
	return ok && held.GetNamespace() == o.GetNamespace()
}

// claimName checks that no other object of the kind holds the object's name on the platform.
func claimName[T client.Object](c *problems, o T, named Named[T]) {
	held, ok := named.Get(o.GetName())
	if ok && held.GetNamespace() != o.GetNamespace() {
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonNameClaimed, "metadata.name",
			"is held on this platform by "+held.GetNamespace()+"/"+held.GetName()+"; names are unique per platform and kind, take another")
	}
}
