package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/offline"
	dizuoschema "github.com/dizuo/dizuo/internal/schema"
)

// live reads from the cluster what the files speak of: every object of group dizuo.io in their namespaces, in those of the
// platforms that these belong to, and in those of the platforms' other members. Secrets are not read: nothing that is compared
// depends on them.
func (a *app) live(ctx context.Context, f *kubeFlags, files *offline.Set) (*offline.Set, error) {
	c, _, err := f.connect()
	if err != nil {
		return nil, err
	}
	var objects []map[string]any
	set := &offline.Set{}
	read := map[string]bool{}
	for {
		wanted := files.Namespaces()
		maps.Copy(wanted, set.Namespaces())
		more := false
		for _, ns := range slices.Sorted(maps.Keys(wanted)) {
			if read[ns] {
				continue
			}
			read[ns], more = true, true
			found, err := readNamespace(ctx, c, ns)
			if err != nil {
				return nil, err
			}
			objects = append(objects, found...)
		}
		if !more {
			return set, nil
		}
		if set, err = offline.LoadObjects(ctx, objects); err != nil {
			return nil, err
		}
	}
}

// readNamespace reads a namespace and the objects of group dizuo.io in it. One that is not there holds none.
func readNamespace(ctx context.Context, c client.Client, name string) ([]map[string]any, error) {
	var ns corev1.Namespace
	err := c.Get(ctx, types.NamespacedName{Name: name}, &ns)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	out := []map[string]any{}
	switch {
	case apierrors.IsForbidden(err): // a vendor may not read namespaces, and need not
	case err != nil:
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	default:
		out = append(out, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name, "labels": labels(ns.Labels)}})
	}
	for _, kind := range dizuoschema.Kinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: v1alpha1.GroupName, Version: v1alpha1.SchemeGroupVersion.Version, Kind: kind + "List"})
		err := c.List(ctx, list, client.InNamespace(name))
		if apierrors.IsForbidden(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s of namespace %s: %w", kind, name, err)
		}
		for _, o := range list.Items {
			out = append(out, o.Object)
		}
	}
	return out, nil
}

func labels(l map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range l {
		out[k] = v
	}
	return out
}
