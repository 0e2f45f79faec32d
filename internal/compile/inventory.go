package compile

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

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

// row is an inventory row with the place it came from.
type row struct {
	v1alpha1.InventoryRow
	source string
	line   int
}

// inventory reads the rows of a fleet, one at a time, within its bounds.
type inventory struct {
	// take gets each row that could be read and says what is wrong with it, or nothing.
	take func(row) fault
	// tell gets every rejection, also those that are not kept; nil where nobody asks.
	tell func(v1alpha1.RejectedRow)

	rejected []v1alpha1.RejectedRow // the first maxKept
	counts   map[v1alpha1.RowCode]int32
	refused  int
	total    int
	left     int64 // bytes that may still be read
	ended    bool  // a bound was reached: nothing more is read
}

func newInventory(take func(row) fault) *inventory {
	return &inventory{take: take, left: maxInventoryBytes, counts: map[v1alpha1.RowCode]int32{}}
}

// fault says what is wrong with a row and what to write, without its content. The zero fault is a good row.
type fault struct {
	code   v1alpha1.RowCode
	reason string
}

func malformed(format string, args ...any) fault {
	return fault{v1alpha1.RowMalformed, fmt.Sprintf(format, args...)}
}

// read reads all rows: inline first, then the Secrets in order, then the artefact.
func (v *inventory) read(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) {
	if o.Spec.Inventory == nil {
		return
	}
	for i, r := range o.Spec.Inventory.Rows {
		v.row(row{InventoryRow: r, source: "spec.inventory.rows", line: i + 1})
	}
	for i, ref := range o.Spec.Inventory.Secrets {
		if data := secret(c, s, o.Namespace, ref.Name, fmt.Sprintf("spec.inventory.secrets[%d].name", i)); data != nil {
			v.secret(ref.Name, data)
		}
	}
	if o.Spec.Inventory.Artifact != nil {
		if data := artifact(c, s, o); data != nil && !v.ended {
			v.file(sourceArtifact, data)
		}
	}
}

// sourceArtifact is the source of the rows of an artefact.
const sourceArtifact = "artifact"

