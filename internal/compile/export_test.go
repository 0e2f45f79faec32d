package compile

import (
	"bytes"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// LineOf gives the line that a row stood in, DeviceOf its device.
func LineOf(r *row) int      { return int(r.line) }
func DeviceOf(r *row) string { return r.device }

// ReadCSV reads one CSV and gives its rows, whatever they say, and what could not be read.
func ReadCSV(source string, raw []byte) (rows []*row, rejected []v1alpha1.RejectedRow) {
	v := newInventory(func(r *row) fault {
		if r.at == nil {
			return *r.fault
		}
		rows = append(rows, r)
		return fault{}
	})
	v.read([]*Source{sourceOfCSV(CSV{Source: source, In: bytes.NewReader(raw)})})
	return rows, v.rejected
}

// Bounded is what is kept of an inventory.
type Bounded struct {
	Total, Refused int
	Rejected       []v1alpha1.RejectedRow
}

// ReadInventory reads the data of one inventory Secret, and takes no row.
func ReadInventory(data map[string][]byte) Bounded { return ReadInventoryOf("s", data) }

// ReadInventoryOf reads the data of an inventory Secret of that name.
func ReadInventoryOf(name string, data map[string][]byte) Bounded {
	v := newInventory(func(r *row) fault {
		if r.at == nil {
			return *r.fault
		}
		return fault{}
	})
	v.read([]*Source{SourceOfSecret(name, data)})
	return Bounded{Total: v.total, Refused: v.refused, Rejected: v.rejected}
}
