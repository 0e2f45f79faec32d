package devicefleet

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
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
	defer r.counts(s, o)
	if problems.Fatal() || s.Platform == nil {
		return
	}
	o.Status.ProfileResolved = compile.ProfileResolved(s, o)
	o.Status.Placement, o.Status.EdgeUntil = v1alpha1.PlacementCenter, nil
	if o.Spec.Placement == v1alpha1.PlacementEdge {
		o.Status.Placement = v1alpha1.PlacementEdge
	}
	if until := plan.Document.EdgeUntil; !until.IsZero() {
		at := metav1.NewTime(until)
		o.Status.EdgeUntil = &at
	}
	o.Status.RejectedByCode = plan.ByCode
	o.Status.RejectedRows = plan.Rejected[:min(len(plan.Rejected), maxRejected)]
	o.Status.ConnectionSecret = plan.Connection.Secret.Name
	o.Status.CAFingerprints, o.Status.PreviousCAs = plan.Fingerprints, plan.Previous
	o.Status.CASecret, o.Status.CAGeneration = "", 0
	if plan.CA != nil {
		o.Status.CASecret, o.Status.CAGeneration = plan.CA.CopyTo.Name, max(1, o.Spec.Identity.CAGeneration)
	}
	o.Status.Devices = &v1alpha1.FleetDeviceCounts{Accepted: int32(plan.Rows.Registered()), Rejected: int32(plan.Refused)}
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
	case len(plan.Connection.BrokerCA) == 0 && plan.Connection.Host == "":
		return status.Waiting(v1alpha1.ConditionCredentialsReady, v1alpha1.ReasonCertificatePending, "waits for the CA of edge nodes, which is made for the first EdgeNode of the platform")
	case len(plan.Connection.BrokerCA) == 0:
		return status.Waiting(v1alpha1.ConditionCredentialsReady, v1alpha1.ReasonCertificatePending, "waits for cert-manager to issue the broker's certificate")
	}
	return status.True(v1alpha1.ConditionCredentialsReady, v1alpha1.ReasonSucceeded, "credentials are in Secret "+plan.Connection.Secret.Name)
}

// counts fills in presence, violations and invalid messages as the nodes report them. Presence that no fresh report tells of is
// unknown; of the others, which only grow, what was last told stands.
func (r *Reconciler) counts(s *compile.Snapshot, o *v1alpha1.DeviceFleet) {
	d := o.Status.Devices
	if d == nil {
		return
	}
	if s.Platform == nil || !compile.HoldsName(o, s.Fleets) {
		d.DeviceCounts = kit.DeviceCounts(d.Accepted, contract.PresenceReport{}, false)
		return
	}
	f, fresh := r.Reports.Fleet(kit.PlatformKey(s.Platform), o.Name)
	d.DeviceCounts = kit.DeviceCounts(d.Accepted, f.PresenceReport, fresh)
	o.Status.Violations = max(o.Status.Violations, f.Violations) // one broker of several may be away
	o.Status.InvalidMessages = max(o.Status.InvalidMessages, f.InvalidMessages)
	if at := metav1.NewTime(f.LastViolationAt.UTC().Truncate(time.Minute)); !f.LastViolationAt.IsZero() && !at.Before(o.Status.LastViolationAt) {
		o.Status.LastViolationAt = &at
	}
}
