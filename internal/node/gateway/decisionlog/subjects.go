package decisionlog

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// finish salts a record, and puts more subjects than a line holds into a list beside the log, which is on disk before the
// line is queued.
func (l *Log) finish(r *chain.Record) error {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	r.Salt = hex.EncodeToString(salt)
	if len(r.Subjects) <= contract.MaxLogSubjects {
		return nil
	}
	list, raw := chain.ListOf(r.Subjects)
	if err := l.writeList(list.Digest, raw); err != nil {
		return fmt.Errorf("decision log: list of subjects: %w", err)
	}
	r.Subjects, r.SubjectList = nil, &list
	return nil
}

// writeList writes a list under its digest, whole or not at all.
func (l *Log) writeList(digest string, raw []byte) error {
	dir := filepath.Join(l.o.Dir, chain.SubjectsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, chain.ListName(digest))
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(dir, ".list-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(l.o.Dir))
}

// List gives a list of subjects by its digest.
func (l *Log) List(digest string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(l.o.Dir, chain.SubjectsDir, chain.ListName(digest)))
	if err != nil {
		return nil, err
	}
	if contract.Digest(raw) != digest {
		return nil, fmt.Errorf("list of subjects %s was changed", digest)
	}
	return slices.Collect(lines(raw)), nil
}

func lines(raw []byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for line := range bytes.Lines(raw) {
			if !yield(string(bytes.TrimSuffix(line, []byte{'\n'}))) {
				return
			}
		}
	}
}
