package admission

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/policies"
)

func answers(found []policies.Violation, known bool, err error) Findings {
	return func(context.Context, *v1alpha1.DataSharingAgreement) ([]policies.Violation, bool, error) {
		return found, known, err
	}
}

var bad = []policies.Violation{{Rule: "clearance", Field: "spec.datasets[0]", Message: "above", Origin: "ours"}}

// TestWhatPasses: in doubt an agreement passes; compile decides.
func TestWhatPasses(t *testing.T) {
	changed := func(change func(*v1alpha1.DataSharingAgreement)) *v1alpha1.DataSharingAgreement {
		o := &v1alpha1.DataSharingAgreement{}
		o.Spec.DisplayName = "changed"
		if change != nil {
			change(o)
		}
		return o
	}
	plain := changed(nil)
	for name, c := range map[string]struct {
		findings Findings
		deny     bool
		update   *v1alpha1.DataSharingAgreement // nil: it is created
		warned   bool
		refused  bool
	}{
		"good":                     {answers(nil, true, nil), true, nil, false, false},
		"bad":                      {answers(bad, true, nil), false, nil, true, false},
		"bad, deny":                {answers(bad, true, nil), true, nil, false, true},
		"references are not there": {answers(bad, false, nil), true, nil, false, false},
		"no answer":                {answers(bad, true, errors.New("no")), true, nil, false, false},
		"bad change":               {answers(bad, true, nil), true, plain, false, true},
		"no change of the spec":    {answers(bad, true, nil), true, &v1alpha1.DataSharingAgreement{}, false, false},
		"bad, but it ends":         {answers(bad, true, nil), true, changed(func(o *v1alpha1.DataSharingAgreement) { o.Spec.Revoked = true }), true, false},
		"bad, but it stops":        {answers(bad, true, nil), true, changed(func(o *v1alpha1.DataSharingAgreement) { o.Spec.Suspended = true }), true, false},
		"bad, but it is on its way out": {answers(bad, true, nil), true, changed(func(o *v1alpha1.DataSharingAgreement) {
			o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := &validator{c.findings, c.deny, time.Now}
			warnings, err := v.ValidateCreate(t.Context(), &v1alpha1.DataSharingAgreement{})
			if c.update != nil {
				warnings, err = v.ValidateUpdate(t.Context(), &v1alpha1.DataSharingAgreement{}, c.update)
			}
			if (err != nil) != c.refused || (len(warnings) > 0) != c.warned {
				t.Fatalf("warnings %v, error %v", warnings, err)
			}
			if c.warned && warnings[0] != "guardrail spec.datasets[0]: above (clearance, ours)" {
				t.Errorf("warns %q", warnings[0])
			}
			if c.refused && !strings.Contains(err.Error(), "spec.datasets[0]: above (clearance, ours)") {
				t.Errorf("refuses with %v", err)
			}
		})
	}
}

// TestSlowFindingsPass: after the limit the agreement passes.
func TestSlowFindingsPass(t *testing.T) {
	v := &validator{func(ctx context.Context, _ *v1alpha1.DataSharingAgreement) ([]policies.Violation, bool, error) {
		<-ctx.Done()
		return nil, false, ctx.Err()
	}, true, time.Now}
	begun := time.Now()
	if warnings, err := v.ValidateCreate(t.Context(), &v1alpha1.DataSharingAgreement{}); err != nil || len(warnings) > 0 {
		t.Errorf("warnings %v, error %v", warnings, err)
	}
	if took := time.Since(begun); took > 5*limit {
		t.Errorf("took %s", took)
	}
}
