package story

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
)

// Forward is a local port that stays open to a Service, also while its pods come and go. It stands in for the
// `kubectl port-forward` that a person would run: that one ends whenever a pod resets one of its connections, as a broker
// does that refuses a device. The addresses of Services are reached from the host of the local cluster.
type Forward struct {
	// Port on localhost.
	Port string

	target   string
	listener net.Listener
	open     sync.WaitGroup
}

// OpenForward forwards a port of localhost that the kernel chooses to a Service's, until ctx ends or Close is called.
func OpenForward(ctx context.Context, kubectl, namespace, service, port string) (*Forward, error) {
	out, err := exec.CommandContext(ctx, kubectl, "get", "service", "-n", namespace, service, "-o", "jsonpath={.spec.clusterIP}").Output()
	if err != nil {
		return nil, fmt.Errorf("address of service %s/%s: %w", namespace, service, err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, local, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	f := &Forward{Port: local, target: net.JoinHostPort(strings.TrimSpace(string(out)), port), listener: listener}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	f.open.Add(1)
	go f.accept(ctx)
	return f, nil
}

func (f *Forward) accept(ctx context.Context) {
	defer f.open.Done()
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		go f.join(ctx, conn)
	}
}

// join copies both ways until one side ends. A Service that refuses makes the client see a closed connection.
func (f *Forward) join(ctx context.Context, local net.Conn) {
	defer func() { _ = local.Close() }()
	var dialer net.Dialer
	remote, err := dialer.DialContext(ctx, "tcp", f.target)
	if err != nil {
		return
	}
	defer func() { _ = remote.Close() }()
	ended := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{local, remote}, {remote, local}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}

// URL of the forwarded service.
func (f *Forward) URL() string { return "https://localhost:" + f.Port }

// Close stops forwarding; nil is allowed.
func (f *Forward) Close() {
	if f != nil {
		_ = f.listener.Close()
		f.open.Wait()
	}
}
