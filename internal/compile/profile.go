package compile

import (
	"fmt"
	"strconv"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// missedHeartbeats is what nodes take where a profile says nothing; it stays unsaid.
const missedHeartbeats = 3

// ProfilePlan is what a DeviceProfile becomes.
type ProfilePlan struct{ Document contract.Profile }

// Profile compiles a DeviceProfile of s.Platform, or of the catalogue when s.Platform is nil.
func Profile(s *Snapshot, o *v1alpha1.DeviceProfile) (ProfilePlan, Problems) {
	var c problems
	claimName(&c, o, s.Profiles)
	doc := contract.Profile{Fields: map[string]contract.Field{}, HeartbeatSeconds: int64(o.Spec.Heartbeat.Seconds())}
	if o.Spec.MissedHeartbeats != missedHeartbeats {
		doc.MissedHeartbeats = o.Spec.MissedHeartbeats
	}
	for i, f := range o.Spec.Fields {
		at := fmt.Sprintf("spec.fields[%d]", i)
		doc.Fields[f.Name] = contract.Field{
			Type: string(f.Type), Unit: f.Unit, Enum: f.Enum, Required: f.Required != nil && *f.Required,
			Min: bound(&c, at+".min", f.Min), Max: bound(&c, at+".max", f.Max),
		}
		if f := doc.Fields[f.Name]; f.Min != nil && f.Max != nil && *f.Min > *f.Max {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, at+".min", "is greater than max; swap them")
		}
	}
	return ProfilePlan{doc}, c.list
}

func bound(c *problems, field, text string) *float64 {
	if text == "" {
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, field, fmt.Sprintf("%q is not a number", text))
		return nil
	}
	return &v
}
