package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// Status is how a platform stands.
type Status struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Ready is set when the platform and every object of it is Ready.
	Ready bool `json:"ready"`
	// Blocker is the first thing that keeps the platform, or an object of it, from being Ready.
	Blocker string `json:"blocker,omitempty"`
	Tree    *Node  `json:"tree"`
}

// Mark says how a line of the tree stands.
type Mark string

// Marks.
const (
	MarkGood Mark = "Ready"
	// MarkBusy will heal by itself; MarkBad needs a person.
	MarkBusy Mark = "Reconciling"
	MarkBad  Mark = "Stalled"
	MarkInfo Mark = ""
)

// Node is a line of the tree with what stands below it.
type Node struct {
	Mark Mark   `json:"mark,omitempty"`
	Text string `json:"text"`
	// Children in the order in which they are shown.
	Children []*Node `json:"children,omitempty"`
}

func (n *Node) add(children ...*Node) {
	for _, c := range children {
		if c != nil {
			n.Children = append(n.Children, c)
		}
	}
}

// statused is an object of the API.
type statused interface {
	client.Object
	GetCommonStatus() *v1alpha1.CommonStatus
}

// standing is how one object stands, and what keeps it.
type standing struct {
	mark    Mark
	blocker string
}

// blockers are the conditions that feed Ready, in the order in which one waits for the other.
var blockers = []string{
	v1alpha1.ConditionAccepted, v1alpha1.ConditionSecretsAdmitted, v1alpha1.ConditionDependenciesPresent, v1alpha1.ConditionMembersAdmitted,
	v1alpha1.ConditionReferencesResolved, v1alpha1.ConditionProfileResolved, v1alpha1.ConditionApproversAccepted,
	v1alpha1.ConditionGuardrailsPassed, v1alpha1.ConditionApproved, v1alpha1.ConditionInventoryAccepted, v1alpha1.ConditionApplied,
	v1alpha1.ConditionCertificatesReady, v1alpha1.ConditionIdentitiesReady, v1alpha1.ConditionCredentialsReady,
	v1alpha1.ConditionDatabaseReady, v1alpha1.ConditionBrokerReady, v1alpha1.ConditionAuthReady, v1alpha1.ConditionGridReady,
	v1alpha1.ConditionGatewayReady, v1alpha1.ConditionVaultReady, v1alpha1.ConditionBundlePublished, v1alpha1.ConditionReportsReceived,
	v1alpha1.ConditionWorkspaceReady, v1alpha1.ConditionEnrolled, v1alpha1.ConditionSourceReachable, v1alpha1.ConditionInForce, v1alpha1.ConditionAvailable,
}

// stand reads an object's conditions after the kstatus convention.
func stand(o statused, w words) standing {
	conditions := o.GetCommonStatus().Conditions
	ready := condition(conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		return standing{MarkBusy, w.say("no status")}
	case ready.ObservedGeneration != 0 && ready.ObservedGeneration < o.GetGeneration():
		return standing{MarkBusy, w.say("old status")}
	case ready.Status == metav1.ConditionTrue:
		return standing{mark: MarkGood}
	}
	out := standing{MarkBusy, said(ready)}
	if c := condition(conditions, v1alpha1.ConditionStalled); c != nil && c.Status == metav1.ConditionTrue {
		out.mark = MarkBad
	}
	for _, kind := range blockers {
		if c := condition(conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			out.blocker = c.Type + ": " + said(c)
			break
		}
	}
	return out
}

func condition(list []metav1.Condition, kind string) *metav1.Condition {
	if i := slices.IndexFunc(list, func(c metav1.Condition) bool { return c.Type == kind }); i >= 0 {
		return &list[i]
	}
	return nil
}

func said(c *metav1.Condition) string {
	if c.Message == "" {
		return c.Reason
	}
	return c.Reason + ": " + c.Message
}

// tree is pure: it makes the tree of a platform at the time now.
func tree(w world, now time.Time, say words) Status {
	p := &w.platform
	s := Status{Namespace: p.Namespace, Name: p.Name}
	own := stand(p, say)
	root := &Node{Mark: own.mark, Text: strings.TrimSpace(fmt.Sprintf("%s %s/%s %s", say.say("GridPlatform"), p.Namespace, p.Name, p.Spec.DisplayName))}
	members := []*Node{
		communities(say, w.communities), group(say, "Organization", items(w.organizations), nil),
		group(say, "DeviceProfile", items(w.profiles), nil), fleets(say, w.fleets), group(say, "EdgeNode", items(w.edges), nil),
		group(say, "Scenario", items(w.scenarios), nil), group(say, "Dataset", items(w.datasets), nil), agreements(say, w.agreements),
	}
	s.Blocker = own.blocker
	for _, n := range members {
		if n != nil && n.Mark != MarkGood && s.Blocker == "" {
			s.Blocker = firstBlocker(n)
		}
	}
	s.Ready = s.Blocker == "" && own.mark == MarkGood
	if s.Blocker != "" {
		mark := own.mark
		if mark == MarkGood {
			mark = MarkBusy
		}
		root.add(&Node{Mark: mark, Text: say.say("first blocker", s.Blocker)})
	}
	root.add(components(say, p), bundle(say, p, now), enforcement(say, p, now), mode(say, p, now), cases(say, p))
	root.add(members...)
	root.add(endpoints(say, p))
	for _, u := range w.unreadable {
		root.add(&Node{Text: say.say("unreadable", u)})
	}
	s.Tree = root
	return s
}

