package offline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/render"
)

// Action is what would become of an object.
type Action string

// Actions.
const (
	ActionCreate Action = "create"
	ActionChange Action = "change"
	ActionDelete Action = "delete"
)

// Change is one object that differs between two states: one that people write, or one that the operator makes from those.
type Change struct {
	Action     Action `json:"action"`
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	// Owner is the object that it is made from, as Kind namespace/name; empty for what people write.
	Owner string `json:"owner,omitempty"`
	// Fields that differ, by path; for changed objects only.
	Fields []FieldChange `json:"fields,omitempty"`
}

// FieldChange is one field with its two values; nil where it is not set. Values of Secrets are not shown.
type FieldChange struct {
	Path string `json:"path"`
	From any    `json:"from"`
	To   any    `json:"to"`
}

// state is the objects of one side by what identifies them.
type state map[identity]entry

type identity struct{ apiVersion, kind, namespace, name string }

type entry struct {
	object map[string]any
	owner  string
}

// Diff gives what would change between two states, in a stable order: first what people write, by kind, namespace and name; then
// what the operator makes of it, by owner.
func Diff(from, to *Result, fromSet, toSet *Set) ([]Change, error) {
	was, err := stateOf(from, fromSet)
	if err != nil {
		return nil, err
	}
	is, err := stateOf(to, toSet)
	if err != nil {
		return nil, err
	}
	changes := []Change{}
	for id, e := range is {
		before, known := was[id]
		if !known {
			changes = append(changes, id.change(ActionCreate, e.owner, nil))
			continue
		}
		if fields := diff("", before.object, e.object, id.kind == "Secret"); len(fields) > 0 {
			changes = append(changes, id.change(ActionChange, e.owner, fields))
		}
	}
	kept := to.uncompiled()
	for id, e := range was {
		if _, stays := is[id]; !stays && !kept[e.owner] {
			changes = append(changes, id.change(ActionDelete, e.owner, nil))
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return changes, nil
}

// uncompiled gives the objects that do not compile, as owners of what is made from them: the operator leaves that as it is.
func (r *Result) uncompiled() map[string]bool {
	out := map[string]bool{}
	add := func(kind, namespace, name string) { out[fmt.Sprintf("%s %s/%s", kind, namespace, name)] = true }
	for _, p := range r.Platforms {
		if p.Fatal {
			add("GridPlatform", p.Object.GetNamespace(), p.Object.GetName())
		}
		for _, m := range p.Members {
			if p.Fatal || m.Fatal {
				add(m.Kind, m.GetNamespace(), m.GetName())
			}
		}
	}
	return out
}

func (id identity) change(action Action, owner string, fields []FieldChange) Change {
	return Change{Action: action, APIVersion: id.apiVersion, Kind: id.kind, Namespace: id.namespace, Name: id.name, Owner: owner, Fields: fields}
}

// rank puts what people write first, in the order of kinds.
func (c Change) rank() int {
	if c.Owner != "" {
		return len(order)
	}
	return kindOrder(c.Kind)
}

// stateOf gives the objects of group dizuo.io with their defaults, and what is rendered from them.
func stateOf(r *Result, s *Set) (state, error) {
	out := state{}
	for _, o := range s.Objects {
		if kindOrder(o.Kind) < 0 || o.Invalid {
			continue
		}
		object, err := plain(o.Object)
		if err != nil {
			return nil, err
		}
		object["apiVersion"], object["kind"] = v1alpha1.SchemeGroupVersion.String(), o.Kind
		out.add(object, "")
	}
	for _, p := range r.Platforms {
		for _, o := range p.Render() {
			object, err := plain(o)
			if err != nil {
				return nil, err
			}
			out.add(object, ownerOf(object))
		}
	}
	return out, nil
}

func (s state) add(object map[string]any, owner string) {
	meta, _ := object["metadata"].(map[string]any)
	text := func(m map[string]any, key string) string { v, _ := m[key].(string); return v }
	id := identity{text(object, "apiVersion"), text(object, "kind"), text(meta, "namespace"), text(meta, "name")}
	s[id] = entry{map[string]any{"labels": meta["labels"], "annotations": meta["annotations"], "spec": object["spec"], "data": object["data"],
		"subjects": object["subjects"], "roleRef": object["roleRef"]}, owner}
}

func ownerOf(object map[string]any) string {
	meta, _ := object["metadata"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	return fmt.Sprintf("%v %v/%v", labels[render.LabelOwnerKind], labels[render.LabelOwnerNamespace], labels[render.LabelOwnerName])
}

func plain(o any) (map[string]any, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(raw, &m)
}

// diff gives the fields in which two values differ, by path. Items of a list that have names are compared by name. secret hides
// values under data.
func diff(path string, from, to any, secret bool) []FieldChange {
	if reflect.DeepEqual(from, to) {
		return nil
	}
	a, aok := from.(map[string]any)
	b, bok := to.(map[string]any)
	if aok && bok {
		return diffMaps(path, a, b, secret)
	}
	x, xok := byName(from)
	y, yok := byName(to)
	if xok && yok {
		return diffMaps(path, x, y, secret)
	}
	if secret && strings.HasPrefix(path, "data.") {
		return []FieldChange{{Path: path, From: hidden(from), To: hidden(to)}}
	}
	return []FieldChange{{Path: path, From: from, To: to}}
}

func hidden(v any) any {
	if v == nil {
		return nil
	}
	return "(not shown)"
}

func diffMaps(path string, a, b map[string]any, secret bool) []FieldChange {
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	var out []FieldChange
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		below := k
		switch {
		case strings.HasPrefix(k, "["):
			below = path + k
		case path != "":
			below = path + "." + k
		}
		out = append(out, diff(below, a[k], b[k], secret)...)
	}
	return out
}

// keys are fields by which items of lists are known, in the order in which they are tried.
var keys = []string{"name", "device", "namespace", "type", "severity", "organization"}

// byName turns a list whose items all differ in one of the keys into a map; its keys read [value].
func byName(v any) (map[string]any, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	for _, key := range keys {
		out := map[string]any{}
		for _, item := range list {
			m, _ := item.(map[string]any)
			if value, _ := m[key].(string); value != "" {
				out["["+value+"]"] = m
			}
		}
		if len(out) == len(list) {
			return out, true
		}
	}
	return nil, false
}
