package compile

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// Endings of the keys of an inventory Secret that are read, in the order of their names; other keys are left alone.
const (
	inventorySuffix     = ".csv"
	inventorySuffixGzip = ".csv.gz"
)

// MaxSecretBytes is how much an inventory Secret should hold at most, all keys together: the API server refuses one of 1 MiB, and counts
// what stands beside the data.
const MaxSecretBytes = 900 << 10

// Bounds of the inventory of one fleet, so that no vendor's Secret fills the memory that all platforms share: a few hundred
// bytes of gzip may hold a quarter of a million rows.
const (
	// maxInventoryBytes of CSV are read, unpacked.
	maxInventoryBytes = 64 << 20
	// maxRows are read, rejected ones included.
	maxRows = 250_000
	// maxSource characters say where a row is: the status takes no more, and names of 253 would be.
	maxSource = 512
	// maxKept rejections are kept; they are all counted.
	maxKept = 1_000
	// maxColumns of a CSV, and maxCell bytes of a value.
	maxColumns = 64
	maxCell    = 256
	// maxRecord bytes may stand between two rows: a row of nothing but commas takes forty times its size while it is read.
	maxRecord = 256 << 10
)

// inventory reads the rows of a fleet, one at a time, within its bounds.
type inventory struct {
	// take gets each row, also what could not be read, and says what is wrong with it, or nothing.
	take func(*row) fault
	// tell gets every rejection, also those that are not kept; nil where nobody asks.
	tell func(v1alpha1.RejectedRow)

	rejected []v1alpha1.RejectedRow // the first maxKept
	counts   map[v1alpha1.RowCode]int32
	refused  int
	total    int
	bytes    int64 // that were read
	ended    bool  // a bound was reached: nothing more is read
}

func newInventory(take func(*row) fault) *inventory {
	return &inventory{take: take, counts: map[v1alpha1.RowCode]int32{}}
}

// fault says what is wrong with a row and what to write, without its content. The zero fault is a good row.
type fault struct {
	code   v1alpha1.RowCode
	reason string
}

func malformed(format string, args ...any) fault {
	return fault{v1alpha1.RowMalformed, fmt.Sprintf(format, args...)}
}

var (
	tooLarge    = fault{v1alpha1.RowLimitExceeded, errTooLarge.Error()}
	tooManyRows = fault{v1alpha1.RowLimitExceeded, fmt.Sprintf("the fleet's inventory has more than %d rows; split the fleet", maxRows)}
)

// sources gives what the rows of a fleet stand in, in the order in which they are read: inline rows first, then the Secrets in order, then
// the artefact. What is not there is left out, and the problems tell of it.
func sources(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) []*Source {
	from := o.Spec.Inventory
	if from == nil {
		return nil
	}
	var out []*Source
	if len(from.Rows) > 0 {
		out = append(out, sourceOfRows(from.Rows))
	}
	for i, ref := range from.Secrets {
		if parsed := s.Inventories[types.NamespacedName{Namespace: o.Namespace, Name: ref.Name}]; parsed != nil {
			out = append(out, parsed)
		} else if data := secret(c, s, o.Namespace, ref.Name, fmt.Sprintf("spec.inventory.secrets[%d].name", i)); data != nil && !Full(out) {
			out = append(out, SourceOfSecret(ref.Name, data))
		}
	}
	if from.Artifact != nil {
		if a := artifact(c, s, o); a.Source != nil {
			out = append(out, a.Source)
		} else if a.Data != nil && !Full(out) {
			out = append(out, SourceOfArtifact(a.Data))
		}
	}
	return out
}

// Full reports whether the inventory of a fleet reaches its bounds with these sources: what comes after them is not read.
func Full(sources []*Source) bool {
	rows, bytes := 0, int64(0)
	for _, s := range sources {
		rows, bytes = rows+s.count, bytes+s.bytes
	}
	return rows > maxRows || bytes > maxInventoryBytes
}

// sourceArtifact is the source of the rows of an artefact.
const sourceArtifact = "artifact"

