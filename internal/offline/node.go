package offline

import (
	yaml "go.yaml.in/yaml/v3"

	"github.com/dizuo/dizuo/internal/schema"
)

// locate gives the line, in the text that root was parsed from, of the field at a path: of its key in a map, of the element
// in a list. For a field that is not there it is the line of the nearest one above it, for that is where to write it.
func locate(root *yaml.Node, path schema.Path) int {
	line := 1
	if root != nil {
		line = root.Line
	}
	for _, step := range path {
		next, at := child(root, step)
		if next == nil {
			return line
		}
		root, line = next, at
	}
	return line
}

// child gives the node of one step, and the line at which a person finds it.
func child(n *yaml.Node, step schema.Step) (*yaml.Node, int) {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n == nil:
		return nil, 0
	case step.List && n.Kind == yaml.SequenceNode && step.Index < len(n.Content):
		return n.Content[step.Index], n.Content[step.Index].Line
	case !step.List && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step.Key {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	}
	return nil, 0
}

// find gives the node at a path, or nil.
func find(root *yaml.Node, path schema.Path) *yaml.Node {
	for _, step := range path {
		root, _ = child(root, step)
	}
	return root
}

// pathOf gives the path of a field by its text.
func pathOf(text string) schema.Path { return schema.ParsePath(text) }
