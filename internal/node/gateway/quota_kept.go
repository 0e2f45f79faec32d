package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// quotaFile keeps, beside the log, what was read by lines that are not there any more.
const quotaFile = "quota.json"

// quotaKept is what quotaFile holds.
type quotaKept struct {
	// Instance and Through are the last line that is counted.
	Instance string `json:"instance"`
	Through  int64  `json:"through"`
	// Used gives requests and records by agreement and step.
	Used map[string]map[int64][2]int64 `json:"used"`
	// Open are requests that have not ended by that line.
	Open []string `json:"open,omitempty"`
}

// load takes what was put aside.
func (q *quota) load(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, quotaFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var k quotaKept
	if err == nil {
		err = json.Unmarshal(raw, &k)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; without it the quotas of today begin anew: remove it", filepath.Join(dir, quotaFile), err)
	}
	q.instance, q.through = k.Instance, k.Through
	for uid, steps := range k.Used {
		q.used[uid] = map[int64]use{}
		for step, u := range steps {
			q.used[uid][step] = use{u[0], u[1]}
		}
	}
	for _, request := range k.Open {
		q.open[request] = true
	}
	return nil
}

// putAside counts a file of the log, which is about to go, in what was put aside before. A crash in between counts nothing twice.
func putAside(dir, name string, now time.Time) error {
	q := newQuota()
	if err := q.load(dir); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for in := bufio.NewReaderSize(f, 1<<16); ; {
		raw, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		l, err := chain.Parse(bytes.TrimSuffix(raw, []byte{'\n'}))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		q.replay(l)
	}
	k := quotaKept{Instance: q.instance, Through: q.through, Used: map[string]map[int64][2]int64{}, Open: sortedKeys(q.open)}
	k.Open = k.Open[max(0, len(k.Open)-maxOpen):] // numbers rise with time: those that never ended go
	for uid, steps := range q.used {
		for step, u := range steps {
			if step < now.Add(-quotaMemory-quotaStep).Unix() {
				continue
			}
			if k.Used[uid] == nil {
				k.Used[uid] = map[int64][2]int64{}
			}
			k.Used[uid][step] = [2]int64{u.requests, u.records}
		}
	}
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(dir, quotaFile), raw)
}

// maxOpen is how many requests may be under way at once.
const maxOpen = 10_000
