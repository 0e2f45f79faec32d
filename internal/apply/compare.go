package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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

// owned reports whether an object carries the labels of its owner.
func owned(u *unstructured.Unstructured, owner compile.Owner) bool {
	l := u.GetLabels()
	return l[render.LabelManagedBy] == render.ManagedBy && l[render.LabelOwnerKind] == owner.Kind &&
		l[render.LabelOwnerNamespace] == owner.Namespace && l[render.LabelOwnerName] == owner.Name
}

// stands reports whether the live object has every field that was rendered, and was rendered from the same.
func stands(desired, live *unstructured.Unstructured) bool {
	return live.GetAnnotations()[annotationRendered] == desired.GetAnnotations()[annotationRendered] &&
		contains(live.Object, desired.Object)
}

// contains reports whether have holds all of want. Lists are compared item by item: server-side apply keeps our order.
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
	return have == want || sameScalar(have, want)
}

// sameScalar compares numbers of different JSON types and quantities written differently.
func sameScalar(have, want any) bool {
	if fmt.Sprint(have) == fmt.Sprint(want) {
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
