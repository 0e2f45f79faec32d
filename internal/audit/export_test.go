package audit

import (
	"bytes"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// exported gives the sequences of the lines of a chain in an archive, those with their record apart.
func exported(t *testing.T, files map[string][]byte, instance string) (all, said []int64) {
	t.Helper()
	for name, raw := range files {
		if !decisionlog.IsFile(name[max(0, len(name)-len(decisionlog.FileName(1))):]) || !bytes.Contains([]byte(name), []byte(instance)) {
			continue
		}
		for line := range bytes.SplitSeq(bytes.TrimSpace(raw), []byte{'\n'}) {
			l, err := decisionlog.Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, l.Sequence)
			if l.Said != nil {
				said = append(said, l.Sequence)
			}
		}
	}
	return all, said
}

// line adds a line under agreement a (uid-a) of some kind, a minute after the one before.
func (c *chain) line(kind, request string) {
	c.t.Helper()
	r := decisionlog.Record{At: c.now(), Kind: kind, Request: request, UID: "uid-a", LogBody: contract.LogBody{Salt: "0f"}}
	if kind == contract.LogDecision {
		r.Input, r.Decision = &contract.DecisionInput{Dataset: "elders", Agreement: "a"}, &contract.Decision{Allow: true, Agreement: "a"}
	}
	raw, err := c.end.Next(r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.add(decisionlog.FileName(1), raw)
}

// TestReleaseBehindItsDecision: a stream was decided before the time asked for, and released within it; on another gateway there was
// nothing but releases.
func TestReleaseBehindItsDecision(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.lines(1)
	c.line(contract.LogDecision, "stream") // line 2
	c.lines(2)
	c.checkpoint() // over line 4
	c.line(contract.LogRelease, "stream")
	c.lines(1)
	c.checkpoint() // over line 6
	c.lines(1)
	files, err := Export([]fs.FS{c.fs}, Excerpt{Agreement: "a", From: began.Add(4 * time.Minute), To: began.Add(6 * time.Minute)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, said := exported(t, files, c.end.Instance)
	if !slices.Equal(all, []int64{2, 3, 4, 5, 6}) || !slices.Contains(said, 2) || !slices.Contains(said, 5) {
		t.Errorf("lines %d, with a record %d", all, said)
	}
	e := Excerpt{Agreement: "a", UIDs: []string{"uid-a"}, From: began.Add(4 * time.Minute), To: began.Add(6 * time.Minute)}
	if r := archived(t, files, e, c.trust()); r.Verdict != Verified {
		t.Errorf("%+v", r)
	}
}

// TestExportIgnoresPostDatedMarks: a checkpoint that is dated behind the one after it does not end an archive.
func TestExportIgnoresPostDatedMarks(t *testing.T) {
	c := newChain(t, "gateway-0.0a")
	c.line(contract.LogDecision, "1")
	c.lines(2)
	c.add(MarksFile, Mark{Checkpoint: c.sign("ns/henan", began.Add(time.Hour))}.Line())
	c.lines(3)
	c.add(MarksFile, Mark{Checkpoint: c.sign("ns/henan", c.now())}.Line())
	files, err := Export([]fs.FS{c.fs}, Excerpt{Agreement: "a", From: began, To: began.Add(10 * time.Minute)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := exported(t, files, c.end.Instance); len(all) != 6 {
		t.Errorf("lines %d", all)
	}
}

// archived verifies the files of an archive.
func archived(t *testing.T, files map[string][]byte, e Excerpt, trust Trust) Report {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, raw := range files {
		fsys[name] = &fstest.MapFile{Data: raw}
	}
	r, err := Verify(fsys, trust, &e, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
