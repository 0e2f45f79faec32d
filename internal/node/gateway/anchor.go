package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/node/gateway/decisionlog"
)

// checkpointEvery is how often a checkpoint is signed while the log grows, and checkpointAnyway while it does not: a witness that
// hears nothing for longer knows that something is wrong.
const (
	checkpointEvery  = time.Minute
	checkpointAnyway = time.Hour
	witnessTimeout   = 10 * time.Second
)

// anchor signs checkpoints over the decision log, keeps them beside it, and shows them to witnesses.
type anchor struct {
	key crypto.Signer
	log *decisionlog.Log
	dir string
	now func() time.Time
	out *slog.Logger

	mu sync.Mutex
	// last is the newest checkpoint, jws its bytes, and witnesses says by name who has it.
	last contract.Checkpoint
	jws  string
	// acked is the checkpoint that each witness gave a receipt for last.
	acked     map[string]string
	witnesses map[string]contract.WitnessReport
}

// openAnchor reads the key and what was signed before. Without a key file there is no anchor.
func openAnchor(keyFile, dir string, log *decisionlog.Log, out *slog.Logger) (*anchor, error) {
	if keyFile == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("key of checkpoints: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("key of checkpoints: no PEM block found")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key of checkpoints: %w", err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key of checkpoints: %T cannot sign", parsed)
	}
	a := &anchor{key: key, log: log, dir: dir, now: time.Now, out: out, acked: map[string]string{}, witnesses: map[string]contract.WitnessReport{}}
	return a, a.load()
}

func (a *anchor) file() string { return filepath.Join(a.dir, audit.MarksFile) }

// load finds the last checkpoint. Half a line at the end is what a crash leaves: it is cut.
func (a *anchor) load() error {
	raw, err := os.ReadFile(a.file())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if whole := bytes.LastIndexByte(raw, '\n') + 1; whole < len(raw) {
		raw = raw[:whole]
		if err := os.Truncate(a.file(), int64(whole)); err != nil {
			return err
		}
	}
	marks, err := audit.ReadMarks(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%s: %w; move it aside", audit.MarksFile, err)
	}
	for _, m := range marks {
		if a.last, err = audit.OpenCheckpoint(m.Checkpoint, nil); err != nil {
			return fmt.Errorf("%s: %w", audit.MarksFile, err)
		}
		a.jws = m.Checkpoint
	}
	return nil
}

// run signs and shows until ctx ends. directory gives what the platform says now: its name and its witnesses.
func (a *anchor) run(ctx context.Context, directory func() (contract.Directory, bool)) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		if d, ok := directory(); ok {
			if err := a.step(ctx, d.Platform); err != nil {
				a.out.Error("checkpoint of the decision log", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// step signs if there is something to sign, and shows the newest checkpoint to every witness that has not given a receipt for it.
func (a *anchor) step(ctx context.Context, p contract.Platform) error {
	if err := errors.Join(a.sign(p), a.trim()); err != nil {
		return err
	}
	if a.jws == "" {
		return nil
	}
	for _, w := range p.Witnesses {
		a.mu.Lock()
		before := a.witnesses[w.Name]
		a.mu.Unlock()
		if a.acked[w.Name] == a.jws {
			continue
		}
		after, err := a.show(ctx, w)
		if err == nil {
			a.acked[w.Name] = a.jws
		} else {
			after = before
			after.Problem = err.Error()
			var fork *audit.ForkError
			after.Forked = errors.As(err, &fork)
			a.out.Error("witness gave no receipt", "witness", w.Name, "forked", after.Forked, "err", err)
		}
		a.mu.Lock()
		a.witnesses[w.Name] = after
		a.mu.Unlock()
	}
	return nil
}

func (a *anchor) sign(p contract.Platform) error {
	end, now := a.log.End(), a.now()
	if end.Sequence == 0 || end.Sequence == a.last.Sequence && now.Sub(a.last.At) < checkpointAnyway {
		return nil
	}
	c := contract.Checkpoint{
		Format: contract.CheckpointFormat, Platform: p.Namespace + "/" + p.Name, Instance: end.Instance, Sequence: end.Sequence, Hash: end.Hash, At: now.UTC(),
	}
	jws, err := audit.Sign(a.key, contract.CheckpointType, c)
	if err != nil {
		return err
	}
	if err := audit.Append(a.file(), audit.Mark{Checkpoint: jws}.Line()); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last, a.jws = c, jws
	return nil
}

// maxMarks is the size from which on checkpoints of lines that are not here any more go: the store has them.
const maxMarks = 4 << 20

// trim writes the file anew without checkpoints of lines that were removed.
func (a *anchor) trim() error {
	info, err := os.Stat(a.file())
	if err != nil || info.Size() < maxMarks {
		return nil //nolint:nilerr // nothing was signed yet
	}
	names, err := chain.Files(os.DirFS(a.dir))
	if err != nil || len(names) == 0 {
		return err
	}
	raw, err := os.ReadFile(a.file())
	if err != nil {
		return err
	}
	marks, err := audit.ReadMarks(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	var kept []byte
	for _, m := range marks {
		if c, err := audit.OpenCheckpoint(m.Checkpoint, nil); err == nil && c.Sequence >= beginOf(names[0]).last {
			kept = append(kept, m.Line()...)
		}
	}
	if len(kept) == len(raw) {
		return nil
	}
	if err := os.WriteFile(a.file()+".new", kept, 0o600); err != nil {
		return err
	}
	return os.Rename(a.file()+".new", a.file())
}

// show posts the newest checkpoint to a witness and keeps its receipt.
func (a *anchor) show(ctx context.Context, w contract.Witness) (contract.WitnessReport, error) {
	keys, err := audit.KeysOf(w.PublicKey)
	if err != nil {
		return contract.WitnessReport{}, err
	}
	receipt, err := show(ctx, w, a.jws)
	if err != nil {
		return contract.WitnessReport{}, err
	}
	r, err := audit.OpenReceipt(receipt, a.jws, keys)
	if err != nil {
		return contract.WitnessReport{}, err
	}
	if err := audit.Append(a.file(), audit.Mark{Checkpoint: a.jws, Receipt: receipt}.Line()); err != nil {
		return contract.WitnessReport{}, err
	}
	return contract.WitnessReport{Sequence: r.Sequence, ReceivedAt: r.ReceivedAt}, nil
}

func show(ctx context.Context, w contract.Witness, jws string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, witnessTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, strings.NewReader(jws))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/jose")
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	if w.CABundle != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(w.CABundle))
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return strings.TrimSpace(string(raw)), nil
	case http.StatusConflict:
		fork := &audit.ForkError{}
		return "", cmp.Or(json.Unmarshal(raw, &fork.Fork), error(fork))
	}
	return "", fmt.Errorf("witness answers %s", resp.Status)
}

// report fills in how the log stands with its witnesses.
func (a *anchor) report(r *contract.AuditReport) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.CheckpointAt, r.Witnesses = a.last.At, map[string]contract.WitnessReport{}
	for name, w := range a.witnesses {
		r.Witnesses[name] = w
	}
}

// checkpointed is the last line that a checkpoint covers.
func (a *anchor) checkpointed() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last.Sequence
}
