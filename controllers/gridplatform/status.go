package gridplatform

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/foreign"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/render"
	"github.com/dizuo/dizuo/internal/status"
)

// componentConditions gives the condition that each component feeds, in the order in which they depend on each other.
var componentConditions = map[v1alpha1.ComponentName]string{
	v1alpha1.ComponentPostgres: v1alpha1.ConditionDatabaseReady, v1alpha1.ComponentBroker: v1alpha1.ConditionBrokerReady, v1alpha1.ComponentAuth: v1alpha1.ConditionAuthReady,
	v1alpha1.ComponentEMQX: v1alpha1.ConditionEMQXReady, v1alpha1.ComponentIngest: v1alpha1.ConditionIngestReady,
	v1alpha1.ComponentGrid: v1alpha1.ConditionGridReady, v1alpha1.ComponentGateway: v1alpha1.ConditionGatewayReady,
	v1alpha1.ComponentVault: v1alpha1.ConditionVaultReady,
}

// status says how a GridPlatform stands.
func (r *Reconciler) status(ctx context.Context, s *compile.Snapshot, o *v1alpha1.GridPlatform, plan compile.PlatformPlan, problems compile.Problems, report apply.Report) error {
	var named []status.Named
	if !problems.Fatal() {
		certificates, err := r.certificates(ctx, o)
		if err != nil {
			return err
		}
		components, err := r.components(ctx, o, plan)
		if err != nil {
			return err
		}
		named = append([]status.Named{kit.Applied(report), certificates}, components...)
		named = append(named, r.published(o))
	}
	enforcement, available, fully := r.Enforced(s, kit.Key(kind, o), o)
	named = append(named, available)
	reports, _ := r.Reports.Platform(kit.PlatformKey(o))
	logs, seen := witnessed(reports, len(o.Spec.AuditWitnesses), s.Now)
	o.Status.DecisionLogs = logs
	measureCalendar(kit.PlatformKey(o), len(compile.CalendarYears(plan.Document, s.Now)))
	r.Common(s, o, problems, status.Facts{Named: named, Informative: append(append([]status.Named{members(s), fully, seen}, guardrails(o, plan.Guardrails)...), calendar(plan.Document, s.Now)...), Claims: []v1alpha1.Claim{{Kind: compile.ClaimNamespace, Value: o.Namespace}}, ReadyMessage: "the platform is up and its bundle in force"})
	o.Status.Enforcement, o.Status.Inventory = r.overall(o, enforcement), report.Inventory
	host, port := compile.MQTTEndpoint(o)
	o.Status.Endpoints = &v1alpha1.EndpointStatus{
		MQTT:    fmt.Sprintf("mqtts://%s:%d", host, port),
		Gateway: endpoint("dizuo-gateway", o.Namespace, o.Spec.Gateway.ServiceEndpoint), Grid: endpoint("dizuo-grid", o.Namespace, o.Spec.Grid),
	}
	if plan.Edges {
		o.Status.Endpoints.Leaf = compile.EdgeEndpoint(o)
	}
	if !kit.KeepsLastGood(problems) { // what is on the platform that holds the namespace is not on this one
		o.Status.Communities, o.Status.Organizations, o.Status.Fleets, o.Status.Datasets, o.Status.Agreements = nil, nil, nil, nil, nil
		o.Status.Cases, o.Status.Endpoints, o.Status.Devices, o.Status.EdgeNodes = nil, nil, nil, nil
		o.Status.Mode, o.Status.ModeExpiresAt = "", nil
		return nil
	}
	return r.counts(ctx, s, o)
}

// members tells whether every member namespace belongs to the platform in return, and leaves room for the others.
func members(s *compile.Snapshot) status.Named {
	doubts := compile.MembersInDoubt(s)
	if without := compile.SourcesLeftOut(s); without != "" {
		doubts = append(doubts, without)
	}
	if len(doubts) > 0 {
		return status.Waiting(v1alpha1.ConditionMembersAdmitted, v1alpha1.ReasonNamespaceNotAdmitted, strings.Join(doubts, "; "))
	}
	return status.True(v1alpha1.ConditionMembersAdmitted, v1alpha1.ReasonSucceeded, fmt.Sprintf("%d member namespaces", len(s.Platform.Spec.Members)))
}

func endpoint(service, namespace string, e v1alpha1.ServiceEndpoint) string {
	host := service + "." + namespace + ".svc"
	if len(e.Hostnames) > 0 {
		host = e.Hostnames[0]
	}
	return fmt.Sprintf("https://%s:%d", host, e.Port)
}

