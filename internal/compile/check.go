package compile

import (
	"io"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// Checked counts the rows of an inventory that was only read.
type Checked struct {
	// Rows that were read, and how many of them were rejected, also by code.
	Rows, Rejected int
	ByCode         []v1alpha1.RejectedCount
}

// CheckFleet reads the whole inventory of a fleet as Fleet does, and tells every row that is rejected, also those that no plan keeps. The
// problems are about its sources: a Secret or an artefact that is not there.
func CheckFleet(s *Snapshot, o *v1alpha1.DeviceFleet, tell func(v1alpha1.RejectedRow)) (Checked, Problems) {
	var c problems
	v := newInventory(newChecker(s, o).take)
	v.tell = tell
	v.read(&c, s, o)
	return v.checked(), c.list
}

// CheckCSV reads one CSV, gzipped where packed, as if it were the whole inventory of a fleet. Without a Snapshot names are not looked
// up; without a fleet (nil) the rows are checked for what holds in any.
func CheckCSV(s *Snapshot, o *v1alpha1.DeviceFleet, source string, in io.Reader, packed bool, tell func(v1alpha1.RejectedRow)) Checked {
	v := newInventory(newChecker(s, o).take)
	v.tell = tell
	if packed {
		v.packed(source, in)
	} else {
		v.csv(source, in)
	}
	return v.checked()
}

func (v *inventory) checked() Checked {
	return Checked{Rows: v.total, Rejected: v.refused, ByCode: v.byCode()}
}
