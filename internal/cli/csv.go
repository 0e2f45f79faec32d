package cli

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"slices"
)

// sheet is a CSV file with a header line.
type sheet struct {
	path   string
	header []string
	rows   [][]string
}

// readTable reads a CSV file as the operator reads an inventory: a header, lines that begin with # are comments.
func readTable(path string) (*sheet, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))))
	r.TrimLeadingSpace, r.Comment = true, '#'
	all, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no header line; write the column names, at least: device", path)
	}
	return &sheet{path, all[0], all[1:]}, nil
}

// column gives the index of a column.
func (s *sheet) column(name string) (int, error) {
	if i := slices.Index(s.header, name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("%s: no column %s in the header line", s.path, name)
}

// encode gives the table as CSV.
func (s *sheet) encode() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(append([][]string{s.header}, s.rows...)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