// certificates waits for every certificate of the platform.
func (r *Reconciler) certificates(ctx context.Context, o *v1alpha1.GridPlatform) (status.Named, error) {
	var list cmv1.CertificateList
	if err := r.APIs.List(ctx, &list, client.InNamespace(o.Namespace), client.MatchingLabels{render.LabelOwnerKind: kind, render.LabelOwnerName: o.Name}); err != nil {
		return status.Named{}, fmt.Errorf("certificates: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b cmv1.Certificate) int { return strings.Compare(a.Name, b.Name) }) // the same state says the same
	for _, c := range list.Items {
		ready := false
		for _, cond := range c.Status.Conditions {
			ready = ready || (cond.Type == cmv1.CertificateConditionReady && cond.Status == cmmeta.ConditionTrue)
		}
		if !ready {
			return status.Waiting(v1alpha1.ConditionCertificatesReady, v1alpha1.ReasonCertificatePending, "waits for cert-manager to issue Certificate "+c.Name), nil
		}
	}
	return status.True(v1alpha1.ConditionCertificatesReady, v1alpha1.ReasonSucceeded, fmt.Sprintf("%d certificates are issued", len(list.Items))), nil
}

// components tells how many pods of each component are ready.
func (r *Reconciler) components(ctx context.Context, o *v1alpha1.GridPlatform, plan compile.PlatformPlan) ([]status.Named, error) {
	database, err := r.database(ctx, o, plan)
	if err != nil {
		return nil, err
	}
	var out []status.Named
	o.Status.Components = nil
	for _, c := range render.Components(plan) {
		ready, wants, err := r.pods(ctx, c, o.Namespace)
		if err != nil {
			return nil, err
		}
		st := v1alpha1.ComponentStatus{Name: c.Name, Ready: ready, Desired: c.Pods}
		n := status.True(componentConditions[c.Name], v1alpha1.ReasonSucceeded, fmt.Sprintf("%d of %d pods ready", ready, c.Pods))
		switch {
		case ready < c.Pods:
			st.Message = fmt.Sprintf("%s %s has %d of %d pods ready", c.Kind, c.Object, ready, c.Pods)
			n = status.Waiting(componentConditions[c.Name], v1alpha1.ReasonComponentsNotReady, st.Message)
		case wants != "":
			st.Message = wants
			n = status.Waiting(componentConditions[c.Name], v1alpha1.ReasonProgressing, wants)
		case c.Pods == 0:
			n = status.Waiting(componentConditions[c.Name], v1alpha1.ReasonMoving, "stands still while the database moves")
		case c.Name == v1alpha1.ComponentBroker:
			n = r.brokers(o, plan, n)
		case c.Name == v1alpha1.ComponentGateway:
			reports, _ := r.Reports.Platform(kit.PlatformKey(o))
			if n = gateways(reports, n); n.Status != "True" {
				st.Message = n.Message
			}
		case c.Name == v1alpha1.ComponentPostgres && database != nil:
			n = *database
		}
		o.Status.Components, out = append(o.Status.Components, st), append(out, n)
	}
	if plan.Database.Serves.Engine != v1alpha1.DatabaseManaged {
		out = append([]status.Named{*database}, out...)
	}
	return out, nil
}

// pods counts the pods of a component that run what it says now. wants says what else is to come; "" for nothing.
func (r *Reconciler) pods(ctx context.Context, c render.Component, namespace string) (ready int32, wants string, err error) {
	switch c.Kind {
	case foreign.EMQX.Kind:
		return r.emqx(ctx, namespace)
	case "Deployment":
		d := &appsv1.Deployment{}
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: c.Object}, d)
		if d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas < d.Status.Replicas {
			return 0, "", client.IgnoreNotFound(err)
		}
		return d.Status.ReadyReplicas, "", client.IgnoreNotFound(err)
	}
	st, err := r.set(ctx, namespace, c.Object)
	if err != nil || st.Status.ObservedGeneration != st.Generation || st.Status.CurrentRevision != st.Status.UpdateRevision {
		return 0, "", err
	}
	return st.Status.ReadyReplicas, "", nil
}

