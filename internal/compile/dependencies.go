package compile

import (
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// API groups of other projects.
const (
	GroupCertManager = "cert-manager.io"
)

// projects names who serves an API group, for messages.
var projects = map[string]string{GroupCertManager: "cert-manager"}

// requires asks for an API of another project, for a field or, where that is empty, for the whole object; use says what for.
func (c *problems) requires(s *Snapshot, group, field, use string) {
	if slices.Contains(s.MissingAPIs, group) {
		c.waiting(v1alpha1.ConditionDependenciesPresent, v1alpha1.ReasonMissingDependency, field,
			"the cluster does not serve the API group "+group+": install "+projects[group]+", "+use)
	}
}
