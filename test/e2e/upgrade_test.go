//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dizuo/dizuo/test/e2e/story"
)

// TestUpgrade installs Dizuo as a former commit has it, brings the sample up under load, upgrades to what stands here while the load
// goes on, and holds it to the same account: nothing that was acknowledged is lost, no case, and no credential is another.
func TestUpgrade(t *testing.T) {
	from := os.Getenv("DIZUO_UPGRADE_FROM")
	if from == "" {
		t.Skip("SKIPPED: DIZUO_UPGRADE_FROM names no commit to upgrade from; make test-change does")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	env := local(t)
	former := filepath.Join(t.TempDir(), "former")
	command(t, ctx, env.Root, "git", "worktree", "add", "--detach", former, from)
	defer command(t, context.WithoutCancel(ctx), env.Root, "git", "worktree", "remove", "--force", former)
	// What a later version made a former one cannot run: nothing stands when it begins.
	if err := story.Clear(ctx, env); err != nil {
		t.Fatal(err)
	}
	command(t, ctx, former, "make", "install")

	// The keys that sign stay here: what an approval covers may be another after the upgrade.
	keys, past := t.TempDir(), env
	past.Root, past.Dizuo = former, filepath.Join(former, "bin", "dizuo")
	command(t, ctx, former, "env", "DIZUO="+past.Dizuo, "KEYS="+keys, "config/samples/sign.sh", "henan-pilots")
	world, err := story.NewKill(ctx, past, story.Printer{Out: os.Stdout, Columns: 160})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := world.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	before, err := world.Credentials(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(world.Raise(ctx, 0), world.Fill(ctx)); err != nil {
		t.Fatal(err)
	}
	answers, err := world.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	command(t, ctx, env.Root, "make", "install")
	world.Env = env
	t.Logf("the reader was answered until all of it was new: %v", answers())
	signed := time.Now()
	if err := errors.Join(world.Sign(ctx, filepath.Join(former, "config", "samples", "henan-pilots"), keys), world.Ready(ctx), world.Raise(ctx, 1), world.Read(ctx)); err != nil {
		t.Fatal(err)
	}
	t.Logf("signed again, the agreement is in force %s after", time.Since(signed).Round(time.Second))
	v1, v2, err := world.Log(ctx)
	if err != nil || v1+v2 == 0 || v2 == 0 {
		t.Errorf("the decision log has %d lines of format 1 and %d of format 2: %v", v1, v2, err)
	}
	t.Logf("one chain goes on: %d lines of format 1, %d of format 2", v1, v2)
	after, err := world.Credentials(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range before {
		if after[name] != is {
			t.Errorf("the value of Secret %s is another after the upgrade", name)
		}
	}
	t.Logf("%d values of Secrets are the same", len(before))
	settled(t, ctx, world)
}

func command(t *testing.T, ctx context.Context, dir, name string, args ...string) { //nolint:revive // a test helper begins with t
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
