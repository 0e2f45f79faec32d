package story

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Promises of the Standalone platform; see docs.
const (
	targetReady  = 60.0  // seconds from apply to all Ready
	targetMemory = 400.0 // MiB, all pods of the platform
)

// standUp applies the sample and waits until all of it is Ready.
func (t *teller) standUp(ctx context.Context) error {
	_, err := t.quiet(ctx, nil, t.Kubectl, "get", "gridplatform", "-n", namespace, platform)
	fresh := err != nil
	began := time.Now()
	out, err := t.run(ctx, t.Kubectl, "apply", "-k", filepath.Join(t.Root, samplesDir))
	if err != nil {
		return err
	}
	t.print.Output(out, 3)
	if err := t.waitReady(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	t.print.Seen(took, "platform, communities, organisations, fleets, dataset and agreement are Ready")
	if fresh {
		t.measured("apply_to_all_ready", took.Seconds(), "s", targetReady)
	} else {
		t.print.Seen(0, "the platform stood already: this time says nothing of a first start")
	}
	if err := t.memory(ctx, "ready"); err != nil {
		return err
	}
	return t.tree(ctx)
}

// waits say what must hold before the story begins. One agreement of the sample is there to be refused.
var waits = [][]string{
	{"--for=condition=Ready", "-n", namespace, "gridplatforms,communities,organizations,datasets", "--all"},
	{"--for=condition=Ready", "-A", "devicefleets", "--all"},
	{"--for=condition=Ready", "-n", namespace, "datasharingagreement/" + agreement},
	{"--for=condition=GuardrailsPassed=false", "-n", namespace, "datasharingagreement/" + refused},
	{"--for=condition=Available", "-n", "henan-partners", "deployment/fire-desk"},
}

// waitReady waits by watching, as anybody can with kubectl.
func (t *teller) waitReady(ctx context.Context) error {
	for _, w := range waits {
		if _, err := t.run(ctx, t.Kubectl, append([]string{"wait", "--timeout=240s"}, w...)...); err != nil {
			tree, _ := t.quiet(ctx, nil, t.Dizuo, "status", "-n", namespace)
			return fmt.Errorf("%w\n%s", err, tree)
		}
	}
	return nil
}

// tree prints the status tree. Its exit code says that one agreement waits for ever; that is as it should be.
func (t *teller) tree(ctx context.Context) error {
	out, err := t.run(ctx, t.Dizuo, "status", "-n", namespace, "--lang", "en")
	if out == "" {
		return err
	}
	t.print.Output(out, 0)
	return nil
}

// memory prints the working set of each pod of the platform, and the sum. when names the moment.
func (t *teller) memory(ctx context.Context, when string) error {
	if len(t.Memory) == 0 {
		return nil
	}
	text, err := t.run(ctx, t.Memory[0], append(t.Memory[1:], namespace)...)
	if err != nil {
		return err
	}
	var containers []struct {
		Pod             string
		WorkingSetBytes int64
	}
	if err := json.Unmarshal([]byte(text), &containers); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(t.Memory, " "), err)
	}
	sum := 0.0
	for _, c := range containers {
		mib := float64(c.WorkingSetBytes) / (1 << 20)
		sum += mib
		t.print.Output(fmt.Sprintf("%-36s %6.1f MiB", c.Pod, mib), 0)
	}
	t.measured("standalone_memory_"+when, sum, "MiB", targetMemory)
	return nil
}
