package decisionlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// sample gives a log of n lines in files of `per` lines.
func sample(t *testing.T, n, per int) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	c := Chain{Instance: "gateway-0.0a"}
	var current *fstest.MapFile
	for i := range n {
		if i%per == 0 {
			current = &fstest.MapFile{}
			fsys[FileName(c.Sequence+1)] = current
		}
		line, err := c.Next(Record{
			Kind: contract.LogRelease, At: time.Unix(int64(1_700_000_000+i), 5).UTC(), Request: fmt.Sprint(i / 3), UID: "uid<>&",
			LogBody: contract.LogBody{Salt: "00", Digest: "老人", Rows: int64(i), Subjects: []string{"aa", "bb"}},
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
	s, err := Verify(sample(t, 25, 10), func(Line) { n++ })
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
	whole := mixed(t)
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

// mixed gives a log that was begun in format 1, by the version that wrote it, and goes on in format 2.
func mixed(t *testing.T) fstest.MapFS {
	t.Helper()
	log := fstest.MapFS{}
	names, err := Files(os.DirFS("testdata/format1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile("testdata/format1/" + name)
		if err != nil {
			t.Fatal(err)
		}
		log[name] = &fstest.MapFile{Data: data}
	}
	s, err := Verify(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, last := s.End, log[names[len(names)-1]]
	for i := range 3 {
		line, err := c.Next(Record{Kind: contract.LogDecision, At: s.Last.Add(time.Minute), Request: fmt.Sprint(i), UID: "uid-visits", LogBody: contract.LogBody{
			Salt: "0f", Input: &contract.DecisionInput{Dataset: "elders"}, Decision: &contract.Decision{Allow: true}}})
		if err != nil {
			t.Fatal(err)
		}
		last.Data = append(last.Data, line...)
	}
	return log
}

func TestFormat1GoesOnInFormat2(t *testing.T) {
	var seen []string
	s, err := Verify(mixed(t), func(l Line) {
		seen = append(seen, fmt.Sprintf("%d %s %t %t", l.V, l.Kind, l.Said.Input != nil && l.Said.Input.Dataset == "elders", l.Said.Decision != nil && l.Said.Decision.Allow))
	})
	if err != nil || s.Records != 7 || s.End.Instance != "gateway-0" {
		t.Fatalf("%+v, %v", s, err)
	}
	if got := strings.Join(seen, "; "); !strings.HasPrefix(got, "1 decision true true") || !strings.HasSuffix(got, "2 decision true true") {
		t.Error(got)
	}
}

// TestRecordMayBeAbsent keeps the record of a line back: the chain verifies; another record does not.
func TestRecordMayBeAbsent(t *testing.T) {
	log := sample(t, 3, 3)
	lines := bytes.SplitAfter(log[FileName(1)].Data, []byte{'\n'})
	middle, err := Parse(bytes.TrimSpace(lines[1]))
	if err != nil {
		t.Fatal(err)
	}
	without := append(Join(middle.Header, nil), '\n')
	s, err := Verify(with(log, FileName(1), slices.Concat(lines[0], without, lines[2])), nil)
	if err != nil || s.Absent != 1 || s.Records != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	other, err := Parse(bytes.TrimSpace(lines[0]))
	if err != nil {
		t.Fatal(err)
	}
	swapped := append(Join(middle.Header, other.Record), '\n')
	if _, err := Verify(with(log, FileName(1), slices.Concat(lines[0], swapped, lines[2])), nil); err == nil {
		t.Error("a record under another header is not found")
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
	line, err := c.Next(Record{Kind: "decision", Request: "1"})
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
