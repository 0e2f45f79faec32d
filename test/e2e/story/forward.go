package story

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Forward is a local port that stays open to a Service, also while its pods come and go.
type Forward struct {
	// Port on localhost.
	Port string
	stop context.CancelFunc
	done chan struct{}
}

var forwarding = regexp.MustCompile(`^Forwarding from 127\.0\.0\.1:(\d+) `)

// OpenForward forwards a port of localhost that the kernel chooses to a Service's. The kubectl behind it is started again,
// on the same local port, whenever it ends; Close stops it.
func OpenForward(ctx context.Context, kubectl, namespace, service, port string) (*Forward, error) {
	ctx, stop := context.WithCancel(ctx)
	f := &Forward{stop: stop, done: make(chan struct{})}
	first := make(chan error, 1)
	go func() {
		defer close(f.done)
		var once sync.Once
		for ctx.Err() == nil {
			err := f.once(ctx, kubectl, namespace, service, port, func() { once.Do(func() { first <- nil }) })
			once.Do(func() { first <- err })
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	if err := <-first; err != nil {
		f.Close()
		return nil, fmt.Errorf("kubectl port-forward -n %s service/%s: %w", namespace, service, err)
	}
	return f, nil
}

// once runs kubectl until it ends; ready is called when the port is open.
func (f *Forward) once(ctx context.Context, kubectl, namespace, service, port string, ready func()) error {
	cmd := exec.CommandContext(ctx, kubectl, "port-forward", "--address", "127.0.0.1", "-n", namespace, "service/"+service, f.Port+":"+port)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := forwarding.FindStringSubmatch(lines.Text()); m != nil {
			if f.Port == "" {
				f.Port = m[1]
			}
			ready()
			break
		}
	}
	_, _ = io.Copy(io.Discard, out) // "Handling connection" lines
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String()))
	}
	return nil
}

// URL of the forwarded service.
func (f *Forward) URL() string { return "https://localhost:" + f.Port }

// Close stops forwarding; nil is allowed.
func (f *Forward) Close() {
	if f != nil {
		f.stop()
		<-f.done
	}
}
