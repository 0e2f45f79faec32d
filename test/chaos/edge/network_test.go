package edge

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Addresses of the two lines, of the range for benchmarks (RFC 2544). They exist in namespaces of the test's own alone.
const (
	hubAddress  = "198.18.0.1"
	edgeAddress = "198.18.0.2"
	// lanHere is where devices are, lanEdge where the node takes them.
	lanHere = "198.18.1.1"
	lanEdge = "198.18.1.2"
)

// inside says that this process is already in a network namespace of its own.
const inside = "DIZUO_CHAOS_INSIDE"

// out names the file for the figures. Without it nobody asked for the test, which takes minutes and needs root.
const out = "DIZUO_BENCH_OUT"

// TestMain runs the tests in network and mount namespaces of their own: they go with the process, whatever ends that.
func TestMain(m *testing.M) {
	if os.Getenv(out) == "" || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), inside+"=1")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	err := again.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		os.Exit(max(1, ended.ExitCode()))
	case err != nil:
		fmt.Fprintf(os.Stderr, "namespaces: %v; run as root on Linux\n", err)
		os.Exit(1)
	}
}

// network is a second namespace, of the edge node, with two lines to this one: wan to the hub, lan to the devices.
type network struct {
	t *testing.T
	// holder keeps the namespace while no edge node runs.
	holder *exec.Cmd
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, holder: exec.Command("sleep", "infinity")}
	n.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := n.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.holder.Process.Kill(); _ = n.holder.Wait() })
	there := fmt.Sprint(n.holder.Process.Pid)
	n.here("link set lo up")
	n.there("link set lo up")
	for _, line := range []struct{ name, here, there string }{{"wan", hubAddress, edgeAddress}, {"lan", lanHere, lanEdge}} {
		n.here("link add " + line.name + " type veth peer name " + line.name + " netns " + there)
		n.here("addr add " + line.here + "/30 dev " + line.name)
		n.there("addr add " + line.there + "/30 dev " + line.name)
		n.here("link set " + line.name + " up")
		n.there("link set " + line.name + " up")
	}
	return n
}

// here runs ip in the hub's namespace, there in the node's.
func (n *network) here(args string) { n.run("ip", strings.Fields(args)...) }
func (n *network) there(args string) {
	n.run("nsenter", append([]string{n.namespace(), "ip"}, strings.Fields(args)...)...)
}

func (n *network) namespace() string {
	return fmt.Sprintf("--net=/proc/%d/ns/net", n.holder.Process.Pid)
}

func (n *network) run(name string, args ...string) {
	n.t.Helper()
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, text)
	}
}

// cut takes the line to the hub away, restore gives it back.
func (n *network) cut()     { n.there("link set wan down") }
func (n *network) restore() { n.there("link set wan up") }

// eventually waits for a condition.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain for %s: %s", within, what)
}
