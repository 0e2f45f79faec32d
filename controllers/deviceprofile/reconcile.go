// Package deviceprofile reconciles a DeviceProfile: the fields of a device model, for validation, rules and ACL. It makes no objects; it contributes to the bundle.
package deviceprofile

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
)

const kind = "DeviceProfile"

// Reconciler reconciles DeviceProfiles.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.DeviceProfile{}
	if result, ok, err := r.Load(ctx, kind, req.NamespacedName, o); !ok {
		return result, err
	}
	if !o.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.Finalize(ctx, kind, o, nil)
	}
	before := o.DeepCopy()
	s, problems, err := r.gather(ctx, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	var plan compile.ProfilePlan
	if s.Platform != nil {
		var found compile.Problems
		plan, found = compile.Profile(s, o)
		problems = append(problems, found...)
	}
	key := kit.Key(kind, o)
	name, doc := o.Name, plan.Document
	r.Contribute(s, key, problems, true, kit.Digest(name, doc), func(p *bundle.Parts) { p.Profiles[name] = doc })
	r.status(s, o, plan, problems)
	if o.Status.Fleets, err = r.fleets(ctx, s, o); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.WriteStatus(ctx, before, o)
}
