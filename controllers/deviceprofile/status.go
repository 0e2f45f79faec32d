package deviceprofile

import (
	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// status says how a DeviceProfile stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.DeviceProfile, plan compile.ProfilePlan, problems compile.Problems) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	r.Common(s, o, problems, status.Facts{Named: []status.Named{available}, Informative: []status.Named{fully}, ReadyMessage: "the profile is in force"})
	o.Status.Enforcement = enforcement
}
