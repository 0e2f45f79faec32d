package gridplatform

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// TestMode: the newest report of the grid service says the mode; while none does it stays until its end.
func TestMode(t *testing.T) {
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	report := func(role contract.Role, at time.Time, name string, ends time.Time) contract.Report {
		return contract.Report{Role: role, At: at, Mode: &contract.ModeReport{Name: name, Since: now.Add(-time.Hour), ExpiresAt: ends}}
	}
	in := func(d time.Duration) time.Time { return now.Add(d) }
	emergency := report(contract.RoleGrid, in(-20*time.Second), "Emergency", in(time.Hour))
	for name, c := range map[string]struct {
		reports []contract.Report
		was     v1alpha1.ModeName
		wasEnd  time.Time
		want    v1alpha1.ModeName
		wantEnd time.Time
	}{
		"nothing known":             {},
		"a fraction of a second":    {reports: []contract.Report{report(contract.RoleGrid, now, "Emergency", in(time.Hour+time.Millisecond))}, want: "Emergency", wantEnd: in(time.Hour)},
		"told":                      {reports: []contract.Report{emergency}, want: "Emergency", wantEnd: in(time.Hour)},
		"the newest counts":         {reports: []contract.Report{report(contract.RoleGrid, in(-time.Second), "Routine", time.Time{}), emergency}, was: "Emergency", wasEnd: in(time.Hour), want: "Routine"},
		"another role says nothing": {reports: []contract.Report{report(contract.RoleAuth, now, "Routine", time.Time{}), emergency}, want: "Emergency", wantEnd: in(time.Hour)},
		"told, and over since":      {reports: []contract.Report{report(contract.RoleGrid, in(-time.Second), "Emergency", now)}, want: "Routine"},
		"silence":                   {was: "Emergency", wasEnd: in(time.Minute), want: "Emergency", wantEnd: in(time.Minute)},
		"silence, and over":         {was: "Emergency", wasEnd: in(-time.Minute), want: "Routine"},
		"it could not read it":      {reports: []contract.Report{{Role: contract.RoleGrid, At: now}}, was: "Emergency", wasEnd: in(time.Minute), want: "Emergency", wantEnd: in(time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			o := &v1alpha1.GridPlatform{}
			o.Status.Mode = c.was
			if !c.wasEnd.IsZero() {
				at := metav1.NewTime(c.wasEnd)
				o.Status.ModeExpiresAt = &at
			}
			got, ends := mode(c.reports, o, now)
			if got != c.want || (ends != nil) != !c.wantEnd.IsZero() || ends != nil && !ends.Time.Equal(c.wantEnd) {
				t.Errorf("%q until %v, want %q until %v", got, ends, c.want, c.wantEnd)
			}
		})
	}
}

// TestModeLeft: a platform is looked at again when its mode ends, and not at once over and over when that is past.
func TestModeLeft(t *testing.T) {
	now := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	o := &v1alpha1.GridPlatform{}
	if got := modeLeft(o, now); got != 0 {
		t.Errorf("without an end: %s, want never", got)
	}
	for after, want := range map[time.Duration]time.Duration{time.Hour: time.Hour, time.Second / 2: time.Second, -time.Minute: time.Second} {
		at := metav1.NewTime(now.Add(after))
		o.Status.ModeExpiresAt = &at
		if got := modeLeft(o, now); got != want {
			t.Errorf("ends in %s: %s, want %s", after, got, want)
		}
	}
}
