package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// printAs writes a value as JSON or YAML; ok is false for the format "", which each command prints in its own way.
func printAs(w io.Writer, format string, v any) (ok bool, err error) {
	switch format {
	case "":
		return false, nil
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return true, e.Encode(v)
	case "yaml":
		raw, err := yaml.Marshal(v)
		if err != nil {
			return true, err
		}
		_, err = w.Write(raw)
		return true, err
	}
	return true, checkFormat(format)
}

// checkFormat refuses what printAs cannot write, for commands that do something before they print.
func checkFormat(format string) error {
	if format == "" || format == "json" || format == "yaml" {
		return nil
	}
	return usage("-o %s: write json or yaml", format)
}

// table writes rows in columns, by the width that the terminal gives each character: Chinese ones take two places.
func table(w io.Writer, rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], wide.StringWidth(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-wide.StringWidth(cell)+3))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// wide measures text the same way in every locale, so that output does not depend on the environment.
var wide = &runewidth.Condition{EastAsianWidth: false}

// terminal says whether w is a terminal, and how wide.
func terminal(w io.Writer) (columns int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, true
	}
	return columns, true
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clock writes a time as people here read it.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
