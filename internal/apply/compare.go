package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

// annotationRendered holds the hash of what was rendered: it tells that a field was dropped from what we render, which the
// live object alone does not show.
const annotationRendered = "dizuo.io/rendered"

// toUnstructured turns a configuration into JSON values and marks it with its hash. Configurations hold only fields that
// were set, so nothing is claimed by accident.
func toUnstructured(o render.Object) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	sum := sha256.Sum256(raw)
	annotations := maps.Clone(u.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationRendered] = hex.EncodeToString(sum[:8])
	u.SetAnnotations(annotations)
	return u, nil
}

// owned reports whether an object is its owner's: it carries the owner's labels, or is the very one that the owner made (uid),
// whoever took the labels off.
func owned(u *unstructured.Unstructured, owner compile.Owner, uid types.UID) bool {
	l := u.GetLabels()
	return (uid != "" && u.GetUID() == uid) || l[render.LabelManagedBy] == render.ManagedBy && l[render.LabelOwnerKind] == owner.Kind &&
		l[render.LabelOwnerNamespace] == owner.Namespace && l[render.LabelOwnerName] == owner.Name
}

// stands reports whether the live object is as rendered: it was rendered from the same, every field that we render is ours,
// and each has our value. What others own beside it is theirs. Who changes a field of ours by whatever means takes it from
// us, so the field set that the API server keeps for our manager shows every edit, also one inside an atomic list.
func stands(desired, live *unstructured.Unstructured) bool {
	if live.GetAnnotations()[annotationRendered] != desired.GetAnnotations()[annotationRendered] {
		return false
	}
	return holds(ours(live), live.Object, tracked(desired.Object))
}

// ours gives the fields that our manager owns: by apply, or by the creation of what is made once.
func ours(live *unstructured.Unstructured) *fieldpath.Set {
	out := fieldpath.NewSet()
	for _, m := range live.GetManagedFields() {
		if m.Manager != FieldManager || m.Subresource != "" || m.FieldsV1 == nil {
			continue
		}
		set := fieldpath.NewSet()
		if err := set.FromJSON(m.FieldsV1.GetRawReader()); err != nil {
			continue // what cannot be read is not ours: it is applied again
		}
		out = out.Union(set)
	}
	return out
}

// tracked leaves out what server-side apply has no owner for: what identifies the object.
func tracked(desired map[string]any) map[string]any {
	out := maps.Clone(desired)
	delete(out, "apiVersion")
	delete(out, "kind")
	metadata := maps.Clone(out["metadata"].(map[string]any))
	delete(metadata, "name")
	delete(metadata, "namespace")
	out["metadata"] = metadata
	return out
}

// holds reports whether a set of fields covers all of want, and have holds it.
func holds(set *fieldpath.Set, have, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return len(w) == 0 && have == nil
		}
		for name, v := range w {
			if !field(set, fieldpath.PathElement{FieldName: &name}, h[name], v) {
				return false
			}
		}
		return true
	case []any:
		h, _ := have.([]any)
		for _, v := range w {
			pe, item := find(set, h, v)
			if !field(set, pe, item, v) {
				return false
			}
		}
		return true
	}
	return contains(have, want)
}

// field reports whether a set covers one field or item: a part of it that has an owner of its own goes on by parts, a leaf
// (a scalar, or what is changed only as a whole) is compared.
func field(set *fieldpath.Set, pe fieldpath.PathElement, have, want any) bool {
	if below, ok := set.Children.Get(pe); ok {
		return holds(below, have, want)
	}
	if !set.Members.Has(pe) {
		return want == nil // an explicit null owns nothing
	}
	return contains(have, want)
}

// find gives the item of a list by which a set knows a wanted item, and what the live list has there. In a list of objects
// the keys decide, and one that we left to its default matches; in a set of scalars the value does.
func find(set *fieldpath.Set, have []any, want any) (fieldpath.PathElement, any) {
	w, object := want.(map[string]any)
	for _, pe := range elements(set) {
		switch {
		case object && pe.Key != nil && keyed(*pe.Key, w, true):
			for _, item := range have {
				if h, ok := item.(map[string]any); ok && keyed(*pe.Key, h, false) {
					return pe, h
				}
			}
		case !object && pe.Value != nil && sameScalar((*pe.Value).Unstructured(), want):
			return pe, want
		}
	}
	return fieldpath.PathElement{}, nil
}

// elements gives the path elements directly in a set.
func elements(set *fieldpath.Set) []fieldpath.PathElement {
	var out []fieldpath.PathElement
	add := func(pe fieldpath.PathElement) { out = append(out, pe) }
	set.Children.Iterate(add)
	set.Members.Iterate(add)
	return out
}

// keyed reports whether an item has the values of a key; lenient lets it leave some out.
func keyed(key value.FieldList, item map[string]any, lenient bool) bool {
	for _, f := range key {
		v, ok := item[f.Name]
		if !ok && lenient {
			continue
		}
		if !ok || !sameScalar(v, f.Value.Unstructured()) {
			return false
		}
	}
	return true
}

// contains reports whether have holds all of want, item by item: the server adds defaults to what is changed only as a whole.
func contains(have, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return len(w) == 0 && have == nil
		}
		for k, v := range w {
			if !contains(h[k], v) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return len(w) == 0 && have == nil
		}
		for i := range w {
			if !contains(h[i], w[i]) {
				return false
			}
		}
		return true
	case nil:
		return true
	}
	return sameScalar(have, want)
}

// sameScalar compares numbers of different JSON types and quantities written differently.
func sameScalar(have, want any) bool {
	if have == want || fmt.Sprint(have) == fmt.Sprint(want) {
		return true
	}
	h, hok := have.(string)
	w, wok := want.(string)
	if !hok || !wok {
		return false
	}
	hq, herr := resource.ParseQuantity(h)
	wq, werr := resource.ParseQuantity(w)
	return herr == nil && werr == nil && hq.Cmp(wq) == 0
}
