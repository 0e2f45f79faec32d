package gridplatform

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// TestIntegrationsInTheStatus: the newest report tells; who is silent keeps what was, and what left the spec goes.
func TestIntegrationsInTheStatus(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	o := &v1alpha1.GridPlatform{}
	o.Spec.Integrations = []v1alpha1.Integration{{Name: "hotline"}, {Name: "quiet"}, {Name: "new"}}
	o.Status.Integrations = []v1alpha1.IntegrationStatus{{Name: "gone", Inbound: 1}, {Name: "hotline", Inbound: 1}, {Name: "quiet", Outbound: 7}}
	told := func(n int64) map[string]contract.IntegrationReport {
		return map[string]contract.IntegrationReport{"hotline": {Received: n, Sent: n, Unreconciled: n, LastError: "the system answered 503"}}
	}
	reports := []contract.Report{
		{Role: contract.RoleGrid, At: now, Integrations: told(3)}, {Role: contract.RoleGrid, At: now.Add(-time.Minute), Integrations: told(2)},
		{Role: contract.RoleGrid, At: now.Add(time.Minute)}, {Role: contract.RoleAuth, At: now.Add(time.Hour), Integrations: told(9)},
	}
	want := []v1alpha1.IntegrationStatus{{Name: "hotline", Inbound: 3, Outbound: 3, Unreconciled: 3, LastError: "the system answered 503"}, {Name: "quiet", Outbound: 7}}
	if diff := cmp.Diff(want, integrations(reports, o)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]v1alpha1.IntegrationStatus{{Name: "hotline", Inbound: 1}, {Name: "quiet", Outbound: 7}}, integrations(nil, o)); diff != "" {
		t.Errorf("without a report: %s", diff)
	}
}
