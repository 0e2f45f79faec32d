package gridplatform

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/render"
)

// standing reads how much of the stack stands: a change of profile or of engine goes on from there.
func (r *Reconciler) standing(ctx context.Context, o *v1alpha1.GridPlatform) (compile.Standing, error) {
	var out compile.Standing
	brokers, err := r.set(ctx, o.Namespace, "dizuo-broker")
	if err != nil {
		return out, err
	}
	if out.Brokers, err = r.brokerVolumes(ctx, o); err != nil {
		return out, err
	}
	if brokers.Spec.Replicas != nil {
		out.Brokers = max(out.Brokers, *brokers.Spec.Replicas)
	}
	out.Running = brokers.Status.Replicas
	report := r.firstBroker(o)
	out.Joinable = rolledOut(brokers) && report != nil
	// The first broker is told last, and says so only when it is alone: what becomes of the others, and whether they were ever seen ready since,
	// says nothing. They are out of the cluster, and a rollout that waits for them would wait for ever.
	out.Gathered = report != nil && report.Gathered
	if out.EMQX, err = r.devicesOnEMQX(ctx, o); err != nil {
		return out, err
	}
	out.Database, err = r.databaseStanding(ctx, o)
	return out, err
}

// set reads a StatefulSet; an empty one where there is none.
func (r *Reconciler) set(ctx context.Context, namespace, name string) (*appsv1.StatefulSet, error) {
	out := &appsv1.StatefulSet{}
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, out); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("StatefulSet %s: %w", name, err)
	}
	return out, nil
}

// rolledOut says that every pod runs what the StatefulSet says now.
func rolledOut(s *appsv1.StatefulSet) bool {
	return s.Status.ObservedGeneration == s.Generation && s.Status.CurrentRevision == s.Status.UpdateRevision && s.Spec.Replicas != nil && s.Status.ReadyReplicas == *s.Spec.Replicas
}

// firstBroker gives what the first broker reports; nil while it does not.
func (r *Reconciler) firstBroker(o *v1alpha1.GridPlatform) *contract.BrokerReport {
	reports, _ := r.Reports.Platform(kit.PlatformKey(o))
	for _, rep := range reports {
		if rep.Role == contract.RoleBroker && rep.Instance == "dizuo-broker-0" {
			return rep.Broker
		}
	}
	return nil
}

func (r *Reconciler) databaseStanding(ctx context.Context, o *v1alpha1.GridPlatform) (compile.DatabaseStanding, error) {
	var out compile.DatabaseStanding
	managed, err := r.set(ctx, o.Namespace, compile.ServicePostgres)
	if err != nil {
		return out, err
	}
	if at := o.Status.Database; at != nil {
		out.Engine, out.Move, out.To = at.Engine, at.Move, at.MovingTo
	} else if out.Engine, err = r.servingEngine(ctx, o.Namespace); err != nil {
		return out, err
	}
	wanted := o.Spec.Database.Engine
	if out.Engine == "" || out.Engine == wanted {
		return out, nil
	}
	if out.Writers, err = r.writers(ctx, o.Namespace); err != nil {
		return out, err
	}
	if out.SourceReady, err = r.engineReady(ctx, o.Namespace, out.Engine, managed); err != nil {
		return out, err
	}
	if out.TargetReady, err = r.engineReady(ctx, o.Namespace, wanted, managed); err != nil {
		return out, err
	}
	out.Copy, err = r.copying(ctx, o.Namespace, compile.MoveName(o, out))
	return out, err
}

// servingEngine tells by its configuration which engine the grid service uses; "" where there is none. It speaks where the status is
// lost, as it is when a platform is restored from a copy: the engine that the spec names may be one that the data never reached.
func (r *Reconciler) servingEngine(ctx context.Context, namespace string) (v1alpha1.DatabaseEngine, error) {
	cm := &corev1.ConfigMap{}
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: "dizuo-grid"}, cm); err != nil {
		return "", client.IgnoreNotFound(err)
	}
	var config contract.NodeConfig
	if err := yaml.Unmarshal([]byte(cm.Data["node.yaml"]), &config); err != nil || config.Grid == nil {
		return "", nil //nolint:nilerr // somebody wrote over it; it will be put right
	}
	return compile.EngineAt(config.Grid.Database.Host, namespace), nil
}

// engineReady says that an engine takes connections; of an external one nothing is known.
func (r *Reconciler) engineReady(ctx context.Context, namespace string, e v1alpha1.DatabaseEngine, managed *appsv1.StatefulSet) (bool, error) {
	switch e {
	case v1alpha1.DatabaseManaged:
		return rolledOut(managed) && managed.Status.ReadyReplicas > 0, nil
	case v1alpha1.DatabaseCloudNativePG:
		cluster, err := r.cluster(ctx, namespace)
		return cluster.usable(), err
	}
	return true, nil
}

// writers counts the pods that may write to the database. What is still ending is found by the Job itself, which waits until the
// database sees nobody.
func (r *Reconciler) writers(ctx context.Context, namespace string) (int32, error) {
	gateway, err := r.set(ctx, namespace, "dizuo-gateway")
	if err != nil {
		return 0, err
	}
	n := mayRun(gateway.Generation, gateway.Status.ObservedGeneration, gateway.Spec.Replicas, gateway.Status.Replicas)
	for _, name := range []string{"dizuo-grid", "dizuo-vault"} {
		d := &appsv1.Deployment{}
		if err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, d); client.IgnoreNotFound(err) != nil {
			return 0, fmt.Errorf("Deployment %s: %w", name, err)
		}
		n += mayRun(d.Generation, d.Status.ObservedGeneration, d.Spec.Replicas, d.Status.Replicas)
	}
	return n, nil
}

