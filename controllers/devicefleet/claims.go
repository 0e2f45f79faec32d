package devicefleet

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/shelf"
)

// maxRecorded bounds the contests that a fleet's status records; the schema takes 512 claims, of which one is the name. What is beyond is
// decided anew after a restart, by the age of the fleets.
const maxRecorded = 500

// indexes has the index of device claims of each platform. The zero value is ready.
type indexes struct {
	mu        sync.Mutex
	platforms map[types.NamespacedName]*compile.DeviceClaims
}

// of gives the index of a platform.
func (x *indexes) of(platform types.NamespacedName) *compile.DeviceClaims {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.platforms == nil {
		x.platforms = map[types.NamespacedName]*compile.DeviceClaims{}
	}
	if x.platforms[platform] == nil {
		x.platforms[platform] = compile.NewDeviceClaims()
	}
	return x.platforms[platform]
}

// leave lets go of what a fleet claims on every platform but the one it is on; nil for none. It gives the fleets that take over.
func (x *indexes) leave(fleet types.NamespacedName, but *v1alpha1.GridPlatform) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	var called []types.NamespacedName
	for platform, index := range x.platforms {
		if but == nil || platform != kit.PlatformKey(but) {
			called = append(called, index.Drop(fleet)...)
		}
	}
	return called
}

// compile compiles a fleet and enters what its rows claim into the index, again while the verdicts on them change in between.
func (r *Reconciler) compile(s *compile.Snapshot, o *v1alpha1.DeviceFleet, gathered compile.Problems) (compile.FleetPlan, compile.Problems) {
	at := client.ObjectKeyFromObject(o)
	index := r.claims.of(kit.PlatformKey(s.Platform))
	for {
		turns := index.Turns(at)
		s.Turns = turns
		plan, found := compile.FleetAgain(s, o, r.remembered.plan(at))
		problems := append(slices.Clone(gathered), found...)
		again, entered, called := false, false, []types.NamespacedName(nil)
		switch {
		case !kit.KeepsLastGood(problems):
			_, called = index.Set(at, nil, turns)
		case problems.Fatal(): // what it last claimed stays in force, and stays claimed
			index.Looked(at)
		default:
			entered = true
			again, called = index.Set(at, plan.Claims(), turns)
		}
		r.remembered.planned(at, plan, entered)
		r.call(called)
		if !again {
			return plan, problems
		}
	}
}

// call calls fleets for which something changed.
func (r *Reconciler) call(fleets []types.NamespacedName) {
	for _, f := range fleets {
		r.Wakes.Wake(shelf.Key{Kind: kind, Namespace: f.Namespace, Name: f.Name})
	}
}