// firstBlocker gives the text of the first line below n that is not good and opens no further.
func firstBlocker(n *Node) string {
	for _, c := range n.Children {
		if c.Mark == MarkGood || c.Mark == MarkInfo {
			continue
		}
		if len(c.Children) > 0 {
			if text := firstBlocker(c); text != "" {
				return text
			}
		}
		return c.Text
	}
	return n.Text
}

func items[T any, P interface {
	*T
	statused
}](list []T) []statused {
	out := make([]statused, len(list))
	for i := range list {
		out[i] = P(&list[i])
	}
	slices.SortFunc(out, func(a, b statused) int {
		return strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
	})
	return out
}

// group puts what is Ready into one line and opens the rest. detail adds to the line of one object.
func group(say words, kind string, list []statused, detail func(statused) string) *Node {
	if len(list) == 0 {
		return nil
	}
	n := &Node{Mark: MarkGood}
	ready := 0
	for _, o := range list {
		st := stand(o, say)
		if st.mark == MarkGood {
			ready++
			continue
		}
		if n.Mark == MarkGood || st.mark == MarkBad {
			n.Mark = st.mark
		}
		text := say.say(kind) + " " + named(o)
		if detail != nil {
			text += " " + detail(o)
		}
		n.add(&Node{Mark: st.mark, Text: text + ": " + st.blocker})
	}
	if ready == len(list) {
		n.Text = say.count("all ready", kind, ready)
	} else {
		n.Text = say.count("some ready", kind, len(list), ready)
	}
	return n
}

// named gives an object's name, with its namespace where the status says that it is not the platform's.
func named(o statused) string {
	if p := o.GetCommonStatus().Platform; p != nil && p.Namespace == o.GetNamespace() {
		return o.GetName()
	}
	return o.GetNamespace() + "/" + o.GetName()
}

// communitiesShown is how many communities with devices that are not all there get a line of their own.
const communitiesShown = 10

// communities opens, beside those that are not Ready, the ones in which most devices are silent or unknown.
func communities(say words, list []v1alpha1.Community) *Node {
	n := group(say, "Community", items(list), nil)
	missing := func(o statused) int32 {
		if d := o.(*v1alpha1.Community).Status.Devices; d != nil {
			return d.Offline + d.Unknown
		}
		return 0
	}
	all := items(list)
	slices.SortStableFunc(all, func(a, b statused) int { return int(missing(b)) - int(missing(a)) })
	for _, o := range all[:min(len(all), communitiesShown)] {
		if missing(o) > 0 && stand(o, say).mark == MarkGood {
			n.add(&Node{Mark: MarkGood, Text: named(o) + deviceCounts(say, *o.(*v1alpha1.Community).Status.Devices)})
		}
	}
	return n
}

// fleetsShown is how many healthy fleets get a line of their own.
const fleetsShown = 10

func fleets(say words, list []v1alpha1.DeviceFleet) *Node {
	all := items(list)
	n := group(say, "DeviceFleet", all, nil)
	if n == nil {
		return nil
	}
	var sum v1alpha1.DeviceCounts
	for _, o := range all {
		if d := o.(*v1alpha1.DeviceFleet).Status.Devices; d != nil {
			sum.Total, sum.Online, sum.Offline = sum.Total+d.Total, sum.Online+d.Online, sum.Offline+d.Offline
			sum.NeverSeen, sum.Unknown = sum.NeverSeen+d.NeverSeen, sum.Unknown+d.Unknown
		}
	}
	n.Text += deviceCounts(say, sum)
	for _, o := range all {
		f := o.(*v1alpha1.DeviceFleet)
		if len(all) <= fleetsShown || f.Status.Violations > 0 {
			if stand(f, say).mark == MarkGood {
				n.add(&Node{Mark: MarkGood, Text: named(f) + fleetCounts(say, f)})
			}
		}
	}
	return n
}

func fleetCounts(say words, f *v1alpha1.DeviceFleet) string {
	text := ""
	if d := f.Status.Devices; d != nil {
		text = deviceCounts(say, d.DeviceCounts)
		if d.Rejected > 0 {
			text += say.say("rejected", d.Rejected)
		}
	}
	if f.Status.Violations > 0 {
		text += say.say("violations", f.Status.Violations)
	}
	if f.Status.InvalidMessages > 0 {
		text += say.say("invalid", f.Status.InvalidMessages)
	}
	return text
}

