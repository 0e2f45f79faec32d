package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
)

// mapping gives a fleet's mapping, checked by the engine that will run it; nil where payloads have the profile's fields.
func mapping(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) *contract.Mapping {
	m := o.Spec.Mapping
	if o.Spec.AccessMode == v1alpha1.AccessPlatform && (m == nil || m.Device == "") {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.mapping.device",
			"one connection speaks for all devices: write the expression that gives the device's id from the payload, such as payload.imei")
	}
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
