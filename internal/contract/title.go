package contract

import (
	"regexp"
	"slices"
)

var titlePart = regexp.MustCompile(`\$\{[^}]*\}?`)

// TitleParts names what may stand in the title of a scenario's cases as ${name}.
func TitleParts() []string { return []string{"community", "compound", "building", "device"} }

// UnknownInTitle gives what stands in a title as ${name} and is none of TitleParts.
func UnknownInTitle(title string) (out []string) {
	for _, part := range titlePart.FindAllString(title, -1) {
		if !slices.ContainsFunc(TitleParts(), func(name string) bool { return part == "${"+name+"}" }) {
			out = append(out, part)
		}
	}
	return out
}

// FillTitle fills in where the device of an alarm hangs: its community by the name that people read, its compound, its building, and its
// own id. What is not known is left empty. It holds no personal data.
func FillTitle(title string, d Directory, row Device, device string) string {
	community := d.Communities[row.Community].DisplayName
	if community == "" {
		community = row.Community
	}
	values := map[string]string{"${community}": community, "${compound}": row.Compound, "${building}": row.Building, "${device}": device}
	return titlePart.ReplaceAllStringFunc(title, func(part string) string {
		if v, ok := values[part]; ok {
			return v
		}
		return part
	})
}
