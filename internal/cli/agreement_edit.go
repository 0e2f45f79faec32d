package cli

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/offline"
)

// setApproval writes an approval into the text of a file, in place of one by the same approver or behind the others. It
// works on lines, so that comments, order and layout stay; afterwards it reads the text again and gives an error unless
// exactly that approval has changed.
func setApproval(raw []byte, doc offline.Document, entry v1alpha1.Approval) ([]byte, error) {
	line := func() string {
		return fmt.Sprintf("- {organization: %s, approver: %s, signature: %s}", plain(entry.Organization), plain(entry.Approver), plain(entry.Signature))
	}()
	e := editor{lines: strings.Split(string(raw), "\n"), offset: doc.Offset}
	if err := e.approve(doc.Node, entry, line); err != nil {
		return nil, fmt.Errorf("%w; put it there yourself:\n%s", err, line)
	}
	out := []byte(strings.Join(e.lines, "\n"))
	if err := changedOnly(raw, out, doc, entry); err != nil {
		return nil, fmt.Errorf("%w; nothing was written, put it there yourself:\n%s", err, line)
	}
	return out, nil
}

// plain gives a string as YAML, quoted where it would read as something else.
func plain(s string) string {
	raw, err := sigsyaml.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return strings.TrimSpace(string(raw))
}

// editor changes lines of a file. Line numbers of nodes count from 1 within the document, which begins after offset lines.
type editor struct {
	lines  []string
	offset int
}

// at gives the index in lines of a node's line.
func (e *editor) at(line int) int { return e.offset + line - 1 }

func (e *editor) approve(root *yaml.Node, entry v1alpha1.Approval, line string) error {
	_, spec := pair(root, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode || spec.Style&yaml.FlowStyle != 0 || len(spec.Content) == 0 {
		return errors.New("spec is not written in lines of its own")
	}
	indent := strings.Repeat(" ", spec.Content[0].Column-1)
	key, list := pair(spec, "approvals")
	switch {
	case key == nil:
		e.insert(e.endOfBlock(spec), indent+"approvals:", indent+"  "+line)
	case list.Kind == yaml.SequenceNode && len(list.Content) > 0 && list.Style&yaml.FlowStyle == 0:
		e.replaceOrAppend(list, entry, strings.Repeat(" ", list.Column-1)+line)
	case len(list.Content) == 0 && list.Line == key.Line && (list.Kind == yaml.SequenceNode || list.Tag == "!!null"):
		i := e.at(key.Line)
		head, comment, _ := strings.Cut(e.lines[i], "#")
		head = head[:strings.Index(head, ":")+1]
		if comment != "" {
			head += " #" + comment
		}
		e.lines[i] = head
		e.insert(i+1, indent+"  "+line)
	default:
		return errors.New("spec.approvals is not a list with a line for each entry")
	}
	return nil
}

// pair gives key and value of a mapping.
func pair(m *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; m != nil && i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

func (e *editor) insert(i int, lines ...string) {
	if i > 0 && strings.HasSuffix(e.lines[i-1], "\r") {
		for j := range lines {
			lines[j] += "\r"
		}
	}
	if i == len(e.lines) { // the file does not end in a line break
		lines = append(lines, "")
	}
	e.lines = slices.Insert(e.lines, i, lines...)
}

// endOfBlock gives the index behind the last line of a block: the next line with content that is indented less ends it.
func (e *editor) endOfBlock(block *yaml.Node) int {
	indent := block.Content[0].Column - 1
	last := e.at(block.Content[0].Line)
	for i := last; i < len(e.lines); i++ {
		text := strings.TrimRight(e.lines[i], " \t\r")
		content := strings.TrimLeft(text, " ")
		if content == "" {
			continue
		}
		if len(text)-len(content) < indent {
			break
		}
		last = i
	}
	return last + 1
}

// replaceOrAppend puts the line in the place of the entry of the same approver, or behind the last one.
func (e *editor) replaceOrAppend(list *yaml.Node, entry v1alpha1.Approval, line string) {
	for _, item := range list.Content {
		_, organization := pair(item, "organization")
		_, approver := pair(item, "approver")
		if organization != nil && approver != nil && organization.Value == entry.Organization && approver.Value == entry.Approver {
			from, to := e.at(item.Line), e.at(lastLine(item))+1
			e.lines = slices.Delete(e.lines, from, to)
			e.insert(from, line)
			return
		}
	}
	e.insert(e.at(lastLine(list))+1, line)
}

// lastLine gives the last line on which a node or one below it begins. Entries of approvals are scalars on one line.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

// changedOnly checks that the edited text says what the text before said, but for the approval.
func changedOnly(before, after []byte, doc offline.Document, entry v1alpha1.Approval) error {
	was, wrong := offline.Parse(doc.File, before)
	is, bad := offline.Parse(doc.File, after)
	if len(wrong) != len(bad) || len(was) != len(is) {
		return errors.New("the file could not be read after the change")
	}
	for i := range was {
		if !reflect.DeepEqual(was[i].Node.Line+was[i].Offset, doc.Node.Line+doc.Offset) {
			if !reflect.DeepEqual(was[i].Object, is[i].Object) {
				return errors.New("the change would reach into another object")
			}
			continue
		}
		want := runtime.DeepCopyJSON(was[i].Object)
		spec, _ := want["spec"].(map[string]any)
		list, _ := spec["approvals"].([]any)
		spec["approvals"] = withApproval(list, entry)
		if !reflect.DeepEqual(want, is[i].Object) {
			return errors.New("the change would reach beyond spec.approvals")
		}
	}
	return nil
}

func withApproval(list []any, entry v1alpha1.Approval) []any {
	item := map[string]any{"organization": entry.Organization, "approver": entry.Approver, "signature": entry.Signature}
	for i, old := range list {
		m, ok := old.(map[string]any)
		if ok && m["organization"] == entry.Organization && m["approver"] == entry.Approver {
			list[i] = item
			return list
		}
	}
	return append(list, item)
}
