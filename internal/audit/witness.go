package audit

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Witness keeps checkpoints of decision logs and gives receipts. It gives none for a checkpoint that does not go on from what
// it knows: an earlier line, or another hash for the same line. It holds no personal data, only hashes.
//
//	POST /   a checkpoint (compact JWS) -> 200 a receipt (compact JWS), 409 a Fork, 403 not signed by a trusted key, 422 dated ahead
//	GET  /?instance=&from=   Marks, one a line, from line `from` of the chain on; without instance of every chain
type Witness struct {
	// Name as in the GridPlatform's auditWitnesses.
	Name string
	Key  crypto.Signer
	// Trust gives the keys whose checkpoints are taken. It is asked for each.
	Trust func() (Keys, error)
	// Dir keeps the marks: one file a chain.
	Dir string
	Now func() time.Time

	mu    sync.Mutex
	known map[string]contract.Checkpoint
	// receipts are those for the last line of each chain, by the time of the checkpoint. One that is shown again, by whomever, gets the one
	// that it got: anybody can GET it, and could else fill the disk, or have an old one confirmed as of now.
	receipts map[string]map[int64]string
}

// Fork is the answer to a checkpoint that contradicts what the witness knows.
type Fork struct {
	Problem  string `json:"problem"`
	Sequence int64  `json:"sequence"`
	Hash     string `json:"hash"`
}

// maxAhead is how far a checkpoint's time may lie ahead of the witness's clock. One that comes late is taken: what counts for the end of a
// time is the later of both clocks, and a witness that was away must not lose evidence.
const maxAhead = 5 * time.Minute

const marksSuffix = ".marks.jsonl"

// Load reads what is kept in Dir, which is made if it is not there.
func (w *Witness) Load() error {
	if err := os.MkdirAll(w.Dir, 0o700); err != nil {
		return err
	}
	w.known, w.receipts = map[string]contract.Checkpoint{}, map[string]map[int64]string{}
	names, err := filepath.Glob(filepath.Join(w.Dir, "*"+marksSuffix))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.load(name); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// load reads a file. Half a line at its end is what a power cut leaves: nobody got a receipt for it, and it is cut.
func (w *Witness) load(name string) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if whole := bytes.LastIndexByte(raw, '\n') + 1; whole < len(raw) {
		if err := os.Truncate(name, int64(whole)); err != nil {
			return err
		}
	}
	marks, err := readMarksFile(name)
	if err != nil {
		return err
	}
	for _, m := range marks {
		c, err := OpenCheckpoint(m.Checkpoint, nil)
		if err != nil {
			return err
		}
		w.keep(c, m.Receipt)
	}
	return nil
}

// keep notes the newest checkpoint of a chain and its receipt.
func (w *Witness) keep(c contract.Checkpoint, receipt string) {
	key := chainKey(c)
	if w.known[key].Sequence != c.Sequence {
		w.receipts[key] = map[int64]string{}
	}
	w.known[key], w.receipts[key][c.At.UnixNano()] = c, receipt
}

func readMarksFile(name string) ([]Mark, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return ReadMarks(f)
}

func chainKey(c contract.Checkpoint) string { return c.Platform + "\x00" + c.Instance }

func (w *Witness) file(c contract.Checkpoint) string {
	return filepath.Join(w.Dir, strings.TrimPrefix(contract.Digest([]byte(chainKey(c))), "sha256:")+marksSuffix)
}

// Take checks a checkpoint, keeps it on disk, and gives a receipt. A *ForkError says that it contradicts what is known.
func (w *Witness) Take(compact string) (string, error) {
	keys, err := w.Trust()
	if err != nil {
		return "", err
	}
	c, err := OpenCheckpoint(compact, keys)
	if err != nil {
		return "", notTrusted{err}
	}
	now := w.Now().UTC()
	if ahead := c.At.Sub(now); ahead > maxAhead {
		return "", dated{fmt.Errorf("the checkpoint is dated %s, which is %s ahead of the witness's clock: set the clocks right", c.At.Format(time.RFC3339), ahead.Round(time.Second))}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	known, ok := w.known[chainKey(c)]
	switch {
	case ok && c.Sequence < known.Sequence:
		return "", &ForkError{Fork{"the log is shorter than it was", known.Sequence, known.Hash}}
	case ok && c.Sequence == known.Sequence && c.Hash != known.Hash:
		return "", &ForkError{Fork{"the last line is another than it was", known.Sequence, known.Hash}}
	}
	if receipt := w.receipts[chainKey(c)][c.At.UnixNano()]; ok && c.Sequence == known.Sequence && receipt != "" {
		return receipt, nil
	}
	receipt, err := Sign(w.Key, contract.ReceiptType, contract.Receipt{
		Format: contract.ReceiptFormat, Witness: w.Name, Checkpoint: contract.Digest([]byte(compact)), Platform: c.Platform,
		Instance: c.Instance, Sequence: c.Sequence, Hash: c.Hash, ReceivedAt: now,
	})
	if err != nil {
		return "", err
	}
	if err := Append(w.file(c), Mark{Checkpoint: compact, Receipt: receipt}.Line()); err != nil {
		return "", err
	}
	w.keep(c, receipt)
	return receipt, nil
}

// ForkError says that a checkpoint contradicts what a witness knows.
type ForkError struct{ Fork Fork }

// Error implements error.
func (e *ForkError) Error() string {
	return fmt.Sprintf("%s: the witness knows line %d with hash %s", e.Fork.Problem, e.Fork.Sequence, e.Fork.Hash)
}

type notTrusted struct{ error }

// dated says that a checkpoint's time lies ahead.
type dated struct{ error }

// Append adds lines to a file and syncs it. A failure cuts the file back, so that half a line never stays.
func Append(path string, lines []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		if _, err = f.Write(lines); err == nil {
			err = f.Sync()
		}
		if err != nil {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
	}
	return errors.Join(err, f.Close())
}

// ServeHTTP answers gateways and auditors.
func (w *Witness) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		w.post(out, r)
	case http.MethodGet:
		w.get(out, r)
	default:
		http.Error(out, "POST a checkpoint, or GET marks", http.StatusMethodNotAllowed)
	}
}

func (w *Witness) post(out http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(out, r.Body, maxMark/4))
	if err != nil {
		http.Error(out, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	receipt, err := w.Take(strings.TrimSpace(string(raw)))
	var fork *ForkError
	switch {
	case errors.As(err, &fork):
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(out).Encode(fork.Fork)
	case errors.As(err, &notTrusted{}):
		http.Error(out, err.Error(), http.StatusForbidden)
	case errors.As(err, &dated{}):
		http.Error(out, err.Error(), http.StatusUnprocessableEntity)
	case err != nil:
		http.Error(out, "the checkpoint cannot be kept now", http.StatusInternalServerError)
	default:
		out.Header().Set("Content-Type", "application/jose")
		_, _ = io.WriteString(out, receipt)
	}
}

func (w *Witness) get(out http.ResponseWriter, r *http.Request) {
	instance := r.URL.Query().Get("instance")
	from, _ := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	w.mu.Lock()
	var files []string
	for _, c := range w.known {
		if instance == "" || c.Instance == instance {
			files = append(files, w.file(c))
		}
	}
	w.mu.Unlock()
	out.Header().Set("Content-Type", "application/jsonl")
	for _, name := range files {
		marks, _ := readMarksFile(name) // a line that is just being written is left for the next time
		for _, m := range marks {
			if c, err := OpenCheckpoint(m.Checkpoint, nil); err == nil && c.Sequence >= from {
				_, _ = out.Write(m.Line())
			}
		}
	}
}
