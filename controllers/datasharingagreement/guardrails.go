package datasharingagreement

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/gather"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/policies"
)

// Bounds of status.guardrails.
const (
	maxFindings       = 32
	maxFindingMessage = 1024
)

// findings gives what guardrails found for the status: one entry a rule, sorted.
func findings(found []policies.Violation) []v1alpha1.GuardrailFinding {
	var out []v1alpha1.GuardrailFinding
	for _, v := range found {
		text := v.Field + ": " + v.Message
		i := slices.IndexFunc(out, func(f v1alpha1.GuardrailFinding) bool { return f.ID == v.Rule })
		if i >= 0 {
			out[i].Message = short(out[i].Message + "; " + text)
			continue
		}
		out = append(out, v1alpha1.GuardrailFinding{ID: v.Rule, Basis: basis(v), Message: short(text)})
	}
	slices.SortFunc(out, func(a, b v1alpha1.GuardrailFinding) int { return cmp.Compare(a.ID, b.ID) })
	return out[:min(len(out), maxFindings)]
}

func short(text string) string {
	if len(text) > maxFindingMessage {
		return strings.ToValidUTF8(text[:maxFindingMessage-3], "") + "..."
	}
	return text
}

// basis says whether a guardrail is law, ours or the city's own.
func basis(v policies.Violation) string {
	switch v.Origin {
	case "law":
		return "Law"
	case policies.OriginCity:
		return "City"
	}
	return "Ours"
}

// Findings gives what the guardrails say of an agreement that is about to be written; see admission.Findings.
func (r *Reconciler) Findings(ctx context.Context, o *v1alpha1.DataSharingAgreement) ([]policies.Violation, bool, error) {
	s, _, err := r.gather(ctx, o)
	if err != nil {
		return nil, false, err
	}
	return compile.Guardrails(ctx, s, r.Guard, o)
}

// sharesAggregates maps an agreement that gives aggregates to the others of its consumer: who comes later may not cut them otherwise.
func (r *Reconciler) sharesAggregates() handler.EventHandler {
	return kit.Mapped(func(ctx context.Context, o client.Object) []reconcile.Request {
		a := o.(*v1alpha1.DataSharingAgreement)
		var list v1alpha1.DataSharingAgreementList
		if err := r.Client.List(ctx, &list, client.MatchingFields{gather.IndexAggregates: a.Spec.Consumer.Name}, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "list for watch")
			return nil
		}
		var out []reconcile.Request
		for i := range list.Items {
			if other := &list.Items[i]; other.UID != a.UID {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(other)})
			}
		}
		return out
	})
}

// acceptedGuardrails passes changes of the guardrails that the operator accepted.
func acceptedGuardrails() builder.Predicates {
	named := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == compile.ConfigMapGuardrails })
	changed := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion()
	}}
	return builder.WithPredicates(named, changed)
}
