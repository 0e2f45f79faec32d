package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// worldFile is a world as testdata has it.
type worldFile struct {
	Platform      v1alpha1.GridPlatform           `json:"platform"`
	Communities   []v1alpha1.Community            `json:"communities"`
	Organizations []v1alpha1.Organization         `json:"organizations"`
	Fleets        []v1alpha1.DeviceFleet          `json:"fleets"`
	Agreements    []v1alpha1.DataSharingAgreement `json:"agreements"`
	Unreadable    []string                        `json:"unreadable"`
}

func readWorld(t *testing.T, path string) world {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f worldFile
	if err := yaml.UnmarshalStrict(raw, &f); err != nil {
		t.Fatal(err)
	}
	return world{platform: f.Platform, communities: f.Communities, organizations: f.Organizations, fleets: f.Fleets, agreements: f.Agreements, unreadable: f.Unreadable}
}

// A new case is two files: <name>.in.yaml and, by -update, <name>.out.txt.
func TestStatusTree(t *testing.T) {
	inputs, err := filepath.Glob("testdata/status/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal(inputs, err)
	}
	for _, in := range inputs {
		name := strings.TrimSuffix(filepath.Base(in), ".in.yaml")
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, w := range []words{{english}, {chinese}} {
				s := tree(readWorld(t, in), at, w)
				if s.Ready != (name == "ready") || s.Ready != (s.Blocker == "") {
					t.Errorf("ready %v, blocker %q", s.Ready, s.Blocker)
				}
				printer{out: &b}.print(s.Tree)
				b.WriteString("\n")
			}
			golden(t, "status/"+name+".out.txt", b.String())
		})
	}
}

// Every phrase must be there in both languages, with the same verbs: a missing one would print %!s.
func TestPhrases(t *testing.T) {
	for key, p := range phrases {
		if p[english] == "" || p[chinese] == "" {
			t.Errorf("%s: lacks a language", key)
		}
		if strings.Count(p[english], "%") != strings.Count(p[chinese], "%") {
			t.Errorf("%s: the languages take different arguments", key)
		}
	}
}

func TestLanguage(t *testing.T) {
	for _, c := range []struct {
		flag string
		env  map[string]string
		want int
	}{
		{"", nil, english},
		{"", map[string]string{"LANG": "zh_CN.UTF-8"}, chinese},
		{"", map[string]string{"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, english},
		{"en", map[string]string{"LANG": "zh_CN.UTF-8"}, english},
		{"zh", nil, chinese},
	} {
		a := &app{env: func(name string) string { return c.env[name] }}
		w, err := a.words(c.flag)
		if err != nil || w.index != c.want {
			t.Errorf("%q %v: got %d, %v", c.flag, c.env, w.index, err)
		}
	}
	if _, err := (&app{}).words("fr"); err == nil {
		t.Error("an unknown language must be refused")
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text string
		at   int
		want string
	}{
		{"short", 20, "short"},
		{"one two three four", 9, "one two|three|four"},
		{"社区平台就绪", 5, "社区|平台|就绪"},
		{"averyverylongword", 5, "avery|veryl|ongwo|rd"},
		{"unbounded text", 0, "unbounded text"},
	} {
		if got := strings.Join(wrap(c.text, c.at), "|"); got != c.want {
			t.Errorf("%q at %d: got %q, want %q", c.text, c.at, got, c.want)
		}
	}
}

// On a terminal no line may be wider than it is, and nothing may be lost.
func TestTreeFitsTheTerminal(t *testing.T) {
	s := tree(readWorld(t, "testdata/status/blocked.in.yaml"), at, words{chinese})
	var b strings.Builder
	printer{out: &b, columns: 40}.print(s.Tree)
	for _, line := range strings.Split(b.String(), "\n") {
		if wide.StringWidth(line) > 40 {
			t.Errorf("%d columns: %s", wide.StringWidth(line), line)
		}
	}
	if !strings.Contains(b.String(), "│") || strings.Contains(b.String(), "\x1b") {
		t.Error("stems are missing, or there is colour without being asked")
	}
	b.Reset()
	printer{out: &b, columns: 24}.print(&Node{Text: strings.Repeat("word ", 8), Children: []*Node{{Text: "below"}}})
	if lines := strings.Split(b.String(), "\n"); !strings.HasPrefix(lines[1], "│ word") {
		t.Errorf("a broken line must not cut the stem of what stands below:\n%s", b.String())
	}
	b.Reset()
	printer{out: &b, colour: true}.print(s.Tree)
	if !strings.Contains(b.String(), "\x1b[31m✗") {
		t.Error("no colour")
	}
}

func TestTableOfChinese(t *testing.T) {
	var b strings.Builder
	if err := table(&b, [][]string{{"A", "B"}, {"社区", "x"}, {"abcdef", "y"}}); err != nil {
		t.Fatal(err)
	}
	if want := "A        B\n社区     x\nabcdef   y\n"; b.String() != want {
		t.Errorf("got:\n%swant:\n%s", b.String(), want)
	}
}