// artifact gives the fleet's artefact, or nil and a problem that heals by itself.
func artifact(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) []byte {
	if ref := o.Spec.Inventory.Artifact.SecretRef; ref != nil && secret(c, s, o.Namespace, ref.Name, "spec.inventory.artifact.secretRef.name") == nil {
		return nil
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
	return a.Data
}

// row counts a row and hands it on.
func (v *inventory) row(r row) {
	v.total++
	if f := v.take(r); f.code != "" {
		v.keep(r.rejection(f))
	}
}

// reject counts a row that could not be read.
func (v *inventory) reject(r v1alpha1.RejectedRow) {
	v.total++
	v.keep(r)
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

// secret reads every CSV of an inventory Secret.
func (v *inventory) secret(name string, data map[string][]byte) {
	found := false
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if v.ended {
			return
		}
		source := "secrets/" + name + "/" + key
		source = source[:min(len(source), maxSource)]
		switch raw := bytes.NewReader(data[key]); {
		case strings.HasSuffix(key, inventorySuffixGzip):
			v.packed(source, raw)
		case strings.HasSuffix(key, inventorySuffix):
			v.csv(source, raw)
		default:
			continue
		}
		found = true
	}
	if !found {
		v.reject(v1alpha1.RejectedRow{
			Source: "secrets/" + name, Code: v1alpha1.RowUnreadable, Reason: "has no key that ends in " + inventorySuffix + " or " + inventorySuffixGzip,
		})
	}
}

// file reads a CSV that may be gzipped, told by its first bytes.
func (v *inventory) file(source string, data []byte) {
	if bytes.HasPrefix(data, []byte("\x1f\x8b")) {
		v.packed(source, bytes.NewReader(data))
		return
	}
	v.csv(source, bytes.NewReader(data))
}

// packed reads a gzipped CSV.
func (v *inventory) packed(source string, raw io.Reader) {
	unpacked, err := gzip.NewReader(raw)
	if err != nil {
		v.reject(v1alpha1.RejectedRow{Source: source, Code: v1alpha1.RowUnreadable, Reason: "not gzip: " + err.Error()})
		return
	}
	v.csv(source, unpacked)
}

// errTooLarge ends the reading of a fleet's inventory.
var errTooLarge = fmt.Errorf("the fleet's inventory is larger than %d MiB of CSV; split the fleet", maxInventoryBytes>>20)

// errRecord ends the reading of a file: where its next row begins cannot be known.
var errRecord = fmt.Errorf("a row is longer than %d KiB, maybe because of a quote that is never closed; correct it: the rest of the file is not read", maxRecord>>10)

// Read gives the bytes of in, until the fleet's allowance is used up, or that of one row.
func (l *limited) Read(p []byte) (int, error) {
	switch {
	case *l.left <= 0:
		return 0, errTooLarge
	case l.record >= maxRecord:
		return 0, errRecord
	}
	n, err := l.in.Read(p[:min(int64(len(p)), *l.left)])
	*l.left -= int64(n)
	l.record += n
	return n, err
}

type limited struct {
	in   io.Reader
	left *int64
	// record counts the bytes since it was set to 0, which is before each row.
	record int
}

// columns of an inventory CSV. Further columns named attribute.<name> become attributes.
var columns = map[string]func(*v1alpha1.InventoryRow, string){
	"device":       func(r *v1alpha1.InventoryRow, v string) { r.Device = v },
	"community":    func(r *v1alpha1.InventoryRow, v string) { r.Community = v },
	"grid":         func(r *v1alpha1.InventoryRow, v string) { r.Grid = v },
	"microGrid":    func(r *v1alpha1.InventoryRow, v string) { r.MicroGrid = v },
	"compound":     func(r *v1alpha1.InventoryRow, v string) { r.Compound = v },
	"building":     func(r *v1alpha1.InventoryRow, v string) { r.Building = v },
	"unit":         func(r *v1alpha1.InventoryRow, v string) { r.Unit = v },
	"household":    func(r *v1alpha1.InventoryRow, v string) { r.Household = v },
	"via":          func(r *v1alpha1.InventoryRow, v string) { r.Via = v },
	"serial":       func(r *v1alpha1.InventoryRow, v string) { r.Serial = v },
	"imei":         func(r *v1alpha1.InventoryRow, v string) { r.IMEI = v },
	"installedAt":  func(r *v1alpha1.InventoryRow, v string) { r.InstalledAt = v },
	"maintainer":   func(r *v1alpha1.InventoryRow, v string) { r.Maintainer = v },
	"longitude":    func(r *v1alpha1.InventoryRow, v string) { r.Longitude = v },
	"latitude":     func(r *v1alpha1.InventoryRow, v string) { r.Latitude = v },
	"crs":          func(r *v1alpha1.InventoryRow, v string) { r.CRS = v1alpha1.CoordinateSystem(v) },
	"clientID":     func(r *v1alpha1.InventoryRow, v string) { r.ClientID = v },
	"passwordHash": func(r *v1alpha1.InventoryRow, v string) { r.PasswordHash = v },

	"previousPasswordHash": func(r *v1alpha1.InventoryRow, v string) { r.PreviousPasswordHash = v },
	"previousUntil":        func(r *v1alpha1.InventoryRow, v string) { r.PreviousUntil = v },
}

const attributeColumn = "attribute."

// csv reads an inventory: a header line with column names, then a row a device. A row that cannot be read is rejected with its
// line; the others go in. Rejections do not repeat what stood in the row.
func (v *inventory) csv(source string, in io.Reader) {
	at := func(line int, f fault) v1alpha1.RejectedRow {
		return v1alpha1.RejectedRow{Source: source, Line: int32(line), Code: f.code, Reason: f.reason}
	}
	limit := func(reason string) fault { return fault{v1alpha1.RowLimitExceeded, reason} }
	unreadable := func(reason string) fault { return fault{v1alpha1.RowUnreadable, reason} }
	bounded := &limited{in: in, left: &v.left}
	reader := csv.NewReader(withoutMark(bounded))
	reader.FieldsPerRecord, reader.TrimLeadingSpace, reader.Comment = -1, true, '#'
	header, err := reader.Read()
	if errors.Is(err, errTooLarge) {
		v.end(at(1, limit(err.Error())))
		return
	}
	if errors.Is(err, errRecord) {
		v.reject(at(1, unreadable(err.Error())))
		return
	}
	if reason := badHeader(header, err); reason != "" {
		v.reject(at(1, unreadable(reason)))
		return
	}
	reader.ReuseRecord = true
	for {
		bounded.record = 0
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if v.total >= maxRows {
			v.end(at(0, limit(fmt.Sprintf("the fleet's inventory has more than %d rows; split the fleet", maxRows))))
			return
		}
		var wrong *csv.ParseError
		switch {
		case errors.As(err, &wrong):
			v.reject(at(wrong.StartLine, unreadable("not CSV: "+wrong.Err.Error())))
		case errors.Is(err, errTooLarge):
			v.end(at(0, limit(err.Error())))
			return
		case err != nil:
			v.reject(at(0, unreadable(err.Error())))
			return
		default:
			line, _ := reader.FieldPos(0) // it panics where a record could not be read
			if f := misshapen(header, record); f.code != "" {
				v.reject(at(line, f))
				continue
			}
			v.row(row{InventoryRow: fill(header, record), source: source, line: line})
		}
	}
}

// withoutMark skips a byte order mark.
func withoutMark(in io.Reader) io.Reader {
	buffered := bufio.NewReader(in)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = buffered.Discard(3)
	}
	return buffered
}