// published tells whether a bundle is out.
func (r *Reconciler) published(o *v1alpha1.GridPlatform) status.Named {
	revision, sequence, _ := r.Shelf.Lease(kit.PlatformKey(o))
	if sequence == 0 {
		if b := o.Status.Bundle; b != nil && b.Revision != "" {
			return status.True(v1alpha1.ConditionBundlePublished, v1alpha1.ReasonSucceeded, "revision "+short(b.Revision))
		}
		return status.Waiting(v1alpha1.ConditionBundlePublished, v1alpha1.ReasonProgressing, "waits for the broker and for every object to be looked at")
	}
	return status.True(v1alpha1.ConditionBundlePublished, v1alpha1.ReasonSucceeded, "revision "+short(revision))
}

func short(revision string) string {
	return fmt.Sprintf("%.12s", strings.TrimPrefix(revision, "sha256:"))
}

// overall shows, for the platform, what every enforcer runs now rather than when the platform's own documents changed.
func (r *Reconciler) overall(o *v1alpha1.GridPlatform, own *v1alpha1.EnforcementStatus) *v1alpha1.EnforcementStatus {
	revision, sequence, enforcers := r.Shelf.Lease(kit.PlatformKey(o))
	if own == nil || sequence == 0 {
		return own
	}
	out := own.DeepCopy()
	out.Revision, out.Acked, out.Total, out.Pending = revision, 0, int32(len(enforcers)), nil
	for _, e := range enforcers {
		if e.Online {
			out.Acked++
		} else {
			out.Pending = append(out.Pending, e.Name)
		}
	}
	return out
}

// counts counts the objects of the platform and how many are Ready, and takes over what the nodes report.
func (r *Reconciler) counts(ctx context.Context, s *compile.Snapshot, o *v1alpha1.GridPlatform) error {
	lists := []struct {
		kind string
		list client.ObjectList
		into **v1alpha1.ObjectCounts
	}{
		{"Community", &v1alpha1.CommunityList{}, &o.Status.Communities}, {"Organization", &v1alpha1.OrganizationList{}, &o.Status.Organizations},
		{"DeviceFleet", &v1alpha1.DeviceFleetList{}, &o.Status.Fleets}, {"Dataset", &v1alpha1.DatasetList{}, &o.Status.Datasets},
		{"EdgeNode", &v1alpha1.EdgeNodeList{}, &o.Status.EdgeNodes},
		{"DataSharingAgreement", &v1alpha1.DataSharingAgreementList{}, &o.Status.Agreements},
	}
	for _, l := range lists {
		counted, err := r.count(ctx, s, l.kind, l.list)
		if err != nil {
			return err
		}
		*l.into = counted
	}
	if err := r.devices(ctx, s, o); err != nil {
		return err
	}
	reports, last := r.Reports.Platform(kit.PlatformKey(o))
	o.Status.Cases = cases(reports)
	o.Status.Mode, o.Status.ModeExpiresAt = mode(reports, o, s.Now)
	o.Status.Integrations = integrations(reports, o)
	if !last.IsZero() && (o.Status.LastReports == nil || last.Sub(o.Status.LastReports.Time) > time.Minute) {
		at := metav1.NewTime(last.UTC().Truncate(time.Second))
		o.Status.LastReports = &at
	}
	return nil
}

// devices sums the devices of the platform's fleets up: by their status how many there are, by the nodes who is there.
func (r *Reconciler) devices(ctx context.Context, s *compile.Snapshot, o *v1alpha1.GridPlatform) error {
	total, known := int32(0), false
	for _, ns := range r.members(ctx, s, "DeviceFleet") {
		var fleets v1alpha1.DeviceFleetList
		if err := r.Client.List(ctx, &fleets, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("devices of fleets: %w", err)
		}
		for i := range fleets.Items {
			if d := fleets.Items[i].Status.Devices; d != nil {
				total, known = total+d.Accepted, true
			}
		}
	}
	o.Status.Devices = nil
	if known {
		told, fresh := r.Reports.Devices(kit.PlatformKey(o))
		counts := kit.DeviceCounts(total, told, fresh)
		o.Status.Devices = &counts
	}
	return nil
}

func (r *Reconciler) count(ctx context.Context, s *compile.Snapshot, of string, list client.ObjectList) (*v1alpha1.ObjectCounts, error) {
	out := &v1alpha1.ObjectCounts{}
	for _, ns := range r.members(ctx, s, of) {
		if err := r.Client.List(ctx, list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("count %ss: %w", of, err)
		}
		total, ready := countReady(list)
		out.Total, out.Ready = out.Total+total, out.Ready+ready
	}
	return out, nil
}
