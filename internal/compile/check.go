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

// CSV is one file of an inventory.
type CSV struct {
	// Source names the file in rejections.
	Source string
	In     io.Reader
	// Packed says that it is gzipped.
	Packed bool
}

// CheckFleet reads the whole inventory of a fleet as Fleet does, and tells every row that is rejected, also those that no plan keeps. The
// problems are about its sources: a Secret or an artefact that is not there. Without a platform in the Snapshot names are not looked up.
func CheckFleet(s *Snapshot, o *v1alpha1.DeviceFleet, tell func(v1alpha1.RejectedRow)) (Checked, Problems) {
	var c problems
	v := newInventory(newChecker(s, o).take)
	v.tell = tell
	v.read(sources(&c, s, o))
	return v.checked(), c.list
}

// CheckCSV reads files as if they were the whole inventory of a fleet. Without a Snapshot (nil) names are not looked up; without a fleet
// (nil) the rows are checked for what holds in any.
func CheckCSV(s *Snapshot, o *v1alpha1.DeviceFleet, files []CSV, tell func(v1alpha1.RejectedRow)) Checked {
	v := newInventory(newChecker(s, o).take)
	v.tell = tell
	for _, f := range files {
		if !v.ended {
			v.read([]*Source{sourceOfCSV(f)})
		}
	}
	return v.checked()
}

func (v *inventory) checked() Checked {
	return Checked{Rows: v.total, Rejected: v.refused, ByCode: v.byCode()}
}
