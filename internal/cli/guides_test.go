package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	// typedLine is a command line within a block of code, also where a shell takes what it prints; inProse is one within a sentence.
	typedLine = regexp.MustCompile(`(?:^\s*(?:\$ )?|\$\(|[|;&] )dizuo ([a-z].*)$`)
	inProse   = regexp.MustCompile("`dizuo ([a-z][^`]*)`")
	token     = regexp.MustCompile(`(?:[^\s"']|"[^"]*"|'[^']*')+`)
	// stops is what a shell takes to be no part of the command.
	stops = regexp.MustCompile(`^(\||\|\||&&?|;|#.*|2?>.*|<.*)$`)
	// bundles are the variables with flags that docs/guides/residents-rights.md has for all of its commands.
	bundles = map[string]bool{"$S": true, "$ME": true}
)

// shellWords splits a command line as a shell does, as far as guides need it. whole says that no variable of the guide stands for flags.
func shellWords(line string) (out []string, whole bool) {
	whole = true
	for _, w := range token.FindAllString(line, -1) {
		end := strings.HasSuffix(w, ")") && !strings.Contains(w, "(")
		w = strings.TrimSuffix(strings.NewReplacer(`"`, "", `'`, "").Replace(w), ")")
		switch {
		case stops.MatchString(w):
			return out, whole
		case bundles[w]:
			whole = false
		default:
			out = append(out, w)
		}
		if end {
			break
		}
	}
	return out, whole
}

// parses says what is wrong with a command line: a command or a flag that is not there, a value of another type, and of one that is to be typed
// arguments and flags that it must have.
func parses(args []string, complete bool) error {
	root := newRoot(&app{Streams: Streams{&bytes.Buffer{}, &bytes.Buffer{}, &bytes.Buffer{}}, env: func(string) string { return "" }})
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if !complete { // a sentence may leave out values: the flags count
		if cmd.HasSubCommands() && len(rest) > 0 && regexp.MustCompile(`^[a-z]`).MatchString(rest[0]) {
			return usage("%s has no command %s", cmd.CommandPath(), rest[0])
		}
		return flagsOf(cmd, rest)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if !cmd.Runnable() {
		return usage("%s is no command to run", cmd.CommandPath())
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return err
	}
	return cmd.ValidateFlagGroups()
}

// eachOf gives the command lines that a sentence means by `check|diff`.
func eachOf(args []string) [][]string {
	for i, a := range args {
		if strings.Contains(a, "|") {
			var out [][]string
			for one := range strings.SplitSeq(a, "|") {
				out = append(out, eachOf(slices.Concat(args[:i], []string{one}, args[i+1:]))...)
			}
			return out
		}
	}
	return [][]string{args}
}

func flagsOf(cmd *cobra.Command, args []string) error {
	for _, a := range args {
		name, ok := strings.CutPrefix(a, "--")
		if name, _, _ = strings.Cut(name, "="); ok && name != "help" && cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			return usage("%s has no flag --%s", cmd.CommandPath(), name)
		}
	}
	return nil
}

// TestGuidesParse: every command of the guides is one of this program, with its flags. What docs/design and docs/decisions say may be gone, or to come.
func TestGuidesParse(t *testing.T) {
	pages := []string{"../../README.md"}
	for _, pattern := range []string{"*.md", "guides/*.md", "kinds/*.md"} {
		found, err := filepath.Glob(filepath.Join("../../docs", pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	counted := map[string]int{}
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		code := false
		for n, line := range strings.Split(strings.ReplaceAll(string(raw), "\\\n", ""), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				code = !code
				continue
			}
			var lines [][]string
			if code {
				lines = typedLine.FindAllStringSubmatch(line, -1)
			} else {
				lines = inProse.FindAllStringSubmatch(line, -1)
			}
			for _, m := range lines {
				args, whole := shellWords(m[1])
				for _, one := range eachOf(args) {
					if err := parses(one, code && whole); err != nil {
						t.Errorf("%s, about line %d: dizuo %s: %v", page, n+1, m[1], err)
					}
				}
				if code {
					counted[filepath.Base(page)]++
				}
			}
		}
	}
	for page, least := range map[string]int{"audit.md": 8, "residents-rights.md": 12, "vendor.md": 6, "sharing-list.md": 6} {
		if counted[page] < least {
			t.Errorf("%s: %d commands are found, want %d at least", page, counted[page], least)
		}
	}
}

// TestGuidesParseFinds: what a guide may have wrong.
func TestGuidesParseFinds(t *testing.T) {
	for line, says := range map[string]string{
		"audit verify log --witnes x":                                   "unknown flag: --witnes",
		"audit fetch --dsn-file x":                                      `required flag(s) "out" not set`,
		"audit verify --trust x > out":                                  "accepts 1 arg(s), received 0",
		"audit check log":                                               "is no command to run",
		"audits verify log":                                             "unknown command",
		"audit verify log --retention year":                             "invalid argument",
		"audit witness --key k --dir d --trust t --tls-cert c":          "missing [tls-key]",
		`audit verify "my log" --trust 'a b.pem' | less # --none there`: "",
	} {
		args, _ := shellWords(line)
		if err := parses(args, true); says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", line, err, says)
		}
	}
	for line, says := range map[string]string{"audit verify --none": "has no flag --none", "audit check": "has no command check", "audit verify": "", "subject log": ""} {
		args, _ := shellWords(line)
		if err := parses(args, false); says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("in a sentence, %s: %v, want %q", line, err, says)
		}
	}
}
