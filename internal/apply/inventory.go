package apply

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// entryKey is what makes an inventory entry that entry: an object whatever its version and UID.
type entryKey struct{ group, kind, namespace, name string }

func entryOf(e v1alpha1.InventoryEntry) entryKey {
	return entryKey{e.Group, e.Kind, e.Namespace, e.Name}
}

func keyOf(u *unstructured.Unstructured) entryKey {
	return entryKey{u.GroupVersionKind().Group, u.GetKind(), u.GetNamespace(), u.GetName()}
}

// union joins an inventory with objects about to be applied, sorted, each once.
func union(old []v1alpha1.InventoryEntry, desired []*unstructured.Unstructured) []v1alpha1.InventoryEntry {
	out := slices.Clone(old)
	have := map[entryKey]bool{}
	for _, e := range old {
		have[entryOf(e)] = true
	}
	for _, u := range desired {
		if k := keyOf(u); !have[k] {
			have[k] = true
			out = append(out, v1alpha1.InventoryEntry{Group: k.group, Version: u.GroupVersionKind().Version, Kind: k.kind, Namespace: k.namespace, Name: k.name})
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.InventoryEntry) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func keys(inventory []v1alpha1.InventoryEntry) []entryKey {
	out := make([]entryKey, 0, len(inventory))
	for _, e := range inventory {
		out = append(out, entryOf(e))
	}
	return out
}

func setUID(inventory []v1alpha1.InventoryEntry, u *unstructured.Unstructured, uid string) {
	for i := range inventory {
		if entryOf(inventory[i]) == keyOf(u) {
			inventory[i].UID = uid
		}
	}
}

// uidOf gives the UID that an inventory has for an object; empty where it has none.
func uidOf(inventory []v1alpha1.InventoryEntry, u *unstructured.Unstructured) types.UID {
	for _, e := range inventory {
		if entryOf(e) == keyOf(u) {
			return types.UID(e.UID)
		}
	}
	return ""
}
