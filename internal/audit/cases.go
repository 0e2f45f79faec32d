package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// Ends of the names of the files by which one decision is made again by hand.
const (
	inputSuffix    = ".input.json"
	expectedSuffix = ".expected.json"
)

// byHand is a decision as files of an archive, for whoever decides again by hand.
type byHand struct{ input, expected []byte }

// handed says whether a line of an agreement goes along as files of its own, too.
func handed(l decisionlog.Line, uids []string) bool {
	return l.Kind == contract.LogDecision && l.V == contract.LogFormat && l.Said != nil && l.Said.Policy != nil && slices.Contains(uids, l.UID)
}

// byHandOf gives input and decision of a line, as its record has them, and the name of their files without the end. A request that was decided
// more than once has the last of its decisions there.
func byHandOf(l decisionlog.Line) (name string, out byHand, err error) {
	var said struct{ Input, Decision json.RawMessage }
	if err := json.Unmarshal(l.Record, &said); err != nil {
		return "", out, err
	}
	pretty := func(raw json.RawMessage) []byte {
		if len(raw) == 0 {
			return []byte("null\n")
		}
		var text bytes.Buffer
		err = errors.Join(err, json.Indent(&text, raw, "", "  "))
		return append(text.Bytes(), '\n')
	}
	out = byHand{pretty(said.Input), pretty(said.Decision)}
	return path.Join(ReplayDir, strings.ReplaceAll(l.Request, "/", "_")), out, err
}

// checkByHand holds the files for deciding by hand against the lines that an archive has: whoever decides again by them would else decide on something
// that was never asked. lines are those that are handed.
func checkByHand(fsys fs.FS, lines []decisionlog.Line) (problems []string, err error) {
	want := map[string][]byHand{}
	for _, l := range lines {
		name, files, err := byHandOf(l)
		if err != nil {
			return nil, fmt.Errorf("chain %s line %d: %w", l.Instance, l.Sequence, err)
		}
		want[name] = append(want[name], files)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		input, expected := some(fsys, name+inputSuffix), some(fsys, name+expectedSuffix)
		switch {
		case input == nil:
			problems = append(problems, name+inputSuffix+" is missing: the log has a decision of this request")
		case expected == nil:
			problems = append(problems, name+expectedSuffix+" is missing: the log has a decision of this request")
		case !slices.ContainsFunc(want[name], func(f byHand) bool { return bytes.Equal(f.input, input) }):
			problems = append(problems, name+inputSuffix+" is not what the log has as the input of this request")
		case !slices.ContainsFunc(want[name], func(f byHand) bool { return bytes.Equal(f.input, input) && bytes.Equal(f.expected, expected) }):
			problems = append(problems, name+expectedSuffix+" is not what the log has as the decision of this request")
		}
	}
	entries, err := fs.ReadDir(fsys, ReplayDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return problems, err
	}
	for _, e := range entries {
		name := path.Join(ReplayDir, e.Name())
		if want[strings.TrimSuffix(name, inputSuffix)] == nil && want[strings.TrimSuffix(name, expectedSuffix)] == nil {
			problems = append(problems, name+" is of no decision that the log has")
		}
	}
	return problems, nil
}

// some reads a file; nil where it cannot be read.
func some(fsys fs.FS, name string) []byte {
	raw, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil
	}
	return raw
}
