package compile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// EdgePlan is what an EdgeNode becomes.
type EdgePlan struct {
	Document   contract.Edge
	Credential contract.EdgeCredential
	// Unserved says why communities that the spec names are not served, sorted by field; the others are.
	Unserved Problems
	// Enrolment is how far the node has come.
	Enrolment EdgeEnrolment
	// Token is the Secret with the one-time token; nil where none is wanted.
	Token *EdgeToken
	// Requests are the CertificateRequests that stand or are to be made, sorted by name.
	Requests []EdgeRequest
	// Autonomy is how long the outbox lasts.
	Autonomy EdgeAutonomy
}

// EdgeEnrolment is how far an edge node has come on its way to a certificate.
type EdgeEnrolment struct {
	Phase v1alpha1.EdgeNodePhase
	// RequestedKey is the key that the node asks certificates for, Key the one that was approved; empty where there is none.
	RequestedKey, Key string
	// NotAfter is when the node's certificate ends; zero where it has none.
	NotAfter time.Time
	// Reason and Message for the condition Enrolled. Stalled says that a person must act.
	Reason  string `json:"reason"`
	Message string
	Stalled bool
}

// EdgeToken is written to a Secret in the EdgeNode's namespace, for whoever installs the machine.
type EdgeToken struct {
	Secret types.NamespacedName
	Data   map[string][]byte
}

// Keys of the Secret with the one-time token.
const (
	EdgeTokenKey = "token"
	// EdgeTokenHashKey is the salted hash that stands in the bundle.
	EdgeTokenHashKey = "hash"
)

// EdgeTokenName names the Secret with an edge node's one-time token.
func EdgeTokenName(edge string) string { return edge + "-enrolment" }

// EdgeStanding is what the cluster and the nodes know of one EdgeNode.
type EdgeStanding struct {
	// Token is the Secret with the one-time token as it stands, or one made up now if Made.
	Token map[string][]byte
	Made  bool
	// Heard is what nodes say that the machine asks, of those alone that know the present EdgeCredential.
	Heard []EdgeHeard
	// HeardAt is when the node reported last, with its certificate; zero where nothing is known.
	HeardAt time.Time
	// Issued are the CertificateRequests of the node.
	Issued []EdgeIssued
	// Loads are the fleets placed at the node's communities; LoadsUnknown says that not all of them were looked at yet.
	Loads        []EdgeLoad
	LoadsUnknown bool
}

// EdgeHeard is what one node says that the machine asks.
type EdgeHeard struct {
	Request contract.EnrolRequest
	// Key as the node says; it is computed again from the request before anything is issued.
	Key string
}

// EdgeIssued is a CertificateRequest as it stands.
type EdgeIssued struct {
	EdgeRequest
	// Chain (PEM) as cert-manager issued it; empty until then.
	Chain []byte
	// Failed says why cert-manager refuses.
	Failed string
}

// EdgeLoad is what the devices of one fleet in one community may send.
type EdgeLoad struct {
	Fleet, Community string
	// Devices that hang there.
	Devices int64
	// MessagesPerMinute and PayloadBytes are the limits of each of them.
	MessagesPerMinute, PayloadBytes int64
}

// EdgeAutonomy compares the outbox with what may come in.
type EdgeAutonomy struct {
	// Known is false while a fleet has not been looked at.
	Known bool
	// Devices that connect to the node.
	Devices int64
	// Covered is how long the outbox lasts; zero where nothing is sent.
	Covered time.Duration
	// Needed is the storage, in bytes, that the declared autonomy needs.
	Needed int64
}

// Edge compiles an EdgeNode of s.Platform.
func Edge(s *Snapshot, o *v1alpha1.EdgeNode) (EdgePlan, Problems) {
	var c problems
	claimName(&c, o, s.Edges)
	c.requires(s, GroupCertManager, "", "which issues the node's certificates")
	for _, ns := range slices.Compact([]string{s.Platform.Namespace, o.Namespace}) {
		if s.Namespaces[ns].SecretsRefused {
			c.waiting(v1alpha1.ConditionSecretsAdmitted, v1alpha1.ReasonSecretNotAdmitted, "metadata.namespace",
				fmt.Sprintf("Dizuo may not keep the node's token and certificates in namespace %s: its owner admits it with `dizuo admit %s`", ns, ns))
		}
	}
	for i, name := range o.Spec.Hostnames {
		if platformHost(s.Platform, name) {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.hostnames[%d]", i),
				name+" is a host of the platform's own Services, whose certificate no edge node may hold; write a name or an address of the machine")
		}
	}
	plan := EdgePlan{Document: contract.Edge{Communities: []string{}, AutonomySeconds: int64(o.Spec.Autonomy.Seconds())}}
	communities(&c, s, o, &plan)
	enrol(&c, s, o, &plan)
	plan.Autonomy = autonomy(s, o)
	return plan, c.list
}

