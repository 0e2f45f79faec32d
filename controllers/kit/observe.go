package kit

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

var (
	reconciles = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dizuo_reconciles_total",
		Help: "Reconciles that ended in a written or unchanged status, by kind and by the reason of Ready."}, []string{"kind", "reason"})
	readyAfter = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dizuo_ready_duration_seconds",
		Help:    "Time from when the operator first saw a generation of an object until the object was Ready with it, by kind.",
		Buckets: []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800}}, []string{"kind"})
)

func init() { metrics.Registry.MustRegister(reconciles, readyAfter) }

// pace remembers since when each object waits to be Ready with its present generation.
type pace struct{ since sync.Map }

type waiting struct {
	generation int64
	at         time.Time
}

// seen notes an object as it was read.
func (p *pace) seen(o Object, now time.Time) {
	if o.GetCommonStatus().ObservedGeneration == o.GetGeneration() {
		return
	}
	if was, ok := p.since.Load(o.GetUID()); ok && was.(waiting).generation == o.GetGeneration() {
		return
	}
	p.since.Store(o.GetUID(), waiting{o.GetGeneration(), now})
}

// reached gives how long an object that is Ready now waited for it; false if that was told before.
func (p *pace) reached(uid types.UID, now time.Time) (time.Duration, bool) {
	was, ok := p.since.LoadAndDelete(uid)
	if !ok {
		return 0, false
	}
	return now.Sub(was.(waiting).at), true
}

// observe counts a reconcile, and tells of the object's passage to and from Ready in an event. What is said
// in one stands in a condition too. Beside these there are but those of emergencies, by the controller of agreements.
func (k *Kit) observe(kind string, before, o Object) {
	ready := meta.FindStatusCondition(o.GetCommonStatus().Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return
	}
	reconciles.WithLabelValues(kind, ready.Reason).Inc()
	if ready.Status == metav1.ConditionTrue {
		if took, ok := k.pace.reached(o.GetUID(), k.Gather.Now()); ok {
			readyAfter.WithLabelValues(kind).Observe(took.Seconds())
		}
	}
	was := meta.FindStatusCondition(before.GetCommonStatus().Conditions, v1alpha1.ConditionReady)
	if was != nil && was.Status == ready.Status && was.Reason == ready.Reason {
		return
	}
	k.tell(o, *ready, meta.IsStatusConditionTrue(o.GetCommonStatus().Conditions, v1alpha1.ConditionStalled))
}

func (k *Kit) tell(o Object, ready metav1.Condition, stalled bool) {
	level := corev1.EventTypeNormal
	if stalled {
		level = corev1.EventTypeWarning
	}
	k.Events.Eventf(o, nil, level, ready.Reason, "Reconcile", "%s", ready.Message)
}
