package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	fireSecret   = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	policeSecret = "whsec_bm90IHRoZSBzYW1lIHNlY3JldA=="
	event        = `{"specversion":"1.0","id":"e1","type":"io.dizuo.case.dispatched.v1","data":{"id":"0197a1b2-0000-7000-8000-0000000000c1","number":"2026-000001"}}`
)

func startReceiver(t *testing.T) (*httptest.Server, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	for name, secret := range map[string]string{"fire": fireSecret, "police": policeSecret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	server := httptest.NewServer((&receiver{dir: dir, log: &log, now: time.Now}).handler())
	t.Cleanup(server.Close)
	return server, &log
}

// post delivers a body under a secret, as the grid service does.
func post(t *testing.T, url, secret, id, body string, when time.Time) int {
	t.Helper()
	hook, err := webhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := hook.Sign(id, when, []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(webhooks.HeaderWebhookID, id)
	request.Header.Set(webhooks.HeaderWebhookSignature, signature)
	request.Header.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(when.Unix(), 10))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func TestReceiver(t *testing.T) {
	server, log := startReceiver(t)
	now := time.Now()
	for _, c := range []struct {
		name, path, secret, body string
		when                     time.Time
		status                   int
	}{
		{"good", "/fire", fireSecret, event, now, 200},
		{"good, deeper path", "/fire/cases", fireSecret, event, now, 200},
		{"another's secret", "/fire", policeSecret, event, now, 401},
		{"another's path", "/police", fireSecret, event, now, 401},
		{"changed body", "/fire", fireSecret, strings.Replace(event, "c1", "c2", 1), now, 401},
		{"replayed", "/fire", fireSecret, event, now.Add(-time.Hour), 401},
		{"unknown path", "/nobody", fireSecret, event, now, 401},
		{"path out of the folder", "/..%2Ffire", fireSecret, event, now, 401},
	} {
		if got := post(t, server.URL+c.path, c.secret, "msg_"+c.name, c.body, c.when); got != c.status {
			t.Errorf("%s: status %d, want %d", c.name, got, c.status)
		}
	}
	answer, err := http.Get(server.URL + "/received")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var got []Received
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 8 || !got[0].Valid || got[0].Number != "2026-000001" || got[0].ID != "e1" || string(got[0].Event) != event || got[2].Valid || got[2].Event != nil {
		t.Errorf("received: %+v", got)
	}
	if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); len(lines) != 8 || !strings.Contains(lines[0], `"valid":true`) || strings.Contains(log.String(), "specversion") {
		t.Errorf("log:\n%s", log)
	}
}

func TestReceiverKeepsTheLastThousand(t *testing.T) {
	server, _ := startReceiver(t)
	now := time.Now()
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for j := range 255 {
				post(t, server.URL+"/fire", fireSecret, fmt.Sprintf("msg_%d_%d", i, j), event, now)
			}
		}()
	}
	wait.Wait()
	answer, err := http.Get(server.URL + "/received")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var got []Received
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil || len(got) != keptDeliveries {
		t.Errorf("%d kept, %v", len(got), err)
	}
}

// The command itself: it listens, answers, and ends with the context as a pod does.
func TestServeEndsWithTheContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, listener, (&receiver{}).handler()) }()
	answer, err := http.Get("http://" + listener.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	cancel()
	if err := <-done; err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("status %d, ended with %v", answer.StatusCode, err)
	}
}
