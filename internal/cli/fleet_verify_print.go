package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dizuo/dizuo/internal/fleetverify"
)

// verifyColumns is the width of a printed report: what fits a page and a terminal.
const verifyColumns = 100

// printVerification writes a report for people: its head, then the checks by group, what is wrong with samples, and the sum.
func printVerification(w io.Writer, r *fleetverify.Report, l fleetverify.Language) {
	facts := r.Facts(l)
	width := 0
	for _, f := range facts {
		width = max(width, wide.StringWidth(f.Name))
	}
	for _, f := range facts {
		hang(w, pad(f.Name, width)+"  ", f.Value)
	}
	var group fleetverify.Group
	for _, c := range r.Checks {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(w, "\n%s\n", group.Title(l))
		}
		hang(w, "  "+pad(c.Result.Word(l), 10)+"  "+pad(c.ID, 28)+"  ", c.Title.In(l))
		if c.Result != fleetverify.Passed {
			hang(w, strings.Repeat(" ", 14), c.Evidence.In(l))
			if c.Action != nil {
				hang(w, strings.Repeat(" ", 12)+"> ", c.Action.In(l))
			}
		}
	}
	printProblems(w, r, l)
	fmt.Fprintln(w)
	hang(w, "", r.Summary().In(l))
}

// maxPrinted bounds the problems of samples in a printed report; the documents have more.
const maxPrinted = 20

func printProblems(w io.Writer, r *fleetverify.Report, l fleetverify.Language) {
	if len(r.Problems) > 0 {
		fmt.Fprintln(w)
	}
	for i, p := range r.Problems {
		if i == maxPrinted {
			fmt.Fprintf(w, "  ... %d\n", len(r.Problems)-maxPrinted+r.Omitted)
			break
		}
		hang(w, "  "+p.Sample+"  ", p.Message.In(l))
	}
	if len(r.Units) == 0 {
		return
	}
	fmt.Fprintln(w)
	for _, u := range r.Units {
		hang(w, "  "+pad(u.Field, 16)+"  "+pad(u.Declared(), 24)+"  "+pad(u.Seen(), 20)+"  ", u.Note(l))
	}
}

// pad fills a text up to a width that the terminal sees.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-wide.StringWidth(text)))
}

// hang writes a text after a head, and further lines of it below its begin.
func hang(w io.Writer, head, text string) {
	indent := wide.StringWidth(head)
	for i, line := range wrap(text, max(verifyColumns-indent, 30)) {
		if i > 0 {
			head = strings.Repeat(" ", indent)
		}
		fmt.Fprintln(w, strings.TrimRight(head+line, " "))
	}
}

// writeReports writes the documents; the ending of each says its form.
func writeReports(paths []string, r *fleetverify.Report, l fleetverify.Language) error {
	for _, path := range paths {
		var b bytes.Buffer
		var err error
		switch filepath.Ext(path) {
		case ".html":
			err = r.HTML(&b, l)
		case ".md":
			err = r.Markdown(&b, l)
		default:
			_, err = printAs(&b, "json", r)
		}
		if err == nil {
			err = os.WriteFile(path, b.Bytes(), 0o644)
		}
		if err != nil {
			return fmt.Errorf("--out %s: %w", path, err)
		}
	}
	return nil
}
