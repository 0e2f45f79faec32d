package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fileName is the name of a file in the sentence before a block that holds it.
var fileName = regexp.MustCompile("`([a-z0-9.-]+\\.(?:yaml|ndjson))`")

// guideBlock is a block of code of a page, with the line where it begins, its language and the prose between it and the block before.
type guideBlock struct {
	line                 int
	language, text, said string
}

func blocksOf(page string) (out []guideBlock) {
	code, b := false, guideBlock{}
	for n, line := range strings.SplitAfter(page, "\n") {
		language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && code:
			out, b = append(out, b), guideBlock{}
			code = false
		case fence:
			b.line, b.language, code = n+2, language, true
		case code:
			b.text += line
		default:
			b.said += line
		}
	}
	return out
}

// TestScenariosGuideRuns: whoever types what docs/scenarios.md shows sees what it shows.
func TestScenariosGuideRuns(t *testing.T) {
	raw, err := os.ReadFile("../../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	config, err := filepath.Abs("../../config")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(config, "config"); err != nil {
		t.Fatal(err)
	}
	runGuide(t, string(raw), map[string]int{"files": 4, "commands": 8, "outputs": 2})
}

// runGuide writes the files of a page, runs its commands, and compares what they print with the block that follows them at once. least is what must be there
// of each.
func runGuide(t *testing.T, page string, least map[string]int) {
	t.Helper()
	found, printed := map[string]int{}, ""
	command := func(line int, typed string) {
		found["commands"]++
		args, whole := shellWords(typed)
		r := run(t, "", args...)
		if r.code != 0 || !whole {
			t.Errorf("about line %d: dizuo %s ends with %d: %s%s", line, typed, r.code, r.err, r.out)
		}
		printed = r.out
		if _, file, kept := strings.Cut(typed, " > "); kept {
			if err := os.WriteFile(strings.TrimSpace(file), []byte(r.out), 0o600); err != nil {
				t.Fatal(err)
			}
			printed = ""
		}
	}
	for _, b := range blocksOf(page) {
		names := fileName.FindAllStringSubmatch(b.said, -1)
		switch {
		case b.language == "sh":
			for _, line := range strings.Split(strings.ReplaceAll(b.text, "\\\n", ""), "\n") {
				if m := typedLine.FindStringSubmatch(line); m != nil {
					command(b.line, m[1])
				}
			}
		case strings.TrimSpace(b.said) == "":
			found["outputs"]++
			if diff := cmp.Diff(b.text, printed); diff != "" {
				t.Errorf("line %d: -shown +printed:\n%s", b.line, diff)
			}
		case len(names) > 0:
			found["files"]++
			if err := os.WriteFile(names[len(names)-1][1], []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, m := range inProse.FindAllStringSubmatch(page, -1) {
		if args, _ := shellWords(m[1]); args[0] == "lint" {
			command(0, m[1])
		}
	}
	for what, n := range least {
		if found[what] < n {
			t.Errorf("%d %s are found, want %d at least", found[what], what, n)
		}
	}
}
