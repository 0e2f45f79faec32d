package cli

import (
	"fmt"
	"io"
	"strings"
)

// printer writes a tree.
type printer struct {
	out io.Writer
	// columns of the terminal; 0 breaks no line.
	columns int
	colour  bool
}

var glyphs = map[Mark]struct{ sign, colour string }{
	MarkGood: {"✓ ", "32"}, MarkBusy: {"… ", "33"}, MarkBad: {"✗ ", "31"}, MarkInfo: {"", ""},
}

func (p printer) print(root *Node) { p.node(root, "", "") }

// node writes a line with its stem, and what stands below it. rest is the stem of further lines of the same text.
func (p printer) node(n *Node, stem, rest string) {
	below := rest
	if len(n.Children) > 0 {
		rest += "│ "
	}
	sign := glyphs[n.Mark]
	width := 0
	if p.columns > 0 {
		width = max(p.columns-wide.StringWidth(stem)-wide.StringWidth(sign.sign), 20)
	}
	for i, line := range wrap(n.Text, width) {
		if i > 0 {
			stem = rest
			sign.sign = strings.Repeat(" ", wide.StringWidth(sign.sign))
		}
		fmt.Fprintln(p.out, stem+p.paint(sign.sign, sign.colour)+line)
	}
	for i, c := range n.Children {
		if i == len(n.Children)-1 {
			p.node(c, below+"└─ ", below+"   ")
		} else {
			p.node(c, below+"├─ ", below+"│  ")
		}
	}
}

func (p printer) paint(text, colour string) string {
	if !p.colour || colour == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// wrap breaks a text into lines of at most so many columns, at spaces where there are any; 0 breaks nothing.
func wrap(text string, columns int) []string {
	text = strings.ReplaceAll(text, "\n", " ")
	if columns <= 0 {
		return []string{text}
	}
	var lines []string
	for wide.StringWidth(text) > columns {
		cut, width, space := 0, 0, 0
		for i, r := range text {
			if width += wide.RuneWidth(r); width > columns {
				break
			}
			if r == ' ' {
				space = i
			}
			cut = i + len(string(r))
		}
		if space > 0 {
			cut = space
		}
		lines = append(lines, text[:cut])
		text = strings.TrimLeft(text[cut:], " ")
	}
	return append(lines, text)
}
