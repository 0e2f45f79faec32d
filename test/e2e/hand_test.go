//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/test/e2e/story"
)

// hand does what a person would at the command line; what fails ends the test.
type hand struct {
	*testing.T
	story.Env
	dir string
}

// secretValue gives a value of a Secret.
func (w hand) secretValue(ctx context.Context, namespace, name, key string) []byte {
	w.Helper()
	return []byte(w.kubectl(ctx, "get", "secret", "-n", namespace, name, "-o", fmt.Sprintf(`go-template={{index .data %q | base64decode}}`, key)))
}

func (w hand) kubectl(ctx context.Context, args ...string) string {
	w.Helper()
	return w.run(ctx, w.Kubectl, args...)
}

func (w hand) run(ctx context.Context, name string, args ...string) string {
	w.Helper()
	return w.feed(ctx, nil, name, args...)
}

// feed runs a command with something on its standard input.
func (w hand) feed(ctx context.Context, stdin io.Reader, name string, args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = w.Root, stdin, &out, &errs
	if err := cmd.Run(); err != nil {
		w.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, errs.String(), out.String())
	}
	return out.String()
}

func (w hand) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w hand) eventually(what string, check func() error) {
	w.Helper()
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	w.Fatalf("%s: %v", what, err)
}
