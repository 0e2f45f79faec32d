package gridplatform

import (
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// integrations gives how the exchange with each system of the spec stands, as the newest report tells; without one, as the status said before.
func integrations(reports []contract.Report, o *v1alpha1.GridPlatform) []v1alpha1.IntegrationStatus {
	was := map[string]v1alpha1.IntegrationStatus{}
	for _, s := range o.Status.Integrations {
		was[s.Name] = s
	}
	var at time.Time
	var told map[string]contract.IntegrationReport
	for _, r := range reports {
		if r.Role == contract.RoleGrid && r.Integrations != nil && r.At.After(at) {
			at, told = r.At, r.Integrations
		}
	}
	var out []v1alpha1.IntegrationStatus
	for _, in := range o.Spec.Integrations {
		s, known := was[in.Name]
		if i, ok := told[in.Name]; ok {
			s, known = v1alpha1.IntegrationStatus{Name: in.Name, Inbound: i.Received, Outbound: i.Sent, Unreconciled: i.Unreconciled, LastError: i.LastError}, true
		}
		if known {
			out = append(out, s)
		}
	}
	return out
}
