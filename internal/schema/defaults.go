package schema

import (
	"maps"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// Default is a value that the schema filled in.
type Default struct {
	// Path such as "spec.broker.engine".
	Path string
	// Value as JSON has it.
	Value any
	// Doc is the first sentence of the field's description.
	Doc string
}

// taken lists the leaves that are in after and not in before.
func (k *Kind) taken(before, after map[string]any) []Default {
	return difference(nil, nil, before, after, k.structural)
}

func difference(list []Default, at Path, before, after any, s *structuralschema.Structural) []Default {
	switch now := after.(type) {
	case map[string]any:
		was, same := before.(map[string]any)
		if len(now) == 0 && !same {
			return append(list, Default{at.String(), now, doc(s)})
		}
		for _, key := range slices.Sorted(maps.Keys(now)) {
			list = difference(list, at.Child(key), was[key], now[key], property(s, key))
		}
	case []any:
		was, same := before.([]any)
		if !same {
			return append(list, Default{at.String(), now, doc(s)})
		}
		for i := range now { // defaulting never changes the length of a list
			list = difference(list, at.Index(i), was[i], now[i], items(s))
		}
	default:
		if before == nil && after != nil {
			return append(list, Default{at.String(), now, doc(s)})
		}
	}
	return list
}

func property(s *structuralschema.Structural, name string) *structuralschema.Structural {
	if s == nil {
		return nil
	}
	if p, ok := s.Properties[name]; ok {
		return &p
	}
	if s.AdditionalProperties != nil {
		return s.AdditionalProperties.Structural
	}
	return nil
}

func items(s *structuralschema.Structural) *structuralschema.Structural {
	if s == nil {
		return nil
	}
	return s.Items
}

// Doc gives the first sentence of the description of the field at a path; empty for a field that the schema does not have.
func (k *Kind) Doc(path string) string {
	s := k.structural
	for _, step := range ParsePath(path) {
		switch {
		case s == nil:
			return ""
		case step.List && s.Items != nil:
			s = s.Items
		default:
			s = property(s, step.Key)
		}
	}
	return doc(s)
}

func doc(s *structuralschema.Structural) string {
	if s == nil {
		return ""
	}
	return firstSentence(s.Description)
}

// firstSentence ends at a full stop before a space and a capital, so that "e.g. x" does not end it.
func firstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for i := 0; i+2 < len(text); i++ {
		if text[i] == '.' && text[i+1] == ' ' && (text[i+2] >= 'A' && text[i+2] <= 'Z' || text[i+2] == '`') {
			return text[:i]
		}
	}
	return strings.TrimSuffix(text, ".")
}
