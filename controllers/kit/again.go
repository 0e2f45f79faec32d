package kit

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// soon is how long after a conflict an object is looked at again: the cache shows by then what the other wrote.
const soon = 100 * time.Millisecond

// outdated marks that an object was written by somebody else since it was read.
type outdated struct{ error }

func (o outdated) Unwrap() error { return o.error }

// conflicting marks a conflict over the object that is reconciled; conflicts over its children are not that.
func conflicting(err error) error {
	if apierrors.IsConflict(err) {
		return outdated{err}
	}
	return err
}

// Again lets a reconciler look again where somebody else wrote the object in between, as the publication does with a platform: a conflict is
// the protocol at work (decision 0013) and no error. As an error it would stand in the log, and each one in a row would double the wait.
func Again(r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		result, err := r.Reconcile(ctx, req)
		var behind outdated
		if !errors.As(err, &behind) {
			return result, err
		}
		log.FromContext(ctx).V(1).Info("written by somebody else since it was read; looked at again", "why", err.Error())
		return reconcile.Result{RequeueAfter: soon}, nil
	})
}