// deviceCounts says who is there, and of the rest what there is of it.
func deviceCounts(say words, d v1alpha1.DeviceCounts) string {
	text := say.say("online", d.Online, d.Total)
	for _, rest := range []struct {
		word string
		n    int32
	}{{"offline", d.Offline}, {"never seen", d.NeverSeen}, {"unknown", d.Unknown}} {
		if rest.n > 0 {
			text += say.say(rest.word, rest.n)
		}
	}
	return text
}

func agreements(say words, list []v1alpha1.DataSharingAgreement) *Node {
	all := items(list)
	n := group(say, "DataSharingAgreement", all, func(o statused) string { return say.phase(o.(*v1alpha1.DataSharingAgreement).Status.Phase) })
	if n == nil {
		return nil
	}
	phases := map[v1alpha1.AgreementPhase]int{}
	for i := range list {
		phases[list[i].Status.Phase]++
	}
	var parts []string
	for _, phase := range sortedKeys(phases) {
		parts = append(parts, fmt.Sprintf("%d %s", phases[phase], say.phase(phase)))
	}
	n.Text += " (" + strings.Join(parts, ", ") + ")"
	return n
}

func components(say words, p *v1alpha1.GridPlatform) *Node {
	if len(p.Status.Components) == 0 {
		return nil
	}
	n := &Node{Mark: MarkGood}
	var good []string
	for _, c := range p.Status.Components {
		if c.Desired > 0 && c.Ready >= c.Desired {
			good = append(good, fmt.Sprintf("%s %d/%d", c.Name, c.Ready, c.Desired))
			continue
		}
		n.Mark = MarkBusy
		text := fmt.Sprintf("%s %d/%d", c.Name, c.Ready, c.Desired)
		if c.Message != "" {
			text += ": " + c.Message
		}
		n.add(&Node{Mark: MarkBusy, Text: text})
	}
	n.Text = say.say("components", len(good), len(p.Status.Components))
	if len(good) > 0 {
		n.Text += " (" + strings.Join(good, ", ") + ")"
	}
	return n
}

func bundle(say words, p *v1alpha1.GridPlatform, now time.Time) *Node {
	b := p.Status.Bundle
	if b == nil {
		return nil
	}
	n := &Node{Mark: MarkGood, Text: say.say("bundle", b.Sequence, shortRevision(b.Revision))}
	if b.IssuedAt != nil {
		n.Text += say.say("issued", age(now.Sub(b.IssuedAt.Time)))
	}
	switch {
	case b.ExpiresAt == nil:
	case b.ExpiresAt.After(now):
		n.Text += say.say("lease ends", age(b.ExpiresAt.Sub(now)))
	default:
		n.Mark = MarkBad
		n.Text += say.say("lease ended", age(now.Sub(b.ExpiresAt.Time)))
	}
	return n
}

// shortRevision keeps the algorithm and twelve digits of a content hash.
func shortRevision(r string) string {
	algorithm, hash, ok := strings.Cut(r, ":")
	if !ok || len(hash) <= 12 {
		return r
	}
	return algorithm + ":" + hash[:12]
}

func enforcement(say words, p *v1alpha1.GridPlatform, now time.Time) *Node {
	e := p.Status.Enforcement
	if e == nil {
		return nil
	}
	n := &Node{Mark: MarkGood, Text: say.say("enforcement", e.Acked, e.Total)}
	switch {
	case e.EffectiveAt != nil && e.RequestedAt != nil:
		n.Text += say.say("effective", e.EffectiveAt.Sub(e.RequestedAt.Time).Round(time.Millisecond))
	case e.RequestedAt != nil:
		n.Text += say.say("waiting", age(now.Sub(e.RequestedAt.Time)))
	}
	if e.Acked < e.Total {
		n.Mark = MarkBusy
		if len(e.Pending) > 0 {
			n.Text += say.say("pending", strings.Join(e.Pending, ", "))
		}
	}
	return n
}

func mode(say words, p *v1alpha1.GridPlatform, now time.Time) *Node {
	if p.Status.Mode == "" || p.Status.Mode == v1alpha1.ModeRoutine {
		return nil
	}
	n := &Node{Mark: MarkBusy, Text: say.say("mode", p.Status.Mode)}
	if at := p.Status.ModeExpiresAt; at != nil {
		n.Text += say.say("mode ends", age(at.Sub(now)))
	}
	return n
}

func cases(say words, p *v1alpha1.GridPlatform) *Node {
	if p.Status.Cases == nil {
		return nil
	}
	return &Node{Text: say.say("cases", p.Status.Cases.Open, p.Status.Cases.Overdue)}
}

func endpoints(say words, p *v1alpha1.GridPlatform) *Node {
	e := p.Status.Endpoints
	if e == nil {
		return nil
	}
	n := &Node{Text: say.say("endpoints")}
	for _, pair := range [][2]string{{"MQTT", e.MQTT}, {"grid", e.Grid}, {"gateway", e.Gateway}, {"leaf", e.Leaf}} {
		if pair[1] != "" {
			n.add(&Node{Text: pair[0] + " " + pair[1]})
		}
	}
	if len(n.Children) == 0 {
		return nil
	}
	return n
}

// age gives a duration in its two greatest units.
func age(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
