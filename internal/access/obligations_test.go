package access

import (
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestDiffOfObligations: what the consumer must keep to is part of what is given, and less of it is wider.
func TestDiffOfObligations(t *testing.T) {
	side := func(noOnward bool, retention int64, clearance string) Side {
		return Side{Platform: "a/p", Access: contract.Access{
			Datasets: map[string]contract.Dataset{"d": {Sharing: "Conditional"}},
			Grants:   map[string]map[string]map[string]contract.Grant{"d": {"o": {"g": {NoOnward: noOnward, RetentionSeconds: retention}}}},
		}, Directory: contract.Directory{Organizations: map[string]contract.Organization{"o": {Clearance: clearance}}}}
	}
	for name, c := range map[string]struct {
		was, is Side
		axis    string
		effect  Effect
	}{
		"passing on allowed":   {side(true, 10, "C1"), side(false, 10, "C1"), "noOnward", Wider},
		"passing on forbidden": {side(false, 10, "C1"), side(true, 10, "C1"), "noOnward", Narrower},
		"kept longer":          {side(true, 10, "C1"), side(true, 20, "C1"), "retention", Wider},
		"kept for ever":        {side(true, 10, "C1"), side(true, 0, "C1"), "retention", Wider},
		"kept shorter":         {side(true, 0, "C1"), side(true, 20, "C1"), "retention", Narrower},
		"clearance raised":     {side(true, 10, ""), side(true, 10, "C2"), "clearance", Wider},
		"clearance lowered":    {side(true, 10, "C3"), side(true, 10, "C2"), "clearance", Narrower},
	} {
		if got := Diff(c.was, c.is); len(got) != 1 || got[0].Axis != c.axis || got[0].Effect != c.effect {
			t.Errorf("%s: %+v, want %s %s", name, got, c.axis, c.effect)
		}
	}
}
