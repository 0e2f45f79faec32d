package scenario

import (
	"context"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// Mistakes gives what is wrong with a Scenario that is about to be written; see admission.Mistakes.
func (r *Reconciler) Mistakes(ctx context.Context, o *v1alpha1.Scenario) (wrong, told compile.Problems, err error) {
	s, _, err := r.gather(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	wrong, told = compile.ScenarioWritten(s, o)
	return wrong, told, nil
}
