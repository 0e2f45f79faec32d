// Package decisionlog says how the lines of a gateway's decision log are chained, and checks a log that somebody else
// wrote. It is pure: auditor, CLI and gateway run the same code.
//
// A log is a folder of files named FileName(first sequence), each of JSON lines. A line is a header, a contract.LogLine, and
// in it as its last member the record, a contract.LogBody. The header holds the digest of the record; the header's hash
// covers the header without the hash; a header names the hash of the line before, over file borders. So no line can be
// changed, dropped, added or moved without breaking the chain behind it, while a record can be erased or kept back and the
// chain still verifies. What a chain alone cannot show is that its end was cut off: that takes a witness who saw the end.
//
// Lines of format 1 (format1.go) stand in the same chain, before those of format 2.
package decisionlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Algorithm names the hash of the chain in every line, so that SM3 can stand beside it.
const Algorithm = "sha256"

// Suffix ends the name of every file of a log.
const Suffix = ".jsonl"

// FileName gives the name of the file whose first line has the sequence. Names sort as sequences do.
func FileName(sequence int64) string { return fmt.Sprintf("decisions-%016d%s", sequence, Suffix) }

// IsFile reports whether a name is one of a log's files.
func IsFile(name string) bool {
	return strings.HasPrefix(name, "decisions-") && strings.HasSuffix(name, Suffix)
}

// Record is what a writer knows of a line to come.
type Record struct {
	At      time.Time
	Kind    string
	Request string
	UID     string
	contract.LogBody
}

// Line is a line as it was read, of either format.
type Line struct {
	contract.LogLine
	// Said is the record; nil where it is absent. Of format 1 it holds what that format has.
	Said *contract.LogBody
	// Header holds the very bytes without the record: of format 1 the whole line.
	Header []byte
}

// Chain is the end of a log: the instance, which names the chain, and sequence and hash of its last line. With only an
// instance it is the empty log of that name.
type Chain struct {
	Instance string
	Sequence int64
	Hash     string
}

// Next gives r as the line that follows, newline included, and moves the chain on.
func (c *Chain) Next(r Record) ([]byte, error) {
	body, err := json.Marshal(r.LogBody)
	if err != nil {
		return nil, fmt.Errorf("decision log record: %w", err)
	}
	l := contract.LogLine{
		V: contract.LogFormat, Sequence: c.Sequence + 1, At: r.At.UTC(), Instance: c.Instance, Kind: r.Kind, Request: r.Request, UID: r.UID,
		Body: contract.Digest(body), Algorithm: Algorithm, Previous: c.Hash,
	}
	if l.Hash, err = hashOf(l); err != nil {
		return nil, err
	}
	header, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("decision log record: %w", err)
	}
	c.Sequence, c.Hash = l.Sequence, l.Hash
	return append(Join(header, body), '\n'), nil
}

// Join puts a line together of header and record; no record gives the line without.
func Join(header, body []byte) []byte {
	if len(body) == 0 {
		return bytes.Clone(header)
	}
	out := make([]byte, 0, len(header)+len(body)+len(`,"record":`)+1)
	out = append(out, header[:len(header)-1]...)
	out = append(out, `,"record":`...)
	return append(append(out, body...), '}')
}

// Check reads the line that should follow, without its newline, and moves the chain on. The error says what is wrong with
// the line; the chain then stays.
func (c *Chain) Check(line []byte) (Line, error) {
	l, err := Parse(line)
	switch {
	case err != nil:
		return l, err
	case l.Sequence != c.Sequence+1:
		return l, fmt.Errorf("sequence is %d, want %d: lines are missing, added or out of order", l.Sequence, c.Sequence+1)
	case l.Previous != c.Hash:
		return l, fmt.Errorf("line %d names %q as the hash of the line before, which has %q", l.Sequence, l.Previous, c.Hash)
	case l.V == contract.LogFormat && c.Instance != "" && l.Instance != c.Instance:
		return l, fmt.Errorf("line %d is of chain %q, the lines before are of %q", l.Sequence, l.Instance, c.Instance)
	}
	*c = Chain{Instance: l.Instance, Sequence: l.Sequence, Hash: l.Hash}
	return l, nil
}

// Parse reads one line by itself: it must be written exactly as Next writes it, match its own hash, and its record, if it
// is there, the digest.
func Parse(line []byte) (Line, error) {
	var format struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(line, &format); err != nil {
		return Line{}, fmt.Errorf("not a line of a decision log: %w", err)
	}
	switch format.V {
	case 0:
		return parse1(line)
	case contract.LogFormat:
		return parse2(line)
	}
	return Line{}, fmt.Errorf("the line has format %d, this version knows 1 and %d", format.V, contract.LogFormat)
}

func parse2(line []byte) (Line, error) {
	var l contract.LogLine
	if err := strict(line, &l); err != nil {
		return Line{}, fmt.Errorf("not a line of a decision log: %w", err)
	}
	body := []byte(l.Record)
	bare := l
	bare.Record = nil
	header, err := json.Marshal(bare)
	if err != nil {
		return Line{}, err
	}
	out := Line{LogLine: l, Header: header}
	if !bytes.Equal(Join(header, body), line) {
		return out, fmt.Errorf("line %d is not in the form in which it was written", l.Sequence)
	}
	bare.Hash = ""
	if err := known(l.Sequence, l.Algorithm, l.Hash, bare); err != nil {
		return out, err
	}
	if len(body) == 0 {
		return out, nil
	}
	if contract.Digest(body) != l.Body {
		return out, fmt.Errorf("the record of line %d does not match its digest: it was changed", l.Sequence)
	}
	out.Said = new(contract.LogBody)
	if err := json.Unmarshal(body, out.Said); err != nil {
		return out, fmt.Errorf("the record of line %d: %w", l.Sequence, err)
	}
	return out, nil
}

// strict decodes one JSON document without members that nobody knows.
func strict(raw []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(out)
}

// hashOf gives the hash of a header that has none yet.
func hashOf(header any) (string, error) {
	raw, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("decision log record: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// known refuses an algorithm or a hash that does not belong to the header.
func known(sequence int64, algorithm, hash string, bare any) error {
	if algorithm != Algorithm {
		return fmt.Errorf("line %d uses algorithm %q, this version knows %q", sequence, algorithm, Algorithm)
	}
	if want, err := hashOf(bare); err != nil || want != hash {
		return errors.Join(err, fmt.Errorf("line %d does not match its hash: it was changed", sequence))
	}
	return nil
}
