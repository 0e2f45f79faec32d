package compile

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// Source is one place that rows of an inventory stand in, parsed: a Secret, an artefact, or the spec of a fleet. It holds what the rows say
// by themselves. Whose they are, and what else there is, is not in it, so it holds good while its text is the same. It is immutable.
type Source struct {
	// rows in pieces: one list would be copied again and again while it grows.
	rows [][]row
	// count of the rows.
	count int
	// places are the distinct places of the rows, in the order in which they come.
	places []*place
	// gateways are the fleets that the rows name as gateways, each once.
	gateways []string
	// bytes of CSV that were read, unpacked.
	bytes int64
	// inline are the rows of a spec, of which the Source was made; nil for another source.
	inline []v1alpha1.InventoryRow
}

// row is an inventory row with the place it came from, or a piece of a file that is none and says so by its fault.
type row struct {
	device string
	// at is nil for what is no row.
	at *place
	// doc is the registry row, encoded.
	doc    json.RawMessage
	claims []DeviceClaim
	// proof is how the device proves itself; nil where the row has nothing of it.
	proof *proof
	// fault is what is wrong with the row by itself, beside what names other objects; nil for nothing.
	fault *fault
	// file is the source as rejections name it.
	file *string
	line int32
	// read counts the bytes of the Source up to and with this row.
	read int32
	// last says that the source goes on, and is not read further.
	last bool
}

// place is where a device hangs and who looks after it there: all names of other objects in a row. A fleet has few of them.
type place struct {
	community, grid, microGrid, compound, maintainer string
}

// proof is how the device of a row proves itself, or who does it in its place.
type proof struct {
	clientID, passwordHash, previousPasswordHash, previousUntil, via string
}

// proves gives the row's proof.
func (r row) proves() proof {
	if r.proof == nil {
		return proof{}
	}
	return *r.proof
}

// SourceOfSecret parses every CSV of an inventory Secret.
func SourceOfSecret(name string, data map[string][]byte) *Source {
	p := newParser()
	found := false
	for _, key := range slices.Sorted(maps.Keys(data)) {
		switch raw := bytes.NewReader(data[key]); {
		case strings.HasSuffix(key, inventorySuffixGzip):
			p.packed("secrets/"+name+"/"+key, raw)
		case strings.HasSuffix(key, inventorySuffix):
			p.csv("secrets/"+name+"/"+key, raw)
		default:
			continue
		}
		found = true
	}
	if !found {
		p.open("secrets/" + name)
		p.reject(0, fault{v1alpha1.RowUnreadable, "has no key that ends in " + inventorySuffix + " or " + inventorySuffixGzip})
	}
	return p.source()
}

// SourceOfArtifact parses a CSV that may be gzipped, told by its first bytes.
func SourceOfArtifact(data []byte) *Source {
	p := newParser()
	if bytes.HasPrefix(data, []byte("\x1f\x8b")) {
		p.packed(sourceArtifact, bytes.NewReader(data))
	} else {
		p.csv(sourceArtifact, bytes.NewReader(data))
	}
	return p.source()
}

// sourceOfRows takes the rows of a spec.
func sourceOfRows(rows []v1alpha1.InventoryRow) *Source {
	p := newParser()
	p.open("spec.inventory.rows")
	for i, r := range rows {
		p.row(i+1, r)
	}
	out := p.source()
	out.inline = rows
	return out
}

// sourceOfCSV parses one file of an inventory.
func sourceOfCSV(f CSV) *Source {
	p := newParser()
	if f.Packed {
		p.packed(f.Source, f.In)
	} else {
		p.csv(f.Source, f.In)
	}
	return p.source()
}

// same reports whether two sources say the same: a source that did not change is not parsed anew, but for the rows of a spec.
func (s *Source) same(other *Source) bool {
	return s == other || s != nil && other != nil && s.inline != nil && other.inline != nil && reflect.DeepEqual(s.inline, other.inline)
}

// parser makes a Source, within the bounds of the inventory of a fleet.
type parser struct {
	out    Source
	file   *string
	left   int64
	places map[place]*place
	faults map[fault]*fault
}

// piece is how many rows stand in one list.
const piece = 4096

func newParser() *parser {
	return &parser{left: maxInventoryBytes, places: map[place]*place{}, faults: map[fault]*fault{}}
}

func (p *parser) source() *Source {
	p.out.bytes = maxInventoryBytes - p.left
	if n := len(p.out.rows); n > 0 { // the last piece takes no more room than its rows
		p.out.rows[n-1] = append([]row(nil), p.out.rows[n-1]...)
	}
	return &p.out
}

