package render

import (
	"strconv"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// Fleet gives the CA of a fleet and what its vendor needs, in the vendor's namespace.
func Fleet(platformNamespace string, owner compile.Owner, plan compile.FleetPlan) []Object {
	var out []Object
	if plan.CA != nil {
		out = append(out, fleetCA(platformNamespace, owner, *plan.CA))
		if len(plan.CA.Issued) > 0 {
			out = append(out, secretCopy(plan.CA.CopyTo, owner, plan.CA.Issued))
		}
	}
	for _, old := range plan.PreviousCAs {
		out = append(out, fleetCA(platformNamespace, owner, old))
	}
	c := plan.Connection
	if len(c.BrokerCA) == 0 {
		return out
	}
	data := map[string][]byte{"ca.crt": c.BrokerCA, "method": []byte(c.Method), "topicPrefix": []byte("dizuo/v1/d/" + c.Fleet + "/")}
	if c.Host != "" {
		data["host"], data["port"] = []byte(c.Host), []byte(strconv.Itoa(int(c.Port)))
	}
	device := "<device>"
	switch c.AccessMode {
	case "Gateway": // another fleet's devices connect
		data["method"] = []byte(c.AccessMode)
		device = ""
	case contract.AccessPlatform:
		device = contract.PlatformDevice
		data["topicUp"], data["topicDown"] = []byte(contract.PlatformTopic(c.Fleet, contract.PlatformUp)), []byte(contract.PlatformTopic(c.Fleet, contract.PlatformDown))
	}
	switch {
	case device == "":
	case c.Method == "Password":
		data["username"], data["clientID"] = []byte(c.Fleet+"."+device), []byte(c.Fleet+"_"+device)
	default:
		data["uriPrefix"], data["clientID"] = []byte(c.URIPrefix), []byte(c.Fleet+"_"+device)
	}
	if c.Messages != "" {
		data["messages"] = []byte(c.Messages)
	}
	return append(out, corev1ac.Secret(c.Secret.Name, c.Secret.Namespace).WithLabels(labels(owner, "")).WithData(data))
}
