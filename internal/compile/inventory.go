package compile

import (
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

// maxInventoryBytes bounds an unpacked inventory Secret: 900 KiB of gzip may not become more than this.
const maxInventoryBytes = 64 << 20

// Bounds of an inventory, so that one vendor's Secret cannot fill the memory that all platforms share.
const (
	maxCell = 256
	maxRows = 250_000
)

// row is an inventory row with the place it came from.
type row struct {
	v1alpha1.InventoryRow
	source string
	line   int
}

// inventoryRows reads all rows of a fleet: inline first, then its Secrets in order.
func inventoryRows(c *problems, s *Snapshot, o *v1alpha1.DeviceFleet) ([]row, []v1alpha1.RejectedRow) {
	var rows []row
	var rejected []v1alpha1.RejectedRow
	if o.Spec.Inventory == nil {
		return nil, nil
	}
	for i, r := range o.Spec.Inventory.Rows {
		rows = append(rows, row{InventoryRow: r, source: "spec.inventory.rows", line: i + 1})
	}
	for i, ref := range o.Spec.Inventory.Secrets {
		data := secret(c, s, o.Namespace, ref.Name, fmt.Sprintf("spec.inventory.secrets[%d].name", i))
		if data == nil {
			continue
		}
		more, bad := readInventory(ref.Name, data)
		rows, rejected = append(rows, more...), append(rejected, bad...)
	}
	for field, set := range map[string]bool{"artifact": o.Spec.Inventory.Artifact != nil, "open": o.Spec.Inventory.Open != nil} {
		if set {
			c.invalid(v1alpha1.ConditionInventoryAccepted, v1alpha1.ReasonDisabled, "spec.inventory."+field,
				"is not served by this version; put the rows into Secrets (CSV, at most 900 KiB each)")
		}
	}
	return rows, rejected
}

// readInventory reads every CSV of an inventory Secret.
func readInventory(name string, data map[string][]byte) (rows []row, rejected []v1alpha1.RejectedRow) {
	found := false
	for _, key := range slices.Sorted(maps.Keys(data)) {
		source, raw := "secrets/"+name+"/"+key, data[key]
		switch {
		case strings.HasSuffix(key, inventorySuffixGzip):
			var err error
			if raw, err = gunzip(raw); err != nil {
				rejected = append(rejected, v1alpha1.RejectedRow{Source: source, Reason: "not gzip: " + err.Error()})
				found = true
				continue
			}
		case !strings.HasSuffix(key, inventorySuffix):
			continue
		}
		found = true
		more, bad := readCSV(source, raw)
		rows, rejected = append(rows, more...), append(rejected, bad...)
	}
	if !found {
		rejected = append(rejected, v1alpha1.RejectedRow{Source: "secrets/" + name, Reason: "has no key that ends in " + inventorySuffix + " or " + inventorySuffixGzip})
	}
	return rows, rejected
}

func gunzip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxInventoryBytes+1))
	if err == nil && len(raw) > maxInventoryBytes {
		err = fmt.Errorf("unpacks to more than %d MiB; split it over several Secrets", maxInventoryBytes>>20)
	}
	return raw, err
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
}

const attributeColumn = "attribute."

// readCSV reads an inventory: a header line with column names, then a row a device. A row that cannot be read is rejected
// with its line; the others go in. Rejections do not repeat what stood in the row.
func readCSV(source string, raw []byte) ([]row, []v1alpha1.RejectedRow) {
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))))
	reader.FieldsPerRecord, reader.TrimLeadingSpace, reader.Comment = -1, true, '#'
	header, err := reader.Read()
	if err != nil {
		return nil, []v1alpha1.RejectedRow{{Source: source, Line: 1, Reason: "no header line; write the column names, at least: device,community"}}
	}
	for i, name := range header {
		if columns[name] == nil && !strings.HasPrefix(name, attributeColumn) {
			// What stands there is not repeated: without a header it is a row, and may hold anything.
			return nil, []v1alpha1.RejectedRow{{Source: source, Line: 1, Reason: fmt.Sprintf("the name of column %d is not known; the first line names the columns, such as device,community,grid or %s<name>", i+1, attributeColumn)}}
		}
	}
	var rows []row
	var rejected []v1alpha1.RejectedRow
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return rows, rejected
		}
		var wrong *csv.ParseError
		switch {
		case errors.As(err, &wrong):
			rejected = append(rejected, v1alpha1.RejectedRow{Source: source, Line: int32(wrong.StartLine), Reason: "not CSV: " + wrong.Err.Error()})
		case err != nil:
			return rows, append(rejected, v1alpha1.RejectedRow{Source: source, Reason: err.Error()})
		default:
			line, _ := reader.FieldPos(0) // it panics where a record could not be read
			if reason := misshapen(header, record); reason != "" {
				rejected = append(rejected, v1alpha1.RejectedRow{Source: source, Line: int32(line), Reason: reason})
				continue
			}
			if len(rows) == maxRows {
				return rows, append(rejected, v1alpha1.RejectedRow{Source: source, Line: int32(line), Reason: fmt.Sprintf("more than %d rows; split the fleet", maxRows)})
			}
			rows = append(rows, row{InventoryRow: fill(header, record), source: source, line: line})
		}
	}
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

// CommunitiesNamed gives the names of the communities in a fleet's rows, each once, for gather to read.
func CommunitiesNamed(s *Snapshot, o *v1alpha1.DeviceFleet) []string {
	var ignored problems
	rows, _ := inventoryRows(&ignored, s, o)
	seen := map[string]bool{}
	var out []string
	for _, r := range rows {
		if r.Community != "" && !seen[r.Community] {
			seen[r.Community] = true
			out = append(out, r.Community)
		}
	}
	return out
}
