package edge

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/internal/contract"
)

// agent is the built binary in the node's namespace.
type agent struct {
	t       *testing.T
	network *network
	binary  string
	config  string
	state   string
	log     string

	// mu guards cmd while the agent is supervised.
	mu  sync.Mutex
	cmd *exec.Cmd
}

const (
	mqttPort = 8883
	// health is where the agent says how it is, storage how large its outbox may grow.
	health  = lanEdge + ":8080"
	storage = 256 << 20
)

// newAgent lays out the folder of a node that has enrolled, on a disk of its own of that size; 0 takes that of the test.
func newAgent(t *testing.T, n *network, h *hub, disk int64) *agent {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	outbox := int64(storage)
	if disk > 0 {
		outbox = disk - reserve - 64<<20
		n.run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0700", disk), "edge", state)
		t.Cleanup(func() { n.run("umount", "-l", state) })
	}
	binary, err := filepath.Abs("../../../bin/edge")
	if err != nil {
		t.Fatal(err)
	}
	server := h.edges.Files(t, h.edges.ServerAt(t, lanEdge))
	for name, from := range map[string]string{"edge.crt": h.key.CertFile, "edge.key": h.key.KeyFile, "server.crt": server.CertFile, "server.key": server.KeyFile,
		"trust.pem": h.TrustFile()} {
		raw, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(state, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a := &agent{t: t, network: n, binary: binary, state: state, config: filepath.Join(dir, "edge.yaml"), log: filepath.Join(dir, "log")}
	raw, err := yaml.Marshal(contract.EdgeConfig{Platform: "city/" + platform, Edge: edgeName, Hub: h.EdgeURL(), HubCAFile: h.TLS.CAFile, StateDir: state,
		StorageBytes: outbox, Host: lanEdge, MQTTPort: mqttPort, Hostnames: []string{lanEdge}, HealthAddress: health})
	if err == nil {
		err = os.WriteFile(a.config, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.kill()
		if raw, err := os.ReadFile(a.log); err == nil && t.Failed() {
			t.Logf("the agent said:\n%s", raw)
		}
	})
	return a
}

// start runs it.
func (a *agent) start() {
	a.t.Helper()
	out, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command("nsenter", a.network.namespace(), a.binary, "run", "--config", a.config)
	cmd.Stderr, cmd.SysProcAttr = out, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		a.t.Error(err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cmd = cmd
}

// kill ends it as a power failure of the process: nothing is flushed, nothing is said.
func (a *agent) kill() {
	if a.cmd != nil && a.cmd.ProcessState == nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	}
}

// supervise starts it whenever it has ended, as the systemd unit does, until the test ends. It gives how often it did so far.
func (a *agent) supervise() (starts func() int) {
	var n atomic.Int64
	quit := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for {
			a.mu.Lock()
			cmd := a.cmd
			a.mu.Unlock()
			_ = cmd.Wait()
			select {
			case <-quit:
				return
			case <-time.After(2 * time.Second): // RestartSec
			}
			n.Add(1)
			a.start()
		}
	})
	a.t.Cleanup(func() {
		close(quit)
		a.crash()
		work.Wait()
	})
	return func() int { return int(n.Load()) }
}

// crash is kill under a supervisor, who does the waiting.
func (a *agent) crash() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.cmd.Process.Kill()
}

// said reports whether its log has the text.
func (a *agent) said(text string) bool {
	raw, err := os.ReadFile(a.log)
	return err == nil && strings.Contains(string(raw), text)
}

// ready gives what it says of its readiness; empty where nothing answers.
func (a *agent) ready() string {
	answer, err := (&http.Client{Timeout: time.Second}).Get("http://" + health + "/readyz")
	if err != nil {
		return ""
	}
	defer func() { _ = answer.Body.Close() }()
	raw, _ := io.ReadAll(answer.Body)
	return answer.Status + " " + string(raw)
}

// address is where devices connect.
func (a *agent) address() string { return net.JoinHostPort(lanEdge, strconv.Itoa(mqttPort)) }

// serves says whether devices are taken.
func (a *agent) serves() bool {
	c, err := net.DialTimeout("tcp", a.address(), time.Second)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// memory gives a line of the process's status, such as VmRSS (resident now) or VmHWM (the most it was), in MiB.
func (a *agent) memory(line string) float64 {
	a.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	for text := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(text, line+":"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				a.t.Fatal(err)
			}
			return kib / 1024
		}
	}
	a.t.Fatalf("%s is not in the status of the agent", line)
	return 0
}
