package dataset

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

func TestQualityOf(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	expects := func(q *v1alpha1.QualityExpectation, f *v1alpha1.Freshness) *v1alpha1.Dataset {
		return &v1alpha1.Dataset{Spec: v1alpha1.DatasetSpec{Quality: q, Freshness: f}}
	}
	all := expects(&v1alpha1.QualityExpectation{CompletenessPercent: n(90), AccuracyPercent: n(90), TimelinessPercent: n(90)}, nil)
	fresh := expects(nil, &v1alpha1.Freshness{Column: "at"})
	at := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		o                *v1alpha1.Dataset
		d                contract.DatasetReport
		ok               bool
		source, quality  metav1.ConditionStatus
		sourceR, reasonQ string
	}{
		"as expected":    {all, contract.DatasetReport{Reachable: true, Quality: contract.Quality{Completeness: n(90), Accuracy: n(95), Timeliness: n(100)}, MeasuredAt: at}, true, "True", "True", "Succeeded", "Succeeded"},
		"below":          {all, contract.DatasetReport{Reachable: true, Quality: contract.Quality{Completeness: n(89), Accuracy: n(95)}, MeasuredAt: at}, true, "True", "False", "Succeeded", "QualityBelowExpectation"},
		"no rows":        {all, contract.DatasetReport{Reachable: true, MeasuredAt: at}, true, "True", "Unknown", "Succeeded", "ReportsUnavailable"},
		"foreign":        {all, contract.DatasetReport{Problem: "a source of this kind is not measured", MeasuredAt: at}, true, "Unknown", "Unknown", "ReportsUnavailable", "ReportsUnavailable"},
		"gone":           {all, contract.DatasetReport{Problem: "table datasets.x does not exist", MeasuredAt: at}, true, "False", "Unknown", "DatabaseUnreachable", "ReportsUnavailable"},
		"columns":        {all, contract.DatasetReport{Reachable: true, MissingColumns: []string{"a"}, MeasuredAt: at}, true, "False", "Unknown", "ColumnsMissing", "ReportsUnavailable"},
		"no report":      {all, contract.DatasetReport{}, false, "Unknown", "Unknown", "ReportsUnavailable", "ReportsUnavailable"},
		"old":            {fresh, contract.DatasetReport{Reachable: true, Quality: contract.Quality{Timeliness: n(0)}, MeasuredAt: at}, true, "True", "False", "Succeeded", "QualityBelowExpectation"},
		"newest is new":  {fresh, contract.DatasetReport{Reachable: true, Quality: contract.Quality{Timeliness: n(1)}, MeasuredAt: at}, true, "True", "True", "Succeeded", "Succeeded"},
		"nothing wanted": {expects(nil, nil), contract.DatasetReport{Reachable: true, MeasuredAt: at}, true, "True", "True", "Succeeded", "NotRequired"},
	} {
		q, named := qualityOf(c.o, c.d, c.ok)
		if named[0].Status != c.source || named[0].Reason != c.sourceR || named[1].Status != c.quality || named[1].Reason != c.reasonQ {
			t.Errorf("%s: %+v", name, named)
		}
		if c.ok != (q != nil && q.MeasuredAt.Time.Equal(at)) {
			t.Errorf("%s: measured %+v", name, q)
		}
	}
}

// told says of every dataset of the platform how it was measured.
type told struct{ kit.Reports }

func (told) Platform(types.NamespacedName) ([]contract.Report, time.Time) {
	return []contract.Report{{Datasets: map[string]contract.DatasetReport{"elders": {Reachable: true, MeasuredAt: time.Unix(1000, 0)}}}}, time.Unix(1000, 0)
}

// TestRivalIsToldNothing: nodes report by name, and who has taken another's name in a namespace of his own is not told of the other's data.
func TestRivalIsToldNothing(t *testing.T) {
	named := func(namespace string) *v1alpha1.Dataset {
		return &v1alpha1.Dataset{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "elders"}}
	}
	holder, rival := named("county-a"), named("county-b")
	holder.Status.Claims = []v1alpha1.Claim{{Kind: compile.ClaimName, Value: "elders"}}
	s := &compile.Snapshot{Platform: &v1alpha1.GridPlatform{}, Datasets: compile.Named[*v1alpha1.Dataset]{"elders": {rival, holder}}}
	r := &Reconciler{&kit.Kit{Reports: told{}}}
	if d, ok := r.measured(s, holder); !ok || !d.Reachable {
		t.Errorf("the holder: %+v", d)
	}
	if d, ok := r.measured(s, rival); ok {
		t.Errorf("the rival: %+v", d)
	}
}

// TestWhyAFigureIsNotKnown: the condition says of each figure that is expected and not known why, beside one that is below.
func TestWhyAFigureIsNotKnown(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	o := &v1alpha1.Dataset{Spec: v1alpha1.DatasetSpec{Quality: &v1alpha1.QualityExpectation{CompletenessPercent: n(90), TimelinessPercent: n(90)}}}
	d := contract.DatasetReport{Reachable: true, Unmeasured: map[string]string{"completeness": "no field is required", "timeliness": "no freshness"}}
	if got, want := met(o, d).Message, "not known: completeness (no field is required), timeliness (no freshness)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	d.Quality.Completeness = n(10)
	if got, want := met(o, d).Message, "completeness is 10 %, expected 90 %; not known: timeliness (no freshness)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
