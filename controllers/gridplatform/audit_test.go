package gridplatform

import (
	"testing"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

func TestWitnessed(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	report := func(age time.Duration, forked bool) []contract.Report {
		return []contract.Report{{Role: contract.RoleGateway, Instance: "dizuo-gateway-0", Audit: &contract.AuditReport{Sequence: 7,
			Witnesses: map[string]contract.WitnessReport{"court": {Sequence: 7, ReceivedAt: now.Add(-age), Forked: forked}}}}}
	}
	for name, c := range map[string]struct {
		reports   []contract.Report
		witnesses int
		reason    string
	}{
		"fresh":  {report(time.Minute, false), 1, v1alpha1.ReasonSucceeded},
		"old":    {report(2*time.Hour, false), 1, v1alpha1.ReasonNoWitness},
		"none":   {report(time.Minute, false), 0, v1alpha1.ReasonNoWitness},
		"forked": {report(time.Minute, true), 1, v1alpha1.ReasonWitnessForked},
	} {
		logs, got := witnessed(c.reports, c.witnesses, now)
		if got.Reason != c.reason || len(logs) != 1 || logs[0].Sequence != 7 || logs[0].WitnessedAt == nil {
			t.Errorf("%s: %+v %+v", name, got, logs)
		}
	}
}
