// Command receiver is the reference receiver of cases, to try with and to test against: `dizuo webhook receive` with a secret of its own, and somebody who
// sends it an event. It is no part of a platform.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dizuo/dizuo/internal/cli"
)

func main() {
	file := flag.String("secret-file", "receiver.secret", "file with the secret (whsec_...); it is made if it is not there")
	try := flag.String("try", "", "address of a receiver, such as http://localhost:8080, that is sent an event, the same again, and one that is signed with another secret")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "receiver [-secret-file FILE] [-try URL] [-- flags of `dizuo webhook receive`]")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, *file, *try, flag.Args(), cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// run receives, or tries a receiver, and gives the exit code.
func run(ctx context.Context, file, try string, more []string, s cli.Streams) int {
	secret, err := secretOf(file)
	switch {
	case err == nil && try == "":
		return cli.Main(ctx, append([]string{"webhook", "receive", "--secret-file", file}, more...), s)
	case err == nil:
		err = send(ctx, try, secret, s.Out)
	}
	if err != nil {
		fmt.Fprintln(s.Err, "receiver:", err)
		return 1
	}
	return 0
}

// secretOf reads a secret, or makes one.
func secretOf(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if !errors.Is(err, os.ErrNotExist) {
		return strings.TrimSpace(string(raw)), err
	}
	secret := newSecret()
	return secret, os.WriteFile(file, []byte(secret+"\n"), 0o600)
}

func newSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// event is a message as docs/guides/integrators.md has it.
const event = `{"specversion":"1.0","id":"0197a1b2-0000-7000-8000-0000000000e1","type":"io.dizuo.case.dispatched.v1","source":"/henan/henan","time":"2026-03-01T20:00:00Z","datacontenttype":"application/json",
"data":{"id":"0197a1b2-0000-7000-8000-0000000000c1","number":"20260301-000001","state":"Dispatched","severity":"Critical","class":"fire","title":"烟感报警","organization":"fire","community":"jinghu","division":"410702001001","version":3}}`

// send sends the event as the grid service does, and says what is answered.
func send(ctx context.Context, url, secret string, out io.Writer) error {
	const id = "msg_0197a1b2-0000-7000-8000-0000000000e1"
	for _, one := range []struct {
		what, secret string
		want         int
	}{{"an event", secret, http.StatusOK}, {"the same again", secret, http.StatusOK}, {"signed by somebody else", newSecret(), http.StatusUnauthorized}} {
		hook, err := webhooks.NewWebhook(one.secret)
		if err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		now := time.Now()
		signature, err := hook.Sign(id, now, []byte(event))
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(event)))
		if err != nil {
			return err
		}
		request.Header = http.Header{"Content-Type": {"application/cloudevents+json"}}
		request.Header.Set(webhooks.HeaderWebhookID, id)
		request.Header.Set(webhooks.HeaderWebhookTimestamp, fmt.Sprint(now.Unix()))
		request.Header.Set(webhooks.HeaderWebhookSignature, signature)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = answer.Body.Close()
		fmt.Fprintf(out, "%s: %d\n", one.what, answer.StatusCode)
		if answer.StatusCode != one.want {
			return fmt.Errorf("%s is answered %d, want %d", one.what, answer.StatusCode, one.want)
		}
	}
	return nil
}
