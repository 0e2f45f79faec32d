// Command exchange runs the simulated system of internal/exchangesim: a 12345 hotline to try the exchange of cases with. People in it open and move
// cases by themselves. It is no part of a platform.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/exchangesim"
)

type options struct {
	addr, cert, key, tokenFile, name, store, division, class string
	failures                                                 float64
	echo                                                     bool
	people                                                   time.Duration
	push, pushCert, pushKey, pushCA                          string
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", ":9443", "where it listens")
	flag.StringVar(&o.cert, "cert", "", "certificate (PEM) of the interface; without it, http")
	flag.StringVar(&o.key, "key", "", "its key")
	flag.StringVar(&o.tokenFile, "token-file", "", "file with the token that callers show; without it, anybody may call")
	flag.StringVar(&o.name, "name", "hotline", "what the system calls itself: the name of the integration")
	flag.StringVar(&o.store, "store", "", "file that keeps its cases; without it they are gone when it ends")
	flag.StringVar(&o.division, "division", "", "12-digit code of the community in which people open cases; without it they open none")
	flag.StringVar(&o.class, "class", "nuisance", "class of the cases that people open")
	flag.Float64Var(&o.failures, "failures", 0, "share of calls that fail, 0 to 1")
	flag.BoolVar(&o.echo, "echo", false, "send back what the platform wrote")
	flag.DurationVar(&o.people, "people", 0, "how often somebody in it does something; 0 is never")
	flag.StringVar(&o.push, "push", "", "address of the exchange at the platform, .../v1/exchange/<name>; without it the platform has to ask")
	flag.StringVar(&o.pushCert, "push-cert", "", "certificate of the system's organization")
	flag.StringVar(&o.pushKey, "push-key", "", "its key")
	flag.StringVar(&o.pushCA, "push-ca", "", "the platform's CA")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "exchange:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	store := exchangesim.NewStore(o.name, time.Now)
	if err := load(o.store, store); err != nil {
		return err
	}
	s := &exchangesim.Server{Store: store, Failures: o.failures, Echo: o.echo, Rand: rand.New(rand.NewPCG(rand.Uint64(), 0))} //nolint:gosec // play
	if o.tokenFile != "" {
		raw, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return fmt.Errorf("token: %w", err)
		}
		s.Token = strings.TrimSpace(string(raw))
	}
	client, err := pusher(o)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: o.addr, Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() {
		if o.cert == "" {
			failed <- server.ListenAndServe()
			return
		}
		failed <- server.ListenAndServeTLS(o.cert, o.key)
	}()
	slog.Info("listening", "addr", o.addr, "tls", o.cert != "")
	err = live(ctx, o, s, client, failed)
	return errors.Join(err, server.Close(), save(o.store, store))
}

// live lets people act and sends what they did, until ctx ends or the server fails.
func live(ctx context.Context, o options, s *exchangesim.Server, client *http.Client, failed <-chan error) error {
	r := rand.New(rand.NewPCG(rand.Uint64(), 1)) //nolint:gosec // play
	every := o.people
	if every <= 0 {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-tick.C:
		}
		if o.people > 0 {
			if o.division != "" && r.IntN(3) == 0 {
				s.Open(o.division, o.class)
			} else {
				s.Move(r)
			}
		}
		if o.push == "" {
			continue
		}
		if err := s.Push(ctx, client, strings.TrimRight(o.push, "/")); err != nil && ctx.Err() == nil {
			slog.Warn("push", "err", err)
		}
		acted, written, dropped := s.Counts()
		slog.Debug("so far", "acted", acted, "written", written, "dropped", dropped)
	}
}

// pusher is a client that shows the certificate of the system's organisation.
func pusher(o options) (*http.Client, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.pushCert != "" {
		pair, err := tls.LoadX509KeyPair(o.pushCert, o.pushKey)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if o.pushCA != "" {
		raw, err := os.ReadFile(o.pushCA)
		if err != nil {
			return nil, fmt.Errorf("CA: %w", err)
		}
		if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(raw) {
			return nil, errors.New("CA: the file holds no PEM certificate")
		}
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg}}, nil
}

// load reads the store of before, if there is one.
func load(file string, store *exchangesim.Store) error {
	if file == "" {
		return nil
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := json.Unmarshal(raw, store); err != nil {
		return fmt.Errorf("store %s: %w", file, err)
	}
	return nil
}

// save writes the store beside the file and moves it there.
func save(file string, store *exchangesim.Store) error {
	if file == "" {
		return nil
	}
	raw, err := json.MarshalIndent(store, "", " ")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	beside := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".new")
	if err := os.WriteFile(beside, raw, 0o600); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return os.Rename(beside, file)
}
