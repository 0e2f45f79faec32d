package decisionlog

import (
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// SubjectsDir is the folder beside the lines with lists of subjects.
const SubjectsDir = "subjects"

// ListName gives the name of the file of a list.
func ListName(digest string) string { return strings.ReplaceAll(digest, ":", "-") }

// ListOf gives the list of some subjects and the bytes of its file: one a line, sorted, without repeats.
func ListOf(subjects []string) (contract.SubjectList, []byte) {
	sorted := slices.Compact(slices.Sorted(slices.Values(subjects)))
	raw := []byte(strings.Join(sorted, "\n") + "\n")
	return contract.SubjectList{Digest: contract.Digest(raw), Count: int64(len(sorted))}, raw
}
