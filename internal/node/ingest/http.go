package ingest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/process"
)

const (
	// maxBody bounds a message in bytes where the fleet does not.
	maxBody = 64 << 10
	// bodies bounds what all requests hold in memory at once, in bytes.
	bodies = 16 << 20
	// bodiesOfFleet bounds what the requests of one fleet hold of it: a cloud that sends slowly must not shut the others out.
	bodiesOfFleet = bodies / 4
	// maxKey bounds an Idempotency-Key.
	maxKey = 255
	// retryAfter is when a cloud may try again while the broker or the bundle is away.
	retryAfter = 5 * time.Second
)

// Reasons of a problem document, each the end of its type. They are stable.
const (
	reasonNoCertificate = "NoCertificate"
	reasonNotYourFleet  = "NotYourFleet"
	reasonStaleBundle   = "StaleBundle"
	reasonNoMapping     = "NoMapping"
	reasonBadRequest    = "BadRequest"
	reasonTooLarge      = "TooLarge"
	reasonLimited       = "Limited"
	reasonUnavailable   = "Unavailable"
)

// door takes messages of clouds over HTTPS. What it answers 202 is in the ingest log.
type door struct {
	speaker Speaker
	in      *intake.Intake
	store   func(context.Context, message) error
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	room    *semaphore.Weighted

	mu sync.Mutex
	// rates by fleet, and rooms, what each holds of room; only fleets whose cloud proved who it is.
	rates map[string]*rate.Limiter
	rooms map[string]*semaphore.Weighted
}

func newDoor(s Speaker, in *intake.Intake, store func(context.Context, message) error, m *metrics, log *slog.Logger) *door {
	return &door{speaker: s, in: in, store: store, log: log, metrics: m, now: time.Now, room: semaphore.NewWeighted(bodies), rates: map[string]*rate.Limiter{},
		rooms: map[string]*semaphore.Weighted{}}
}

// serve answers until ctx ends. Anybody may connect: who shows no certificate, or the wrong one, is told so in an answer.
func (d *door) serve(ctx context.Context, c contract.IngestHTTP) error {
	t := process.ServerTLS(c.TLS)
	t.ClientAuth, t.SessionTicketsDisabled = tls.RequestClientCert, true
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+contract.IngestPath, d.post)
	return process.ServeHTTP(ctx, &http.Server{Addr: c.Address, Handler: mux, TLSConfig: t, MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute})
}

// post takes one message.
func (d *door) post(w http.ResponseWriter, r *http.Request) {
	no := d.take(w, r)
	if no == nil {
		d.metrics.messages.WithLabelValues(viaHTTP, "stored").Inc()
		w.WriteHeader(http.StatusAccepted)
		return
	}
	d.metrics.messages.WithLabelValues(viaHTTP, results[no.Status]).Inc()
	no.write(w)
}

// results are the labels of answers that are problems; another is "refused".
var results = map[int]string{
	http.StatusUnauthorized: "refused", http.StatusForbidden: "refused", http.StatusBadRequest: "refused", http.StatusConflict: "refused",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusTooManyRequests:       "limited", http.StatusServiceUnavailable: "failed",
}

// take stores the message of a request, or says why not. The body is passed on as it was sent: the fleet's mapping reads it.
func (d *door) take(w http.ResponseWriter, r *http.Request) *problem {
	fleet := r.PathValue("fleet")
	if no := d.speaks(r, fleet); no != nil {
		return no
	}
	key := r.Header.Get("Idempotency-Key")
	if !validKey(key) {
		return refuse(http.StatusBadRequest, reasonBadRequest, "the Idempotency-Key must be at most 255 visible characters of ASCII", 0)
	}
	c := d.credentials(fleet)
	if len(c.Devices) > 0 {
		return refuse(http.StatusConflict, reasonNoMapping, "the fleet's mapping does not name the device of a message: write spec.mapping.device, or publish to the topics of the devices over MQTT", 0)
	}
	largest := int64(c.Limits.PayloadBytes)
	if largest <= 0 {
		largest = maxBody
	}
	if no := d.within(fleet, int(c.Limits.MessagesPerMinute)); no != nil {
		return no
	}
	body, release, no := d.read(w, r, fleet, largest)
	if no != nil {
		return no
	}
	defer release()
	if no := d.speaks(r, fleet); no != nil { // a body may be long in coming, and what counts is who may speak when it is stored
		return no
	}
	m := message{topic: contract.PlatformTopic(fleet, contract.PlatformUp), qos: 1, payload: body}
	if key != "" {
		m.id = "http:" + fleet + ":" + key
	}
	err := d.store(r.Context(), m)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return refuse(http.StatusRequestEntityTooLarge, reasonTooLarge, "the message is larger than the broker takes", 0)
	case err != nil:
		d.log.Warn("message of a cloud not stored", "fleet", fleet, "err", err)
		return refuse(http.StatusServiceUnavailable, reasonUnavailable, "the message could not be stored: send it again, with the same Idempotency-Key", retryAfter)
	}
	return nil
}

