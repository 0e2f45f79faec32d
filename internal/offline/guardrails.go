package offline

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// cityGuardrails takes the ConfigMaps with guardrails that the platform names from the files.
func (p *Platform) cityGuardrails(set *Set) {
	s := p.Snapshot
	s.CityGuardrails = map[string]map[string]string{}
	for _, ref := range s.Platform.Spec.Guardrails {
		o := set.object("ConfigMap", p.Object.GetNamespace(), ref.Name)
		if o == nil {
			p.Notes = append(p.Notes, fmt.Sprintf("ConfigMap %s: %s; its guardrails were not run", ref.Name, notInFiles))
			p.Missing = append(p.Missing, p.Notes[len(p.Notes)-1])
			continue
		}
		files := map[string]string{}
		if m, ok := o.Object.(*corev1.ConfigMap); ok {
			maps.Copy(files, m.Data)
		}
		s.CityGuardrails[ref.Name] = files
	}
}

// guardrails puts those guardrails in force that can be, and gives a finding for each ConfigMap that cannot.
func (p *Platform) guardrails(set *Set) []Finding {
	s := p.Snapshot
	s.Guardrails = map[string]map[string]string{}
	var out []Finding
	for _, ref := range s.Platform.Spec.Guardrails {
		files, there := s.CityGuardrails[ref.Name]
		if !there {
			continue // noted
		}
		o := set.object("ConfigMap", p.Object.GetNamespace(), ref.Name)
		why, refused := p.Plan.Guardrails.Refused[ref.Name]
		if !refused {
			s.Guardrails[ref.Name] = files
		} else {
			out = append(out, o.refused(why))
		}
		if _, labelled := o.GetLabels()[compile.LabelGuardrails]; !labelled {
			out = append(out, o.finding("metadata.labels", "ConfigMaps with guardrails are watched by label; write "+compile.LabelGuardrails+`: "true"`, v1alpha1.ReasonGuardrailInvalid))
		}
	}
	return out
}

// regoPlace finds file and line in what is said of a ConfigMap's Rego.
var regoPlace = regexp.MustCompile(`/([-._A-Za-z0-9]+\.rego):([0-9]+)`)

// refused gives a finding about a ConfigMap at the line of the Rego, where the message names one.
func (o *Object) refused(why string) Finding {
	f := o.finding("data", why, v1alpha1.ReasonGuardrailInvalid)
	if at := regoPlace.FindStringSubmatch(why); at != nil {
		line, _ := strconv.Atoi(at[2]) // digits by the expression
		f.File, f.Line = o.textAt("data", at[1], line)
	}
	return f
}
