package audit

import (
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// PolicyDir is the folder beside the lines of a log with the signed parts of bundles by which was decided.
const PolicyDir = "policy"

// Revision says which parts one revision of the bundle had, and what signed it. Its name follows from the revision: RevisionName.
type Revision struct {
	// Lease is a signed lease (compact JWS) that names the revision.
	Lease string         `json:"lease"`
	Index contract.Index `json:"index"`
}

// PartName gives the name of the file of a signed part: an OPA bundle.
func PartName(digest string) string { return strings.ReplaceAll(digest, ":", "-") + ".tar.gz" }

// RevisionName gives the name of the file of a Revision.
func RevisionName(revision string) string {
	return "revision-" + strings.ReplaceAll(revision, ":", "-") + ".json"
}
