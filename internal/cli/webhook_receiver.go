package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Received is one delivery.
type Received struct {
	At time.Time `json:"at"`
	// Path of the request: with --secret-dir it names the organisation.
	Path string `json:"path"`
	// WebhookID is the same for every attempt at one delivery.
	WebhookID string `json:"webhookId,omitempty"`
	// ID and Type of the CloudEvent; Number and Case of the case that it is about.
	ID     string `json:"id,omitempty"`
	Type   string `json:"type,omitempty"`
	Number string `json:"number,omitempty"`
	Case   string `json:"case,omitempty"`
	// Valid says that the signature is good; Problem says why not.
	Valid   bool   `json:"valid"`
	Problem string `json:"problem,omitempty"`
	// Answered lists the actions that the case was answered with.
	Answered []string `json:"answered,omitempty"`
	// Event as it came, if its signature is good.
	Event json.RawMessage `json:"event,omitempty"`
}

const (
	keptDeliveries = 1000
	maxDelivery    = 1 << 20 // bytes
)

// receiver checks and remembers deliveries.
type receiver struct {
	file, dir string
	log       io.Writer
	now       func() time.Time
	// answer answers cases; nil answers none.
	answer *answerer

	mu   sync.Mutex
	kept []Received
}

func (r *receiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /received", r.list)
	mux.HandleFunc("POST /", r.take)
	return mux
}

func (r *receiver) list(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	kept := append([]Received{}, r.kept...)
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(kept) // who asked has gone: nothing to do
}

func (r *receiver) take(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxDelivery))
	if err != nil {
		http.Error(w, "body cannot be read, or is over 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	got := Received{At: r.now().UTC(), Path: request.URL.Path, WebhookID: request.Header.Get(webhooks.HeaderWebhookID)}
	if err := r.verify(request, body); err != nil {
		got.Problem = err.Error()
	} else {
		got.Valid = true
		got.read(body)
	}
	if got.Valid && r.answer != nil {
		refused, err := r.answer.answer(request.Context(), got)
		if err != nil { // the sender tries again, under the same webhook-id
			http.Error(w, "cannot answer the case now", http.StatusServiceUnavailable)
			return
		}
		if got.Problem = refused; refused == "" && got.Type == dispatchedEvent {
			got.Answered = r.answer.actions
		}
	}
	if err := r.keep(got); err != nil { // what was not logged is not taken: the sender tries again
		http.Error(w, "cannot log", http.StatusInternalServerError)
		return
	}
	if !got.Valid {
		http.Error(w, got.Problem, http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// verify checks the signature with the secret that stands for the path.
func (r *receiver) verify(request *http.Request, body []byte) error {
	path, err := r.secretFile(request.URL.Path)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return errors.New("no secret for this path")
	}
	hook, err := webhooks.NewWebhook(strings.TrimSpace(string(raw)))
	if err != nil {
		return errors.New("the secret file holds no secret of the form whsec_ and base64")
	}
	return hook.Verify(body, request.Header)
}

var secretName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func (r *receiver) secretFile(path string) (string, error) {
	if r.file != "" {
		return r.file, nil
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !secretName.MatchString(name) {
		return "", errors.New("no secret for this path")
	}
	return filepath.Join(r.dir, name), nil
}

// read takes what a person looks for out of a CloudEvent in structured JSON.
func (d *Received) read(body []byte) {
	var event struct {
		ID   string `json:"id"`
		Type string `json:"type"`
		Data struct {
			ID     string `json:"id"`
			Number string `json:"number"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		d.Problem = "signed, but no CloudEvent in JSON"
		return
	}
	d.ID, d.Type, d.Number, d.Case = event.ID, event.Type, event.Data.Number, event.Data.ID
	d.Event = body
}

// keep logs a delivery without its content, and remembers it with.
func (r *receiver) keep(d Received) error {
	line := d
	line.Event = nil
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.log.Write(append(raw, '\n')); err != nil {
		return err
	}
	if r.kept = append(r.kept, d); len(r.kept) > keptDeliveries {
		r.kept = append([]Received{}, r.kept[len(r.kept)-keptDeliveries:]...)
	}
	return nil
}
