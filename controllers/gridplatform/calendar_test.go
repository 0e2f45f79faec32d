package gridplatform

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

func TestCalendarSaysWhatToWrite(t *testing.T) {
	p := contract.Platform{TimeZone: "Asia/Shanghai", SLA: map[contract.Severity]contract.SLA{contract.SeverityLow: {Working: true}}, Calendar: &contract.Calendar{Holidays: []string{"2026-10-01"}}}
	if got := calendar(p, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)); got != nil {
		t.Errorf("the year is there: %+v", got)
	}
	got := calendar(p, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	if len(got) != 1 || got[0].Type != v1alpha1.ConditionCalendarStale || got[0].Status != metav1.ConditionTrue || got[0].Reason != v1alpha1.ReasonYearMissing {
		t.Fatalf("December: %+v", got)
	}
	for _, part := range []string{"no dates of 2027", "spec.calendar.holidays", "spec.calendar.workdays"} {
		if !strings.Contains(got[0].Message, part) {
			t.Errorf("the message does not say %q: %s", part, got[0].Message)
		}
	}
}
