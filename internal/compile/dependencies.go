package compile

import (
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// API groups of other projects.
const (
	GroupCertManager   = "cert-manager.io"
	GroupCloudNativePG = "postgresql.cnpg.io"
	GroupPrometheus    = "monitoring.coreos.com"
	GroupBarman        = "barmancloud.cnpg.io"
	GroupEMQX          = "apps.emqx.io"
)

// projects names who serves an API group, for messages.
var projects = map[string]string{GroupCertManager: "cert-manager", GroupCloudNativePG: "CloudNativePG", GroupPrometheus: "prometheus-operator",
	GroupEMQX: "emqx-operator"}

// requires asks for an API of another project, for a field or, where that is empty, for the whole object; use says what for.
func (c *problems) requires(s *Snapshot, group, field, use string) {
	if slices.Contains(s.MissingAPIs, group) {
		c.missing(group, field, use, false)
	}
}

// missing tells of an API that is not served; partial where the rest of the object does without it.
func (c *problems) missing(group, field, use string, partial bool) {
	c.list = append(c.list, Problem{Condition: v1alpha1.ConditionDependenciesPresent, Reason: v1alpha1.ReasonMissingDependency, Field: field,
		Message: "the cluster does not serve the API group " + group + ": install " + projects[group] + ", " + use, Waiting: true, Partial: partial})
}
