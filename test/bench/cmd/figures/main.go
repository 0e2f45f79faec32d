// Command figures turns the output of `go test -bench` into figures beside their targets: test/bench/out/NAME.json.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// promise is a target of docs/architecture, by the name of the figure.
type promise struct {
	target  float64
	atLeast bool
}

var promises = map[string]promise{
	"Evaluations evaluations/s": {300_000, true},
	"RuleMemory B/rule":         {5120, false},
	"KeyMemory dense-B/key":     {128, false},
	// A tick comes every second: one that takes longer makes alarms late, and so does one that passes over a key that is due.
	"AbsenceOfAMillion ms/tick":        {1000, false},
	"AbsenceOfAMillion ticks-to-alarm": {1, false},
	"AbsenceOfAMillion ms/1000-alarms": {1000, false},
	// To count must take milliseconds, and a message must not feel that a device is noted.
	"PresenceCount ns/op": {100e6, false},
	"PresenceHeard ns/op": {2000, false},
	// A decision's cost must not grow: time at the larger size over time at the smaller.
	"Decide growth": {1.3, false},
}

func main() {
	in, out := flag.String("in", "", "output of go test -bench"), flag.String("out", "", "JSON to write")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	figures, err := read(f)
	if err != nil {
		return err
	}
	if len(figures) == 0 {
		return errors.New(in + " holds no result of a benchmark")
	}
	for _, x := range figures {
		target := "no target"
		if x.Target != 0 {
			target = fmt.Sprintf("target %g, met: %t", x.Target, x.Met)
		}
		fmt.Printf("%-44s %14g %-14s %s\n", x.Name, x.Value, x.Unit, target)
	}
	return figure.Write(out, figures)
}

// result is a line such as "BenchmarkStep/10-2  100  12.5 ns/op  300 evaluations/s".
var result = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.+)$`)

// read gives a figure for each measured value, and the growth of benchmarks that run at two sizes.
func read(r io.Reader) ([]figure.Figure, error) {
	var figures []figure.Figure
	times := map[string][]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m := result.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		parts := strings.Fields(m[2])
		for i := 0; i+1 < len(parts); i += 2 {
			value, err := strconv.ParseFloat(parts[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", lines.Text(), err)
			}
			figures = append(figures, beside(m[1]+" "+parts[i+1], value, parts[i+1]))
			if base, _, sized := strings.Cut(m[1], "/"); sized && parts[i+1] == "ns/op" {
				times[base] = append(times[base], value)
			}
		}
	}
	for base, t := range times {
		if len(t) == 2 && t[0] > 0 {
			figures = append(figures, beside(base+" growth", t[1]/t[0], "ratio"))
		}
	}
	return figures, lines.Err()
}

func beside(name string, value float64, unit string) figure.Figure {
	p := promises[name]
	if p.atLeast {
		return figure.AtLeast(name, value, unit, p.target)
	}
	return figure.AtMost(name, value, unit, p.target)
}
