// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is one long-running program of the cluster.
type process struct {
	Name    string
	Argv    []string
	Inputs  []string // files it reads only at its start: when one changes, `up` restarts it
	KeyName string   // build key of its binary; empty for the distribution's programs
	Ready   func(context.Context) error
}

// record is what the state folder keeps about a process that was started.
type record struct {
	Name        string   `json:"name"`
	PID         int      `json:"pid"`
	StartTime   uint64   `json:"startTime"`
	Fingerprint string   `json:"fingerprint"`
	Argv        []string `json:"argv"`
}

func recordPath(l Layout, name string) string { return l.State("run", name+".json") }

func logPath(l Layout, name string) string { return l.State("logs", name+".log") }

func readRecord(l Layout, name string) (record, bool) {
	var r record
	data, err := os.ReadFile(recordPath(l, name))
	if err != nil || json.Unmarshal(data, &r) != nil {
		return record{}, false
	}
	return r, true
}

func (r record) alive() bool { return r.PID > 0 && sameProcess(r.PID, r.StartTime) }

// ensure starts the process unless it runs as it should, and waits until it is ready.
func (p process) ensure(ctx context.Context, l Layout) error {
	key, err := buildKey(append([]string{recordedKey(l, p.KeyName)}, p.Argv...), p.Inputs)
	if err != nil {
		return err
	}
	if r, ok := p.running(l); ok {
		if r.Fingerprint == key {
			// It may hang or be on its way out: then it is started anew below.
			if p.waitReady(ctx, l, r, runningLimit) == nil {
				return nil
			}
		}
		if err := stopRecorded(ctx, r); err != nil {
			return err
		}
	}
	r, err := p.start(l, key)
	if err != nil {
		return err
	}
	return p.waitReady(ctx, l, r, startLimit)
}

// running finds the process by its record or, when a run was interrupted before it was recorded, by its arguments.
func (p process) running(l Layout) (record, bool) {
	if r, ok := readRecord(l, p.Name); ok && r.alive() {
		return r, true
	}
	if s, ok := findByArgv(p.Argv); ok {
		return record{Name: p.Name, PID: s.PID, StartTime: s.StartTime, Argv: p.Argv}, true
	}
	return record{}, false
}

func (p process) start(l Layout, fingerprint string) (record, error) {
	for _, dir := range []string{l.State("run"), l.State("logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return record{}, err
		}
	}
	log, err := os.OpenFile(logPath(l, p.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return record{}, err
	}
	defer log.Close()
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Dir = l.State()
	cmd.Env = processEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return record{}, err
	}
	stat, err := readStat(cmd.Process.Pid)
	if err != nil {
		return record{}, err
	}
	r := record{Name: p.Name, PID: stat.PID, StartTime: stat.StartTime, Fingerprint: fingerprint, Argv: p.Argv}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return record{}, err
	}
	return r, writeFileAtomic(recordPath(l, p.Name), data, 0o644)
}

// processEnv drops proxy settings: the cluster's processes talk to each other only.
func processEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "KUBECONFIG":
		case "PATH":
			env = append(env, kv+":/usr/sbin:/sbin")
		default:
			env = append(env, kv)
		}
	}
	return env
}

// How long a process may take to be ready after its start, and how long one that ran before may take to answer.
const (
	startLimit   = 90 * time.Second
	runningLimit = 8 * time.Second
)

func (p process) waitReady(ctx context.Context, l Layout, r record, limit time.Duration) error {
	if p.Ready == nil {
		return nil
	}
	err := waitFor(ctx, limit, func(ctx context.Context) error {
		if !r.alive() {
			return permanent{errEnded}
		}
		return p.Ready(ctx)
	})
	if err == nil {
		return nil
	}
	log, _ := os.ReadFile(logPath(l, p.Name))
	return fmt.Errorf("%s is not ready: %w\nits log %s ends with:\n%s", p.Name, err, logPath(l, p.Name), lastLines(string(log), 12))
}

var errEnded = errors.New("the process ended")

// permanent is an error that waiting cannot cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// waitFor tries until it succeeds, the limit passes or the error is permanent; it gives the last error.
func waitFor(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil || errors.As(err, &permanent{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w", limit, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stopGrace is short: an API server would wait a minute for its watchers, and none of the processes loses data when killed.
const stopGrace = 3 * time.Second

// stopRecorded asks the process to end, waits, and in the end kills it. A pid that another process has taken over is left alone.
func stopRecorded(ctx context.Context, r record) error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !r.alive() {
			return nil
		}
		if err := syscall.Kill(r.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping %s (pid %d): %w", r.Name, r.PID, err)
		}
		_ = waitFor(ctx, stopGrace, func(context.Context) error {
			if r.alive() {
				return errors.New("still running")
			}
			return nil
		})
	}
	if r.alive() {
		return fmt.Errorf("%s (pid %d) does not end", r.Name, r.PID)
	}
	return nil
}

// stopProcess stops one of the cluster's processes, recorded or not, and forgets it.
func stopProcess(ctx context.Context, l Layout, name string) error {
	r, ok := readRecord(l, name)
	if !ok {
		return nil
	}
	if err := stopRecorded(ctx, r); err != nil {
		return err
	}
	if s, found := findByArgv(r.Argv); found {
		if err := stopRecorded(ctx, record{Name: name, PID: s.PID, StartTime: s.StartTime}); err != nil {
			return err
		}
	}
	err := os.Remove(recordPath(l, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// recordedNames lists the processes that the state folder knows.
func recordedNames(l Layout) []string {
	files, _ := filepath.Glob(l.State("run", "*.json"))
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	return names
}
