package compile

import (
	"fmt"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// Standing is how much of a platform's stack stands in the cluster: where a change of profile or of engine starts from. Its zero
// value says that nothing stands.
type Standing struct {
	// Brokers is how many brokers there are: pods asked for, or volumes that hold what is theirs.
	Brokers int32
	// Running is how many broker pods there are still.
	Running int32
	// Joinable says that the rollout of the brokers is over and that they report as a cluster: others may join.
	Joinable bool
	// Gathered says that the first of the brokers, told to gather, holds every stream alone and is the cluster alone.
	Gathered bool
	// EMQX says that EMQX takes connections and that what it acknowledges is held, or that devices are led there already.
	EMQX bool
	// Database is how a move of the database stands.
	Database DatabaseStanding
}

// BrokerPlan says how many brokers run, how many of them know of each other, and how many copies of every stream they keep.
//
//	one -> three: the one serves and reports, then {3 pods, 3 peers, 3 copies}
//	three -> one: {3, 3, 1}: the first gathers -> {1, 3, 1}: the others stop while it goes on gathering -> {1, 1, 1}
type BrokerPlan struct{ Pods, Peers, Replicas int32 }

// brokersHA is the number that survives the loss of one.
const brokersHA = 3

// Gathering says that there are more brokers than there will be, or were a moment ago.
func (b BrokerPlan) Gathering() bool { return b.Peers > b.Replicas }

func brokers(s *Snapshot) BrokerPlan {
	wanted, at := int32(1), s.Standing
	if s.Platform.Spec.Profile == v1alpha1.ProfileHighAvailability {
		wanted = brokersHA
	}
	switch {
	case at.Brokers > wanted && !at.Gathered:
		return BrokerPlan{Pods: at.Brokers, Peers: at.Brokers, Replicas: wanted}
	case at.Brokers > wanted, at.Running > wanted: // nothing of the first one changes while the others stop
		return BrokerPlan{Pods: wanted, Peers: max(at.Brokers, brokersHA), Replicas: wanted}
	case at.Brokers == 1 && wanted > 1 && !at.Joinable: // the others would wait for it, and its rollout for them
		return BrokerPlan{Pods: 1, Peers: 1, Replicas: 1}
	}
	return BrokerPlan{Pods: wanted, Peers: wanted, Replicas: wanted}
}

// replicasHA is how many pods of a service run with profile HighAvailability, if the platform names no number.
const replicasHA = 2

// replicas gives the pods of each service. While the database moves nobody may write to it.
func replicas(s *Snapshot, moving bool) map[v1alpha1.ComponentName]int32 {
	out := map[v1alpha1.ComponentName]int32{}
	for _, name := range services(s) {
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

// services are the components whose number of pods a platform may name.
func services(s *Snapshot) []v1alpha1.ComponentName {
	out := []v1alpha1.ComponentName{v1alpha1.ComponentAuth, v1alpha1.ComponentGrid, v1alpha1.ComponentGateway}
	if UsesEMQX(s.Platform) || s.Clouds {
		out = append(out, v1alpha1.ComponentIngest)
	}
	return out
}

// checkReplicas tells of numbers that mean nothing.
func checkReplicas(c *problems, s *Snapshot) {
	o := s.Platform
	for i, r := range o.Spec.Resources {
		field := fmt.Sprintf("spec.resources[%d].replicas", i)
		switch {
		case r.Replicas == nil:
		case o.Spec.Profile != v1alpha1.ProfileHighAvailability:
			c.partial(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonInvalidSpec, field, "counts with profile HighAvailability only: leave it out, or write that profile")
		case !slices.Contains(services(s), r.Name):
			c.partial(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%s has a number of its own: leave it out", r.Name))
		}
	}
}
