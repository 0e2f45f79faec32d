package story

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// Fill fills the dataset, and reads it as it may be read.
func (k *Kill) Fill(ctx context.Context) error {
	if err := k.seed(ctx); err != nil {
		return err
	}
	return k.Read(ctx)
}

// Read reads the dataset under the agreement, and holds what came against it.
func (k *Kill) Read(ctx context.Context) error {
	out, err := k.quiet(ctx, nil, k.Dizuo, k.read(officer)...)
	if err != nil {
		return err
	}
	return k.checkRecords(out)
}

// Watch reads again and again until the function that it gives is called, which says for how long each kind of answer came: "200", or a
// status with its reasons, or "no answer".
func (k *Kill) Watch(ctx context.Context) (func() map[string]time.Duration, error) {
	secret := namespace + "/" + bureau + "-gateway-tls"
	client, err := k.client(ctx, bureau+"-gateway-tls")
	if err != nil {
		return nil, err
	}
	token, err := k.quiet(ctx, nil, k.Dizuo, "token", "--for", "gateway", "--platform", namespace+"/"+platform, "--secret", secret,
		"--organization", bureau, "--subject", officer.subject, "--role", officer.role)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	took, done := map[string]time.Duration{}, make(chan struct{})
	go func() {
		defer close(done)
		for last := time.Now(); ctx.Err() == nil; pauseFor(ctx, 500*time.Millisecond) {
			status, reasons, err := k.ask(ctx, client, strings.TrimSpace(token))
			if ctx.Err() != nil {
				return
			}
			what := fmt.Sprint(status)
			switch {
			case err != nil:
				what = "no answer"
			case status != http.StatusOK:
				what += " " + strings.Join(reasons, ",")
			}
			took[what] += time.Since(last)
			last = time.Now()
		}
	}()
	return func() map[string]time.Duration {
		cancel()
		<-done
		return took
	}, nil
}

// Sign does what the upgrade guide asks for, in the folder of the former sample: the consumer is cleared for what it reads, the agreement
// begins after its assessment, and both parties sign it again, by keys that config/samples/sign.sh left there.
func (k *Kill) Sign(ctx context.Context, sample, keys string) error {
	file := filepath.Join(sample, "agreement-civil-affairs.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte(`notBefore: "2026-01-01T`), []byte(`notBefore: "2026-02-01T`), 1), 0o600); err != nil {
		return err
	}
	if _, err := k.quiet(ctx, nil, k.Kubectl, "patch", "organization", "-n", namespace, bureau, "--type", "merge", "-p", `{"spec":{"clearance":"C3"}}`); err != nil {
		return err
	}
	for _, party := range []string{"henan-health", bureau} {
		if _, err := k.quiet(ctx, nil, k.Dizuo, "agreement", "approve", "-f", sample, "--name", agreement, "--organization", party, "--approver", "data-office",
			"--key", filepath.Join(keys, party+".pem"), "-w"); err != nil {
			return err
		}
	}
	_, err = k.quiet(ctx, nil, k.Kubectl, "apply", "-f", file)
	return err
}

// Log verifies the gateway's decision log, and counts its lines of format 1 and 2.
func (k *Kill) Log(ctx context.Context) (v1, v2 int, err error) {
	dir, err := k.logDir(ctx)
	if err != nil {
		return 0, 0, err
	}
	_, err = decisionlog.Verify(dir, func(l decisionlog.Line) {
		if l.V == 2 {
			v2++
		} else {
			v1++
		}
	})
	return v1, v2, err
}
