package stack

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/test/postgres"
)

// roleEnv holds the configuration file of a process that was started as a role.
const roleEnv = "DIZUO_STACK_ROLE"

// again is how long a part that ended by itself stays down, as a container does at first.
const again = time.Second

// Main is the TestMain of a package that starts a Stack: a process that was started as a role is that role and never returns.
func Main(m *testing.M) {
	if file := os.Getenv(roleEnv); file != "" {
		err := be(file)
		fmt.Fprintln(os.Stderr, "role ended:", err)
		os.Exit(1)
	}
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// be runs the role of a configuration file.
func be(file string) error {
	cfg, err := process.Load(file)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch cfg.Role {
	case contract.RoleBroker:
		return broker.Run(context.Background(), cfg, log)
	case contract.RoleGrid:
		return grid.Run(context.Background(), cfg, log)
	}
	return fmt.Errorf("role %q is none of a stack", cfg.Role)
}

// part is a process that is started again whenever it ends.
type part struct {
	s          *Stack
	name       string
	file, log  string
	health     string
	mu         sync.Mutex
	cmd        *exec.Cmd
	down       time.Duration
	asked      bool
	unasked    int
	quit, over chan struct{}
}

// run starts a part, and again whenever it ends, until the test does.
func (s *Stack) run(name string, cfg contract.NodeConfig) {
	s.t.Helper()
	raw, err := yaml.Marshal(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &part{s: s, name: name, file: s.write(name+".yaml", raw), log: filepath.Join(s.dir, name+".log"), health: cfg.HealthAddress, quit: make(chan struct{}), over: make(chan struct{})}
	s.parts[name] = p
	if err := p.start(); err != nil {
		s.t.Fatal(err)
	}
	go p.keep()
	s.t.Cleanup(p.end)
}

// start runs the process once. It is this program again, as a role.
func (p *part) start() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+p.file)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = cmd
	return nil
}

// keep starts the process again whenever it ends.
func (p *part) keep() {
	defer close(p.over)
	for {
		_ = p.cmd.Wait()
		p.mu.Lock()
		down := again
		if p.asked {
			down = p.down
		} else {
			p.unasked++
		}
		p.asked = false
		p.mu.Unlock()
		select {
		case <-p.quit:
			return
		case <-time.After(down):
		}
		if err := p.start(); err != nil {
			p.s.t.Errorf("%s: %v", p.name, err)
			return
		}
	}
}

// kill ends the process as kill -9 does, and leaves it down for a while.
func (p *part) kill(down time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.down = true, down
	_ = p.cmd.Process.Kill()
}

func (p *part) end() {
	close(p.quit)
	for ended := false; !ended; {
		p.kill(0)
		select {
		case <-p.over:
			ended = true
		case <-time.After(100 * time.Millisecond): // it was being started
		}
	}
	if raw, err := os.ReadFile(p.log); err == nil && p.s.t.Failed() {
		lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
		p.s.t.Logf("%s said at last:\n%s", p.name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// Parts names what can be killed, sorted.
func (s *Stack) Parts() []string {
	return append(slices.Sorted(maps.Keys(s.parts)), Database)
}

// Kill kills a part as kill -9 does, and starts it again after a while. It returns when the process is killed; for the database, when it
// serves again.
func (s *Stack) Kill(name string, down time.Duration) {
	s.t.Helper()
	if p := s.parts[name]; p != nil {
		p.kill(down)
		return
	}
	s.db.Kill()
	time.Sleep(down)
	if err := s.db.Again(); err != nil {
		s.t.Fatal(err)
	}
}

// Unasked gives how often each part ended by itself.
func (s *Stack) Unasked() map[string]int {
	out := map[string]int{}
	for name, p := range s.parts {
		p.mu.Lock()
		out[name] = p.unasked
		p.mu.Unlock()
	}
	return out
}

// ready waits until a replica of the role grid is.
func (s *Stack) ready() {
	s.t.Helper()
	client := &http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for name, p := range s.parts {
			if !strings.HasPrefix(name, "grid") {
				continue
			}
			answer, err := client.Get("http://" + p.health + "/readyz")
			if err != nil {
				continue
			}
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
	}
	s.t.Fatal("no replica of the role grid is ready")
}
