package compile

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// mapping gives a fleet's mapping, checked by the engine that will run it; nil where payloads have the profile's fields.
func mapping(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) *contract.Mapping {
	m := o.Spec.Mapping
	if m == nil {
		return nil
	}
	doc := &contract.Mapping{Device: m.Device, Time: m.Time, Fields: map[string]string{}}
	for _, f := range m.Fields {
		doc.Fields[f.Name] = f.Expression
	}
	profile, ok := fleetProfile(s, o)
	if !ok { // checkProfile has said so
		return doc
	}
	_, wrong := rules.NewMapping(*doc, profile)
	for _, w := range wrong {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidExpression, mappingPath(m, w.Field), w.Message)
	}
	return doc
}

// cloudLimit gives how many messages a minute the cloud of a fleet may send: what its devices may, added up.
func cloudLimit(o *v1alpha1.DeviceFleet, devices int) int32 {
	return int32(min(int64(o.Spec.Limits.MessagesPerMinute)*int64(max(1, devices)), math.MaxInt32))
}

// mappingPath gives the place in a DeviceFleet of a field of its mapping.
func mappingPath(m *v1alpha1.PayloadMapping, field string) string {
	name, one := strings.CutPrefix(field, "fields.")
	if !one {
		return "spec.mapping." + field
	}
	i := slices.IndexFunc(m.Fields, func(f v1alpha1.FieldMapping) bool { return f.Name == name })
	return fmt.Sprintf("spec.mapping.fields[%d].expression", i)
}

// fleetProfile gives the document of a fleet's profile, if there is a valid one.
func fleetProfile(s *Snapshot, o *v1alpha1.DeviceFleet) (contract.Profile, bool) {
	p, ok := s.Profiles.Get(o.Spec.ProfileRef.Name)
	if !ok {
		p = s.Catalog.Profiles[o.Spec.ProfileRef.Name]
	}
	if p == nil {
		return contract.Profile{}, false
	}
	plan, wrong := Profile(&Snapshot{}, p)
	return plan.Document, !wrong.Fatal()
}
