package decisionlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	chain "github.com/dizuo/dizuo/internal/contract/decisionlog"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t *testing.T, dir string, change ...func(*Options)) *Log {
	t.Helper()
	l, err := try(dir, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func try(dir string, change ...func(*Options)) (*Log, error) {
	o := Options{Dir: dir, Instance: "gateway-0", Log: quiet()}
	for _, c := range change {
		c(&o)
	}
	return Open(o)
}

func record(request string) chain.Record {
	return chain.Record{Kind: contract.LogDecision, At: time.Now(), Request: request, LogBody: contract.LogBody{
		Input: &contract.DecisionInput{Dataset: "elders", Consumer: "town"}}}
}

func verify(t *testing.T, dir string) (chain.Summary, map[string]int) {
	t.Helper()
	seen := map[string]int{}
	s, err := chain.Verify(os.DirFS(dir), func(r chain.Line) { seen[r.Request]++ })
	if err != nil {
		t.Fatal(err)
	}
	return s, seen
}

func TestConcurrentAppendsAreInTheLogOnce(t *testing.T) {
	dir := t.TempDir()
	var synced int
	l := open(t, dir, func(o *Options) {
		o.MaxBytes = 20_000
		o.Synced = func(n int, _ time.Duration) { synced += n }
	})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 50 {
				if err := l.Append(t.Context(), record(fmt.Sprintf("%d-%d", g, i))); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, seen := verify(t, dir)
	if s.Records != 800 || len(seen) != 800 || synced != 800 {
		t.Errorf("%d records, %d requests, %d synced; want 800 each", s.Records, len(seen), synced)
	}
	if s.Files < 5 {
		t.Errorf("%d files: rotation did not happen", s.Files)
	}
	if err := l.Append(t.Context(), record("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestChainGoesOnAfterRestart(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		var replayed int
		l := open(t, dir, func(o *Options) {
			o.MaxBytes = 1500
			o.Since = time.Now().Add(-time.Hour)
			o.Replay = func(chain.Line) { replayed++ }
		})
		if replayed != round*10 {
			t.Errorf("round %d: %d records replayed, want %d", round, replayed, round*10)
		}
		for i := range 10 {
			if _, err := l.Enqueue(t.Context(), record(fmt.Sprintf("%d-%d", round, i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s, _ := verify(t, dir); s.Records != 50 || s.Files < 3 {
		t.Errorf("summary %+v", s)
	}
}

func TestReplayLeavesOldFilesOut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, func(o *Options) { o.MaxBytes = 1 })
	for i := range 6 {
		r := record(fmt.Sprint(i))
		r.At = time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	open(t, dir, func(o *Options) {
		o.Since = time.Date(2026, 1, 4, 0, 0, 0, 0, time.UTC)
		o.Replay = func(r chain.Line) { got = append(got, r.Request) }
	})
	if want := "2 3 4 5"; strings.Join(got, " ") != want {
		t.Errorf("replayed %v, want %s", got, want)
	}
}

// TestEachDayBeginsAFile: also after a restart, and not for a line that comes late from the day before.
func TestEachDayBeginsAFile(t *testing.T) {
	dir := t.TempDir()
	midnight := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for i, after := range []time.Duration{-time.Hour, -time.Minute, 0, -time.Second, time.Hour, 24 * time.Hour} {
		l, err := try(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := record(fmt.Sprint(i))
		r.At = midnight.Add(after)
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	names, err := chain.Files(os.DirFS(dir))
	if want := []string{chain.FileName(1), chain.FileName(3), chain.FileName(6)}; err != nil || !slices.Equal(names, want) {
		t.Errorf("files %v, want %v, %v", names, want, err)
	}
	verify(t, dir)
}

func last(t *testing.T, dir string) string {
	t.Helper()
	names, err := chain.Files(os.DirFS(dir))
	if err != nil || len(names) == 0 {
		t.Fatalf("files %v: %v", names, err)
	}
	return filepath.Join(dir, names[len(names)-1])
}

func fill(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	l := open(t, dir)
	for i := range n {
		if err := l.Append(t.Context(), record(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTornTailIsCut(t *testing.T) {
	for name, tail := range map[string]string{
		"half a line": `{"kind":"decision","sequence":4,"ti`,
		"zeros":       string(make([]byte, 300)),
		"zeros in it": "{\"kind\":\"decision\"" + string(make([]byte, 40)) + "\n{\"kind\"",
	} {
		t.Run(name, func(t *testing.T) {
			dir := fill(t, 3)
			path := last(t, dir)
			data, _ := os.ReadFile(path)
			if err := os.WriteFile(path, append(data, tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, dir)
			if err := l.Append(t.Context(), record("after")); err != nil {
				t.Fatal(err)
			}
			s, seen := verify(t, dir)
			if s.Records != 4 || seen["after"] != 1 {
				t.Errorf("%+v, %v", s, seen)
			}
			kept, _ := filepath.Glob(filepath.Join(dir, "*"+tornSuffix))
			if len(kept) != 1 {
				t.Errorf("the torn tail was not kept: %v", kept)
			}
		})
	}
}

func TestTamperingStopsTheStart(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"a value changed":   func(b []byte) []byte { return bytes.Replace(b, []byte("elders"), []byte("riders"), 1) },
		"a line removed":    func(b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] },
		"last line changed": func(b []byte) []byte { i := bytes.LastIndex(b, []byte("town")); b[i] = 'd'; return b },
		"a line added":      func(b []byte) []byte { return append(b, "{\"kind\":\"decision\"}\n"...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := fill(t, 3)
			path := last(t, dir)
			data, _ := os.ReadFile(path)
			changed := change(bytes.Clone(data))
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := try(dir)
			if err == nil {
				_ = l.Close()
				t.Fatal("the log opens")
			}
			if now, _ := os.ReadFile(path); !bytes.Equal(now, changed) {
				t.Error("the evidence was changed")
			}
		})
	}
}

// TestFormat1GoesOn opens a log that a version before wrote: the chain keeps its name and goes on.
func TestFormat1GoesOn(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../../contract/decisionlog/testdata/format1")); err != nil {
		t.Fatal(err)
	}
	var replayed int
	l := open(t, dir, func(o *Options) { o.Replay = func(chain.Line) { replayed++ } })
	if err := l.Append(t.Context(), record("new")); err != nil {
		t.Fatal(err)
	}
	if s, seen := verify(t, dir); s.Records != 5 || seen["new"] != 1 || s.End.Instance != "gateway-0" || s.End != l.End() || replayed != 4 {
		t.Errorf("%+v %v, replayed %d", s, seen, replayed)
	}
}

// TestChainsHaveNames: a log that begins anew is another chain.
func TestChainsHaveNames(t *testing.T) {
	a, b := open(t, t.TempDir()).End(), open(t, t.TempDir()).End()
	if a.Instance == b.Instance || !strings.HasPrefix(a.Instance, "gateway-0.") {
		t.Errorf("chains %q and %q", a.Instance, b.Instance)
	}
}

func TestManySubjectsLieBesideTheLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	r := record("many")
	r.Kind = contract.LogRelease
	for i := range contract.MaxLogSubjects + 1 {
		r.Subjects = append(r.Subjects, fmt.Sprintf("%05d", 2000-i))
	}
	if err := l.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	var said *contract.LogBody
	if _, err := chain.Verify(os.DirFS(dir), func(line chain.Line) { said = line.Said }); err != nil {
		t.Fatal(err)
	}
	if said.SubjectList == nil || said.SubjectList.Count != contract.MaxLogSubjects+1 || said.Subjects != nil {
		t.Fatalf("%+v", said)
	}
	got, err := l.List(said.SubjectList.Digest)
	if err != nil || len(got) != contract.MaxLogSubjects+1 || got[0] != "01000" {
		t.Errorf("%d subjects, %v", len(got), err)
	}
}

// TestHeld refuses decisions and still logs what was decided before.
func TestHeld(t *testing.T) {
	l := open(t, t.TempDir())
	why := errors.New("not shipped")
	l.Hold(why)
	if err := l.Append(t.Context(), record("1")); !errors.Is(err, why) || !errors.Is(l.Err(), why) {
		t.Errorf("a decision is taken: %v", err)
	}
	end := record("0")
	end.Kind = contract.LogEnd
	if err := l.Append(t.Context(), end); err != nil {
		t.Error(err)
	}
	l.Hold(nil)
	if err := l.Append(t.Context(), record("2")); err != nil || l.Err() != nil {
		t.Error(err, l.Err())
	}
}

func TestTwoProcessesCannotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := try(dir); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v", err)
	}
}

// TestFailureRefusesAndHeals takes the file away from the log as a broken disk would, then gives it back.
func TestFailureRefusesAndHeals(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if err := l.Append(t.Context(), record("before")); err != nil {
		t.Fatal(err)
	}
	_ = l.file.Close() // no commit runs now
	if err := l.Append(t.Context(), record("lost")); err == nil {
		t.Fatal("append to a broken log succeeds")
	}
	if l.Err() == nil {
		t.Error("Err() does not tell")
	}
	if err := l.Append(t.Context(), record("after")); err != nil {
		t.Fatalf("the log does not heal: %v", err)
	}
	if l.Err() != nil {
		t.Errorf("Err() after healing: %v", l.Err())
	}
	if _, seen := verify(t, dir); len(seen) != 2 || seen["lost"] != 0 || seen["after"] != 1 {
		t.Errorf("log holds %v", seen)
	}
}

func TestAppendGivesUpWithItsContext(t *testing.T) {
	l := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // select picks at random between a free queue and a dead context
		if err := l.Append(ctx, record("x")); err == nil {
			continue // it was synced first; that is allowed
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

const childDir = "DIZUO_TEST_DECISION_LOG"

// TestMain turns the test binary into the writer that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child appends for ever from several goroutines and prints each request after it was acknowledged.
func child(dir string) {
	l, err := try(dir, func(o *Options) { o.MaxBytes = 30_000 })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if err := l.Append(context.Background(), record(id)); err != nil {
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(id)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestKill kills the writer with SIGKILL at a random moment, several times over, and looks for every acknowledged record.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var acked []string
	for round := range 6 {
		acked = append(acked, runAndKill(t, dir, 20+round*37)...)
		open(t, dir).Close() //nolint:errcheck // a start repairs the tail
	}
	s, seen := verify(t, dir)
	for _, id := range acked {
		if seen[id] != 1 {
			t.Fatalf("acknowledged record %s is %d times in the log", id, seen[id])
		}
	}
	t.Logf("%d acknowledged, %d in the log, %d files, 6 kills", len(acked), s.Records, s.Files)
}

// runAndKill starts the child, kills it once it has acknowledged n records, and gives all that it acknowledged.
func runAndKill(t *testing.T, dir string, n int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		acked = append(acked, lines.Text())
		if len(acked) == n {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if len(acked) < n {
		t.Fatalf("child acknowledged %d records, want %d", len(acked), n)
	}
	return acked
}

func BenchmarkAppend(b *testing.B) {
	l, err := try(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := l.Append(b.Context(), record("x")); err != nil {
				b.Error(err)
			}
		}
	})
}
