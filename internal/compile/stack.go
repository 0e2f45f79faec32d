package compile

import (
	"fmt"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// Standing is how much of a platform's stack stands in the cluster: where a change of profile or of engine starts from. Its zero
// value says that nothing stands.
type Standing struct {
	// Brokers is how many broker pods are asked for.
	Brokers int32
	// Gathered says that the rollout of the brokers is over and that the first of them, told to gather, holds every stream alone.
	Gathered bool
	// Database is how a move of the database stands.
	Database DatabaseStanding
}

// BrokerPlan says how many brokers run, and how many copies of every stream they keep.
type BrokerPlan struct{ Pods, Replicas int32 }

// brokersHA is the number that survives the loss of one.
const brokersHA = 3

// Gathering says that there are more brokers than there will be, and that they run until the first of them holds everything.
func (b BrokerPlan) Gathering() bool { return b.Pods > b.Replicas }

func brokers(s *Snapshot) BrokerPlan {
	wanted := int32(1)
	if s.Platform.Spec.Profile == v1alpha1.ProfileHighAvailability {
		wanted = brokersHA
	}
	if s.Standing.Brokers > wanted && !s.Standing.Gathered {
		return BrokerPlan{Pods: s.Standing.Brokers, Replicas: wanted}
	}
	return BrokerPlan{Pods: wanted, Replicas: wanted}
}

// replicasHA is how many pods of a service run with profile HighAvailability, if the platform names no number.
const replicasHA = 2

// replicas gives the pods of each service. While the database moves nobody may write to it.
func replicas(s *Snapshot, moving bool) map[v1alpha1.ComponentName]int32 {
	out := map[v1alpha1.ComponentName]int32{}
	for _, name := range []v1alpha1.ComponentName{v1alpha1.ComponentAuth, v1alpha1.ComponentGrid, v1alpha1.ComponentGateway} {
		out[name] = 1
		if s.Platform.Spec.Profile == v1alpha1.ProfileHighAvailability {
			out[name] = replicasHA
		}
	}
	for _, r := range s.Platform.Spec.Resources {
		if _, service := out[r.Name]; service && r.Replicas != nil && s.Platform.Spec.Profile == v1alpha1.ProfileHighAvailability {
			out[r.Name] = *r.Replicas
		}
	}
	if moving {
		out[v1alpha1.ComponentGrid], out[v1alpha1.ComponentGateway] = 0, 0
	}
	return out
}

// checkReplicas tells of numbers that mean nothing.
func checkReplicas(c *problems, o *v1alpha1.GridPlatform) {
	for i, r := range o.Spec.Resources {
		field := fmt.Sprintf("spec.resources[%d].replicas", i)
		switch {
		case r.Replicas == nil:
		case o.Spec.Profile != v1alpha1.ProfileHighAvailability:
			c.partial(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonInvalidSpec, field, "counts with profile HighAvailability only: leave it out, or write that profile")
		case r.Name != v1alpha1.ComponentAuth && r.Name != v1alpha1.ComponentGrid && r.Name != v1alpha1.ComponentGateway:
			c.partial(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%s has a number of its own: leave it out", r.Name))
		}
	}
}
