package datasharingagreement

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
)

// Each use is told once, in a warning of the agreement: also one that comes in the place of another that was reviewed.
func TestEmergenciesAreToldOnce(t *testing.T) {
	at := func(minute int) *metav1.Time {
		return &metav1.Time{Time: time.Date(2026, 3, 1, 2, minute, 0, 0, time.UTC)}
	}
	for name, c := range map[string]struct {
		was, is *v1alpha1.BreakGlassCounts
		want    []string
	}{
		"none":                       {nil, nil, nil},
		"no use yet":                 {nil, &v1alpha1.BreakGlassCounts{}, nil},
		"the first":                  {nil, &v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(1)}, []string{"BreakGlassUsed"}},
		"the same again":             {&v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(1)}, &v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(1)}, nil},
		"one reviewed, one new":      {&v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(1)}, &v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(2)}, []string{"BreakGlassUsed"}},
		"two of one second":          {&v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(1)}, &v1alpha1.BreakGlassCounts{Pending: 2, LastUsedAt: at(1)}, []string{"BreakGlassUsed"}},
		"reviewed":                   {&v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(1)}, &v1alpha1.BreakGlassCounts{LastUsedAt: at(1)}, nil},
		"overdue":                    {&v1alpha1.BreakGlassCounts{Pending: 1, LastUsedAt: at(1)}, &v1alpha1.BreakGlassCounts{Overdue: 1, LastUsedAt: at(1)}, []string{"BreakGlassReviewOverdue"}},
		"of a gateway without times": {nil, &v1alpha1.BreakGlassCounts{Pending: 1}, []string{"BreakGlassUsed"}},
	} {
		t.Run(name, func(t *testing.T) {
			rec := events.NewFakeRecorder(5)
			r := &Reconciler{&kit.Kit{Events: rec}}
			agreement := func(n *v1alpha1.BreakGlassCounts) *v1alpha1.DataSharingAgreement {
				return &v1alpha1.DataSharingAgreement{
					Spec:   v1alpha1.DataSharingAgreementSpec{BreakGlass: &v1alpha1.BreakGlass{Reviewer: v1alpha1.LocalRef{Name: "office"}}},
					Status: v1alpha1.DataSharingAgreementStatus{BreakGlass: n},
				}
			}
			r.alert(agreement(c.was), agreement(c.is))
			close(rec.Events)
			var got []string
			for e := range rec.Events {
				got = append(got, e)
			}
			if len(got) != len(c.want) {
				t.Fatalf("events %q, want %q", got, c.want)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(got[i], "Warning "+want+" ") || !strings.Contains(got[i], "Organization office") {
					t.Errorf("event %q, want a warning %s that names the reviewer", got[i], want)
				}
			}
		})
	}
}
