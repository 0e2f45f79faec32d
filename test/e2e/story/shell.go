package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// failed is a command that ended with another code than 0.
type failed struct {
	command string
	code    int
	// text is what the command printed on both streams.
	text string
}

// Error shows the command and what it printed.
func (f *failed) Error() string {
	return fmt.Sprintf("%s: exit code %d: %s", f.command, f.code, strings.TrimSpace(f.text))
}

// quiet runs a command without showing it, and gives what it printed on standard output.
func (t *teller) quiet(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = t.Root, stdin, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.String(), &failed{quote(append([]string{filepath.Base(name)}, args...)), exit.ExitCode(), errs.String() + out.String()}
	}
	return out.String(), err
}

// run shows a command, runs it, and gives what it printed on standard output.
func (t *teller) run(ctx context.Context, name string, args ...string) (string, error) {
	t.show(name, args...)
	return t.quiet(ctx, nil, name, args...)
}

// show prints a command as a person would type it in the checkout.
func (t *teller) show(name string, args ...string) {
	shown := []string{filepath.Base(name)}
	for _, a := range args {
		a = strings.ReplaceAll(a, t.dir+string(os.PathSeparator), "")
		shown = append(shown, strings.ReplaceAll(a, t.Root+string(os.PathSeparator), ""))
	}
	t.print.Command(shown...)
}

// mustFail runs a command that has to fail, and gives its exit code and what it printed.
func (t *teller) mustFail(ctx context.Context, name string, args ...string) (int, string, error) {
	out, err := t.run(ctx, name, args...)
	var f *failed
	switch {
	case errors.As(err, &f):
		return f.code, f.text, nil
	case err != nil:
		return 0, "", err
	}
	return 0, "", fmt.Errorf("%s did what must be refused: %s", filepath.Base(name), strings.TrimSpace(out))
}

// object reads an object's JSON into out.
func (t *teller) object(ctx context.Context, out any, args ...string) error {
	text, err := t.quiet(ctx, nil, t.Kubectl, append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), out)
}

// secret reads a Secret.
func (t *teller) secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	var s struct{ Data map[string][]byte }
	err := t.object(ctx, &s, "secret", "-n", namespace, name)
	return s.Data, err
}

// sql asks the platform's database, as its owner.
func (t *teller) sql(ctx context.Context, query string) (string, error) {
	out, err := t.quiet(ctx, nil, t.Kubectl, "exec", "-n", namespace, "dizuo-postgres-0", "--",
		"psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-U", "dizuo", "-d", "dizuo", "-c", query)
	return strings.TrimSpace(out), err
}

// until asks again every pause until done says yes, and fails after limit with the last reason why not.
func until(ctx context.Context, limit, pause time.Duration, done func() (ok bool, why string, err error)) (time.Duration, error) {
	began := time.Now()
	for {
		ok, why, err := done()
		took := time.Since(began)
		switch {
		case err != nil:
			return took, err
		case ok:
			return took, nil
		case took > limit:
			return took, fmt.Errorf("not within %s: %s", limit, why)
		}
		select {
		case <-ctx.Done():
			return took, ctx.Err()
		case <-time.After(pause):
		}
	}
}
