package devicefleet

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/status"
)

// maxRejected bounds the list of rejected rows in the status; the count is whole.
const maxRejected = 20

// status says how a DeviceFleet stands.
func (r *Reconciler) status(s *compile.Snapshot, o *v1alpha1.DeviceFleet, plan compile.FleetPlan, problems compile.Problems, report apply.Report) {
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	named := []status.Named{kit.Applied(report), credentials(plan), available}
	if problems.Fatal() {
		named = nil
	}
	r.Common(s, o, problems, status.Facts{Named: named, Informative: []status.Named{fully}, Claims: r.won(s, o), ReadyMessage: "the fleet's devices are admitted"})
	o.Status.Enforcement, o.Status.Inventory = enforcement, report.Inventory
	if problems.Fatal() || s.Platform == nil {
		return
	}
	o.Status.ProfileResolved = o.Spec.ProfileRef.Name
	o.Status.RejectedByCode = plan.ByCode
	o.Status.RejectedRows = plan.Rejected[:min(len(plan.Rejected), maxRejected)]
	o.Status.ConnectionSecret = plan.Connection.Secret.Name
	if plan.CA != nil {
		o.Status.CASecret = plan.CA.CopyTo.Name
	}
	r.counts(s, o, plan)
}

// won gives what other fleets claim, too, and this one holds.
func (r *Reconciler) won(s *compile.Snapshot, o *v1alpha1.DeviceFleet) []v1alpha1.Claim {
	if s.Platform == nil {
		return nil
	}
	return r.claims.of(kit.PlatformKey(s.Platform)).Won(client.ObjectKeyFromObject(o), maxRecorded)
}

func credentials(plan compile.FleetPlan) status.Named {
	switch {
	case plan.CAPending:
		return status.Waiting(v1alpha1.ConditionCredentialsReady, v1alpha1.ReasonCertificatePending, "waits for cert-manager to issue the fleet's CA")
	case len(plan.Connection.BrokerCA) == 0:
		return status.Waiting(v1alpha1.ConditionCredentialsReady, v1alpha1.ReasonCertificatePending, "waits for cert-manager to issue the broker's certificate")
	}
	return status.True(v1alpha1.ConditionCredentialsReady, v1alpha1.ReasonSucceeded, "credentials are in Secret "+plan.Connection.Secret.Name)
}

// counts fills in presence and violations as the nodes report them; without a fresh report presence is unknown, not the
// last value.
func (r *Reconciler) counts(s *compile.Snapshot, o *v1alpha1.DeviceFleet, plan compile.FleetPlan) {
	accepted := int32(len(plan.Document.Devices))
	d := &v1alpha1.FleetDeviceCounts{Accepted: accepted, Rejected: int32(plan.Refused)}
	d.Total, d.Unknown = accepted, accepted
	if f, fresh := r.Reports.Fleet(kit.PlatformKey(s.Platform), o.Name); fresh {
		d.Online, d.Offline, d.NeverSeen = int32(f.Online), int32(f.Offline), int32(f.NeverSeen)
		d.Unknown = max(0, accepted-d.Online-d.Offline-d.NeverSeen)
		o.Status.Violations = f.Violations
		if !f.LastViolationAt.IsZero() {
			at := metav1.NewTime(f.LastViolationAt.UTC().Truncate(1e9))
			o.Status.LastViolationAt = &at
		}
	}
	o.Status.Devices = d
}
