package offline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/schema"
)

// Object is an object of the files that matters here: one of group dizuo.io, a Namespace or a Secret.
type Object struct {
	Kind string
	// Object is typed, and of group dizuo.io also defaulted.
	client.Object
	// Defaults that the schema filled in.
	Defaults []schema.Default
	// Invalid is set when the API server would refuse the object: it is not compiled.
	Invalid bool

	// Document is where the object stands.
	Document Document
}

// At gives file and line of a field.
func (o *Object) At(field string) (string, int) {
	return o.Document.File, o.Document.Offset + locate(o.Document.Node, pathOf(field))
}

// finding makes a finding about a field of the object.
func (o *Object) finding(field, message, reason string) Finding {
	file, line := o.At(field)
	return Finding{File: file, Line: line, Kind: o.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), Field: field, Message: message, Reason: reason}
}

// Set is what the files hold.
type Set struct {
	Objects []*Object
	// Findings of reading and of the schema.
	Findings []Finding
}

// Load reads files and checks each object by itself. namespace is taken where an object names none, as kubectl takes it from
// its context.
func Load(ctx context.Context, src Source, namespace string) (*Set, error) {
	docs, findings, err := Read(src)
	if err != nil {
		return nil, err
	}
	set := &Set{Findings: findings}
	for _, doc := range docs {
		if err := set.add(ctx, doc, namespace); err != nil {
			return nil, err
		}
	}
	set.duplicates()
	set.Findings = sorted(set.Findings)
	return set, nil
}

func (s *Set) add(ctx context.Context, doc Document, namespace string) error {
	apiVersion, _ := doc.Object["apiVersion"].(string)
	kind, _ := doc.Object["kind"].(string)
	group, version, _ := strings.Cut(apiVersion, "/")
	if version == "" {
		group, version = "", group
	}
	bad := func(field, message string) {
		s.Findings = append(s.Findings, Finding{File: doc.File, Line: doc.Offset + locate(doc.Node, pathOf(field)), Kind: kind, Name: nameOf(doc.Object), Field: field, Message: message, Reason: ReasonSchema})
	}
	switch {
	case apiVersion == "" || kind == "":
		bad("", "is no Kubernetes object; write apiVersion and kind")
	case group == "" && version == "v1" && (kind == "Namespace" || kind == "Secret" || kind == "ConfigMap"):
		s.addCore(doc, kind, namespace, bad)
	case group == v1alpha1.GroupName && version != v1alpha1.SchemeGroupVersion.Version:
		bad("apiVersion", fmt.Sprintf("%s is not served; write %s", apiVersion, v1alpha1.SchemeGroupVersion))
	case group == v1alpha1.GroupName && !slices.Contains(schema.Kinds(), kind):
		bad("kind", fmt.Sprintf("%s is not a kind of %s; write one of %s", kind, v1alpha1.GroupName, strings.Join(schema.Kinds(), ", ")))
	case group == v1alpha1.GroupName:
		return s.addOurs(ctx, doc, kind, namespace, bad)
	}
	return nil // other kinds are none of our business
}

func nameOf(object map[string]any) string {
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	return name
}

func (s *Set) addCore(doc Document, kind, namespace string, bad func(field, message string)) {
	var typed client.Object = &corev1.Namespace{}
	if kind == "Secret" {
		typed = &corev1.Secret{}
	}
	if kind == "ConfigMap" {
		typed = &corev1.ConfigMap{}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(doc.Object, typed, false); err != nil {
		bad("", "cannot be read as a "+kind+": "+err.Error())
		return
	}
	if secret, ok := typed.(*corev1.Secret); ok {
		if secret.Namespace == "" {
			secret.Namespace = namespace
		}
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		for k, v := range secret.StringData { // as the API server does
			secret.Data[k] = []byte(v)
		}
	}
	if typed.GetNamespace() == "" && kind == "ConfigMap" {
		typed.SetNamespace(namespace)
	}
	s.Objects = append(s.Objects, &Object{Kind: kind, Object: typed, Document: doc})
}

// addOurs checks an object of group dizuo.io as the API server would.
func (s *Set) addOurs(ctx context.Context, doc Document, kind, namespace string, bad func(field, message string)) error {
	k, err := schema.For(kind)
	if err != nil {
		return err
	}
	withNamespace(doc.Object, namespace)
	prepared, err := k.Prepare(doc.Object)
	if err != nil {
		bad("metadata", strings.TrimPrefix(err.Error(), "metadata: "))
		return nil
	}
	o := &Object{Kind: kind, Object: newObject(kind), Defaults: prepared.Defaults, Document: doc}
	for _, path := range prepared.Unknown {
		o.Invalid = true
		bad(path, k.Unknown(path))
	}
	errs := k.Validate(ctx, prepared.Object)
	for _, e := range errs {
		o.Invalid = true
		bad(e.Field, k.Message(e))
	}
	if schema.Blocked(errs) {
		bad("", "rules over several fields were not checked; put the errors right and check again")
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(prepared.Object, o.Object); err != nil {
		if !o.Invalid {
			bad("", "cannot be read as a "+kind+": "+err.Error())
		}
		return nil
	}
	s.Objects = append(s.Objects, o)
	return nil
}

func withNamespace(object map[string]any, namespace string) {
	meta, ok := object["metadata"].(map[string]any)
	if !ok {
		return
	}
	if ns, _ := meta["namespace"].(string); ns == "" && namespace != "" {
		meta["namespace"] = namespace
	}
}

func newObject(kind string) client.Object {
	switch kind {
	case "GridPlatform":
		return &v1alpha1.GridPlatform{}
	case "Community":
		return &v1alpha1.Community{}
	case "Organization":
		return &v1alpha1.Organization{}
	case "DeviceProfile":
		return &v1alpha1.DeviceProfile{}
	case "DeviceFleet":
		return &v1alpha1.DeviceFleet{}
	case "EdgeNode":
		return &v1alpha1.EdgeNode{}
	case "Scenario":
		return &v1alpha1.Scenario{}
	case "Dataset":
		return &v1alpha1.Dataset{}
	case "DataSharingAgreement":
		return &v1alpha1.DataSharingAgreement{}
	}
	panic("kind " + kind + " has a CRD and no type here")
}

// duplicates finds objects that stand in the files twice: kubectl would let the last one win without a word.
func (s *Set) duplicates() {
	type key struct{ kind, namespace, name string }
	first := map[key]*Object{}
	kept := s.Objects[:0]
	for _, o := range s.Objects {
		k := key{o.Kind, o.GetNamespace(), o.GetName()}
		if was := first[k]; was != nil {
			file, line := was.At("")
			s.Findings = append(s.Findings, o.finding("", fmt.Sprintf("stands also at %s:%d; remove one of them", file, line), ReasonSchema))
			continue
		}
		first[k] = o
		kept = append(kept, o)
	}
	s.Objects = kept
}