// communities takes the communities that are there and that no other edge node serves. A device has one home, so a community has one
// edge node: of two that name it the first keeps it.
func communities(c *problems, s *Snapshot, o *v1alpha1.EdgeNode, plan *EdgePlan) {
	var lacking problems
	for i, name := range o.Spec.Communities {
		field := fmt.Sprintf("spec.communities[%d]", i)
		if _, ok := s.Communities.Get(name); !ok {
			lacking.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonCommunityNotFound, field, "Community "+name+" is not on this platform; create it, or correct the name")
			continue
		}
		if first := winner(serving(s, o, name), ClaimCommunity, name); first.Namespace != o.Namespace || first.Name != o.Name {
			lacking.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonCommunityClaimed, field,
				fmt.Sprintf("Community %s is served by EdgeNode %s/%s; a community has one edge node, name it in one of them", name, first.Namespace, first.Name))
			continue
		}
		plan.Document.Communities = append(plan.Document.Communities, name)
	}
	slices.Sort(plan.Document.Communities)
	plan.Unserved = lacking.list.Sorted()
	for _, p := range plan.Unserved {
		p.Partial = len(plan.Document.Communities) > 0 // a node that serves nothing is not in force
		c.list = append(c.list, p)
	}
}

// serving gives the edge nodes that name a community, o among them.
func serving(s *Snapshot, o *v1alpha1.EdgeNode, community string) []*v1alpha1.EdgeNode {
	out := []*v1alpha1.EdgeNode{o}
	for _, list := range s.Edges {
		for _, other := range list {
			if (other.Namespace != o.Namespace || other.Name != o.Name) && slices.Contains(other.Spec.Communities, community) {
				out = append(out, other)
			}
		}
	}
	return out
}

// platformHost reports whether a name is, or may stand for, one by which the platform's own Services are reached.
func platformHost(p *v1alpha1.GridPlatform, name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	own := slices.Concat(p.Spec.Broker.Hostnames, p.Spec.Grid.Hostnames, p.Spec.Gateway.Hostnames)
	for _, host := range own {
		host = strings.ToLower(host)
		if name == host || covers(name, host) || covers(host, name) {
			return true
		}
	}
	first, _, _ := strings.Cut(name, ".")
	return name == "localhost" || strings.HasPrefix(first, "dizuo-") || name == "*" || name == "*."+p.Namespace ||
		strings.HasSuffix("."+name, ".svc") || strings.HasSuffix("."+name, ".cluster.local")
}

// covers reports whether a wildcard name stands for a host.
func covers(wildcard, host string) bool {
	rest, ok := strings.CutPrefix(wildcard, "*.")
	_, parent, dotted := strings.Cut(host, ".")
	return ok && dotted && rest == parent
}

// What a message takes in an outbox: its payload up to a usual size, for limits are far above what devices send, and its frame.
const (
	usualPayload = 512
	messageFrame = 120
)

// autonomy compares the outbox with what the fleets' limits let in.
func autonomy(s *Snapshot, o *v1alpha1.EdgeNode) EdgeAutonomy {
	var perMinute, devices int64
	for _, l := range s.Edge.Loads {
		devices += l.Devices
		perMinute += l.Devices * l.MessagesPerMinute * (min(l.PayloadBytes, usualPayload) + messageFrame)
	}
	out := EdgeAutonomy{Known: !s.Edge.LoadsUnknown, Devices: devices}
	if perMinute == 0 {
		return out
	}
	const longest = 100 * 365 * 24 * 60 // minutes; more is no answer, and no Duration
	out.Covered = time.Duration(min(o.Spec.Storage.Value()/perMinute, longest)) * time.Minute
	out.Needed = perMinute * int64((o.Spec.Autonomy.Duration+time.Minute-1)/time.Minute)
	return out
}

// EdgeLoads gives what the devices of a fleet may send to edge nodes, by community; nothing for a fleet at the centre.
func EdgeLoads(o *v1alpha1.DeviceFleet, plan FleetPlan) map[string]EdgeLoad {
	out := map[string]EdgeLoad{}
	if o.Spec.Placement != v1alpha1.PlacementEdge || o.Spec.Suspended {
		return out
	}
	for _, d := range plan.Rows {
		if d.Community == "" {
			continue
		}
		l := out[d.Community]
		l.Fleet, l.Community, l.Devices = o.Name, d.Community, l.Devices+1
		l.MessagesPerMinute, l.PayloadBytes = int64(o.Spec.Limits.MessagesPerMinute), int64(o.Spec.Limits.PayloadBytes)
		out[d.Community] = l
	}
	return out
}

// Enough reports whether the outbox holds what comes in during the declared autonomy.
func (a EdgeAutonomy) Enough(o *v1alpha1.EdgeNode) bool { return a.Needed <= o.Spec.Storage.Value() }

// Storage gives the needed storage as a quantity to write into spec.storage, rounded up to whole Mi or Gi.
func (a EdgeAutonomy) Storage() string {
	unit := int64(1 << 20)
	if a.Needed >= 10<<30 {
		unit = 1 << 30
	}
	return resource.NewQuantity((a.Needed+unit-1)/unit*unit, resource.BinarySI).String()
}
