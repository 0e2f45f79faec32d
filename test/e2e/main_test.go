//go:build e2e

// Package e2e tests the platform on the local cluster, with Dizuo installed (`make install`). It changes what stands in
// config/samples/henan-pilots and puts it back.
package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/dizuo/dizuo/test/e2e/story"
)

// local finds the cluster. A test that cannot find it fails: it was asked for by its build tag.
func local(t *testing.T) story.Env {
	t.Helper()
	env, err := story.Local(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// TestStory tells the story of `make up`: a step that does not hold fails the test.
func TestStory(t *testing.T) {
	if err := story.Run(context.Background(), local(t), story.Printer{Out: os.Stdout, Columns: 160}); err != nil {
		t.Fatal(err)
	}
}
