// Package decisionlog says how the lines of a gateway's decision log are chained, and checks a log that somebody else
// wrote. It is pure: auditor, CLI and gateway run the same code.
//
// A log is a folder of files named FileName(first sequence), each of JSON lines, each line a contract.LogRecord. A line's
// hash covers the line without its hash; a line names the hash of the line before, over file borders. So no line can be
// changed, dropped, added or moved without breaking the chain behind it. What a chain alone cannot show is that its end
// was cut off: that takes a witness who saw the end.
package decisionlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// Algorithm names the hash of the chain in every line, so that SM3 can stand beside it.
const Algorithm = "sha256"

// Suffix ends the name of every file of a log.
const Suffix = ".jsonl"

// FileName gives the name of the file whose first line has the sequence. Names sort as sequences do.
func FileName(sequence int64) string { return fmt.Sprintf("decisions-%016d%s", sequence, Suffix) }

// Chain is the end of a log: the sequence and the hash of its last line. The zero value is the empty log.
type Chain struct {
	Sequence int64
	Hash     string
}

// Next gives r as the line that follows, newline included, and moves the chain on. It sets Sequence, Previous, Algorithm
// and Hash of r, whatever they were.
func (c *Chain) Next(r contract.LogRecord) ([]byte, error) {
	r.Sequence, r.Previous, r.Algorithm, r.Hash = c.Sequence+1, c.Hash, Algorithm, ""
	r.Time = r.Time.UTC()
	hash, err := hashOf(r)
	if err != nil {
		return nil, err
	}
	r.Hash = hash
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("decision log record: %w", err)
	}
	c.Sequence, c.Hash = r.Sequence, hash
	return append(line, '\n'), nil
}

// Check reads the line that should follow, without its newline, and moves the chain on. The error says what is wrong with
// the line; the chain then stays.
func (c *Chain) Check(line []byte) (contract.LogRecord, error) {
	r, err := Parse(line)
	switch {
	case err != nil:
		return r, err
	case r.Sequence != c.Sequence+1:
		return r, fmt.Errorf("sequence is %d, want %d: lines are missing, added or out of order", r.Sequence, c.Sequence+1)
	case r.Previous != c.Hash:
		return r, fmt.Errorf("line %d names %q as the hash of the line before, which has %q", r.Sequence, r.Previous, c.Hash)
	}
	c.Sequence, c.Hash = r.Sequence, r.Hash
	return r, nil
}

// Parse reads one line by itself: it must be written exactly as Next writes it, and match its own hash.
func Parse(line []byte) (contract.LogRecord, error) {
	var r contract.LogRecord
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("not a record: %w", err)
	}
	if again, err := json.Marshal(r); err != nil || !bytes.Equal(again, line) {
		return r, fmt.Errorf("line %d is not in the form in which it was written", r.Sequence)
	}
	if r.Algorithm != Algorithm {
		return r, fmt.Errorf("line %d uses algorithm %q, this version knows %q", r.Sequence, r.Algorithm, Algorithm)
	}
	bare := r
	bare.Hash = ""
	if want, err := hashOf(bare); err != nil || want != r.Hash {
		return r, fmt.Errorf("line %d does not match its hash: it was changed", r.Sequence)
	}
	return r, nil
}

// IsFile reports whether a name is one of a log's files.
func IsFile(name string) bool {
	return strings.HasPrefix(name, "decisions-") && strings.HasSuffix(name, Suffix)
}

func hashOf(r contract.LogRecord) (string, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("decision log record: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}