// speaks refuses who may not speak for a fleet.
func (d *door) speaks(r *http.Request, fleet string) *problem {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return refuse(http.StatusUnauthorized, reasonNoCertificate, "show the client certificate of the cloud that speaks for this fleet", 0)
	}
	err := d.speaker.Speaks(r.TLS.PeerCertificates, fleet, d.now())
	var old stale
	switch {
	case errors.As(err, &old):
		return refuse(http.StatusServiceUnavailable, reasonStaleBundle, "who may speak is not known at present: the policy is older than its lease", retryAfter)
	case err != nil:
		return refuse(http.StatusForbidden, reasonNotYourFleet, errSpeaker.Error(), 0)
	}
	return nil
}

// credentials gives those of a fleet. A cloud on the topics of its devices has them listed there.
func (d *door) credentials(fleet string) contract.Credentials {
	if b := d.in.Current(); b != nil {
		return b.Credentials[fleet]
	}
	return contract.Credentials{}
}

// within counts a message against the fleet's limit of a minute; 0 is none.
func (d *door) within(fleet string, minute int) *problem {
	if minute <= 0 {
		return nil
	}
	now, limit := d.now(), rate.Limit(float64(minute)/60)
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.rates[fleet]
	if l == nil || l.Burst() != minute { // as many as in a minute may come at once
		l = rate.NewLimiter(limit, minute)
		d.rates[fleet] = l
	}
	if one := l.ReserveN(now, 1); one.DelayFrom(now) > 0 {
		wait := one.DelayFrom(now)
		one.CancelAt(now)
		return refuse(http.StatusTooManyRequests, reasonLimited, "more messages than the devices of the fleet may send", wait)
	}
	return nil
}

// read reads a body. The caller gives its room back by release.
func (d *door) read(w http.ResponseWriter, r *http.Request, fleet string, largest int64) (body []byte, release func(), no *problem) {
	if r.ContentLength > largest {
		return nil, nil, tooLarge(largest)
	}
	size := largest
	if r.ContentLength >= 0 { // the server reads no further
		size = r.ContentLength
	}
	if release = d.hold(fleet, size); release == nil {
		return nil, nil, refuse(http.StatusServiceUnavailable, reasonUnavailable, "too many messages at once", time.Second)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largest))
	if err == nil {
		return body, release, nil
	}
	release()
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, nil, tooLarge(largest)
	}
	return nil, nil, refuse(http.StatusBadRequest, reasonBadRequest, "the body could not be read", 0)
}

// hold takes room for a body of a fleet, in bytes, and gives what gives it back; nil if there is none.
func (d *door) hold(fleet string, size int64) (release func()) {
	d.mu.Lock()
	own := d.rooms[fleet]
	if own == nil {
		own = semaphore.NewWeighted(bodiesOfFleet)
		d.rooms[fleet] = own
	}
	d.mu.Unlock()
	if !own.TryAcquire(size) {
		return nil
	}
	if !d.room.TryAcquire(size) {
		own.Release(size)
		return nil
	}
	return func() {
		d.room.Release(size)
		own.Release(size)
	}
}

func tooLarge(largest int64) *problem {
	return refuse(http.StatusRequestEntityTooLarge, reasonTooLarge, "the message is larger than the "+strconv.FormatInt(largest, 10)+" bytes that the fleet allows", 0)
}

// validKey says whether an Idempotency-Key can name a message; none can.
func validKey(key string) bool {
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(key) <= maxKey
}

// problem is an answer after RFC 9457.
type problem struct {
	// Type is a URN that ends in a stable reason.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`

	retryAfter time.Duration
}

func refuse(status int, reason, title string, retryAfter time.Duration) *problem {
	return &problem{"urn:dizuo:reason:" + reason, title, status, retryAfter}
}

func (p *problem) write(w http.ResponseWriter) {
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}
