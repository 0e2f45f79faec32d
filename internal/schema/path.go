package schema

import (
	"strconv"
	"strings"
)

// Step is one step of a Path: a key of a map, or an index of a list.
type Step struct {
	Key   string
	Index int
	// List is set for an index.
	List bool
}

// Path leads to a field of an object.
type Path []Step

// Child gives the path of a key below p.
func (p Path) Child(key string) Path { return append(p[:len(p):len(p)], Step{Key: key}) }

// Index gives the path of an element below p.
func (p Path) Index(i int) Path { return append(p[:len(p):len(p)], Step{Index: i, List: true}) }

// String writes the path as the API server does: "spec.datasets[0].name"; a key with a dot or a bracket stands in brackets.
func (p Path) String() string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.List:
			b.WriteString("[" + strconv.Itoa(s.Index) + "]")
		case strings.ContainsAny(s.Key, ".[]/"):
			b.WriteString("[" + s.Key + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.Key)
		}
	}
	return b.String()
}

// ParsePath reads what String wrote, and the paths in errors of the API server's validation.
func ParsePath(text string) Path {
	var p Path
	for text != "" {
		if text[0] == '[' {
			end := strings.IndexByte(text, ']')
			if end < 0 {
				return append(p, Step{Key: text})
			}
			if i, err := strconv.Atoi(text[1:end]); err == nil {
				p = append(p, Step{Index: i, List: true})
			} else {
				p = append(p, Step{Key: text[1:end]})
			}
			text = strings.TrimPrefix(text[end+1:], ".")
			continue
		}
		end := strings.IndexAny(text, ".[")
		if end < 0 {
			return append(p, Step{Key: text})
		}
		p = append(p, Step{Key: text[:end]})
		text = strings.TrimPrefix(text[end:], ".")
	}
	return p
}
