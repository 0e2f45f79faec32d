package gridplatform

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// mode gives the mode that the grid service runs in and when it ends by itself, as the newest report tells; without one, as the status said
// before. A mode whose end has come is over, whoever is silent about it.
func mode(reports []contract.Report, o *v1alpha1.GridPlatform, now time.Time) (v1alpha1.ModeName, *metav1.Time) {
	name, ends := o.Status.Mode, o.Status.ModeExpiresAt
	var at time.Time
	for _, r := range reports {
		if r.Role != contract.RoleGrid || r.Mode == nil || !r.At.After(at) {
			continue
		}
		at, name, ends = r.At, v1alpha1.ModeName(r.Mode.Name), nil
		if !r.Mode.ExpiresAt.IsZero() {
			end := metav1.NewTime(r.Mode.ExpiresAt.UTC().Truncate(time.Second))
			ends = &end
		}
	}
	if ends != nil && !ends.After(now) {
		return v1alpha1.ModeRoutine, nil
	}
	return name, ends
}

// modeLeft gives how long the mode that the status shows still lasts: then the platform is looked at again. 0 is for ever.
func modeLeft(o *v1alpha1.GridPlatform, now time.Time) time.Duration {
	if o.Status.ModeExpiresAt == nil {
		return 0
	}
	return max(time.Second, o.Status.ModeExpiresAt.Sub(now))
}
