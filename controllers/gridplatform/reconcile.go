// Package gridplatform reconciles a GridPlatform into the stack of a county or city: certificates, database, broker and the
// roles of the data plane. What the bundle says and when it is in force is the matter of controllers/publication.
package gridplatform

import (
	"context"
	"errors"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
)

const kind = "GridPlatform"

// Reconciler reconciles GridPlatforms.
type Reconciler struct{ *kit.Kit }

// Reconcile gathers, compiles, renders, applies, contributes and writes the status.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := &v1alpha1.GridPlatform{}
	if result, ok, err := r.Load(ctx, kind, req.NamespacedName, o); !ok {
		return result, err
	}
	if !o.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.finalize(ctx, o)
	}
	before := o.DeepCopy()
	s, err := r.gather(ctx, o)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan, problems := compile.Platform(s)
	if !problems.Fatal() && moved(o, plan) { // nothing else before the status says where the data is
		return ctrl.Result{RequeueAfter: time.Millisecond}, r.WriteStatus(ctx, withoutBundle(before), withoutBundle(o))
	}
	report, err := r.apply(ctx, o, plan, problems)
	if err != nil {
		return ctrl.Result{}, err
	}
	profiles, scenarios, doc := plan.Profiles, plan.Scenarios, plan.Document
	r.Contribute(s, kit.Key(kind, o), problems, true, kit.Digest(doc, profiles, scenarios), func(p *bundle.Parts) {
		p.Platform = doc
		addAll(p.Profiles, profiles)
		addAll(p.Scenarios, scenarios)
	})
	if err := r.status(ctx, s, o, plan, problems, report); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.WriteStatus(ctx, withoutBundle(before), withoutBundle(o)); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: modeLeft(o, s.Now)}, report.Err
}

// moved notes where the data is, and reports whether that has just changed from one engine to another.
func moved(o *v1alpha1.GridPlatform, plan compile.PlatformPlan) bool {
	db := plan.Database
	if db.Phase == compile.MoveDone {
		o.Status.Database = &v1alpha1.DatabaseStatus{Engine: db.To.Engine}
		return true
	}
	o.Status.Database = &v1alpha1.DatabaseStatus{Engine: db.Serves.Engine, Phase: string(db.Phase), Move: db.Move}
	if db.To != nil {
		o.Status.Database.MovingTo = db.To.Engine
	}
	return false
}

// withoutBundle leaves out the part of the status that controllers/publication writes.
func withoutBundle(o *v1alpha1.GridPlatform) *v1alpha1.GridPlatform {
	c := o.DeepCopy()
	c.Status.Bundle = nil
	return c
}

// addAll adds what the platform takes from the catalogue, under objects of the same name on the platform itself.
func addAll[V any](into, from map[string]V) {
	for name, v := range from {
		if _, own := into[name]; !own {
			into[name] = v
		}
	}
}

func (r *Reconciler) apply(ctx context.Context, o *v1alpha1.GridPlatform, plan compile.PlatformPlan, problems compile.Problems) (apply.Report, error) {
	if problems.Fatal() {
		return apply.Report{Inventory: o.Status.Inventory}, nil
	}
	if err := r.EnsureFinalizer(ctx, o); err != nil {
		return apply.Report{}, err
	}
	slim := withoutBundle(o)
	if err := r.dropBrokerVolumes(ctx, o, plan.Brokers); err != nil {
		return apply.Report{Inventory: o.Status.Inventory}, err
	}
	objects := render.Platform(plan)
	// While no CA of devices can be read, as when its Secret is made anew, EMQX is not rendered: that must not take it away.
	prune := plan.EMQX == nil || len(plan.EMQX.DeviceCAs) > 0
	report := r.ApplySet(ctx, kind, slim, apply.Set{Objects: objects, Prune: prune, Keep: holdsData})
	o.Status.Inventory, o.ResourceVersion = report.Inventory, slim.ResourceVersion
	report.Err = errors.Join(report.Err, r.growVolumes(ctx, o, objects))
	return report, nil
}
