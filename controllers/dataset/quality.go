package dataset

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/status"
)

// measured gives the newest of what the gateways measured of a dataset; ok is false where none did.
func (r *Reconciler) measured(s *compile.Snapshot, o *v1alpha1.Dataset) (newest contract.DatasetReport, ok bool) {
	if s.Platform == nil || !compile.HoldsName(o, s.Datasets) {
		return newest, false
	}
	reports, _ := r.Reports.Platform(kit.PlatformKey(s.Platform))
	for _, report := range reports {
		if d, has := report.Datasets[o.Name]; has && (!ok || d.MeasuredAt.After(newest.MeasuredAt)) {
			newest, ok = d, true
		}
	}
	return newest, ok
}

// qualityOf gives the status of what was measured, and says in conditions whether it is as expected. Without a measurement what was last
// said stays, and the conditions are unknown.
func qualityOf(o *v1alpha1.Dataset, d contract.DatasetReport, ok bool) (*v1alpha1.QualityMeasured, []status.Named) {
	if !ok {
		return o.Status.Quality, []status.Named{
			unknown(v1alpha1.ConditionSourceReachable, v1alpha1.ReasonReportsUnavailable, "no gateway has looked at the source"),
			met(o, d),
		}
	}
	at := metav1.NewTime(d.MeasuredAt)
	q := &v1alpha1.QualityMeasured{
		MeasuredAt: &at, CompletenessPercent: d.Quality.Completeness, AccuracyPercent: d.Quality.Accuracy, TimelinessPercent: d.Quality.Timeliness,
	}
	return q, []status.Named{reachable(d), met(o, d)}
}

func reachable(d contract.DatasetReport) status.Named {
	switch {
	case !d.Reachable && strings.Contains(d.Problem, "is not measured"): // from a gateway of before it measured every source
		return unknown(v1alpha1.ConditionSourceReachable, v1alpha1.ReasonReportsUnavailable, d.Problem)
	case !d.Reachable:
		return status.Waiting(v1alpha1.ConditionSourceReachable, v1alpha1.ReasonDatabaseUnreachable, d.Problem)
	case len(d.MissingColumns) > 0:
		return status.Waiting(v1alpha1.ConditionSourceReachable, v1alpha1.ReasonColumnsMissing, "the source has no "+strings.Join(d.MissingColumns, ", ")+"; add the columns, or name others in the spec")
	}
	return status.True(v1alpha1.ConditionSourceReachable, v1alpha1.ReasonSucceeded, "the source has every declared column")
}

// met compares what was measured with what is expected. A figure that is not known is not met, and not missed.
func met(o *v1alpha1.Dataset, d contract.DatasetReport) status.Named {
	var below, open []string
	compare := func(figure string, want, got *int32) {
		switch {
		case want == nil:
		case got == nil:
			if why := d.Unmeasured[figure]; why != "" {
				figure += " (" + why + ")"
			}
			open = append(open, figure)
		case *got < *want:
			below = append(below, fmt.Sprintf("%s is %d %%, expected %d %%", figure, *got, *want))
		}
	}
	expected := v1alpha1.QualityExpectation{}
	if o.Spec.Quality != nil {
		expected = *o.Spec.Quality
	}
	if o.Spec.Freshness != nil && expected.TimelinessPercent == nil {
		one := int32(1) // freshness alone is of the newest record
		expected.TimelinessPercent = &one
	}
	compare("completeness", expected.CompletenessPercent, d.Quality.Completeness)
	compare("accuracy", expected.AccuracyPercent, d.Quality.Accuracy)
	compare("timeliness", expected.TimelinessPercent, d.Quality.Timeliness)
	switch {
	case len(below) > 0:
		if len(open) > 0 {
			below = append(below, "not known: "+strings.Join(open, ", "))
		}
		return status.Waiting(v1alpha1.ConditionQualityMet, v1alpha1.ReasonQualityBelowExpectation, strings.Join(below, "; "))
	case len(open) > 0:
		message := "not known: " + strings.Join(open, ", ")
		if len(d.Unmeasured) == 0 {
			message += ": no gateway has measured it, or the source is not reached"
		}
		return unknown(v1alpha1.ConditionQualityMet, v1alpha1.ReasonReportsUnavailable, message)
	case expected == v1alpha1.QualityExpectation{}:
		return status.True(v1alpha1.ConditionQualityMet, v1alpha1.ReasonNotRequired, "nothing is expected of the data")
	}
	return status.True(v1alpha1.ConditionQualityMet, v1alpha1.ReasonSucceeded, "as expected")
}

func unknown(conditionType, reason, message string) status.Named {
	return status.Named{Type: conditionType, Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}
