package compile_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// TestTimesOfSeverities: the second default time is for somebody to be there, not for the case to be over, and a line that says only within what
// a case is taken does not lose the others.
func TestTimesOfSeverities(t *testing.T) {
	in := func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	hour := in(time.Hour)
	p := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "city"}, Spec: v1alpha1.GridPlatformSpec{TimeZone: "Asia/Shanghai", SLA: []v1alpha1.SLA{
		{Severity: v1alpha1.SeverityHigh, Acknowledge: in(5 * time.Minute), Resolve: &hour},
		{Severity: v1alpha1.SeverityMedium, Acknowledge: in(5 * time.Minute)},
		{Severity: v1alpha1.SeverityLow, Acknowledge: in(100 * time.Hour)},
	}}}
	plan, _ := compile.Platform(&compile.Snapshot{Platform: p, Platforms: []*v1alpha1.GridPlatform{p}, Namespaces: map[string]compile.Namespace{"henan": {}}})
	want := map[contract.Severity]contract.SLA{
		contract.SeverityCritical: {AcknowledgeSeconds: 2 * 60, OnSiteSeconds: 10 * 60, ResolveSeconds: 4 * 3600},
		contract.SeverityHigh:     {AcknowledgeSeconds: 5 * 60, ResolveSeconds: 3600},
		contract.SeverityMedium:   {AcknowledgeSeconds: 5 * 60, OnSiteSeconds: 4 * 3600, ResolveSeconds: 72 * 3600},
		contract.SeverityLow:      {AcknowledgeSeconds: 100 * 3600, OnSiteSeconds: 100 * 3600, ResolveSeconds: 168 * 3600},
	}
	if diff := cmp.Diff(want, plan.Document.SLA); diff != "" {
		t.Error(diff)
	}
}
