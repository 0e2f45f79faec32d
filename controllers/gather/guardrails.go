package gather

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// IndexAggregates is the field index of DataSharingAgreements that give aggregates, by consumer.
const IndexAggregates = "spec.aggregates"

// CityGuardrails reads the ConfigMaps with guardrails of the city's own that the platform names, as they stand. city holds the
// ConfigMaps with compile.LabelGuardrails.
func (r *Reader) CityGuardrails(ctx context.Context, city client.Reader, s *compile.Snapshot) error {
	s.CityGuardrails = map[string]map[string]string{}
	for _, ref := range s.Platform.Spec.Guardrails {
		var m corev1.ConfigMap
		err := city.Get(ctx, types.NamespacedName{Namespace: s.Platform.Namespace, Name: ref.Name}, &m)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("ConfigMap %s: %w", ref.Name, err)
		}
		files := m.Data
		if files == nil {
			files = map[string]string{}
		}
		s.CityGuardrails[ref.Name] = files
	}
	return nil
}

// AcceptedGuardrails reads the city's own guardrails that are in force, where the platform names any.
func (r *Reader) AcceptedGuardrails(ctx context.Context, s *compile.Snapshot) error {
	if len(s.Platform.Spec.Guardrails) == 0 {
		return nil
	}
	var m corev1.ConfigMap
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: s.Platform.Namespace, Name: compile.ConfigMapGuardrails}, &m)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ConfigMap %s: %w", compile.ConfigMapGuardrails, err)
	}
	s.Guardrails = map[string]map[string]string{}
	for name, text := range m.Data {
		files := map[string]string{}
		if err := json.Unmarshal([]byte(text), &files); err != nil { // somebody's edit: it compiles to nothing, and nothing is granted by it
			files = map[string]string{"unreadable": err.Error()}
		}
		s.Guardrails[name] = files
	}
	return nil
}

// Aggregates reads the other agreements by which the same consumer gets aggregates, where this one gives any.
func (r *Reader) Aggregates(ctx context.Context, s *compile.Snapshot, o *v1alpha1.DataSharingAgreement) error {
	if o.Spec.Aggregates == nil {
		return nil
	}
	namespaces, err := r.Members(ctx, s.Platform, "DataSharingAgreement")
	if err != nil {
		return err
	}
	for _, ns := range namespaces {
		var list v1alpha1.DataSharingAgreementList
		if err := r.Client.List(ctx, &list, client.InNamespace(ns), client.MatchingFields{IndexAggregates: o.Spec.Consumer.Name}); err != nil {
			return fmt.Errorf("agreements of namespace %s: %w", ns, err)
		}
		for i := range list.Items {
			if a := &list.Items[i]; a.Name != o.Name && a.DeletionTimestamp.IsZero() {
				s.Agreements.Add(a)
			}
		}
	}
	return nil
}
