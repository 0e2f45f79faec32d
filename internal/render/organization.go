package render

import (
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/internal/compile"
)

// Organization gives the certificates that the platform issues to an organisation, and their copies where the organisation
// finds them.
func Organization(platformNamespace string, owner compile.Owner, plan compile.OrganizationPlan) []Object {
	var out []Object
	for _, c := range plan.Certificates {
		out = append(out, organizationCertificate(platformNamespace, owner, c))
		if len(c.Issued) > 0 {
			out = append(out, secretCopy(c.CopyTo, owner, c.Issued))
		}
	}
	return out
}

// secretCopy gives a Secret with what cert-manager issued in another namespace or under another name.
func secretCopy(at types.NamespacedName, owner compile.Owner, data map[string][]byte) Object {
	return corev1ac.Secret(at.Name, at.Namespace).WithLabels(labels(owner, "")).WithType("kubernetes.io/tls").WithData(data)
}
