package edge

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
	log     string
	cmd     *exec.Cmd
}

const mqttPort = 8883

// newAgent lays out the folder of a node that has enrolled.
func newAgent(t *testing.T, n *network, h *hub, binary string) *agent {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
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
	a := &agent{t: t, network: n, binary: binary, config: filepath.Join(dir, "edge.yaml"), log: filepath.Join(dir, "log")}
	raw, err := yaml.Marshal(contract.EdgeConfig{Platform: "city/" + platform, Edge: edgeName, Hub: h.EdgeURL(), HubCAFile: h.TLS.CAFile, StateDir: state,
		StorageBytes: 256 << 20, Host: lanEdge, MQTTPort: mqttPort, Hostnames: []string{lanEdge}, HealthAddress: net.JoinHostPort(lanEdge, "8080")})
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
	a.cmd = exec.Command("nsenter", a.network.namespace(), a.binary, "run", "--config", a.config)
	a.cmd.Stderr, a.cmd.SysProcAttr = out, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
}

// kill ends it as a power failure of the process: nothing is flushed, nothing is said.
func (a *agent) kill() {
	if a.cmd != nil && a.cmd.ProcessState == nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	}
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
