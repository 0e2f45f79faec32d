package gridplatform

import (
	"strings"
	"testing"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/status"
)

// A gateway from before the bundle refuses every read, although its pod is ready: the platform says so and what to do.
func TestGatewaysTellWhatTheyEnforce(t *testing.T) {
	pods := status.True(v1alpha1.ConditionGatewayReady, v1alpha1.ReasonSucceeded, "1 of 1 pods ready")
	gateway := func(version int) contract.Report {
		return contract.Report{Role: contract.RoleGateway, Instance: "dizuo-gateway-0", Contract: version}
	}
	older := contract.Report{Role: contract.RoleGrid, Instance: "dizuo-grid-0"} // enforces nothing of it
	for name, reports := range map[string][]contract.Report{
		"no report": nil, "of today": {gateway(contract.ContractVersion), older}, "newer": {gateway(contract.ContractVersion + 1)},
	} {
		if got := gateways(reports, pods); got != pods {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, version := range map[string]int{"from before it was told": 0, "one less": contract.ContractVersion - 1} {
		got := gateways([]contract.Report{gateway(contract.ContractVersion), gateway(version)}, pods)
		if got.Status != "False" || got.Reason != "GatewayOutdated" || got.Type != "GatewayReady" || !strings.Contains(got.Message, "spec.images.node") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
