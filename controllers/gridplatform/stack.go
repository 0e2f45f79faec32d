package gridplatform

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/status"
)

// brokers adds to what the pods say how the brokers stand together: whether every stream has the copies that it should have.
func (r *Reconciler) brokers(o *v1alpha1.GridPlatform, plan compile.PlatformPlan, pods status.Named) status.Named {
	if plan.Brokers.Gathering() {
		return status.Waiting(v1alpha1.ConditionBrokerReady, v1alpha1.ReasonMoving, "every stream goes to dizuo-broker-0, then the other brokers stop")
	}
	if plan.Brokers.Replicas == 1 && o.Spec.Profile == v1alpha1.ProfileHighAvailability {
		return status.Waiting(v1alpha1.ConditionBrokerReady, v1alpha1.ReasonMoving, "waits until the one broker serves and reports, then others join it")
	}
	if plan.Brokers.Replicas == 1 {
		return pods
	}
	replicas, known := r.copies(o)
	switch was := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionBrokerReady); {
	case !known && was != nil && was.ObservedGeneration == o.Generation: // what was said stands until somebody says otherwise
		return status.Named{Type: was.Type, Status: was.Status, Reason: was.Reason, Message: was.Message}
	case !known:
		return status.Waiting(v1alpha1.ConditionBrokerReady, v1alpha1.ReasonProgressing, "waits for the brokers to report")
	case replicas < int(plan.Brokers.Replicas):
		return status.Waiting(v1alpha1.ConditionBrokerReady, v1alpha1.ReasonProgressing, fmt.Sprintf("a stream has %d of %d copies", replicas, plan.Brokers.Replicas))
	}
	return pods
}

// gateways adds to what the pods say whether every gateway enforces what the bundles of this operator rely on. One that does not refuses
// every read, and its pod is ready.
func gateways(reports []contract.Report, pods status.Named) status.Named {
	for _, rep := range reports {
		if rep.Role == contract.RoleGateway && rep.Contract < contract.ContractVersion {
			return status.Waiting(v1alpha1.ConditionGatewayReady, v1alpha1.ReasonGatewayOutdated, fmt.Sprintf(
				"gateway %s is older than this operator and refuses every read (contract %d, the bundle relies on %d): remove spec.images.node, or write the operator's release there",
				rep.Instance, rep.Contract, contract.ContractVersion))
		}
	}
	return pods
}

// copies gives the copies of the stream that has fewest, as the brokers that hold streams report it.
func (r *Reconciler) copies(o *v1alpha1.GridPlatform) (fewest int, known bool) {
	reports, _ := r.Reports.Platform(kit.PlatformKey(o))
	for _, rep := range reports {
		if rep.Broker != nil && rep.Broker.Replicas > 0 && (!known || rep.Broker.Replicas < fewest) {
			fewest, known = rep.Broker.Replicas, true
		}
	}
	return fewest, known
}

// database tells where the data is and whether it moves; nil where the pods of engine Managed tell it.
func (r *Reconciler) database(ctx context.Context, o *v1alpha1.GridPlatform, plan compile.PlatformPlan) (*status.Named, error) {
	db := plan.Database
	waits := func(format string, args ...any) (*status.Named, error) {
		n := status.Waiting(v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonMoving, fmt.Sprintf(format, args...))
		return &n, nil
	}
	switch db.Phase {
	case compile.MoveStopping:
		return waits("moves from %s to %s: waits until the services that write have stopped", db.Serves.Engine, db.To.Engine)
	case compile.MovePreparing:
		return waits("moves from %s to %s: waits until the new database takes connections", db.Serves.Engine, db.To.Engine)
	case compile.MoveCopying:
		return waits("moves from %s to %s: Job %s copies", db.Serves.Engine, db.To.Engine, compile.JobMove)
	case compile.MoveFailed:
		return &status.Named{Type: v1alpha1.ConditionDatabaseReady, Status: "False", Reason: v1alpha1.ReasonMoveFailed, Stalled: true, Message: fmt.Sprintf(
			"moves from %s to %s: Job %s failed, and the data is where it was; read its log, then delete the Job to try again, or write engine %s to go back",
			db.Serves.Engine, db.To.Engine, compile.JobMove, db.Serves.Engine)}, nil
	}
	switch db.Serves.Engine {
	case v1alpha1.DatabaseExternal: // that it answers is seen by the services that need it
		n := status.True(v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonSucceeded, "an external database")
		return &n, nil
	case v1alpha1.DatabaseCloudNativePG:
		is, err := r.cluster(ctx, o.Namespace)
		ready := fmt.Sprintf("%d of %d instances ready", is.ready, is.wanted)
		n := status.True(v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonSucceeded, ready)
		if is.waits != "" {
			ready += ": " + is.waits
		}
		if is.ready < is.wanted || !is.usable() {
			n = status.Waiting(v1alpha1.ConditionDatabaseReady, v1alpha1.ReasonComponentsNotReady, fmt.Sprintf("Cluster %s has %s", compile.ClusterCNPG, ready))
		}
		return &n, err
	}
	return nil, nil //nolint:nilnil // the pods tell
}
