package decisionlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// sample gives a log of n lines in files of `per` lines.
func sample(t *testing.T, n, per int) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	var c Chain
	var current *fstest.MapFile
	for i := range n {
		if i%per == 0 {
			current = &fstest.MapFile{}
			fsys[FileName(c.Sequence+1)] = current
		}
		line, err := c.Next(contract.LogRecord{
			Kind: "release", Time: time.Unix(int64(1_700_000_000+i), 5).UTC(), Request: fmt.Sprint(i / 3), Instance: "gateway-0",
			Dataset: "老人", Consumer: "town<>&", Rows: int64(i), Subjects: []string{"aa", "bb"},
		})
		if err != nil {
			t.Fatal(err)
		}
		current.Data = append(current.Data, line...)
	}
	return fsys
}

func TestVerify(t *testing.T) {
	n := 0
	s, err := Verify(sample(t, 25, 10), func(contract.LogRecord) { n++ })
	if err != nil {
		t.Fatal(err)
	}
	if s.Files != 3 || s.Records != 25 || n != 25 || s.End.Sequence != 25 || s.From != 0 || s.Last.Sub(s.First) != 24*time.Second {
		t.Errorf("summary %+v, visited %d", s, n)
	}
	empty, err := Verify(fstest.MapFS{}, nil)
	if err != nil || empty.Records != 0 {
		t.Errorf("empty log: %+v, %v", empty, err)
	}
}

func TestVerifyWithoutOldFiles(t *testing.T) {
	log := sample(t, 25, 10)
	delete(log, FileName(1))
	s, err := Verify(log, nil)
	if err != nil || s.From != 10 || s.Records != 15 {
		t.Errorf("summary %+v, %v", s, err)
	}
}

// TestEveryByteIsCovered changes, drops and adds one byte at every place: each must be found.
func TestEveryByteIsCovered(t *testing.T) {
	whole := sample(t, 4, 2)
	want, err := Verify(whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range whole {
		for at := range file.Data {
			for what, changed := range map[string][]byte{
				"flipped": flip(file.Data, at),
				"dropped": append(bytes.Clone(file.Data[:at]), file.Data[at+1:]...),
				"doubled": append(append(bytes.Clone(file.Data[:at+1]), file.Data[at]), file.Data[at+1:]...),
			} {
				if got, err := Verify(with(whole, name, changed), nil); err == nil && got.End == want.End {
					t.Fatalf("%s: byte %d %s: not found", name, at, what)
				}
			}
		}
	}
}

func flip(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= byte(1 + rand.IntN(255))
	return out
}

func with(log fstest.MapFS, name string, data []byte) fstest.MapFS {
	out := fstest.MapFS{}
	for n, f := range log {
		out[n] = f
	}
	out[name] = &fstest.MapFile{Data: data}
	return out
}

func TestLinesCannotMove(t *testing.T) {
	log := sample(t, 6, 3)
	lines := bytes.SplitAfter(log[FileName(1)].Data, []byte{'\n'})
	lines[0], lines[1] = lines[1], lines[0]
	if _, err := Verify(with(log, FileName(1), bytes.Join(lines, nil)), nil); err == nil {
		t.Error("two lines changed places and nobody saw")
	}
	gone := sample(t, 9, 3)
	delete(gone, FileName(4))
	if _, err := Verify(gone, nil); err == nil {
		t.Error("a file in the middle is gone and nobody saw")
	}
}

func TestTornTail(t *testing.T) {
	log := sample(t, 3, 3)
	data := log[FileName(1)].Data
	_, err := Verify(with(log, FileName(1), data[:len(data)-5]), nil)
	var bad *Error
	if !errors.As(err, &bad) || !bad.Torn || bad.Line != 3 || bad.File != FileName(1) {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	var c Chain
	line, err := c.Next(contract.LogRecord{Kind: "decision", Request: "1"})
	if err != nil {
		f.Fatal(err)
	}
	good := bytes.TrimSpace(line)
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Parse(raw)
		if err == nil && (r.Hash == "" || r.Algorithm != Algorithm) {
			t.Errorf("%q parses without hash", raw)
		}
	})
}
