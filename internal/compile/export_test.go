package compile

import (
	"bytes"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// LineOf gives the line that a row stood in.
func LineOf(r row) int { return r.line }

// ReadCSV reads one CSV and gives its rows and rejections.
func ReadCSV(source string, raw []byte) (rows []row, rejected []v1alpha1.RejectedRow) {
	v := newInventory(func(r row) fault { rows = append(rows, r); return fault{} })
	v.csv(source, bytes.NewReader(raw))
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
	v := newInventory(func(row) fault { return fault{} })
	v.secret(name, data)
	return Bounded{Total: v.total, Refused: v.refused, Rejected: v.rejected}
}
