package grid

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// TestRaisedRespondersByTheirSeverity: of those whom a raise calls in addition, one with a severity of its own is called only to a case that is
// that grave.
func TestRaisedRespondersByTheirSeverity(t *testing.T) {
	b := testBundle("https://example.test", "")
	s := b.Rules.Scenarios["s10"]
	s.Raise = []contract.Raise{
		{Name: "more", Severity: contract.SeverityHigh, Responders: []contract.Responder{{Post: "GridWorker"}, {Duty: "fire", MinSeverity: contract.SeverityCritical}}},
		{Name: "other", Severity: contract.SeverityCritical, Responders: []contract.Responder{{Duty: "water"}}},
	}
	b.Rules.Scenarios["s10"] = s
	for severity, want := range map[contract.Severity][]string{contract.SeverityHigh: nil, contract.SeverityCritical: {"fire-xinxiang"}} {
		c := &Case{Community: "jinghu", Grid: "g1", Severity: severity}
		who := respond(b.Directory, c, graverResponders(b, rules.Event{Scenario: "s10", With: []string{"more"}}))
		if !cmp.Equal(who.Organizations, want) || !cmp.Equal(who.Posts, []string{"GridWorker"}) {
			t.Errorf("%s: %+v, want posts [GridWorker] and organisations %v", severity, who, want)
		}
	}
}
