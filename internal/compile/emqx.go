package compile

import (
	"bytes"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// EMQXPlan is EMQX as the broker that devices connect to. NATS stays behind it.
type EMQXPlan struct {
	v1alpha1.EMQXSpec
	// DeviceCAs are the CAs under which devices hold certificates, as PEM: roots, and those of the fleets, so that a device may show
	// its own certificate alone. Empty until cert-manager has issued the first.
	DeviceCAs []byte
	// Leads says that devices are led to EMQX: not before it can take them.
	Leads bool
}

// imageEMQX is the last image of the last line whose licence allows clusters free of charge.
const imageEMQX = "emqx/emqx:5.8.9"

const (
	// SecretDevices holds the CA that signs the CAs of fleets.
	SecretDevices = "dizuo-devices"
	// SecretEMQX holds EMQX's API key and the password of its dashboard.
	SecretEMQX = "dizuo-emqx-api"
	// ObjectEMQX names the EMQX object and the Service in front of its inner ports.
	ObjectEMQX = "dizuo-emqx"
)

// UsesEMQX reports whether devices connect to EMQX.
func UsesEMQX(p *v1alpha1.GridPlatform) bool { return p.Spec.Broker.Engine == v1alpha1.BrokerEMQX }

// emqx gives the plan of engine EMQX; nil for another.
func emqx(c *problems, s *Snapshot) *EMQXPlan {
	if !UsesEMQX(s.Platform) {
		return nil
	}
	c.requires(s, GroupEMQX, "spec.broker.engine", "which runs EMQX, or write engine NATS")
	plan := &EMQXPlan{EMQXSpec: v1alpha1.EMQXSpec{Image: imageEMQX, Replicas: 3}, DeviceCAs: deviceCAs(s), Leads: s.Standing.EMQX}
	if set := s.Platform.Spec.Broker.EMQX; set != nil {
		plan.EMQXSpec = *set.DeepCopy()
	}
	if plan.Replicants > 0 && plan.LicenseSecretRef == nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.broker.emqx.replicants",
			"needs EMQX Enterprise, whose nodes of that role do not start without a licence: write 0, or name an Enterprise image and licenseSecretRef")
	}
	return plan
}

// deviceCAs gathers the CAs that are issued, in the order of their names.
func deviceCAs(s *Snapshot) []byte {
	ns := s.Platform.Namespace
	root := issuedCA(s, ns, SecretDevices)
	if len(root) == 0 {
		return nil
	}
	out := [][]byte{root}
	for _, name := range slices.Sorted(maps.Keys(s.Fleets)) {
		fleet, _ := s.Fleets.Get(name)
		if v := vendorCA(fleet); v != nil {
			out = append(out, bytes.TrimSpace([]byte(v.CABundle)))
		}
		for _, secret := range FleetCANames(fleet, s.Now) {
			if ca := issuedCA(s, ns, secret); len(ca) > 0 {
				out = append(out, ca)
			}
		}
	}
	return append(bytes.Join(out, []byte("\n")), '\n')
}

func issuedCA(s *Snapshot, namespace, secret string) []byte {
	return bytes.TrimSpace(s.Secrets[types.NamespacedName{Namespace: namespace, Name: secret}]["tls.crt"])
}
