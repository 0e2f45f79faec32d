package decisionlog

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// newChain names a chain that begins.
func newChain(instance string) string {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	return instance + "." + hex.EncodeToString(id)
}

// tornSuffix ends the name of a file that keeps what was cut from a torn tail.
const tornSuffix = ".torn"

// open locks the folder, checks the newest files, and opens the last one for writing.
func (l *Log) open() error {
	if err := os.MkdirAll(l.o.Dir, 0o700); err != nil {
		return err
	}
	if err := l.hold(); err != nil {
		return err
	}
	if err := l.recover(); err != nil {
		_ = l.lock.Close()
		return err
	}
	return nil
}

// hold keeps a second process out: two writers would break the chain.
func (l *Log) hold() error {
	f, err := os.OpenFile(filepath.Join(l.o.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return fmt.Errorf("another process writes here: %w", err)
	}
	l.lock = f
	return nil
}

func (l *Log) recover() error {
	names, err := l.recent()
	if err != nil {
		return err
	}
	name := chain.FileName(1)
	if len(names) > 0 {
		name = names[len(names)-1]
		if err := l.replay(names); err != nil {
			return err
		}
	}
	if l.end.Instance == "" {
		l.end.Instance = newChain(l.o.Instance)
	}
	l.synced = l.end
	path := filepath.Join(l.o.Dir, name)
	if l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if l.size = info.Size(); l.size > 0 {
		first, err := firstTime(path)
		if err != nil {
			return err
		}
		l.day = first.UTC().Truncate(24 * time.Hour)
	}
	return syncDir(l.o.Dir)
}

// recent lists the files to look at: the last two, so that the chain over their border is checked, and those with records
// from o.Since on.
func (l *Log) recent() ([]string, error) {
	names, err := chain.Files(os.DirFS(l.o.Dir))
	if err != nil || len(names) < 3 {
		return names, err
	}
	from := len(names) - 2
	for l.o.Replay != nil && from > 0 {
		first, err := firstTime(filepath.Join(l.o.Dir, names[from]))
		if err != nil {
			return nil, err
		}
		if first.Before(l.o.Since) {
			break
		}
		from--
	}
	return names[from:], nil
}

func firstTime(path string) (time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 1<<20) // a release line of 1,000 subjects takes about 40 KB
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return time.Time{}, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	line, _, _ := bytes.Cut(head[:n], []byte{'\n'})
	r, err := chain.Parse(line)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s:1: %w", filepath.Base(path), err)
	}
	return r.At, nil
}

// replay checks the files line by line. A torn tail is cut; anything else that is wrong stops the start, for it is either
// tampering or a broken disk, and a person must look.
func (l *Log) replay(names []string) error {
	for i, name := range names {
		path := filepath.Join(l.o.Dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		good, err := l.lines(name, data, i == 0)
		if err == nil {
			continue
		}
		if i < len(names)-1 || !chain.Torn(data[good:]) {
			return fmt.Errorf("%w; the log is kept as it is: verify it, move it aside, and start with an empty folder", err)
		}
		if err := l.cut(path, data, good); err != nil {
			return err
		}
	}
	return nil
}

// lines checks the lines of one file and gives the length of what is good.
func (l *Log) lines(name string, data []byte, first bool) (good int, err error) {
	for n := 1; good < len(data); n++ {
		line, _, whole := bytes.Cut(data[good:], []byte{'\n'})
		if !whole {
			return good, fmt.Errorf("%s:%d: the line has no end", name, n)
		}
		var r chain.Line
		if n == 1 {
			if r, err = chain.Parse(line); err == nil && name != chain.FileName(r.Sequence) {
				err = fmt.Errorf("the file begins with line %d, its name says another", r.Sequence)
			}
			if err == nil && first {
				l.end = chain.Chain{Instance: r.Instance, Sequence: r.Sequence - 1, Hash: r.Previous}
			}
		}
		if err == nil {
			r, err = l.end.Check(line)
		}
		if err != nil {
			return good, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if l.o.Replay != nil {
			l.o.Replay(r)
		}
		good += len(line) + 1
	}
	return good, nil
}

// cut removes a torn tail. No answer waited for it: a line is acknowledged after its fsync. It is kept beside the log.
func (l *Log) cut(path string, data []byte, good int) error {
	kept := fmt.Sprintf("%s.%d%s", path, good, tornSuffix)
	if err := os.WriteFile(kept, slices.Clone(data[good:]), 0o600); err != nil {
		return err
	}
	l.o.Log.Warn("decision log: cut a torn tail that no answer waited for",
		"file", filepath.Base(path), "at", good, "bytes", len(data)-good, "kept", filepath.Base(kept))
	f, err := os.OpenFile(path, os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(int64(good)); err != nil {
		return err
	}
	return f.Sync()
}
