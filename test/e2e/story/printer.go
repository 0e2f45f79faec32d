package story

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// Printer shows the story as it happens.
type Printer struct {
	// Out is where it is written.
	Out io.Writer
	// Columns bounds the length of quoted output lines; 0 does not bound.
	Columns int
}

// Step opens step n of total.
func (p Printer) Step(n, total int, title string) {
	fmt.Fprintf(p.Out, "\n[%d/%d] %s\n", n, total, title)
}

// Shell shows a line as it stands, for what one command alone cannot say.
func (p Printer) Shell(line string) { fmt.Fprintf(p.Out, "      $ %s\n", line) }

// Command shows a command that is run, as a person could type it.
func (p Printer) Command(args ...string) { fmt.Fprintf(p.Out, "      $ %s\n", quote(args)) }

// Output quotes what a command printed, at most lines lines of it (0: all).
func (p Printer) Output(text string, lines int) {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range all {
		if lines > 0 && i == lines && len(all) > lines+1 {
			fmt.Fprintf(p.Out, "        … %d more lines\n", len(all)-lines)
			return
		}
		fmt.Fprintf(p.Out, "        %s\n", p.cut(line))
	}
}

// cut bounds a line, by characters.
func (p Printer) cut(line string) string {
	r := []rune(line)
	if p.Columns > 0 && len(r) > p.Columns {
		return string(r[:p.Columns-1]) + "…"
	}
	return line
}

// Seen says what was seen, and how long it took (0: no time is shown).
func (p Printer) Seen(took time.Duration, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if took > 0 {
		text += fmt.Sprintf("  (%s)", human(took))
	}
	fmt.Fprintf(p.Out, "      ✓ %s\n", text)
}

// Figure shows a measured figure beside its target.
func (p Printer) Figure(f figure.Figure) {
	mark, target := "✓", "no target"
	if f.Target > 0 {
		target = fmt.Sprintf("target %g %s", f.Target, f.Unit)
	}
	if !f.Met {
		mark = "!"
	}
	fmt.Fprintf(p.Out, "      %s %s: %g %s, %s\n", mark, f.Name, f.Value, f.Unit, target)
}

// End closes the story.
func (p Printer) End(took time.Duration) { fmt.Fprintf(p.Out, "\nAll of it held. %s\n", human(took)) }

// human rounds a duration to what a person reads.
func human(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// quote joins arguments as a shell reads them.
func quote(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n\"'$&|;<>(){}*?#~`\\") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
