package compile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// Endings of the keys of an inventory Secret that are read, in the order of their names; other keys are left alone.
const (
	inventorySuffix     = ".csv"
	inventorySuffixGzip = ".csv.gz"
)

// Bounds of the inventory of one fleet, so that no vendor's Secret fills the memory that all platforms share: a few hundred
// bytes of gzip may hold a quarter of a million rows.
const (
	// maxInventoryBytes of CSV are read, unpacked.
	maxInventoryBytes = 64 << 20
	// maxRows are read, rejected ones included.
	maxRows = 250_000
	// maxKept rejections are kept; they are all counted.
	maxKept = 1_000
	// maxColumns of a CSV, and maxCell bytes of a value.
	maxColumns = 64
	maxCell    = 256
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
	take func(row) string

	rejected []v1alpha1.RejectedRow // the first maxKept
	refused  int
	total    int
	left     int64 // bytes that may still be read
	ended    bool  // a bound was reached: nothing more is read
}

func newInventory(take func(row) string) *inventory {
	return &inventory{take: take, left: maxInventoryBytes}
}

// read reads all rows: inline first, then the Secrets in order.
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
	for field, set := range map[string]bool{"artifact": o.Spec.Inventory.Artifact != nil, "open": o.Spec.Inventory.Open != nil} {
		if set {
			c.invalid(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonDisabled, "spec.inventory."+field,
				"is not served by this version; put the rows into Secrets (CSV, at most 900 KiB each)")
		}
	}
}

// row counts a row and hands it on.
func (v *inventory) row(r row) {
	v.total++
	if reason := v.take(r); reason != "" {
		v.keep(r.rejection(reason))
	}
}

// reject counts a row that could not be read.
func (v *inventory) reject(r v1alpha1.RejectedRow) {
	v.total++
	v.keep(r)
}

func (v *inventory) keep(r v1alpha1.RejectedRow) {
	v.refused++
	if len(v.rejected) < maxKept {
		v.rejected = append(v.rejected, r)
	}
}

// end says that a bound was reached, before all other rejections.
func (v *inventory) end(r v1alpha1.RejectedRow) {
	v.ended = true
	v.refused++
	v.rejected = slices.Insert(v.rejected[:min(len(v.rejected), maxKept-1)], 0, r)
}

// secret reads every CSV of an inventory Secret.
func (v *inventory) secret(name string, data map[string][]byte) {
	found := false
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if v.ended {
			return
		}
		source := "secrets/" + name + "/" + key
		var raw io.Reader = bytes.NewReader(data[key])
		switch {
		case strings.HasSuffix(key, inventorySuffixGzip):
			unpacked, err := gzip.NewReader(raw)
			if err != nil {
				v.reject(v1alpha1.RejectedRow{Source: source, Reason: "not gzip: " + err.Error()})
				found = true
				continue
			}
			raw = unpacked
		case !strings.HasSuffix(key, inventorySuffix):
			continue
		}
		found = true
		v.csv(source, raw)
	}
	if !found {
		v.reject(v1alpha1.RejectedRow{Source: "secrets/" + name, Reason: "has no key that ends in " + inventorySuffix + " or " + inventorySuffixGzip})
	}
}

// errTooLarge ends the reading of a fleet's inventory.
var errTooLarge = fmt.Errorf("the fleet's inventory is larger than %d MiB of CSV; split the fleet", maxInventoryBytes>>20)

// Read gives the bytes of in, until the fleet's allowance is used up.
func (l *limited) Read(p []byte) (int, error) {
	if *l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.in.Read(p[:min(int64(len(p)), *l.left)])
	*l.left -= int64(n)
	return n, err
}

type limited struct {
	in   io.Reader
	left *int64
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
	at := func(line int, reason string) v1alpha1.RejectedRow {
		return v1alpha1.RejectedRow{Source: source, Line: int32(line), Reason: reason}
	}
	reader := csv.NewReader(withoutMark(&limited{in, &v.left}))
	reader.FieldsPerRecord, reader.TrimLeadingSpace, reader.Comment = -1, true, '#'
	header, err := reader.Read()
	if errors.Is(err, errTooLarge) {
		v.end(at(1, err.Error()))
		return
	}
	if reason := badHeader(header, err); reason != "" {
		v.reject(at(1, reason))
		return
	}
	reader.ReuseRecord = true
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if v.total >= maxRows {
			v.end(at(0, fmt.Sprintf("the fleet's inventory has more than %d rows; split the fleet", maxRows)))
			return
		}
		var wrong *csv.ParseError
		switch {
		case errors.As(err, &wrong):
			v.reject(at(wrong.StartLine, "not CSV: "+wrong.Err.Error()))
		case errors.Is(err, errTooLarge):
			v.end(at(0, err.Error()))
			return
		case err != nil:
			v.reject(at(0, err.Error()))
			return
		default:
			line, _ := reader.FieldPos(0) // it panics where a record could not be read
			if reason := misshapen(header, record); reason != "" {
				v.reject(at(line, reason))
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
		if columns[name] == nil && !strings.HasPrefix(name, attributeColumn) {
			return fmt.Sprintf("the name of column %d is not known; the first line names the columns, such as device,community,grid or %s<name>", i+1, attributeColumn)
		}
	}
	return ""
}

// misshapen says what is wrong with the shape of a row, or nothing.
func misshapen(header, record []string) string {
	switch {
	case len(record) != len(header):
		return fmt.Sprintf("has %d fields, the header has %d", len(record), len(header))
	case slices.ContainsFunc(record, func(v string) bool { return len(v) > maxCell }):
		return fmt.Sprintf("a value is longer than %d bytes", maxCell)
	}
	return ""
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
		Community: r.Community, Grid: r.Grid, Compound: r.Compound, Building: r.Building, Unit: r.Unit,
		Household: r.Household, Via: r.Via,
	}
	for k, v := range r.Attributes {
		if d.Attributes == nil {
			d.Attributes = map[string]string{}
		}
		d.Attributes[k] = string(v)
	}
	return d
}

func (r row) rejection(reason string) v1alpha1.RejectedRow {
	device := r.Device
	if !contract.ValidDevice(device) {
		device = "" // it may be anything, a name included
	}
	return v1alpha1.RejectedRow{Source: r.source, Line: int32(r.line), Device: device, Reason: reason}
}

// CommunitiesNamed gives the names of the communities in a fleet's rows, each once, for gather to read. A name that no object can
// have is left out: nobody needs to look for it.
func CommunitiesNamed(s *Snapshot, o *v1alpha1.DeviceFleet) []string {
	seen := map[string]bool{}
	newInventory(func(r row) string {
		if objectName.MatchString(r.Community) {
			seen[r.Community] = true
		}
		return ""
	}).read(&problems{}, s, o)
	return slices.Sorted(maps.Keys(seen))
}