// badHeader says what is wrong with a header line, or nothing. What stands there is not repeated: without a header it is a row,
// and may hold anything.
func badHeader(header []string, err error) string {
	switch {
	case err != nil:
		return "no header line; write the column names, at least: device,community"
	case len(header) > maxColumns:
		return fmt.Sprintf("%d columns; at most %d are read", len(header), maxColumns)
	}
	for i, name := range header {
		attribute, isAttribute := strings.CutPrefix(name, attributeColumn)
		switch {
		case columns[name] == nil && !(isAttribute && validAttribute(attribute)):
			return fmt.Sprintf("the name of column %d is not known; the first line names the columns, such as device,community,grid or %s<name>", i+1, attributeColumn)
		case slices.Contains(header[:i], name):
			return fmt.Sprintf("column %d has the name of an earlier one; remove one of the two", i+1)
		}
	}
	return ""
}

// misshapen says what is wrong with the shape of a row, or nothing.
func misshapen(header, record []string) fault {
	switch {
	case len(record) != len(header):
		return malformed("has %d fields, the header has %d", len(record), len(header))
	case slices.ContainsFunc(record, func(v string) bool { return len(v) > maxCell }):
		return malformed("a value is longer than %d bytes", maxCell)
	}
	return fault{}
}

func fill(header, record []string) v1alpha1.InventoryRow {
	var r v1alpha1.InventoryRow
	for i, name := range header {
		if set := columns[name]; set != nil {
			set(&r, record[i])
		} else if record[i] != "" {
			if r.Attributes == nil {
				r.Attributes = map[string]v1alpha1.AttributeValue{}
			}
			r.Attributes[strings.TrimPrefix(name, attributeColumn)] = v1alpha1.AttributeValue(record[i])
		}
	}
	return r
}

// document gives the registry row of an inventory row.
func (r row) document() contract.Device {
	d := contract.Device{
		Community: r.Community, Grid: r.Grid, MicroGrid: r.MicroGrid, Compound: r.Compound, Building: r.Building, Unit: r.Unit,
		Household: r.Household, Via: r.Via, Maintainer: r.Maintainer, InstalledAt: r.InstalledAt, Longitude: r.Longitude, Latitude: r.Latitude,
	}
	if r.Longitude != "" {
		d.CRS = string(cmp.Or(r.CRS, v1alpha1.CRSCGCS2000))
	}
	for k, v := range r.Attributes {
		if d.Attributes == nil {
			d.Attributes = map[string]string{}
		}
		d.Attributes[k] = string(v)
	}
	return d
}

func (r row) rejection(f fault) v1alpha1.RejectedRow {
	device := r.Device
	if !contract.ValidDevice(device) {
		device = "" // it may be anything, a name included
	}
	return v1alpha1.RejectedRow{Source: r.source, Line: int32(r.line), Device: device, Code: f.code, Reason: f.reason}
}

// NamedInRows are the objects that a fleet's rows name, each once and in order, for gather to read. A name that no object can have is left
// out: nobody needs to look for it.
type NamedInRows struct {
	Communities, Grids, Maintainers []string
}

// RowsName reads what a fleet's rows name.
func RowsName(s *Snapshot, o *v1alpha1.DeviceFleet) NamedInRows {
	communities, grids, maintainers := map[string]bool{}, map[string]bool{}, map[string]bool{}
	newInventory(func(r row) fault {
		note(communities, r.Community)
		note(grids, r.Grid)
		note(maintainers, r.Maintainer)
		return fault{}
	}).read(&problems{}, s, o)
	return NamedInRows{slices.Sorted(maps.Keys(communities)), slices.Sorted(maps.Keys(grids)), slices.Sorted(maps.Keys(maintainers))}
}

func note(set map[string]bool, name string) {
	if name != "" && !set[name] && objectName.MatchString(name) {
		set[name] = true
	}
}
