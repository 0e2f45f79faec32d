package audit

import (
	"bytes"
	"io/fs"
	"testing"
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
