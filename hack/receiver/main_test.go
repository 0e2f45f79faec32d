package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/cli"
)

// TestTry: the receiver passes what it is tried with, and one that takes everything does not.
func TestTry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	said, says := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		ended <- run(ctx, file, "", []string{"--addr", "127.0.0.1:0"}, cli.Streams{In: strings.NewReader(""), Out: &log, Err: says})
		_ = says.Close()
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + strings.TrimPrefix(strings.TrimSpace(line), "# receiving on ")
	var out, errs bytes.Buffer
	if code := run(t.Context(), file, address, nil, cli.Streams{Out: &out, Err: &errs}); code != 0 {
		t.Errorf("%d: %s", code, errs.String())
	}
	if got, want := out.String(), "an event: 200\nthe same again: 200\nsigned by somebody else: 401\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("the receiver ends with %d", code)
	}
	if got := strings.Count(log.String(), `"case":"0197a1b2-0000-7000-8000-0000000000c1"`); got != 2 {
		t.Errorf("%d messages are logged with their case, want 2:\n%s", got, log.String())
	}
	easy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(easy.Close)
	if code := run(t.Context(), file, easy.URL, nil, cli.Streams{Out: io.Discard, Err: &errs}); code != 1 || !strings.Contains(errs.String(), "signed by somebody else is answered 200") {
		t.Errorf("who checks no signature passes: %d %s", code, errs.String())
	}
}
