package admission

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// TestScenarios: a mistake of its own is refused, others' are warned of, and in doubt a scenario passes.
func TestScenarios(t *testing.T) {
	mistakes := func(_ context.Context, o *v1alpha1.Scenario) (wrong, told compile.Problems, err error) {
		switch o.Spec.Trigger.When {
		case "wrong":
			wrong = compile.Problems{{Field: "spec.trigger.when", Message: "column 1\n | wrong\n | ^"}}
		case "told":
			told = compile.Problems{{Field: "spec.trigger.when", Message: "no field\n | told\n | ^"}}
		case "unknown":
			wrong, err = compile.Problems{{Message: "x"}}, errors.New("no cache")
		}
		return wrong, told, err
	}
	scenario := func(when, name string) *v1alpha1.Scenario {
		o := &v1alpha1.Scenario{}
		o.Spec.Trigger.When, o.Spec.DisplayName = when, name
		return o
	}
	going := scenario("wrong", "b")
	going.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	for name, c := range map[string]struct {
		was, is *v1alpha1.Scenario
		refused string
		warned  []string
	}{
		"good":                      {nil, scenario("good", "a"), "", nil},
		"wrong":                     {nil, scenario("wrong", "a"), "spec.trigger.when: column 1\n | wrong\n | ^", nil},
		"told":                      {nil, scenario("told", "a"), "", []string{"spec.trigger.when: no field"}},
		"nothing known":             {nil, scenario("unknown", "a"), "", nil},
		"becomes wrong":             {scenario("good", "a"), scenario("wrong", "a"), "spec.trigger.when: column 1\n | wrong\n | ^", nil},
		"was wrong before":          {scenario("wrong", "a"), scenario("wrong", "b"), "", []string{"spec.trigger.when: column 1"}},
		"nothing known before":      {scenario("unknown", "a"), scenario("wrong", "b"), "", nil},
		"no change of the spec":     {scenario("wrong", "a"), scenario("wrong", "a"), "", nil},
		"is put right":              {scenario("wrong", "a"), scenario("good", "a"), "", nil},
		"wrong, but on its way out": {scenario("good", "a"), going, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := scenarios{mistakes}
			warned, err := v.ValidateCreate(t.Context(), c.is)
			if c.was != nil {
				warned, err = v.ValidateUpdate(t.Context(), c.was, c.is)
			}
			refused := ""
			if err != nil {
				refused = err.Error()
			}
			if refused != c.refused || !slices.Equal(warned, c.warned) {
				t.Errorf("refused %q, warned %q", refused, warned)
			}
		})
	}
}