// mayRun counts pods of a workload: those that run, those asked for, and one where its controller has not seen the last change.
func mayRun(generation, observed int64, asked *int32, running int32) int32 {
	n := running + ptr.Deref(asked, 0)
	if observed < generation {
		n++
	}
	return n
}

// instances is how a CloudNativePG Cluster stands.
type instances struct {
	ready, wanted int32
	// waits says why the database may not be used, whatever is ready; "" where it may.
	waits string
}

// usable says that services may connect.
func (i instances) usable() bool { return i.ready > 0 && i.waits == "" }

// cluster reads how the CloudNativePG Cluster stands.
func (r *Reconciler) cluster(ctx context.Context, namespace string) (instances, error) {
	if !r.APIs.Serves(foreign.Cluster) {
		return instances{waits: "waits for CloudNativePG"}, nil
	}
	u := foreign.Object(foreign.Cluster)
	if err := r.APIs.Get(ctx, types.NamespacedName{Namespace: namespace, Name: compile.ClusterCNPG}, u); err != nil {
		return instances{waits: "is not there yet"}, client.IgnoreNotFound(err)
	}
	asked, _, _ := unstructured.NestedInt64(u.Object, "spec", "instances")
	ready, _, _ := unstructured.NestedInt64(u.Object, "status", "readyInstances")
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	out := instances{ready: int32(ready), wanted: int32(asked)}
	if phase != "Cluster in healthy state" {
		out.waits = "CloudNativePG does not say that it is healthy"
	} else if without := withoutRole(u); len(without) > 0 {
		out.waits = "CloudNativePG has not made " + strings.Join(without, ", ")
	}
	return out, nil
}

// emqx reads how many core nodes of EMQX are ready, and what of it is not as it should be; "" for nothing.
func (r *Reconciler) emqx(ctx context.Context, namespace string) (ready int32, wants string, err error) {
	if !r.APIs.Serves(foreign.EMQX) {
		return 0, "waits for emqx-operator", nil
	}
	u := foreign.Object(foreign.EMQX)
	if err := r.APIs.Get(ctx, types.NamespacedName{Namespace: namespace, Name: compile.ObjectEMQX}, u); err != nil {
		return 0, "waits until a CA of devices is issued", client.IgnoreNotFound(err)
	}
	asked, _, _ := unstructured.NestedString(u.Object, "spec", "config", "data")
	current, _, _ := unstructured.NestedString(u.Object, "status", "coreNodesStatus", "currentRevision")
	update, _, _ := unstructured.NestedString(u.Object, "status", "coreNodesStatus", "updateRevision")
	nodes, _, _ := unstructured.NestedInt64(u.Object, "status", "coreNodesStatus", "readyReplicas")
	switch {
	case u.GetAnnotations()[render.AnnotationEMQXConfig] != asked:
		wants = "waits until EMQX has taken its configuration"
	case current != update:
		wants = "waits until every node of EMQX is as it should be"
	case !conditionTrue(u, "Ready"):
		wants = "emqx-operator does not say that EMQX is Ready"
	}
	return int32(nodes), wants, nil
}

// devicesOnEMQX says that devices may be led to EMQX: it takes connections, and what it acknowledges is held. Once they are there, they
// stay there.
func (r *Reconciler) devicesOnEMQX(ctx context.Context, o *v1alpha1.GridPlatform) (bool, error) {
	if !compile.UsesEMQX(o) {
		return false, nil
	}
	s := &corev1.Service{}
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: o.Namespace, Name: "dizuo-broker"}, s); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("Service dizuo-broker: %w", err)
	}
	if s.Spec.Selector[render.LabelName] == compile.ObjectEMQX {
		return true, nil
	}
	nodes, wants, err := r.emqx(ctx, o.Namespace)
	if err != nil || nodes == 0 || wants != "" {
		return false, err
	}
	ingest, err := r.set(ctx, o.Namespace, "dizuo-ingest")
	return err == nil && ingest.Status.ReadyReplicas > 0, err
}

func conditionTrue(u *unstructured.Unstructured, name string) bool {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(list, func(item any) bool {
		c, ok := item.(map[string]any)
		return ok && c["type"] == name && c["status"] == "True"
	})
}

// withoutRole gives the users that are not in the database yet: nobody can connect before.
func withoutRole(u *unstructured.Unstructured) []string {
	roles, _, _ := unstructured.NestedStringSlice(u.Object, "status", "managedRolesStatus", "byStatus", "reconciled")
	return slices.DeleteFunc(contract.DatabaseUsers(), func(user string) bool { return slices.Contains(roles, user) })
}

// copying reads how the Job of a move stands.
func (r *Reconciler) copying(ctx context.Context, namespace, move string) (compile.CopyState, error) {
	job := &batchv1.Job{}
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: compile.JobMove}, job); err != nil {
		return compile.CopyNone, client.IgnoreNotFound(err)
	}
	if job.Spec.Template.Annotations[compile.AnnotationMove] != move || job.DeletionTimestamp != nil {
		return compile.CopyOther, nil
	}
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete:
			return compile.CopyDone, nil
		case c.Type == batchv1.JobFailed:
			return compile.CopyFailed, nil
		}
	}
	return compile.CopyRunning, nil
}
