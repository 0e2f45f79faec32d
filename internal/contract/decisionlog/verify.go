package decisionlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"
)

// Summary is what a verified log holds.
type Summary struct {
	Files, Records int
	// Absent counts records that are not there: erased, or kept back.
	Absent int
	// From is the sequence before the first line: 0 if the log begins at its beginning, else older files are not here.
	From int64
	// End is the last line, for comparison with what a witness saw.
	End Chain
	// First and Last are the times of the first and the last line.
	First, Last time.Time
}

// Error says which line of which file is wrong.
type Error struct {
	File string
	// Line counts from 1.
	Line int
	// Torn is set if what is wrong is at the end of the last file and may be what a crash leaves (Torn): it was never acknowledged, and is cut
	// at the next start.
	Torn bool
	Err  error
}

// Error gives "file:line: what is wrong".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap gives what is wrong.
func (e *Error) Unwrap() error { return e.Err }

var errTorn = errors.New("the line has no end")

// Torn reports whether bytes behind the last good line can be what a crash leaves: a line without end, or blocks that the file system
// had made room for and not filled (zeros). Whole lines that do not fit the chain are something else.
func Torn(tail []byte) bool {
	return bytes.IndexByte(tail, '\n') < 0 || bytes.IndexByte(tail, 0) >= 0
}

// Verify checks every line of the log in fsys, and gives each to visit (which may be nil). The error is an *Error, or one
// of reading. A log that verifies is consistent in itself; only a witness can tell that no lines are missing at its end.
func Verify(fsys fs.FS, visit func(Line)) (Summary, error) {
	var s Summary
	names, err := Files(fsys)
	if err != nil {
		return s, err
	}
	for i, name := range names {
		if err := s.file(fsys, name, i == 0, i == len(names)-1, visit); err != nil {
			return s, err
		}
		s.Files++
	}
	return s, nil
}

// Files lists the files of the log in fsys, oldest first.
func Files(fsys fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("decision log: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && IsFile(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *Summary) file(fsys fs.FS, name string, first, last bool, visit func(Line)) error {
	f, err := fsys.Open(name)
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return s.ended(name, n, last)
		}
		if errors.Is(err, io.EOF) {
			return &Error{File: name, Line: n, Torn: last, Err: errTorn}
		}
		if err != nil {
			return fmt.Errorf("decision log %s: %w", name, err)
		}
		line = bytes.TrimSuffix(line, []byte{'\n'})
		if n == 1 {
			if err := s.begin(name, line, first); err != nil {
				return &Error{File: name, Line: n, Torn: last && zeros(line, in), Err: err}
			}
		}
		r, err := s.End.Check(line)
		if err != nil {
			return &Error{File: name, Line: n, Torn: last && zeros(line, in), Err: err}
		}
		s.count(r)
		if visit != nil {
			visit(r)
		}
	}
}

// zeros reports whether a line, or what follows it, has a zero byte.
func zeros(line []byte, in *bufio.Reader) bool {
	for {
		if bytes.IndexByte(line, 0) >= 0 {
			return true
		}
		var err error
		if line, err = in.ReadBytes('\n'); len(line) == 0 && err != nil {
			return false
		}
	}
}

// begin holds a file's name against its first line. The first file of the folder says where the folder begins.
func (s *Summary) begin(name string, line []byte, first bool) error {
	r, err := Parse(line)
	if err != nil {
		return err
	}
	if name != FileName(r.Sequence) {
		return fmt.Errorf("the file begins with line %d, so its name must be %s", r.Sequence, FileName(r.Sequence))
	}
	if first && r.Sequence > 1 {
		s.From, s.End = r.Sequence-1, Chain{Instance: r.Instance, Sequence: r.Sequence - 1, Hash: r.Previous}
	}
	return nil
}

// ended refuses an empty file, unless it is the last one: a gateway that stopped right after it began a file.
func (s *Summary) ended(name string, n int, last bool) error {
	if n == 1 && !last {
		return &Error{File: name, Line: 1, Err: errors.New("the file is empty")}
	}
	return nil
}

func (s *Summary) count(l Line) {
	if s.Records == 0 {
		s.First = l.At
	}
	s.Records++
	if l.Said == nil {
		s.Absent++
	}
	s.Last = l.At
}