// artifact gives the fleet's artefact, or one without data and a problem that heals by itself.
func artifact(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) Artifact {
	if ref := o.Spec.Inventory.Artifact.SecretRef; ref != nil && secret(c, s, o.Namespace, ref.Name, "spec.inventory.artifact.secretRef.name") == nil {
		return Artifact{}
	}
	a := s.Artifacts[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}]
	switch {
	case a.Mismatch:
		c.waiting(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonDigestMismatch, "spec.inventory.artifact.sha256", a.Problem)
	case a.Problem != "":
		c.waiting(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonArtifactUnavailable, "spec.inventory.artifact", a.Problem)
	case a.Data == nil:
		c.waiting(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonProgressing, "spec.inventory.artifact", "is being fetched")
	}
	return a
}

// read reads the rows of sources, one after the other.
func (v *inventory) read(sources []*Source) {
	for _, s := range sources {
		for _, rows := range s.rows {
			for i := range rows {
				if v.row(&rows[i]); v.ended {
					return
				}
			}
		}
		v.bytes += s.bytes
	}
}

// row counts a row and hands it on, unless a bound is reached.
func (v *inventory) row(r *row) {
	switch {
	case r.last:
		v.end(r.rejection(*r.fault))
	case v.bytes+int64(r.read) > maxInventoryBytes:
		v.end(v1alpha1.RejectedRow{Source: *r.file, Code: tooLarge.code, Reason: tooLarge.reason})
	case v.total >= maxRows:
		v.end(v1alpha1.RejectedRow{Source: *r.file, Code: tooManyRows.code, Reason: tooManyRows.reason})
	default:
		v.total++
		if f := v.take(r); f.code != "" {
			v.keep(r.rejection(f))
		}
	}
}

func (v *inventory) keep(r v1alpha1.RejectedRow) {
	v.count(r)
	if len(v.rejected) < maxKept {
		v.rejected = append(v.rejected, r)
	}
}

// end says that a bound was reached, before all other rejections.
func (v *inventory) end(r v1alpha1.RejectedRow) {
	v.ended = true
	v.count(r)
	v.rejected = slices.Insert(v.rejected[:min(len(v.rejected), maxKept-1)], 0, r)
}

func (v *inventory) count(r v1alpha1.RejectedRow) {
	v.refused++
	v.counts[r.Code]++
	if v.tell != nil {
		v.tell(r)
	}
}

// byCode gives the counts in the order of the codes.
func (v *inventory) byCode() []v1alpha1.RejectedCount {
	var out []v1alpha1.RejectedCount
	for _, code := range slices.Sorted(maps.Keys(v.counts)) {
		out = append(out, v1alpha1.RejectedCount{Code: code, Rows: v.counts[code]})
	}
	return out
}

func (r *row) rejection(f fault) v1alpha1.RejectedRow {
	device := r.device
	if !contract.ValidDevice(device) {
		device = "" // it may be anything, a name included
	}
	return v1alpha1.RejectedRow{Source: *r.file, Line: r.line, Device: device, Code: f.code, Reason: f.reason}
}

// NamedInRows are the objects that a fleet's rows name, each once and in order, for gather to read. A name that no object can have is left
// out: nobody needs to look for it.
type NamedInRows struct {
	Communities, Grids, Maintainers []string
}

// RowsName gives what a fleet's rows name.
func RowsName(s *Snapshot, o *v1alpha1.DeviceFleet) NamedInRows {
	communities, grids, maintainers := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, from := range sources(&problems{}, s, o) {
		for _, at := range from.places {
			note(communities, at.community)
			note(grids, at.grid)
			note(maintainers, at.maintainer)
		}
	}
	return NamedInRows{slices.Sorted(maps.Keys(communities)), slices.Sorted(maps.Keys(grids)), slices.Sorted(maps.Keys(maintainers))}
}

func note(set map[string]bool, name string) {
	if name != "" && !set[name] && objectName.MatchString(name) {
		set[name] = true
	}
}
