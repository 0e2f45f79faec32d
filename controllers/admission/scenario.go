package admission

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// ScenarioPath is where the API server asks about Scenarios.
const ScenarioPath = "/validate-dizuo-io-v1alpha1-scenario"

// Mistakes gives what a Scenario that is about to be written has wrong by itself, and what others make wrong.
type Mistakes func(ctx context.Context, o *v1alpha1.Scenario) (wrong, told compile.Problems, err error)

// scenarios answers the API server about Scenarios.
type scenarios struct{ mistakes Mistakes }

func (v scenarios) ValidateCreate(ctx context.Context, o *v1alpha1.Scenario) (admission.Warnings, error) {
	return v.check(ctx, nil, o)
}

// ValidateUpdate refuses nothing that leaves the spec as it is, and no mistake that was there before: who switches a scenario off need not mend it.
func (v scenarios) ValidateUpdate(ctx context.Context, was, is *v1alpha1.Scenario) (admission.Warnings, error) {
	if !is.DeletionTimestamp.IsZero() || apiequality.Semantic.DeepEqual(was.Spec, is.Spec) {
		return nil, nil
	}
	return v.check(ctx, was, is)
}

// ValidateDelete is never asked.
func (v scenarios) ValidateDelete(context.Context, *v1alpha1.Scenario) (admission.Warnings, error) {
	return nil, nil
}

func (v scenarios) check(ctx context.Context, was, is *v1alpha1.Scenario) (admission.Warnings, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	wrong, told, err := v.mistakes(ctx, is)
	var before compile.Problems
	if err == nil && was != nil && len(wrong) > 0 {
		before, _, err = v.mistakes(ctx, was)
	}
	if err != nil {
		slog.WarnContext(ctx, "a scenario passed admission unseen", "scenario", is.Namespace+"/"+is.Name, "err", err)
		return nil, nil
	}
	var refused []string
	for _, p := range wrong {
		if slices.Contains(before, p) {
			told = append(told, p)
		} else {
			refused = append(refused, p.Text())
		}
	}
	if len(refused) > 0 {
		return nil, errors.New(strings.Join(refused, "\n"))
	}
	var out admission.Warnings
	for _, p := range told {
		text, _, _ := strings.Cut(p.Text(), "\n") // a warning is one line
		out = append(out, text)
	}
	return out, nil
}
