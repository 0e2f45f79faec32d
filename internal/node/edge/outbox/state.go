package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// state is what must outlive the process. Sequences are those that the hub sees.
type state struct {
	Incarnation string `json:"incarnation"`
	// Base is the sequence before the first of the incarnation.
	Base uint64 `json:"base"`
	// Created is when the stream was made, which tells it from another in its place.
	Created time.Time `json:"created"`
	Shifts  []shift   `json:"shifts,omitempty"`
	// Sent is the highest sequence that was ever sent, Seen the highest that was seen stored, Mark the highest that the hub has
	// committed, as far as is known here.
	Sent uint64 `json:"sent"`
	Seen uint64 `json:"seen"`
	Mark uint64 `json:"mark"`
	// Lost counts sequences that were declared lost, and the hub has stepped over.
	Lost int64 `json:"lost,omitempty"`
}

// File gives where the state lies in a folder; it is there once the outbox was opened.
func File(dir string) string { return filepath.Join(dir, "outbox.json") }

// load reads the file; an empty state if there is none.
func load(file string) (s state, err error) {
	raw, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return s, fmt.Errorf("outbox: %w", err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("outbox: %s: %w; move it away to begin a new incarnation, which may bring the hub some messages twice", file, err)
	}
	return s, nil
}

// save replaces the file whole and on disk: temporary file, fsync, rename, fsync of the folder.
func (s *state) save(file string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return replace(file, raw)
}

func replace(file string, raw []byte) error {
	tmp, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	folder, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}