// open begins a file of the source.
func (p *parser) open(name string) {
	name = name[:min(len(name), maxSource)]
	p.file = &name
}

// full reports whether no fleet would read on.
func (p *parser) full() bool { return p.out.count > maxRows }

// add adds a row, or what is none.
func (p *parser) add(line int, r row) {
	r.file, r.line, r.read = p.file, int32(line), int32(maxInventoryBytes-p.left)
	n := len(p.out.rows) - 1
	if n < 0 || len(p.out.rows[n]) == piece {
		p.out.rows, n = append(p.out.rows, nil), n+1
	}
	p.out.rows[n] = append(p.out.rows[n], r)
	p.out.count++
}

// reject adds what could not be read.
func (p *parser) reject(line int, f fault) { p.add(line, row{fault: p.wrong(f)}) }

// wrong gives the one copy of a fault.
func (p *parser) wrong(f fault) *fault {
	if p.faults[f] == nil {
		p.faults[f] = &f
	}
	return p.faults[f]
}

// row adds a row that could be read.
func (p *parser) row(line int, r v1alpha1.InventoryRow) {
	at := place{r.Community, r.Grid, r.MicroGrid, r.Compound, r.Maintainer}
	if p.places[at] == nil {
		at := at.clone()
		p.places[*at] = at
		p.out.places = append(p.out.places, at)
	}
	out := row{device: strings.Clone(r.Device), at: p.places[at]}
	if has := (proof{r.ClientID, r.PasswordHash, r.PreviousPasswordHash, r.PreviousUntil, r.Via}); has != (proof{}) {
		out.proof = has.clone()
		if fleet, _, err := contract.ParseDeviceID(r.Via); err == nil && !slices.Contains(p.out.gateways, fleet) {
			p.out.gateways = append(p.out.gateways, strings.Clone(fleet))
		}
	}
	if f := byItself(r); f.code != "" {
		out.fault = p.wrong(f)
	} else {
		out.doc, out.claims = contract.EncodeDevice(document(r)), claimsOf(r)
	}
	p.add(line, out)
}

// clone copies the texts: they are parts of the text of a whole row.
func (a place) clone() *place {
	return &place{strings.Clone(a.community), strings.Clone(a.grid), strings.Clone(a.microGrid), strings.Clone(a.compound), strings.Clone(a.maintainer)}
}

func (a proof) clone() *proof {
	return &proof{strings.Clone(a.clientID), strings.Clone(a.passwordHash), strings.Clone(a.previousPasswordHash), strings.Clone(a.previousUntil), strings.Clone(a.via)}
}

// packed reads a gzipped CSV.
func (p *parser) packed(source string, raw io.Reader) {
	unpacked, err := gzip.NewReader(raw)
	if err != nil {
		p.open(source)
		p.reject(0, fault{v1alpha1.RowUnreadable, "not gzip: " + err.Error()})
		return
	}
	p.csv(source, unpacked)
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

// csv reads an inventory: a header line with column names, then a row a device. A row that cannot be read is rejected with its
// line; the others go in. Rejections do not repeat what stood in the row.
func (p *parser) csv(source string, in io.Reader) {
	if p.full() {
		return
	}
	p.open(source)
	unreadable := func(reason string) fault { return fault{v1alpha1.RowUnreadable, reason} }
	bounded := &limited{in: in, left: &p.left}
	reader := csv.NewReader(withoutMark(bounded))
	reader.FieldsPerRecord, reader.TrimLeadingSpace, reader.Comment = -1, true, '#'
	header, err := reader.Read()
	switch reason := badHeader(header, err); {
	case errors.Is(err, errTooLarge): // and the fleet's inventory with it
		p.add(1, row{fault: p.wrong(tooLarge), last: true})
		return
	case errors.Is(err, errRecord):
		p.reject(1, unreadable(err.Error()))
		return
	case reason != "":
		p.reject(1, unreadable(reason))
		return
	}
	reader.ReuseRecord = true
	for !p.full() {
		bounded.record = 0
		record, err := reader.Read()
		var wrong *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &wrong):
			p.reject(wrong.StartLine, unreadable("not CSV: "+wrong.Err.Error()))
		case errors.Is(err, errTooLarge):
			p.add(0, row{fault: p.wrong(tooLarge), last: true})
			return
		case err != nil:
			p.reject(0, unreadable(err.Error()))
			return
		default:
			line, _ := reader.FieldPos(0) // it panics where a record could not be read
			if f := misshapen(header, record); f.code != "" {
				p.reject(line, f)
				continue
			}
			p.row(line, fill(header, record))
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
func document(r v1alpha1.InventoryRow) contract.Device {
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
