package schema

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	structurallisttype "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	structuralpruning "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/config/crd"
)

// Kind is the schema of one kind in version v1alpha1. It is safe for use by many goroutines.
type Kind struct {
	name       string
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	// rules compiles the CEL rules on first use: that takes longer than all the rest.
	rules func() *cel.Validator
}

var load = sync.OnceValues(loadAll)

// For gives the schema of a kind, such as "Community". It fails for a kind that the API does not have.
func For(kind string) (*Kind, error) {
	all, err := load()
	if err != nil {
		return nil, err
	}
	k, ok := all[kind]
	if !ok {
		return nil, fmt.Errorf("kind %q is not in %s; known are %v", kind, v1alpha1.SchemeGroupVersion, Kinds())
	}
	return k, nil
}

// Kinds lists the kinds of the API, sorted.
func Kinds() []string {
	all, err := load()
	if err != nil {
		panic(err) // the CRDs are embedded: the build is broken
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func loadAll() (map[string]*Kind, error) {
	paths, err := fs.Glob(crd.FS, "*.yaml")
	if err != nil {
		return nil, err
	}
	all := map[string]*Kind{}
	for _, path := range paths {
		raw, err := fs.ReadFile(crd.FS, path)
		if err != nil {
			return nil, err
		}
		var def apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(raw, &def); err != nil {
			return nil, fmt.Errorf("CRD %s: %w", path, err)
		}
		k, err := newKind(&def)
		if err != nil {
			return nil, fmt.Errorf("CRD %s: %w", path, err)
		}
		all[k.name] = k
	}
	return all, nil
}

func newKind(def *apiextensionsv1.CustomResourceDefinition) (*Kind, error) {
	i := slices.IndexFunc(def.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == v1alpha1.SchemeGroupVersion.Version
	})
	if i < 0 {
		return nil, fmt.Errorf("has no version %s", v1alpha1.SchemeGroupVersion.Version)
	}
	var internal apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(def.Spec.Versions[i].Schema, &internal, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	structural = structural.DeepCopy() // NewStructural shares its defaults with the input
	if err := structuraldefaulting.PruneDefaults(structural); err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &Kind{
		name: def.Spec.Names.Kind, structural: structural, validator: validator,
		rules: sync.OnceValue(func() *cel.Validator { return cel.NewValidator(structural, true, celconfig.PerCallLimit) }),
	}, nil
}

// Prepared is an object as the API server would check and store it.
type Prepared struct {
	// Object is pruned and defaulted, and has no status.
	Object map[string]any
	// Unknown are the paths of fields that the schema does not have, sorted. kubectl refuses them.
	Unknown []string
	// Defaults that were filled in, in the order of their paths.
	Defaults []Default
}

// Prepare prunes and defaults a copy of an object. It fails where metadata cannot be read at all.
func (k *Kind) Prepare(object map[string]any) (Prepared, error) {
	o := runtime.DeepCopyJSON(object)
	delete(o, "status") // creation cannot set it
	meta, found, unknown, err := schemaobjectmeta.GetObjectMetaWithOptions(o, schemaobjectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return Prepared{}, fmt.Errorf("metadata: %w", err)
	}
	unknown = append(unknown, structuralpruning.PruneWithOptions(o, k.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	structuraldefaulting.PruneNonNullableNullsWithoutDefaults(o, k.structural)
	if found {
		if err := schemaobjectmeta.SetObjectMeta(o, meta); err != nil {
			return Prepared{}, fmt.Errorf("metadata: %w", err)
		}
	}
	before := runtime.DeepCopyJSON(o)
	structuraldefaulting.Default(o, k.structural)
	delete(o, "status") // its default is given on reading: a stored object has none
	slices.Sort(unknown)
	return Prepared{Object: o, Unknown: slices.Compact(unknown), Defaults: k.taken(before, o)}, nil
}

// Validate checks a prepared object as its creation would be checked. As in the API server, the CEL rules are not run on an
// object whose shape is wrong, and an error says so.
func (k *Kind) Validate(ctx context.Context, object map[string]any) field.ErrorList {
	errs := validateMeta(object)
	errs = append(errs, validation.ValidateCustomResource(nil, object, k.validator)...)
	errs = append(errs, schemaobjectmeta.Validate(ctx, nil, object, k.structural, false)...)
	errs = append(errs, structurallisttype.ValidateListSetsAndMaps(nil, k.structural, object)...)
	if slices.ContainsFunc(errs, blocks) {
		return errs
	}
	if rules := k.rules(); rules != nil {
		broken, _ := rules.Validate(ctx, nil, k.structural, object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, broken...)
	}
	return errs
}

// Blocked reports whether the errors kept the CEL rules from being run.
func Blocked(errs field.ErrorList) bool { return slices.ContainsFunc(errs, blocks) }

// blocks is the API server's choice of errors after which CEL rules could not be trusted.
func blocks(e *field.Error) bool {
	switch e.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

func validateMeta(object map[string]any) field.ErrorList {
	var meta metav1.ObjectMeta
	raw, _ := object["metadata"].(map[string]any)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &meta); err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), nil, err.Error())}
	}
	return apivalidation.ValidateObjectMeta(&meta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
}
