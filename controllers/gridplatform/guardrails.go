package gridplatform

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// cityGuardrails calls the platform of a namespace when a ConfigMap with guardrails changes there.
func (r *Reconciler) cityGuardrails() source.Source {
	return source.Kind(r.CityGuardrails, &corev1.ConfigMap{}, handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, m *corev1.ConfigMap) []reconcile.Request {
		var list v1alpha1.GridPlatformList
		if err := r.Client.List(ctx, &list, client.InNamespace(m.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "list for watch")
			return nil
		}
		var out []reconcile.Request
		for i := range list.Items {
			if slices.ContainsFunc(list.Items[i].Spec.Guardrails, func(ref v1alpha1.LocalRef) bool { return ref.Name == m.Name }) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return out
	}))
}

// guardrails says which guardrails of the city's own are in force. It does not feed Ready: a typing error in them must not fell a
// county.
func guardrails(o *v1alpha1.GridPlatform, plan compile.GuardrailPlan) []status.Named {
	o.Status.Guardrails = nil
	if len(o.Spec.Guardrails) == 0 {
		return nil
	}
	refused := slices.Sorted(maps.Keys(plan.Refused))
	o.Status.Guardrails = &v1alpha1.GuardrailsStatus{Digest: kit.Digest(plan.Accepted), Refused: refused}
	if len(refused) == 0 {
		return []status.Named{status.True(v1alpha1.ConditionGuardrailsCompiled, v1alpha1.ReasonSucceeded, fmt.Sprintf("the rules of %d ConfigMaps are in force", len(plan.Accepted)))}
	}
	var why []string
	for _, name := range refused {
		text := plan.Refused[name]
		switch _, stays := plan.Accepted[name]; {
		case plan.Accepted == nil:
			o.Status.Guardrails.Digest = ""
			text += " (no agreement is in force until it is put right)"
		case stays:
			text += " (its rules before this change stay in force)"
		}
		why = append(why, text)
	}
	return []status.Named{status.Waiting(v1alpha1.ConditionGuardrailsCompiled, v1alpha1.ReasonGuardrailInvalid, strings.Join(why, "; "))}
}
