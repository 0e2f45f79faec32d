package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MarksFile is the file beside the lines of a log with its checkpoints and their receipts.
const MarksFile = "checkpoints.jsonl"

// Mark is a line of MarksFile, and of what a witness keeps: a checkpoint, or a checkpoint with a receipt.
type Mark struct {
	// Checkpoint and Receipt are compact JWS.
	Checkpoint string `json:"checkpoint"`
	Receipt    string `json:"receipt,omitempty"`
}

// Line gives the mark as a line, newline included.
func (m Mark) Line() []byte {
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err) // two texts always marshal
	}
	return append(raw, '\n')
}

// maxMark bounds a line of marks.
const maxMark = 64 << 10

// ReadMarks reads marks, each exactly as Line writes it. An error names the line.
func ReadMarks(r io.Reader) ([]Mark, error) {
	var out []Mark
	in := bufio.NewReaderSize(r, maxMark)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("line %d: %w", n, noEnd(err))
		}
		var m Mark
		if err := json.Unmarshal(line, &m); err != nil {
			return out, fmt.Errorf("line %d: %w", n, err)
		}
		if !bytes.Equal(m.Line(), line) {
			return out, fmt.Errorf("line %d is not in the form in which it was written", n)
		}
		out = append(out, m)
	}
}

var errNoEnd = errors.New("the line has no end")

func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return errNoEnd
	}
	return err
}
