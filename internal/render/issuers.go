package render

import (
	"net/url"
	"slices"
	"strconv"

	netac "k8s.io/client-go/applyconfigurations/networking/v1"
)

// toIssuers allows the OpenID Connect issuers of the platform by their ports alone, for their addresses are not known.
func (p platform) toIssuers() []*egress {
	var ports []int32
	for _, issuer := range p.Document.OIDC {
		port := int32(443)
		if u, err := url.Parse(issuer.Issuer); err == nil && u.Port() != "" {
			if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
				port = int32(n)
			}
		}
		ports = append(ports, port)
	}
	if len(ports) == 0 {
		return nil
	}
	slices.Sort(ports)
	rule := netac.NetworkPolicyEgressRule()
	for _, port := range slices.Compact(ports) {
		rule.WithPorts(tcp(port))
	}
	return []*egress{rule}
}
