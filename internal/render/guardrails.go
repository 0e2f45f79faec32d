package render

import (
	"encoding/json"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/internal/compile"
)

// guardrails keeps the accepted guardrails of the city's own, also where it has none: then it is known that nothing was accepted
// before. It is written before anything uses them.
func (p platform) guardrails() []Object {
	if p.Guardrails.Accepted == nil {
		return nil
	}
	data := map[string]string{}
	for name, files := range p.Guardrails.Accepted {
		text, err := json.Marshal(files)
		if err != nil {
			panic(err) // a map of strings
		}
		data[name] = string(text)
	}
	return []Object{corev1ac.ConfigMap(compile.ConfigMapGuardrails, p.Namespace).WithLabels(labels(p.owner, "")).WithData(data)}
}
